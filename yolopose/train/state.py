"""Save and restore the state of a training run (bit-exact resume)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolopose import __version__
from yolopose.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from yolopose.config import TrainConfig, parse, to_dict
from yolopose.console import log
from yolopose.errors import PoseError, UsageError, shown
from yolopose.saving import RUNS
from yolopose.train.loggers import LOCAL
from yolopose.train.resumable import damaged, optimizer_state, training_state
from yolopose.train.run import Run

COUNTERS = ("epochs", "iteration", "waiting", "elapsed", "best_fitness", "best_epoch", "stop")
# What may change when a run is resumed. All else decides the weights, or where the run is, and stays as it was.
CHANGEABLE = frozenset(
    ("cache", "cache_dir", "data", "data_dir", "device", "epochs", "loggers", "max_pixels", "patience", "plots",
     "save_period", "time", "val", "verbose", "workers")
)  # fmt: skip
FINDING = frozenset({"model", "resume", "project", "name", "exist_ok"})  # how the run to resume is named


def weights(run: Run, epoch: int) -> Checkpoint:
    """The averaged weights, as `epoch` left them, and what is known of them."""
    extra = {"epoch": epoch, "metrics": run.metrics, "fitness": run.fitness, "version": __version__}
    network = run.network
    return Checkpoint(run.ema.model.state_dict(), network.spec, network.info, to_dict(run.args), extra)


def save_best(run: Run) -> None:
    """Write best.pt: half-precision weights."""
    save_checkpoint(run.best, weights(run, run.epoch), half=True)


def save_last(run: Run, epoch: int, path: Path | None = None) -> None:
    """Write last.pt (or `path`): the averaged weights, and under `train_state` all that going on with `epoch` needs."""
    checkpoint = weights(run, max(epoch - 1, 0))
    gradients = {name: p.grad for name, p in run.network.named_parameters() if p.grad is not None and run.waiting}
    checkpoint.extra["train_state"] = {
        **{name: getattr(run, name) for name in COUNTERS},
        "epoch": epoch,
        "batch": run.batch_size,
        "given": sorted(run.args.given),
        "recipe": dataclasses.asdict(run.recipe),
        "network": run.network.state_dict(),
        "updates": run.ema.updates,
        "optimizer": run.optimizer.state_dict(),
        "scaler": run.scaler.state_dict(),
        "gradients": gradients,
    }
    save_checkpoint(path or run.last, checkpoint)


def strip(path: Path) -> None:
    """Reduce a checkpoint to half-precision weights: the run is over."""
    checkpoint = load_checkpoint(path)
    checkpoint.extra.pop("train_state", None)
    save_checkpoint(path, checkpoint, half=True)


def folder_of(checkpoint: Checkpoint | None) -> Path | None:
    """The folder of the run that a checkpoint lies in, as …/weights/last.pt; None when it was moved out of it."""
    if checkpoint is None or checkpoint.path is None:
        return None
    weights = checkpoint.path.resolve().parent
    return weights.parent if weights.name == "weights" and (weights.parent / "args.yaml").is_file() else None


def restore(run: Run, checkpoint: Checkpoint) -> None:
    """Put a freshly built run where `save_last` left it."""
    state, average = checkpoint.extra["train_state"], checkpoint.state
    for name in (*COUNTERS, "epoch"):
        setattr(run, name, state[name])
    run.start_epoch = run.epoch
    run.metrics = dict(checkpoint.extra.get("metrics") or {})
    run.fitness = float(checkpoint.extra.get("fitness") or 0.0)
    run.replan(run.args.epochs if "epochs" in run.args.given else run.epochs)
    run.stop = run.stop and not run.args.given & {"epochs", "patience", "time"}
    run.network.load_state_dict(state["network"])
    run.ema.load_state_dict({"updates": state["updates"], "model": average})
    run.optimizer.load_state_dict(optimizer_state(run.optimizer, state["optimizer"], run.last))
    for parameter, values in run.optimizer.state.items():
        values.update({key: _like(parameter, value) for key, value in values.items()})
    if state["scaler"]:
        run.scaler.load_state_dict(state["scaler"])
    parameters = dict(run.network.named_parameters())
    for name, gradient in state["gradients"].items():
        if name not in parameters or gradient.dtype != parameters[name].dtype:
            raise damaged(checkpoint.path, f"train_state.gradients.{shown(name)}", gradient)
        parameters[name].grad = _like(parameters[name], gradient)
    if run.ranks.main and run.args.save and run.epoch and _epoch_of(run.best) != run.best_epoch:
        _begin_best(run, checkpoint)


def _epoch_of(path: Path) -> int | None:
    """The epoch that a checkpoint was written in; None when it is not there or not readable."""
    try:
        return load_checkpoint(path).extra.get("epoch")
    except PoseError:
        return None


def _begin_best(run: Run, checkpoint: Checkpoint) -> None:
    """Let the weights that are resumed be the best so far: best.pt is missing, or of epochs that are not resumed."""
    log.info(
        f"{run.best}: missing, or not of the epochs before this one; the weights of epoch {run.epoch} are the best"
        " until others are better"
    )
    run.best_epoch, run.best_fitness = run.epoch - 1, run.fitness
    extra = {key: value for key, value in checkpoint.extra.items() if key != "train_state"}
    save_checkpoint(run.best, dataclasses.replace(checkpoint, extra=extra), half=True)


def _like(parameter: Tensor, value: Any) -> Any:
    """A tensor of a parameter's shape in its memory layout: sums over other layouts round differently."""
    if isinstance(value, Tensor) and value.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
    return value


