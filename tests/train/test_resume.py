"""A run that is killed and resumed ends as an uninterrupted one, bit for bit."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from helpers.builders import make_dataset, make_network

from yolopose import checkpoint
from yolopose.checkpoint import Checkpoint
from yolopose.config import TrainConfig, parse
from yolopose.errors import PoseError, UsageError
from yolopose.limits import MAX_PIXELS
from yolopose.train import checkpointing
from yolopose.train.loop import train

# Three batches an epoch and an optimizer step every other one: gradients wait across the ends of epochs.
ARGS = {"imgsz": 64, "epochs": 4, "batch": 2, "nbs": 4, "workers": 0, "device": "cpu", "plots": False,
        "optimizer": "AdamW", "lr0": 0.001, "close_mosaic": 2, "warmup_epochs": 0, "multi_scale": True}  # fmt: skip
EPOCHS = 20  # of the runs that are killed from outside


class Killed(BaseException):
    """The end of a run in the middle of things."""


def start(root: Path, name: str, callbacks=None, **values):
    data = root / "data" / "data.yaml"
    if not data.exists():
        make_dataset(root / "data", 6)
    config = parse(TrainConfig, ARGS | {"data": data, "project": root / "runs", "name": name} | values)
    return train(config, make_network(), callbacks=callbacks)


def resume(**values):
    return train(parse(TrainConfig, {"resume": True} | values))


def same(a: Path, b: Path) -> bool:
    """Whether two finished runs have the same weights, and the same results but for the time."""
    for name in ("best.pt", "last.pt"):
        first, second = (checkpoint.load_checkpoint(folder / "weights" / name).state for folder in (a, b))
        if not all(torch.equal(first[key], second[key]) for key in first):
            return False
    return rows(a) == rows(b)


def rows(folder: Path) -> list[list[str]]:
    lines = [line.split(",") for line in (folder / "results.csv").read_text().split()]
    return [cells[:1] + cells[2:] for cells in lines]


def killer(event: str, epoch: int, batch: int = 1):
    """Callbacks that end a run at an event of an epoch, after so many batches of it."""

    def strike(run):
        if run.epoch == epoch and (event != "on_train_batch_end" or run.iteration == 3 * epoch + batch):
            raise Killed

    return {event: [strike]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A uninterrupted run."""
    return start(tmp_path_factory.mktemp("resume"), "whole")


@pytest.mark.parametrize(
    ("event", "epoch", "batch", "optimizer"),
    [
        ("on_train_batch_end", 0, 1, "AdamW"),
        ("on_train_batch_end", 2, 2, "AdamW"),
        ("on_fit_epoch_end", 1, 0, "AdamW"),
        ("on_model_save", 1, 0, "AdamW"),
        ("on_train_end", 4, 0, "AdamW"),
        ("on_train_batch_end", 1, 2, "SGD"),
    ],
)
def test_a_resumed_run_equals_the_uninterrupted_one(event, epoch, batch, optimizer, whole, tmp_path):
    unbroken = whole.save_dir
    if optimizer != ARGS["optimizer"]:
        unbroken = start(tmp_path, "unbroken", optimizer=optimizer).save_dir
    with pytest.raises(Killed):
        start(tmp_path, "broken", killer(event, epoch, batch), optimizer=optimizer)
    broken = tmp_path / "runs" / "broken"
    if event != "on_train_end":
        assert resume(model=broken / "weights" / "last.pt").save_dir == broken
    assert same(unbroken, broken)


def test_accumulated_gradients_survive_a_kill(tmp_path):
    """Three batches an epoch, a step every second: after the first epoch one batch waits."""
    with pytest.raises(Killed):
        start(tmp_path, "broken", killer("on_model_save", 0))
    state = checkpoint.load_checkpoint(tmp_path / "runs" / "broken" / "weights" / "last.pt").extra["train_state"]
    assert state["waiting"] == 1
    assert any(gradient.any() for gradient in state["gradients"].values())


def test_a_finished_run_cannot_be_resumed(whole):
    with pytest.raises(PoseError, match=r"last\.pt: this run is finished"):
        resume(model=whole.last)
    with pytest.raises(PoseError, match=r"best\.pt: holds weights only; a run is resumed from its last\.pt"):
        resume(model=whole.best)


def test_the_newest_run_below_the_project_is_found(tmp_path):
    for name in ("old", "new"):
        with pytest.raises(Killed):
            start(tmp_path, name, killer("on_train_batch_end", 1))
    assert resume(project=tmp_path / "runs").save_dir.name == "new"
    with pytest.raises(PoseError, match=r"no last\.pt below"):
        resume(project=tmp_path / "nothing")


