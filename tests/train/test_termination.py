"""SIGTERM ends a run in order, and two runs never share a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.builders import make_dataset, make_network

from yolopose import checkpoint
from yolopose.checkpoint import Checkpoint
from yolopose.config import TrainConfig, parse
from yolopose.errors import PoseError
from yolopose.termination import EXIT_CODE, terminable
from yolopose.train.loop import train

ARGS = {"imgsz": 64, "batch": 2, "nbs": 4, "device": "cpu", "plots": False, "optimizer": "SGD", "warmup_epochs": 0}


def begin(root: Path, workers: int, epochs: int = 500) -> subprocess.Popen[str]:
    """Start a run in its own process group and wait for some epochs."""
    network = make_network()
    make_dataset(root / "data", 6)
    checkpoint.save_checkpoint(root / "start.pt", Checkpoint(network.state_dict(), network.spec, network.info))
    values = ARGS | {"data": root / "data" / "data.yaml", "project": root / "runs", "workers": workers,
                     "model": root / "start.pt", "epochs": epochs, "patience": 0}  # fmt: skip
    words = [f"{key}={value}" for key, value in values.items()]
    running = subprocess.Popen(
        [sys.executable, "-m", "yolopose", "pose", "train", *words],
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    results = root / "runs" / "train" / "results.csv"
    while running.poll() is None and not (results.exists() and len(results.read_text().split()) > 2):
        time.sleep(0.05)
    return running


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a program could answer")
@pytest.mark.parametrize("all_at_once", [False, True])
def test_sigterm_ends_the_run_its_workers_and_nothing_else(all_at_once, tmp_path):
    running = begin(tmp_path, workers=2)
    (os.killpg if all_at_once else os.kill)(running.pid, signal.SIGTERM)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == EXIT_CODE == 143
    assert errors.splitlines() == ["ERROR: terminated; the run goes on from its last complete epoch with resume=True"]
    with pytest.raises(ProcessLookupError):
        os.killpg(running.pid, 0)  # no worker is left
    folder = tmp_path / "runs" / "train"
    done = checkpoint.load_checkpoint(folder / "weights" / "last.pt").extra["train_state"]["epoch"]
    assert not [path for path in folder.rglob(".*")]
    config = parse(TrainConfig, {"resume": folder / "weights" / "last.pt", "epochs": done + 1, "workers": 0})
    assert train(config).save_dir == folder


def test_a_handler_of_the_program_stays(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    mine = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        own = signal.getsignal(signal.SIGTERM)
        with terminable(""):
            assert signal.getsignal(signal.SIGTERM) is own
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, mine)
    with terminable(""):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_two_runs_never_share_a_folder(tmp_path):
    data = make_dataset(tmp_path / "data", 4)
    values = ARGS | {"data": data, "project": tmp_path / "runs", "workers": 0, "epochs": 2, "exist_ok": True}
    errors = []

    def second(run):
        for more in ({}, {"resume": run.last, "data": data}):
            with pytest.raises(PoseError) as caught:
                train(parse(TrainConfig, values | more if "resume" not in more else more), make_network())
            errors.append(str(caught.value))

    outcome = train(parse(TrainConfig, values), make_network(), callbacks={"on_model_save": [second]})
    message = f"{outcome.save_dir}: another process trains in this folder; choose another name"
    assert errors == [message] * 4
    assert len((outcome.save_dir / "results.csv").read_text().split()) == 3
    train(parse(TrainConfig, values), make_network())  # afterwards the folder is free