def reopen(config: TrainConfig) -> tuple[TrainConfig, Checkpoint]:
    """The arguments and the checkpoint of the run to resume.

    The arguments are those of the checkpoint, except for the CHANGEABLE ones that were given anew.

    Raises:
        PoseError: there is no run to resume, or it is finished.
        UsageError: an argument is given that cannot change any more.
    """
    path = _find(config)
    checkpoint = load_checkpoint(path)
    if not checkpoint.extra.get("train_state"):
        if path.name != "last.pt":
            raise PoseError(f"{path}: holds weights only; a run is resumed from its last.pt")
        raise PoseError(f"{path}: this run is finished; to train on from its weights: model={path} without resume")
    state, stored = training_state(checkpoint), _arguments(checkpoint)
    changes = {name: getattr(config, name) for name in config.given if name in CHANGEABLE}
    if sending := [name for name in stored.loggers or () if name not in LOCAL and "loggers" not in changes]:
        log.warning(f"loggers={shown(sending[0])}: what sends is not taken from {path}; name it again to go on with it")
        changes["loggers"] = tuple(name for name in stored.loggers or () if name in LOCAL) or None
    for name in sorted(config.given - CHANGEABLE - FINDING):
        if getattr(config, name) != getattr(stored, name):
            raise UsageError(
                f"{name}={getattr(config, name)}: a resumed run keeps {name}={getattr(stored, name)}; "
                f"only {', '.join(sorted(CHANGEABLE))} may change"
            )
    if folder_of(checkpoint) is None:  # moved out of its run: where it goes on is not the file's to say
        changes |= {"project": config.project, "name": config.name}
    given = frozenset(state["given"]) - {"epochs", "patience", "time"} | changes.keys()
    return dataclasses.replace(stored, batch=state["batch"], **changes, given=given), checkpoint


def _arguments(checkpoint: Checkpoint) -> TrainConfig:
    """The arguments of the run, but for what only the caller may say: other files, bounds, places to write to."""
    left_out = ("cfg", "resume", "max_pixels", "data_dir", "cache_dir")
    values = {str(key): value for key, value in checkpoint.train_args.items() if key not in left_out}
    try:
        return parse(TrainConfig, values)
    except UsageError as error:
        raise PoseError(f"{checkpoint.path}: its arguments are damaged: {error}") from None


def _find(config: TrainConfig) -> Path:
    """The last.pt that is meant: resume=FILE, model=FILE, or the newest below the project."""
    named = config.resume if isinstance(config.resume, str) else config.model
    if named and (isinstance(config.resume, str) or "model" in config.given) and Path(named).suffix == ".pt":
        path = Path(named)
        if not path.is_file():
            raise PoseError(f"resume: {path} does not exist")
        return path
    base = Path(config.project) if config.project else RUNS
    found = [path for path in base.rglob("last.pt") if path.parent.name == "weights"]
    if config.name:
        found = [path for path in found if path.parent.parent.name == config.name]
    if not found:
        raise PoseError(f"resume: no last.pt below {base}; name it: model=…/weights/last.pt resume=True")
    return max(found, key=lambda path: path.stat().st_mtime)