def test_a_checkpoint_sets_no_limit_and_no_output_folder(whole, tmp_path):
    ours = checkpoint.load_checkpoint(whole.best)
    ours.train_args |= {"max_pixels": 1 << 60, "data_dir": "/elsewhere", "cache_dir": "/elsewhere"}
    checkpoint.save_checkpoint(tmp_path / "last.pt", ours)
    arguments = checkpointing.stored_arguments(checkpoint.load_checkpoint(tmp_path / "last.pt"))
    assert (arguments.max_pixels, arguments.data_dir, arguments.cache_dir) == (MAX_PIXELS, None, None)


def test_a_checkpoint_cannot_switch_on_a_remote_logger(tmp_path, caplog):
    with pytest.raises(Killed):
        start(tmp_path, "broken", killer("on_train_batch_end", 1))
    last = tmp_path / "runs" / "broken" / "weights" / "last.pt"
    theirs = checkpoint.load_checkpoint(last)
    theirs.train_args["loggers"] = ["wandb", "tensorboard"]
    checkpoint.save_checkpoint(last, theirs)
    config, _ = checkpointing.load_for_resume(parse(TrainConfig, {"resume": last}))
    assert config.loggers == ("tensorboard",)
    assert "loggers='wandb': a logger that sends is not taken from" in caplog.text
    config, _ = checkpointing.load_for_resume(parse(TrainConfig, {"resume": last, "loggers": "wandb"}))
    assert config.loggers == ("wandb",)


@pytest.mark.skipif(os.name == "nt", reason="making links needs rights there")
def test_links_in_the_folder_of_a_run_are_replaced_and_not_followed(tmp_path):
    with pytest.raises(Killed):
        start(tmp_path, "broken", killer("on_train_batch_end", 1))
    folder, mine = tmp_path / "runs" / "broken", tmp_path / "mine.txt"
    mine.write_text("mine")
    names = ("args.yaml", "results.png", "val_batch0_pred.jpg", "train_batch6.jpg", "weights/best.pt")
    for name in names:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(mine)
    resume(model=folder / "weights" / "last.pt", plots=True)
    assert mine.read_text() == "mine"
    assert not any((folder / name).is_symlink() for name in names)


def test_some_arguments_may_change_and_others_may_not(tmp_path):
    with pytest.raises(Killed):
        start(tmp_path, "broken", killer("on_train_batch_end", 1))
    last = tmp_path / "runs" / "broken" / "weights" / "last.pt"
    with pytest.raises(UsageError, match=r"lr0=0.5: a resumed run keeps lr0=0.001"):
        resume(model=last, lr0=0.5)
    outcome = resume(model=last, epochs=2)
    assert len(rows(outcome.save_dir)) == 1 + 2
    assert yaml.safe_load((outcome.save_dir / "args.yaml").read_text())["epochs"] == 2


@pytest.mark.parametrize(("epochs", "later", "optimizer"), [(4, 6, "AdamW"), (6, 4, "SGD")])
def test_the_optimizer_stays_when_other_epochs_would_choose_another(epochs, later, optimizer, tmp_path, monkeypatch):
    monkeypatch.setattr("yolopose.train.optim.LONG_RUN", 8)  # two steps an epoch
    with pytest.raises(Killed):
        start(tmp_path, "broken", killer("on_train_batch_end", 2), epochs=epochs, optimizer="auto")
    names = []
    config = parse(TrainConfig, {"resume": tmp_path / "runs" / "broken" / "weights" / "last.pt", "epochs": later})
    outcome = train(config, callbacks={"on_train_start": [lambda run: names.append(type(run.optimizer).__name__)]})
    assert names == [optimizer]
    assert len(rows(outcome.save_dir)) == 1 + later


