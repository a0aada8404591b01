"""A last.pt whose training state is damaged is refused, by name, before anything is built on it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from helpers.builders import make_dataset, make_network

from yolopose import checkpoint
from yolopose.config import TrainConfig, parse
from yolopose.errors import PoseError
from yolopose.train.checkpointing import optimizer_state
from yolopose.train.loop import train


class Killed(BaseException):
    """The end of a run in the middle of things."""


def strike(run):
    if run.iteration == 2:
        raise Killed


@pytest.fixture(scope="module")
def last(tmp_path_factory) -> Path:
    """The last.pt of a run that was stopped with accumulated gradients."""
    root = tmp_path_factory.mktemp("resumable")
    make_dataset(root / "data", 4)
    values = {"imgsz": 64, "epochs": 3, "batch": 2, "nbs": 6, "workers": 0, "device": "cpu", "plots": False,
              "optimizer": "AdamW", "val": False, "warmup_epochs": 0}  # fmt: skip
    config = parse(TrainConfig, values | {"data": root / "data" / "data.yaml", "project": root / "runs"})
    with pytest.raises(Killed):
        train(config, make_network(), callbacks={"on_train_batch_end": [strike], "on_fit_epoch_end": []})
    (found,) = root.rglob("last.pt")
    return found


def resume(last: Path, tmp_path: Path, change) -> None:
    """Resume a copy of `last` after `change` was done to its training state or arguments."""
    content = checkpoint.load_checkpoint(last)
    content.extra, content.train_args = copy.deepcopy((content.extra, content.train_args))
    change(content)
    path = tmp_path / "runs" / "train" / "weights" / "last.pt"
    path.parent.mkdir(parents=True)
    (path.parents[1] / "args.yaml").touch()  # by which a run's folder is known: it is gone on with there
    checkpoint.save_checkpoint(path, content)
    train(parse(TrainConfig, {"resume": str(path)}))


ENTRIES = ("epochs", "epoch", "iteration", "waiting", "elapsed", "best_fitness", "best_epoch", "stop", "batch", "given",
           "recipe", "network", "updates", "optimizer", "scaler", "gradients")  # fmt: skip
VALUES = (None, "text", -1, 2**70, [], {}, torch.ones(3), float("nan"))
RIGHT = {("given", "[]"), ("scaler", "{}"), ("gradients", "{}"), ("elapsed", str(2**70)), ("best_fitness", str(2**70))}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key in ENTRIES for value in VALUES if (key, str(value)) not in RIGHT], ids=str
)
def test_every_entry_is_checked(last: Path, tmp_path: Path, key: str, value: object) -> None:
    def change(content) -> None:
        content.extra["train_state"][key] = value

    with pytest.raises(PoseError, match=rf"last\.pt: its training state is damaged: train_state\.{key}") as error:
        resume(last, tmp_path, change)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "change",
    [{"lr0": float("nan")}, {"lr0": -0.1}, {"weight_decay": float("inf")}, {"momentum": 2.0}, {"name": "x"}],
    ids=str,
)
def test_invalid_optimizer_settings_in_a_checkpoint_are_refused(last: Path, tmp_path: Path, change) -> None:
    with pytest.raises(PoseError, match=r"damaged: train_state\.recipe is"):
        resume(last, tmp_path, lambda content: content.extra["train_state"]["recipe"].update(change))


@pytest.mark.parametrize(("key", "value"), [("metrics", "x"), ("metrics", [1]), ("fitness", "x"), ("fitness", {})])
def test_figures_of_the_last_epoch_are_checked(last: Path, tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(PoseError, match=rf"damaged: {key} is"):
        resume(last, tmp_path, lambda content: content.extra.update({key: value}))


def test_missing_entries_of_the_training_state_are_refused(last: Path, tmp_path: Path) -> None:
    with pytest.raises(PoseError, match=r"train_state\.batch is None"):
        resume(last, tmp_path / "a", lambda content: content.extra["train_state"].pop("batch"))
    with pytest.raises(PoseError, match=r"damaged: train_state is 'x'"):
        resume(last, tmp_path / "b", lambda content: content.extra.update(train_state="x"))


@pytest.mark.parametrize("kind", [torch.int64, None])
def test_gradients_are_those_of_parameters(kind, last: Path, tmp_path: Path) -> None:
    def change(content) -> None:
        name = next(
            k for k, v in content.state.items() if k.endswith("running_mean" if kind is None else "conv.weight")
        )
        content.extra["train_state"].update(gradients={name: content.state[name].to(kind or torch.float32)})

    with pytest.raises(PoseError, match=r"training state is damaged: train_state\.gradients\.'model\."):
        resume(last, tmp_path, change)


def test_a_damaged_state_leaves_no_folder(last: Path, tmp_path: Path) -> None:
    content = checkpoint.load_checkpoint(last)
    content.extra = copy.deepcopy(content.extra)
    content.extra["train_state"]["optimizer"]["param_groups"] = []
    checkpoint.save_checkpoint(tmp_path / "last.pt", content)
    with pytest.raises(PoseError, match=r"damaged: train_state\.optimizer\.param_groups"):
        train(parse(TrainConfig, {"resume": tmp_path / "last.pt", "project": tmp_path / "runs"}))
    assert not (tmp_path / "runs").exists()


def test_arguments_are_those_of_a_run_and_no_file_is_read(last: Path, tmp_path: Path) -> None:
    with pytest.raises(PoseError, match=r"last\.pt: its arguments are damaged: epochs="):
        resume(last, tmp_path / "a", lambda content: content.train_args.update(epochs=["x" * 500] * 500))
    (tmp_path / "args.yaml").write_text("epochs: nonsense")
    with pytest.raises(PoseError, match=r"training state is damaged: train_state\.epoch "):
        resume(
            last,
            tmp_path / "b",
            lambda content: (
                content.train_args.update(cfg=str(tmp_path / "args.yaml")),
                content.extra["train_state"].update(epoch="x"),
            ),
        )


def stored():
    """An optimizer that has stepped, and its state."""
    layer = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW([{"params": [layer.weight]}, {"params": [layer.bias]}], lr=0.1)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return optimizer, copy.deepcopy(optimizer.state_dict())


def test_the_state_of_an_optimizer_is_taken_as_it_is(tmp_path: Path) -> None:
    optimizer, state = stored()
    assert optimizer_state(optimizer, state, tmp_path) == state
    del state["param_groups"][0]["eps"]  # as from a torch that did not have it
    assert optimizer_state(optimizer, state, tmp_path)["param_groups"][0]["eps"] == 1e-8


def test_switches_of_an_optimizer_are_not_restored(tmp_path: Path) -> None:
    optimizer, state = stored()
    before = copy.deepcopy(state["param_groups"])
    state["param_groups"][0].update(amsgrad=True, capturable=True, fused=True)
    assert optimizer_state(optimizer, state, tmp_path)["param_groups"] == before


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.update(state=3),
        lambda state: state.update(param_groups={}),
        lambda state: state["param_groups"].pop(),
        lambda state: state["param_groups"].__setitem__(0, "x"),
        lambda state: state["param_groups"][0].update(params=[0, 1]),
        lambda state: state["param_groups"][0].update(lr="x"),
        lambda state: state["param_groups"][0].update(betas=(0.9, "x")),
        lambda state: state["state"].update({7: {}}),
        lambda state: state["state"].update({0: 3}),
        lambda state: state["state"][0].pop("step"),
        lambda state: state["state"][0].update(exp_avg=torch.ones(7)),
        lambda state: state["state"][1].update(exp_avg="x"),
        lambda state: state["state"][0].update(exp_avg=torch.tensor(0.0)),  # torch would write behind its end
        lambda state: state["state"][0].update(exp_avg=torch.ones(3, 2, dtype=torch.bool)),
        lambda state: state["state"][0].update(exp_avg=None),
        lambda state: state["state"][0].update(exp_avg=1.0),
        lambda state: state["state"][0].update(step=torch.ones(3, 2)),
        lambda state: state["state"][0].update(step=torch.tensor(float("nan"))),
        lambda state: [entry.pop("exp_avg") for entry in state["state"].values()],
        lambda state: state["state"].update({0.0: state["state"].pop(0)}),
    ],
)
def test_a_damaged_optimizer_state_is_refused(change, tmp_path: Path) -> None:
    optimizer, state = stored()
    change(state)
    with pytest.raises(PoseError, match=r"last\.pt: its training state is damaged: train_state\.optimizer\."):
        optimizer_state(optimizer, state, tmp_path / "last.pt")
