"""Trackers that fail, and what the others are told. The real ones: tests/clients/test_loggers.py, test_loop.py."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from yolopose.errors import PoseError
from yolopose.train import loggers
from yolopose.train.loggers import open_loggers


class Memory:
    """Remembers what it is told, and fails at the second epoch."""

    def __init__(self, args, save_dir):
        self.told = [save_dir.name]

    def log(self, metrics, epoch):
        if epoch == 2:
            raise ConnectionError("the server\nis gone")
        self.told.append((epoch, metrics))

    def close(self):
        self.told.append("closed")


def refuse(args, save_dir):
    raise RuntimeError("no login")


def test_a_tracker_that_fails_ends_no_run(tmp_path, monkeypatch, caplog):
    made = []
    monkeypatch.setitem(loggers.LOGGERS, "wandb", lambda *_: made.append(Memory(*_)) or made[-1])
    (logger,) = open_loggers(["wandb"], {}, tmp_path)
    for epoch in (1, 2, 3):
        logger.log({"a": 1.0}, epoch)
    logger.close()
    assert made[0].told == [tmp_path.name, (1, {"a": 1.0})]
    assert [record.getMessage() for record in caplog.records] == [
        "loggers=wandb: failed, the run goes on without it: the server is gone"
    ]


def test_one_that_cannot_begin_is_named_and_the_others_are_closed(tmp_path, monkeypatch):
    made = []
    monkeypatch.setitem(loggers.LOGGERS, "tensorboard", lambda *_: made.append(Memory(*_)) or made[-1])
    monkeypatch.setitem(loggers.LOGGERS, "mlflow", refuse)
    with pytest.raises(PoseError, match="loggers=mlflow: cannot begin: no login"):
        open_loggers(["tensorboard", "mlflow"], {}, tmp_path)
    assert made[0].told[-1] == "closed"


@pytest.mark.parametrize(
    ("project", "expected"), [(None, "yolopose"), ("runs/faces", "runs-faces"), ("/data/a#b%c", "data-a-b-c")]
)
def test_wandb_gets_a_project_name_that_it_takes(project, expected, tmp_path, monkeypatch):
    given = []
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **values: given.append(values)))
    open_loggers(["wandb"], {"project": project}, tmp_path)
    assert given[0]["project"] == expected
