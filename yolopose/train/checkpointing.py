"""Save and restore the state of a training run (bit-exact resume), and check that a stored state is sound."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from yolopose.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from yolopose.config import TrainConfig, parse, to_dict
from yolopose.console import log
from yolopose.errors import PoseError, UsageError, one_line, shown
from yolopose.limits import MAX_BATCH, MAX_COUNT
from yolopose.saving import RUNS
from yolopose.train.loggers import LOCAL
from yolopose.train.optim import OPTIMIZERS, Recipe
from yolopose.train.run import TrainingRun
from yolopose.version import __version__

# Entries of `train_state` and the attributes of TrainingRun that they hold.
COUNTERS = {
    "epochs": "epochs", "iteration": "iteration", "waiting": "accumulated", "elapsed": "elapsed",
    "best_fitness": "best_fitness", "best_epoch": "best_epoch", "stop": "stop",
}  # fmt: skip
# What may change when a run is resumed. Everything else decides the weights or the folder, and stays as it was.
CHANGEABLE = frozenset(
    ("cache", "cache_dir", "data", "data_dir", "device", "epochs", "loggers", "max_pixels", "patience", "plots",
     "save_period", "time", "val", "verbose", "workers")
)  # fmt: skip
LOOKUP = frozenset({"model", "resume", "project", "name", "exist_ok"})  # these find the run to resume
SCALARS = frozenset({"step", "mu_product"})  # numbers in an optimizer's state of a parameter; the rest are tensors
REQUIRED = {
    "SGD": frozenset[str](),
    **dict.fromkeys(("Adam", "AdamW", "RAdam"), frozenset({"step", "exp_avg", "exp_avg_sq"})),
    "NAdam": frozenset({"step", "mu_product", "exp_avg", "exp_avg_sq"}),
    "Adamax": frozenset({"step", "exp_avg", "exp_inf"}),
    "RMSprop": frozenset({"step", "square_avg"}),
}  # entries that an optimizer reads from the state of a parameter, unless that state is empty


def averaged(run: TrainingRun, epoch: int) -> Checkpoint:
    """The averaged weights after `epoch`, with metadata and metrics."""
    extra = {"epoch": epoch, "metrics": run.metrics, "fitness": run.fitness, "version": __version__}
    return Checkpoint(run.ema.model.state_dict(), run.network.spec, run.network.info, to_dict(run.args), extra)


def save_state(run: TrainingRun, epoch: int, path: Path) -> None:
    """Write a checkpoint to resume from: the averaged weights, and under `train_state` what `epoch` starts with."""
    checkpoint = averaged(run, max(epoch - 1, 0))
    gradients = {name: p.grad for name, p in run.network.named_parameters() if p.grad is not None and run.accumulated}
    checkpoint.extra["train_state"] = {
        **{key: getattr(run, name) for key, name in COUNTERS.items()},
        "epoch": epoch,
        "batch": run.batch_size,
        "given": sorted(run.args.given),
        "recipe": dataclasses.asdict(run.recipe),
        "network": run.network.state_dict(),
        "updates": run.ema.updates,
        "optimizer": run.optimizer.state_dict(),
        "scaler": run.scaler.state_dict(),
        "gradients": gradients,
        **({"teacher": run.teacher.checksum} if run.teacher is not None else {}),
    }
    save_checkpoint(path, checkpoint)


def strip(path: Path) -> None:
    """Reduce a checkpoint to its averaged weights in half precision; it cannot be resumed afterwards."""
    checkpoint = load_checkpoint(path)
    checkpoint.extra.pop("train_state", None)
    save_checkpoint(path, checkpoint, half=True)


def load_for_resume(config: TrainConfig) -> tuple[TrainConfig, Checkpoint]:
    """The arguments and the checkpoint of the run to resume.

    The arguments are those of the checkpoint, except the CHANGEABLE ones that the user gave now.

    Raises:
        PoseError: there is no run to resume, it is finished, or its state is damaged.
        UsageError: the user gave an argument that cannot change.
    """
    path = _find(config)
    checkpoint = load_checkpoint(path)
    if not checkpoint.extra.get("train_state"):
        if path.name != "last.pt":
            raise PoseError(f"{path}: holds weights only; a run is resumed from its last.pt")
        raise PoseError(f"{path}: this run is finished; to train on from its weights: model={path} without resume")
    state, stored = _checked_state(checkpoint), stored_arguments(checkpoint)
    changes = _changes(config, stored, path)
    if folder_of(checkpoint) is None:  # moved out of its run folder: the user decides where it continues, not the file
        changes |= {"project": config.project, "name": config.name}
    given = frozenset(state["given"]) - {"epochs", "patience", "time"} | changes.keys()
    return dataclasses.replace(stored, batch=state["batch"], **changes, given=given), checkpoint


def _changes(config: TrainConfig, stored: TrainConfig, path: Path) -> dict[str, Any]:
    """The arguments that differ from the stored ones: those CHANGEABLE that the user gave, and no loggers that send.

    Raises UsageError for other ones that the user gave.
    """
    changes = {name: getattr(config, name) for name in config.given if name in CHANGEABLE}
    if sending := [name for name in stored.loggers or () if name not in LOCAL and "loggers" not in changes]:
        log.warning(f"loggers={shown(sending[0])}: a logger that sends is not taken from {path}; to use it name it")
        changes["loggers"] = tuple(name for name in stored.loggers or () if name in LOCAL) or None
    for name in sorted(config.given - CHANGEABLE - LOOKUP):
        if getattr(config, name) != getattr(stored, name):
            raise UsageError(
                f"{name}={getattr(config, name)}: a resumed run keeps {name}={getattr(stored, name)}; "
                f"only {', '.join(sorted(CHANGEABLE))} may change"
            )
    return changes


def _find(config: TrainConfig) -> Path:
    """The checkpoint to resume: resume=FILE, model=FILE, or the newest last.pt below the project."""
    named = config.resume if isinstance(config.resume, str) else config.model if "model" in config.given else None
    if named and Path(named).suffix == ".pt":
        if not Path(named).is_file():
            raise PoseError(f"resume: {named} does not exist")
        return Path(named)
    base = Path(config.project) if config.project else RUNS
    found = [path for path in base.rglob("last.pt") if path.parent.name == "weights"]
    if config.name:
        found = [path for path in found if path.parent.parent.name == config.name]
    if not found:
        raise PoseError(f"resume: no last.pt below {base}; name it: model=…/weights/last.pt resume=True")
    return max(found, key=lambda path: path.stat().st_mtime)


def stored_arguments(checkpoint: Checkpoint) -> TrainConfig:
    """The arguments of the stored run, without those that only the user may set: other files, limits, cache folders."""
    left_out = ("cfg", "resume", "max_pixels", "data_dir", "cache_dir")
    values = {str(key): value for key, value in checkpoint.train_args.items() if key not in left_out}
    try:
        return parse(TrainConfig, values)
    except UsageError as error:
        raise PoseError(f"{checkpoint.path}: its arguments are damaged: {error}") from None


def folder_of(checkpoint: Checkpoint | None) -> Path | None:
    """The run folder that contains a checkpoint as …/weights/last.pt; None when it was moved out of it."""
    if checkpoint is None or checkpoint.path is None:
        return None
    weights = checkpoint.path.resolve().parent
    return weights.parent if weights.name == "weights" and (weights.parent / "args.yaml").is_file() else None


def restore_optimizer(optimizer: Optimizer, network: nn.Module, checkpoint: Checkpoint) -> None:
    """Restore the optimizer's state and the accumulated gradients.

    Raises:
        PoseError: the stored state is not one of this optimizer and this network.
    """
    state, parameters = checkpoint.extra["train_state"], dict(network.named_parameters())
    optimizer.load_state_dict(optimizer_state(optimizer, state["optimizer"], checkpoint.path))
    for parameter, values in optimizer.state.items():
        values.update({key: _like(parameter, value) for key, value in values.items()})
    for name, gradient in state["gradients"].items():
        if name not in parameters or gradient.dtype != parameters[name].dtype:
            raise _damaged(checkpoint.path, f"train_state.gradients.{shown(name)}", gradient)
        parameters[name].grad = _like(parameters[name], gradient)


def check_teacher(checksum: str, checkpoint: Checkpoint, name: str) -> None:
    """Raise PoseError when the file of the teacher is another one than before."""
    before = checkpoint.extra["train_state"].get("teacher")
    if checksum != before:
        raise PoseError(
            f"teacher={name}: not the file that this run began with (SHA-256 {checksum[:12]}…, "
            f"it was {one_line(before)[:12]}…); put that file there to resume"
        )


def restore(run: TrainingRun, checkpoint: Checkpoint) -> None:
    """Restore the rest of a run that was built from `checkpoint`: counters, weights, average, scaler, best.pt."""
    state = checkpoint.extra["train_state"]
    for key, name in COUNTERS.items():
        setattr(run, name, state[key])
    run.epoch = run.start_epoch = state["epoch"]
    run.metrics = dict(checkpoint.extra.get("metrics") or {})
    run.fitness = float(checkpoint.extra.get("fitness") or 0.0)
    run.set_epochs(run.args.epochs if "epochs" in run.args.given else run.epochs)
    run.stop = run.stop and not run.args.given & {"epochs", "patience", "time"}
    run.network.load_state_dict(state["network"])
    run.ema.updates = state["updates"]
    run.ema.model.load_state_dict(checkpoint.state)
    if state["scaler"]:
        run.scaler.load_state_dict(state["scaler"])
    if run.ranks.main and run.args.save and run.epoch:
        _restore_best(run, checkpoint)


def _restore_best(run: TrainingRun, checkpoint: Checkpoint) -> None:
    """Make the weights of the last epoch the best ones if best.pt is missing, or is not of this run so far."""
    try:
        best = load_checkpoint(run.best).extra.get("epoch")
    except PoseError:
        best = None
    if best != run.best_epoch:
        log.info(
            f"{run.best}: missing, or of another epoch than last.pt says; the weights of epoch {run.epoch} count as the"
            " best until an epoch is better"
        )
        run.best_epoch, run.best_fitness = run.epoch - 1, run.fitness
        extra = {key: value for key, value in checkpoint.extra.items() if key != "train_state"}
        save_checkpoint(run.best, dataclasses.replace(checkpoint, extra=extra), half=True)


def _like(parameter: Tensor, value: Any) -> Any:
    """A tensor of a parameter's shape in its memory layout: sums over other layouts round differently."""
    if isinstance(value, Tensor) and value.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
    return value


