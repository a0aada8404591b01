"""Training through `train()`: recorded trajectories, the files of a run, and what the arguments change."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.builders import make_dataset, make_network

from yolopose import checkpoint
from yolopose.callbacks import TRAIN_EVENTS, VAL_EVENTS
from yolopose.checkpoint import build_network
from yolopose.config import TrainConfig, parse
from yolopose.data.spec import load_data
from yolopose.errors import PoseError, UsageError
from yolopose.train.loop import Outcome, train
from yolopose.train.reporting import COLUMNS

START = {1: "init-n17", 2: "natural-n17", 3: "init-n5", 4: "init-n17"}
OURS = {
    "epochs", "imgsz", "batch", "optimizer", "lr0", "cos_lr", "nbs", "warmup_epochs", "close_mosaic", "hsv_h", "hsv_s",
    "hsv_v", "translate", "scale", "fliplr", "mosaic", "amp", "workers", "val", "device",
}  # fmt: skip
LOSSES = [column for column in COLUMNS if column.endswith("_loss")]
METRICS = [column for column in COLUMNS if "mAP" in column]


def follow(golden: Path, number: int, folder: Path, epochs: int | None = None) -> tuple[list[dict], list[dict]]:
    """Run a recorded trajectory, or its first epochs → our rows and the recorded ones."""
    args = yaml.safe_load((golden / f"trajectory-{number}-args.yaml").read_text())
    data = golden / ("face8" if number == 3 else "pose8") / "data.yaml"
    values = {key: value for key, value in args.items() if key in OURS}
    config = parse(TrainConfig, values | {"data": data, "compat": True, "plots": False, "project": folder})
    base = build_network(checkpoint.load_checkpoint(golden / f"{START[number]}.pt"))

    def enough(run):
        run.stop = epochs is not None and run.epoch + 1 >= epochs

    outcome = train(config, base, callbacks={"on_train_epoch_end": [enough]})
    return table(outcome.save_dir / "results.csv"), table(golden / f"trajectory-{number}.csv")


def table(path: Path) -> list[dict]:
    with path.open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def worst(ours: list[dict], recorded: list[dict], columns: list[str], *, relative: bool = True) -> float:
    """The largest deviation; in losses relative."""
    pairs = [(o[c], r[c]) for o, r in zip(ours, recorded, strict=False) for c in columns]
    return max(abs(a - b) / (max(abs(b), 1e-9) if relative else 1) for a, b in pairs)


def rates(rows: list[dict]) -> list[str]:
    return [f"lr/pg{i}" for i in range(3)]


@pytest.mark.slow
def test_first_epochs_of_a_recorded_trajectory(golden, tmp_path):
    ours, recorded = follow(golden, 3, tmp_path, epochs=2)
    assert len(ours) == 2
    assert worst(ours, recorded, LOSSES) < 1e-3
    assert worst(ours, recorded, rates(ours), relative=False) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 3])
def test_recorded_trajectories_to_a_thousandth(number, golden, tmp_path):
    ours, recorded = follow(golden, number, tmp_path)
    assert len(ours) == len(recorded)
    assert worst(ours, recorded, LOSSES) < 1e-3
    assert worst(ours, recorded, rates(ours), relative=False) < 1e-6


@pytest.mark.slow
def test_recorded_trajectory_of_adam(golden, tmp_path):
    ours, recorded = follow(golden, 2, tmp_path)
    assert len(ours) == len(recorded)
    assert worst(ours, recorded, LOSSES) < 0.03
    assert worst(ours, recorded, METRICS, relative=False) < 0.05
    assert worst(ours, recorded, rates(ours), relative=False) < 1e-6


@pytest.mark.slow
def test_recorded_trajectory_of_accumulated_gradients(golden, tmp_path):
    """After a dozen epochs rounding decides: with another order of the images our own runs part just as far."""
    train_losses = [column for column in LOSSES if column.startswith("train/")]
    ours, recorded = follow(golden, 4, tmp_path, epochs=60)
    assert worst(ours[:10], recorded, train_losses) < 1e-3
    assert worst(ours, recorded, train_losses) < 0.2
    assert worst(ours, recorded, rates(ours), relative=False) < 1e-6
    assert repeats(ours) == repeats(recorded[:60])


def repeats(rows: list[dict]) -> list[int]:
    """Epochs with the loss of the one before: there was no optimizer step between them."""
    losses = [row["train/pose_loss"] for row in rows]
    return [i for i in range(1, len(losses)) if abs(losses[i] - losses[i - 1]) < 2e-4]


def small_run(folder: Path, callbacks=None, network=None, count: int = 6, **values) -> Outcome:
    """A run of a tiny network on a tiny data set."""
    data = folder / "data" / "data.yaml"
    if not data.exists():
        make_dataset(folder / "data", count)
    defaults = {"data": data, "project": folder / "runs", "imgsz": 64, "epochs": 2, "batch": 4, "nbs": 4, "workers": 0,
                "device": "cpu", "plots": False, "optimizer": "SGD", "warmup_epochs": 0}  # fmt: skip
    config = parse(TrainConfig, defaults | values)
    return train(config, network or make_network(), callbacks=callbacks)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_checkpoint(path).state


def equal(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_writes_its_files(tmp_path, capsys):
    outcome = small_run(tmp_path, plots=True, epochs=3, close_mosaic=1, save_period=2)
    there = {str(path.relative_to(outcome.save_dir)) for path in outcome.save_dir.rglob("*") if path.is_file()}
    assert {"args.yaml", "results.csv", "results.png", "labels.jpg", "train_batch0.jpg", "train_batch1.jpg",
            "train_batch4.jpg", "val_batch0_labels.jpg", "val_batch0_pred.jpg", "BoxPR_curve.png", "PoseF1_curve.png",
            "confusion_matrix.png", "weights/best.pt", "weights/last.pt", "weights/epoch2.pt"} <= there  # fmt: skip
    assert not [name for name in there if "part" in name or Path(name).name.startswith(".")]
    rows = table(outcome.save_dir / "results.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert list(rows[0]) == list(COLUMNS)
    last = checkpoint.load_checkpoint(outcome.last)
    assert "train_state" not in last.extra
    assert last.extra["epoch"] == 2
    said = capsys.readouterr().out
    assert "      Epoch    GPU_mem   box_loss  pose_loss  kobj_loss   cls_loss   dfl_loss  Instances       Size" in said
    assert "        3/3         0G" in said
    assert "3 epochs completed in" in said
    again = parse(TrainConfig, {"cfg": outcome.save_dir / "args.yaml"})
    assert (again.epochs, again.imgsz, again.optimizer) == (3, 64, "SGD")


@pytest.mark.parametrize("given", [{}, {"lr0": 0.01}])
def test_args_yaml_repeats_its_run(given, tmp_path):
    """With optimizer=auto a given lr0 counts, also one that equals the default, and one that is not given does not."""
    data = make_dataset(tmp_path / "data", 6)
    values = {"data": data, "project": tmp_path / "runs", "imgsz": 64, "epochs": 2, "batch": 4, "device": "cpu",
              "plots": False, "workers": 0}  # fmt: skip
    rates = []
    note = {"on_train_end": [lambda run: rates.append(run.recipe.lr0)]}
    first = train(parse(TrainConfig, values | given), make_network(), callbacks=note)
    again = train(parse(TrainConfig, {"cfg": first.save_dir / "args.yaml"}), make_network(), callbacks=note)
    assert rates == [0.01] * 2 if given else [0.002] * 2
    columns = [column for column in COLUMNS if column != "time"]
    one, two = (table(run.save_dir / "results.csv") for run in (first, again))
    assert [[row[c] for c in columns] for row in one] == [[row[c] for c in columns] for row in two]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path):
    first, second = small_run(tmp_path, seed=1), small_run(tmp_path, seed=1, workers=2)
    assert equal(first.last, second.last)
    assert not equal(first.last, small_run(tmp_path, seed=2).last)


def test_the_state_of_torch_is_restored(tmp_path):
    before = torch.are_deterministic_algorithms_enabled(), torch.get_rng_state()
    small_run(tmp_path, epochs=1)
    assert torch.are_deterministic_algorithms_enabled() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_callbacks_see_the_run_in_order(tmp_path):
    seen = []
    callbacks = {name: [lambda run, name=name: seen.append(name)] for name in TRAIN_EVENTS + VAL_EVENTS}
    small_run(tmp_path, callbacks, epochs=1, count=4)
    before = TRAIN_EVENTS.index("on_model_save")
    after = TRAIN_EVENTS.index("on_train_end")
    assert seen == [
        *TRAIN_EVENTS[:before],
        *VAL_EVENTS,
        *TRAIN_EVENTS[before:after],
        *VAL_EVENTS,
        *TRAIN_EVENTS[after:],
    ]


def test_callbacks_find_the_names_of_ultralytics(tmp_path):
    """What documented recipes read of the trainer: losses by batch and epoch, rates, metrics, files."""
    means: list[torch.Tensor] = []

    def batch(trainer):
        assert trainer.loss_items.shape == trainer.tloss.shape == (5,)
        assert trainer.label_loss_items(trainer.loss_items).keys() == {f"train/{n}" for n in trainer.loss_names}
        means.append(trainer.loss_items)

    def epoch(trainer):
        assert torch.allclose(trainer.tloss, torch.stack(means).mean(0), rtol=1e-5)
        assert (trainer.epoch, trainer.epochs, trainer.batch_size) == (0, 1, 4)
        assert trainer.optimizer.param_groups[0]["lr"] == trainer.lr["lr/pg0"] > 0
        assert trainer.args.lr0 == 0.01
        assert (trainer.amp, trainer.world_size, trainer.device.type) == (False, 1, "cpu")
        assert len(trainer.train_loader) == 2

    def fit(trainer):
        assert trainer.metrics.keys() >= {"metrics/mAP50(P)", "val/box_loss"}
        assert trainer.validator.metrics.results_dict.items() <= trainer.metrics.items()

    def end(trainer):
        assert trainer.last.is_file()
        assert trainer.best.is_file()
        assert trainer.csv.is_file()
        assert trainer.wdir == trainer.save_dir / "weights"
        assert trainer.best_fitness == trainer.fitness

    callbacks = {"on_train_batch_end": [batch], "on_train_epoch_end": [epoch], "on_fit_epoch_end": [fit],
                 "on_train_end": [end]}  # fmt: skip
    small_run(tmp_path, callbacks, epochs=1)
    assert len(means) == 2


def test_validation_callbacks_see_the_validator_and_its_run(tmp_path):
    seen = []

    def note(validator):
        run = validator.trainer
        seen.append((validator.training, validator.batch_i, validator.seen, run.validator is validator))

    def final(validator):
        assert validator.metrics.results_dict
        assert validator.names == {0: "thing"}

    small_run(tmp_path, {"on_val_batch_end": [note], "on_val_end": [final]}, epochs=1, count=4)
    assert seen == [(True, 0, 4, True), (True, 0, 4, True)]


def test_an_unknown_callback_is_refused_with_the_nearest_one(tmp_path):
    with pytest.raises(UsageError, match="on_train_epoch_end"):
        small_run(tmp_path, {"on_train_epoch_ends": [print]})


def test_frozen_layers_keep_weights_and_statistics(tmp_path):
    network = make_network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    states = []
    small_run(tmp_path, {"on_train_end": [lambda run: states.append(run.network.state_dict())]}, network, freeze=2)
    changed = {key for key, value in states[0].items() if not torch.equal(value, before[key])}
    assert not [key for key in changed if key.startswith(("model.0.", "model.1."))]
    assert "model.2.conv.weight" in changed
    with pytest.raises(UsageError, match="freeze=9: the network has layers 0 to 5"):
        small_run(tmp_path, freeze=9)


def test_patience_stops_the_run(tmp_path, capsys):
    def never_better(run):
        run.best_fitness = 2.0

    outcome = small_run(tmp_path, {"on_train_start": [never_better]}, epochs=9, patience=2)
    assert len(table(outcome.save_dir / "results.csv")) == 3
    assert checkpoint.load_checkpoint(outcome.best).extra["epoch"] == 0
    assert "no epoch better than 1 in 2 (patience=2): stopping" in capsys.readouterr().out


def test_ties_go_to_the_later_epoch_and_without_validation_to_the_last(tmp_path):
    outcome = small_run(tmp_path, epochs=3, val=False)
    assert checkpoint.load_checkpoint(outcome.best).extra["epoch"] == 2
    rows = table(outcome.save_dir / "results.csv")
    assert rows[0]["val/box_loss"] == 0 < rows[2]["val/box_loss"]


def test_a_time_limit_sets_the_number_of_epochs(tmp_path):
    planned = []

    def ten_minutes_each(run):
        run.elapsed = 600 * (run.epoch + 1)
        planned.append(run.schedule.epochs)

    outcome = small_run(tmp_path, {"on_train_epoch_end": [ten_minutes_each]}, epochs=100, time=1, val=False)
    assert planned == [100, 6, 6, 6, 6, 6]
    assert [row["epoch"] for row in table(outcome.save_dir / "results.csv")] == [1, 2, 3, 4, 5, 6]


def test_a_time_limit_ends_the_run_within_an_epoch(tmp_path):
    batches = []

    def an_hour(run):
        batches.append(run.iteration)
        run.elapsed = 3601

    outcome = small_run(tmp_path, {"on_train_batch_end": [an_hour]}, epochs=100, time=1)
    assert batches == [1], "of two batches of the first epoch"
    (row,) = table(outcome.save_dir / "results.csv")
    assert row["val/box_loss"] > 0, "the last weights are validated"


def test_a_loss_that_is_not_finite_names_the_images(tmp_path):
    def spoil(run):
        run.network.get_parameter("model.0.conv.weight").data.fill_(float("nan"))

    with pytest.raises(PoseError, match=r"the loss is nan on the images .*00\d\.jpg"):
        small_run(tmp_path, {"on_train_start": [spoil]})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"imgsz": 100}, "imgsz=100: must be a multiple of the stride 32, such as 96"),
        ({"batch": 2.5}, "batch=2.5: must be a whole number of images"),
        ({"device": "0,1"}, "torchrun --nproc_per_node=2 -m yolopose pose train .*device=0,1"),
        ({"loggers": "tensorbord"}, "did you mean 'tensorboard'"),
    ],
)
def test_arguments_that_do_not_fit_together(values, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        small_run(tmp_path, **values)


def test_a_batch_without_statistics_is_named(tmp_path):
    with pytest.raises(PoseError, match="imgsz=32, batch=4: 1 image of 32 x 32 at stride 32 has no batch statistics"):
        small_run(tmp_path, imgsz=32, count=5)


def test_hints_for_likely_mistakes_are_logged(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("yolopose.evaluate.metrics.Metrics.fitness", 0.0)
    small_run(tmp_path, close_mosaic=2)
    said = capsys.readouterr().out
    assert "close_mosaic=2: a run of 2 epochs has no mosaic, mixup or pasting" in said
    assert "mAP is 0: nothing found is right yet" in said
    small_run(tmp_path, close_mosaic=1)
    assert "close_mosaic" not in capsys.readouterr().out


def test_without_matplotlib_a_run_goes_on_without_plots(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("yolopose.plots.figure.find_spec", lambda name: None)
    outcome = small_run(tmp_path, plots=True, epochs=1)
    assert capsys.readouterr().err.count("matplotlib is not installed") == 1
    assert not list(outcome.save_dir.glob("*.png"))


def test_sizes_of_multi_scale_follow_from_seed_epoch_and_batch(tmp_path):
    def sizes(**values):
        seen = []
        small_run(tmp_path, {"on_train_batch_end": [lambda run: seen.append(run.size)]}, multi_scale=True, **values)
        return seen

    first = sizes(seed=0, epochs=4)
    assert first == sizes(seed=0, epochs=4)
    assert len({hw for hw in first}) > 1
    assert {side % 32 for hw in first for side in hw} == {0}


def test_best_weights_are_validated_as_any_file(tmp_path):
    from yolopose.config import ValConfig
    from yolopose.evaluate.validate import validate
    from yolopose.formats.pytorch import TorchBackend

    outcome = small_run(tmp_path)
    data = load_data(tmp_path / "data" / "data.yaml")
    config = ValConfig(imgsz=64, plots=False)
    alone = validate(TorchBackend(build_network(checkpoint.load_checkpoint(outcome.best))), data, config)
    assert alone.results_dict == outcome.metrics.results_dict


def test_tensorboard_gets_the_rows(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    outcome = small_run(tmp_path, loggers="tensorboard")
    events = EventAccumulator(str(outcome.save_dir))
    events.Reload()
    values = [event.value for event in events.Scalars("train/box_loss")]
    rows = table(outcome.save_dir / "results.csv")
    assert np.allclose(values, [row["train/box_loss"] for row in rows], atol=1e-4)
