"""Loggers that fail, and the calls to each tracker. With the real ones: tests/clients/test_loggers.py, test_loop.py."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from yolopose.errors import PoseError
from yolopose.train import loggers
from yolopose.train.loggers import open_loggers


class Memory:
    """Records its calls, and fails at the second epoch."""

    def __init__(self, args, save_dir):
        self.calls = [save_dir.name]

    def log(self, metrics, epoch):
        if epoch == 2:
            raise ConnectionError("the server\nis gone")
        self.calls.append((epoch, metrics))

    def close(self):
        self.calls.append("closed")


def refuse(args, save_dir):
    raise RuntimeError("no login")


def test_a_logger_that_fails_does_not_end_the_run(tmp_path, monkeypatch, caplog):
    made = []
    monkeypatch.setitem(loggers.LOGGERS, "wandb", lambda *_: made.append(Memory(*_)) or made[-1])
    (logger,) = open_loggers(["wandb"], {}, tmp_path)
    for epoch in (1, 2, 3):
        logger.log({"a": 1.0}, epoch)
    logger.close()
    assert made[0].calls == [tmp_path.name, (1, {"a": 1.0})]
    assert [record.getMessage() for record in caplog.records] == [
        "loggers=wandb: failed, the run goes on without it: the server is gone"
    ]


def test_one_that_cannot_start_is_named_and_the_others_are_closed(tmp_path, monkeypatch):
    made = []
    monkeypatch.setitem(loggers.LOGGERS, "tensorboard", lambda *_: made.append(Memory(*_)) or made[-1])
    monkeypatch.setitem(loggers.LOGGERS, "mlflow", refuse)
    with pytest.raises(PoseError, match="loggers=mlflow: cannot begin: no login"):
        open_loggers(["tensorboard", "mlflow"], {}, tmp_path)
    assert made[0].calls[-1] == "closed"


def recorder(calls, **results):
    """A module for sys.modules: every function appends (name, arguments) to `calls` and returns `results[name]`."""

    class Recorder(SimpleNamespace):
        def __getattr__(self, name):
            return lambda *args, **kwargs: calls.append((name, args, kwargs)) or results.get(name)

    return Recorder()


@pytest.mark.parametrize(
    ("project", "expected"), [(None, "yolopose"), ("runs/faces", "runs-faces"), ("/data/a#b%c", "data-a-b-c")]
)
def test_wandb_gets_a_valid_project_the_arguments_and_every_epoch(project, expected, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "wandb", recorder(calls, init=recorder(calls)))
    (logger,) = open_loggers(["wandb"], {"project": project, "epochs": 2}, tmp_path)
    logger.log({"metrics/mAP50(B)": 0.5}, 1)
    logger.close()
    started = {"project": expected, "name": tmp_path.name, "config": {"project": project, "epochs": 2}}
    assert calls == [
        ("init", (), started | {"dir": str(tmp_path)}),
        ("log", ({"metrics/mAP50(B)": 0.5},), {"step": 1}),
        ("finish", (), {}),
    ]


@pytest.mark.parametrize(("project", "expected"), [(None, "yolopose"), ("runs/faces", "runs/faces")])
def test_mlflow_gets_the_arguments_and_every_epoch_without_parentheses(project, expected, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "mlflow", recorder(calls))
    (logger,) = open_loggers(["mlflow"], {"project": project, "epochs": 2}, tmp_path)
    logger.log({"metrics/mAP50(B)": 0.5}, 1)
    logger.close()
    assert calls == [
        ("set_experiment", (expected,), {}),
        ("start_run", (), {"run_name": tmp_path.name}),
        ("log_params", ({"project": project, "epochs": 2},), {}),
        ("log_metrics", ({"metrics/mAP50B": 0.5},), {"step": 1}),
        ("end_run", (), {}),
    ]
