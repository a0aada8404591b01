"""wandb offline and MLflow with its file store: the numbers of results.csv arrive in both."""

from __future__ import annotations

import pytest
from helpers.builders import make_dataset, make_network

pytestmark = pytest.mark.clients


@pytest.fixture
def run(tmp_path, monkeypatch):
    """run(name): two epochs with that logger, in a folder of their own; → the columns of results.csv."""
    pytest.importorskip("torch", reason="training needs torch")

    from yolopose.config import TrainConfig, parse
    from yolopose.train import reporting
    from yolopose.train.loop import train

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    values = {"data": make_dataset(tmp_path / "data", 4), "imgsz": 64, "epochs": 2, "batch": 4, "workers": 0,
              "device": "cpu", "plots": False, "project": "runs/faces"}  # fmt: skip

    def start(name: str):
        outcome = train(parse(TrainConfig, values | {"loggers": name}), make_network())
        return reporting.read_results(outcome.save_dir / "results.csv"), outcome

    return start


def test_wandb(run):
    wandb = pytest.importorskip("wandb")

    _, outcome = run("wandb")
    wandb.teardown()  # its own process writes the rest
    (path,) = (outcome.save_dir / "wandb").glob("offline-run-*/run-*.wandb")
    stored = path.read_bytes()  # records of plain bytes
    assert b"runs-faces" in stored  # wandb takes no slash in a project's name
    assert stored.count(b"train/box_loss") >= 2


def test_mlflow(run):
    mlflow = pytest.importorskip("mlflow")

    columns, outcome = run("mlflow")
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("runs/faces")
    (stored,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(stored.info.run_id, "train/box_loss")
    assert [metric.value for metric in history] == pytest.approx(columns["train/box_loss"], abs=1e-4)
    assert client.get_metric_history(stored.info.run_id, "metrics/mAP50B")
    assert stored.data.params["epochs"] == "2"
    assert stored.info.run_name == outcome.save_dir.name
    assert stored.info.status == "FINISHED"