def test_a_last_pt_moved_out_of_its_run_goes_on_in_a_new_folder(tmp_path, caplog, monkeypatch):
    """Below the project that the user names, not the one in the file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "train").mkdir(parents=True)
    with pytest.raises(Killed):
        start(tmp_path, "here", killer("on_train_batch_end", 2))
    foreign = tmp_path / "foreign"
    (foreign / "kept").mkdir(parents=True)
    (foreign / "results.csv").write_text("mine\n1\n2\n3\n")
    moved = shutil.copy(tmp_path / "runs" / "here" / "weights" / "last.pt", foreign / "kept" / "last.pt")
    outcome = resume(model=moved, project="mine")
    assert outcome.save_dir == Path("mine", "train2")
    assert f"going on in {outcome.save_dir}" in caplog.text
    assert (foreign / "results.csv").read_text() == "mine\n1\n2\n3\n"
    assert sorted(path.name for path in foreign.iterdir()) == ["kept", "results.csv"]
    assert [row[0] for row in rows(outcome.save_dir)] == ["epoch", "3", "4"]
    assert "train_state" not in checkpoint.load_checkpoint(outcome.last).extra


def test_without_best_pt_the_resumed_weights_are_the_best_so_far(tmp_path):
    def never_better(run):
        run.best_fitness = 2.0

    with pytest.raises(Killed):
        start(tmp_path, "broken", {"on_train_start": [never_better]} | killer("on_train_batch_end", 2))
    folder = tmp_path / "runs" / "broken"
    (folder / "weights" / "best.pt").unlink()
    outcome = resume(model=folder / "weights" / "last.pt")
    assert checkpoint.load_checkpoint(outcome.best).extra["epoch"] in (1, 2, 3)


def test_the_best_of_epochs_that_are_not_resumed_is_not_taken(tmp_path):
    """epoch2.pt is resumed; best.pt is of the fourth epoch, and what follows now is never better."""
    whole = start(tmp_path, "whole", save_period=2)
    assert checkpoint.load_checkpoint(whole.best).extra["epoch"] > 1

    def never_better(run):
        run.best_fitness = 2.0

    early = whole.best.with_name("epoch2.pt")
    outcome = train(parse(TrainConfig, {"resume": early}), callbacks={"on_train_start": [never_better]})
    assert checkpoint.load_checkpoint(outcome.best).extra["epoch"] == 1


def test_resuming_without_validation_does_not_run_out_of_patience(tmp_path):
    def good(run):
        run.best_fitness = 0.5

    callbacks = {"on_train_start": [good]} | killer("on_train_batch_end", 1)
    with pytest.raises(Killed):
        start(tmp_path, "broken", callbacks, epochs=6, patience=1)
    outcome = resume(model=tmp_path / "runs" / "broken" / "weights" / "last.pt", val=False)
    assert len(rows(outcome.save_dir)) == 1 + 6


def killed_at_random(root: Path, name: str, workers: int, kills: int) -> None:
    """Run, kill -9 at so many random moments, resume each time until done."""
    folder = root / "runs" / name
    values = ARGS | {"data": root / "data" / "data.yaml", "project": root / "runs", "name": name, "workers": workers,
                     "model": root / "start.pt", "epochs": EPOCHS, "verbose": False}  # fmt: skip
    words = [f"{key}={value}" for key, value in values.items()]
    moments = sorted(random.sample(range(EPOCHS - 5), kills))
    for moment in [*moments, None]:
        running = subprocess.Popen(
            [sys.executable, "-m", "yolopose", "pose", "train", *words],
            start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if moment is None:
            said, _ = running.communicate(timeout=240)
            assert running.returncode == 0, said
            return
        wait_for(folder, moment, running)
        os.killpg(running.pid, signal.SIGKILL)
        said, _ = running.communicate()
        assert running.returncode == -signal.SIGKILL, said
        words = [f"model={folder / 'weights' / 'last.pt'}", "resume=True", f"workers={workers}"]


def wait_for(folder: Path, epochs: int, running: subprocess.Popen[str]) -> None:
    """Until a run has begun and so many epochs are done, and then somewhere in the next one."""
    while running.poll() is None and not (folder / "weights" / "last.pt").exists():
        time.sleep(0.01)
    while running.poll() is None and epochs and not ((folder / "results.csv").exists() and len(rows(folder)) > epochs):
        time.sleep(0.002)
    time.sleep(random.uniform(0, 0.05))


def prepare_kills(root: Path) -> Path:
    """Make the data, the start weights and an uninterrupted run."""
    network = make_network()
    make_dataset(root / "data", 6)
    checkpoint.save_checkpoint(root / "start.pt", Checkpoint(network.state_dict(), network.spec, network.info))
    killed_at_random(root, "whole", 0, kills=0)
    return root / "runs" / "whole"


def test_kill_9_and_resume(tmp_path):
    whole = prepare_kills(tmp_path)
    killed_at_random(tmp_path, "broken", 0, kills=1)
    assert same(whole, tmp_path / "runs" / "broken")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_kill_9_at_many_moments(workers, tmp_path):
    whole = prepare_kills(tmp_path)
    killed_at_random(tmp_path, "broken", workers, kills=5)
    assert same(whole, tmp_path / "runs" / "broken")
