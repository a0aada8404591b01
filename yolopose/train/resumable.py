"""Whether the training state in a checkpoint is one: its types, sizes and shapes, before a run is built on it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from yolopose.checkpoint import Checkpoint
from yolopose.errors import PoseError, shown
from yolopose.limits import MAX_BATCH, whole
from yolopose.train.optim import OPTIMIZERS, Recipe

KEPT = {"metrics": dict, "fitness": int | float}  # beside the state, of the last complete epoch
SCALARS = frozenset({"step", "mu_product"})  # what optimizers note of a parameter as one number
NEEDED = {
    "SGD": frozenset[str](),
    **dict.fromkeys(("Adam", "AdamW", "RAdam"), frozenset({"step", "exp_avg", "exp_avg_sq"})),
    "NAdam": frozenset({"step", "mu_product", "exp_avg", "exp_avg_sq"}),
    "Adamax": frozenset({"step", "exp_avg", "exp_inf"}),
    "RMSprop": frozenset({"step", "square_avg"}),
}  # what they read of a parameter that they have noted anything of
MANY = 1 << 48  # more epochs, batches or updates than any run has


def training_state(checkpoint: Checkpoint) -> dict[str, Any]:
    """What `save_last` left under `train_state`, checked with `KEPT`; the optimizer is checked when it is built.

    Raises:
        PoseError: an entry that is missing or of another type, named.
    """
    state = checkpoint.extra["train_state"]
    if not isinstance(state, dict):
        raise damaged(checkpoint.path, "train_state", state)
    for key, is_right in (ENTRIES | _tensors(checkpoint.state)).items():
        if key not in state or not is_right(state[key]):
            raise damaged(checkpoint.path, f"train_state.{key}", state.get(key))
    for key, kind in KEPT.items():
        if not isinstance(checkpoint.extra.get(key), kind | None):
            raise damaged(checkpoint.path, key, checkpoint.extra[key])
    return state


def damaged(path: Path | None, key: str, value: Any) -> PoseError:
    """The error that names the file and the entry."""
    return PoseError(f"{path}: its training state is damaged: {key} is {shown(value)}; resume from another checkpoint")


def optimizer_state(optimizer: Optimizer, stored: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """`stored`, as `optimizer.load_state_dict` takes it; what an older torch did not store is as `optimizer` has it.

    Raises:
        PoseError: it is not the state of such an optimizer for these parameters.
    """
    own = optimizer.state_dict()["param_groups"]
    groups = stored.get("param_groups")
    if not isinstance(groups, list) or len(groups) != len(own):
        raise damaged(path, "train_state.optimizer.param_groups", groups)
    merged = [_group(path, mine, theirs) for mine, theirs in zip(own, groups, strict=True)]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    values = stored.get("state")
    if not isinstance(values, dict) or not all(type(key) is int and key in range(len(parameters)) for key in values):
        raise damaged(path, "train_state.optimizer.state", values)
    names = {frozenset(entry) if isinstance(entry, dict) else None for entry in values.values()}
    needed = NEEDED[type(optimizer).__name__]
    if len(names - {frozenset()}) > 1 or not all(name is not None and name >= needed for name in names - {frozenset()}):
        raise damaged(path, "train_state.optimizer.state", values)
    for index, entry in values.items():
        for name, value in entry.items():
            if not _fits(name, value, parameters[index]):
                raise damaged(path, f"train_state.optimizer.state.{shown(index)}.{shown(name)}", value)
    return {"state": values, "param_groups": merged}


def _group(path: Path, own: Mapping[str, Any], stored: Any) -> dict[str, Any]:
    """A parameter group with the entries of `own` and the numbers of `stored`.

    Switches such as amsgrad or capturable, which are False, True or None, choose other kernels and stay as in `own`.
    """
    if not isinstance(stored, dict) or stored.get("params") != own["params"]:
        raise damaged(path, "train_state.optimizer.param_groups", stored)
    group = {
        key: own[key] if own[key] is None or isinstance(own[key], bool) else stored.get(key, own[key]) for key in own
    }
    for key, value in group.items():
        if _kind(value) != _kind(own[key]) and None not in (value, own[key]):
            raise damaged(path, f"train_state.optimizer.param_groups.{key}", value)
    return group


def _kind(value: Any) -> Any:
    """The type of a setting, whole numbers and fractions alike, with the types of its items."""
    if isinstance(value, list | tuple):
        return tuple(_kind(item) for item in value)
    return float if type(value) is int else type(value)


def _fits(name: Any, value: Any, parameter: Tensor) -> bool:
    """Whether `value` may be an optimizer's note on `parameter`: a count, or real numbers of its shape.

    torch does not look: its kernels write behind the end of a tensor that is too small.
    """
    if name in SCALARS:
        value = value.item() if isinstance(value, Tensor) and value.shape == () else value
        return _number(value)
    if isinstance(value, Tensor):
        return value.shape == parameter.shape and value.is_floating_point()
    return value is None and name == "momentum_buffer"


def _tensors(average: Mapping[str, Tensor]) -> dict[str, Callable[[Any], bool]]:
    """The weights, which have the shapes of their averages, and the gradients of some of them."""

    def fit(value: Any) -> bool:
        return isinstance(value, dict) and all(
            isinstance(item, Tensor) and key in average and item.shape == average[key].shape
            for key, item in value.items()
        )

    return {"network": lambda value: fit(value) and len(value) == len(average), "gradients": fit}


def _count(low: int, high: int = MANY) -> Callable[[Any], bool]:
    def right(value: Any) -> bool:
        try:
            return isinstance(value, int) and whole(value, "", low, high) == value
        except PoseError:
            return False

    return right


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _recipe(value: Any) -> bool:
    kinds = {field.name: str if field.name == "name" else float for field in dataclasses.fields(Recipe)}
    return (
        isinstance(value, dict)
        and value.keys() == kinds.keys()
        and all(isinstance(value[name], kind) for name, kind in kinds.items())
        and all(_number(value[name]) for name, kind in kinds.items() if kind is float)
        and value["momentum"] <= 1
        and value["name"] in OPTIMIZERS
    )


def _scaler(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) and _number(item) for key, item in value.items())


ENTRIES: dict[str, Callable[[Any], bool]] = {
    "epochs": _count(1),
    "epoch": _count(0),
    "iteration": _count(0),
    "waiting": _count(0),
    "elapsed": _number,
    "best_fitness": _number,
    "best_epoch": _count(0),
    "stop": lambda value: isinstance(value, bool),
    "batch": _count(1, MAX_BATCH),
    "given": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "recipe": _recipe,
    "updates": _count(0),
    "optimizer": lambda value: isinstance(value, dict),
    "scaler": _scaler,
}