def optimizer_state(optimizer: Optimizer, stored: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    """`stored` for `optimizer.load_state_dict`; settings that an older torch did not store come from `optimizer`.

    Raises:
        PoseError: it is not the state of such an optimizer for these parameters.
    """
    own, groups = optimizer.state_dict()["param_groups"], stored.get("param_groups")
    if not isinstance(groups, list) or len(groups) != len(own):
        raise _damaged(path, "train_state.optimizer.param_groups", groups)
    merged = [_group(path, mine, theirs) for mine, theirs in zip(own, groups, strict=True)]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    values, required = stored.get("state"), REQUIRED[type(optimizer).__name__]
    if (
        not isinstance(values, dict)
        or not all(type(key) is int and key in range(len(parameters)) for key in values)
        or not all(isinstance(entry, dict) and (not entry or entry.keys() >= required) for entry in values.values())
        or len({frozenset(entry) for entry in values.values() if entry}) > 1
    ):
        raise _damaged(path, "train_state.optimizer.state", values)
    for index, entry in values.items():
        for name, value in entry.items():
            if not _fits(name, value, parameters[index]):
                raise _damaged(path, f"train_state.optimizer.state.{shown(index)}.{shown(name)}", value)
    return {"state": values, "param_groups": merged}


def _group(path: Path | None, own: Mapping[str, Any], stored: Any) -> dict[str, Any]:
    """The parameter group `own` with the numbers of `stored`.

    Switches such as amsgrad or capturable (False, True or None) select other kernels and stay as in `own`.
    """
    if not isinstance(stored, dict) or stored.get("params") != own["params"]:
        raise _damaged(path, "train_state.optimizer.param_groups", stored)
    group = {
        key: own[key] if own[key] is None or isinstance(own[key], bool) else stored.get(key, own[key]) for key in own
    }
    for key, value in group.items():
        if value is not None and own[key] is not None and _kind(value) != _kind(own[key]):
            raise _damaged(path, f"train_state.optimizer.param_groups.{key}", value)
    return group


def _kind(value: Any) -> Any:
    """The type of a setting, or the types of its items; int counts as float."""
    if isinstance(value, list | tuple):
        return tuple(_kind(item) for item in value)
    return float if type(value) is int else type(value)


def _fits(name: Any, value: Any, parameter: Tensor) -> bool:
    """Whether `value` may be an entry of an optimizer's state: a number, or a float tensor of the parameter's shape.

    torch does not check this: its kernels write beyond the end of a tensor that is too small.
    """
    if name in SCALARS:
        return _is_number(value.item() if isinstance(value, Tensor) and value.shape == () else value)
    if isinstance(value, Tensor):
        return value.shape == parameter.shape and value.is_floating_point()
    return value is None and name == "momentum_buffer"


def _damaged(path: Path | None, key: str, value: Any) -> PoseError:
    """The error for a wrong entry of the stored state."""
    return PoseError(f"{path}: its training state is damaged: {key} is {shown(value)}; resume from another checkpoint")


def _checked_state(checkpoint: Checkpoint) -> dict[str, Any]:
    """The entry `train_state`; `restore_optimizer` checks the optimizer and the gradients further.

    Raises:
        PoseError: an entry is missing or wrong, with its name.
    """
    state, average = checkpoint.extra["train_state"], checkpoint.state
    if not isinstance(state, dict):
        raise _damaged(checkpoint.path, "train_state", state)
    same_shapes = partial(_is_tensors_like, average)
    checks = CHECKS | {"network": lambda v: same_shapes(v) and len(v) == len(average), "gradients": same_shapes}
    for key, is_right in checks.items():
        if key not in state or not is_right(state[key]):
            raise _damaged(checkpoint.path, f"train_state.{key}", state.get(key))
    for key, kind in {"metrics": dict, "fitness": int | float}.items():
        if not isinstance(checkpoint.extra.get(key), kind | None):
            raise _damaged(checkpoint.path, key, checkpoint.extra[key])
    return state


def _is_tensors_like(average: Mapping[str, Tensor], value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(item, Tensor) and key in average and item.shape == average[key].shape for key, item in value.items()
    )


def _is_count(value: Any, low: int = 0, high: int = MAX_COUNT) -> bool:
    return type(value) is int and low <= value <= high


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _is_recipe(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {field.name for field in dataclasses.fields(Recipe)}:
        return False
    name, *numbers = (value[field.name] for field in dataclasses.fields(Recipe))
    return isinstance(name, str) and name in OPTIMIZERS and all(map(_is_number, numbers)) and value["momentum"] <= 1


CHECKS: dict[str, Callable[[Any], bool]] = {
    "epochs": partial(_is_count, low=1),
    **dict.fromkeys(("epoch", "iteration", "waiting", "best_epoch", "updates"), _is_count),
    **dict.fromkeys(("elapsed", "best_fitness"), _is_number),
    "stop": lambda value: isinstance(value, bool),
    "batch": partial(_is_count, low=1, high=MAX_BATCH),
    "given": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "recipe": _is_recipe,
    "optimizer": lambda value: isinstance(value, dict),
    "scaler": lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
}
