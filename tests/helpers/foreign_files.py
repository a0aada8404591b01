"""Writes checkpoints as Ultralytics does: a pickled dict with a whole module, of classes that exist only here."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import nn

from yolopose.nn.network import PoseNet

CLASSES = {
    "ultralytics.nn.tasks": ("PoseModel", "DetectionModel"),
    "ultralytics.nn.modules.block": ("Block",),
    "ultralytics.nn.modules.head": ("Pose", "Detect", "Segment", "WorldDetect"),
    "ultralytics.utils.loss": ("v8PoseLoss",),
}
TINY = {
    "nc": 1,
    "kpt_shape": [2, 3],
    "ch": 3,
    "backbone": [[-1, 1, "Conv", [8, 3, 4]], [-1, 1, "Conv", [16, 3, 2]], [-1, 2, "C2f", [16, True]]],
    "head": [[-1, 1, "Conv", [16, 3, 2]], [[2, 3], 1, "Pose", ["nc", "kpt_shape"]]],
    "yaml_file": "tiny-pose.yaml",
}


@contextmanager
def ultralytics() -> Iterator[dict[str, type]]:
    """The classes by name, importable for as long as this lasts."""
    space = type("IterableSimpleNamespace", (SimpleNamespace,), {"__module__": "ultralytics.utils"})
    found = {"IterableSimpleNamespace": space}
    modules = {
        name: ModuleType(name)
        for name in ("ultralytics", "ultralytics.nn", "ultralytics.nn.modules", "ultralytics.utils")
    }
    modules["ultralytics.utils"].IterableSimpleNamespace = space
    for module, names in CLASSES.items():
        modules[module] = ModuleType(module)
        for name in names:
            found[name] = type(name, (nn.Module,), {"__module__": module})
            setattr(modules[module], name, found[name])
    sys.modules.update(modules)
    try:
        yield found
    finally:
        for name in modules:
            del sys.modules[name]


def as_module(state: dict[str, torch.Tensor], kind: type) -> nn.Module:
    """A module tree with the entries of `state`, its nodes of class `kind`."""
    module = kind()
    inner: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        first, _, rest = key.partition(".")
        if rest:
            inner.setdefault(first, {})[rest] = value
        elif value.is_floating_point() and not first.startswith("running"):
            module.register_parameter(first, nn.Parameter(value))
        else:
            module.register_buffer(first, value)
    for name, part in inner.items():
        module.add_module(name, as_module(part, kind))
    return module


def save_foreign(path: Path, network: PoseNet, *, key: str = "model", head: str = "Pose", **entries: Any) -> Path:
    """Write `network` in half precision under `key`, with `entries` beside it."""
    with ultralytics() as classes:
        model = classes["PoseModel"]()
        state = {name.removeprefix("model."): value.half() for name, value in network.state_dict().items()}
        state |= {name: value.long() for name, value in state.items() if name.endswith("num_batches_tracked")}
        layers = as_module(state, classes["Block"])
        last = list(layers._modules)[-1]
        layers._modules[last].__class__ = classes[head]
        layers._modules[last].nc, layers._modules[last].kpt_shape = network.spec["nc"], network.spec["kpt_shape"]
        model.model = nn.Sequential(*layers.children())
        model.yaml, model.names, model.stride = network.spec, network.info.names, network.stride
        model.args = classes["IterableSimpleNamespace"](imgsz=96, task="pose")
        model.criterion = classes["v8PoseLoss"]()
        about = {"date": "2024-01-02", "version": "8.1.0", "license": "AGPL-3.0 (https://ultralytics.com/license)"}
        torch.save(about | {"epoch": 7, "ema": None, key: model} | entries, path)
    return path


def tiny() -> PoseNet:
    """A small network with weights and statistics that are not the initial ones."""
    torch.manual_seed(0)
    network = PoseNet(TINY, names={0: "face"})
    for name, value in network.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    return network.eval()
