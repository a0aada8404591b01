"""What a checkpoint of Ultralytics 8.0 to 8.3 says: the file holds a whole module, read here as records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from yolopose.checkpoint.archive import Archive
from yolopose.checkpoint.records import StandIn, TensorView
from yolopose.errors import PoseError
from yolopose.limits import MAX_CLASSES, MAX_IDENTIFIER, MAX_MODULE_DEPTH, MAX_MODULES, whole

# What the last layer of a network of another task is called.
TASKS = {"Detect": "detection", "Segment": "segmentation", "Classify": "classification", "OBB": "oriented-box"}
KEPT = ("epoch", "best_fitness", "train_metrics", "train_results", "docs")
UNSTATED = "not stated in the file; weights by Ultralytics are AGPL-3.0"


def module(root: Any) -> StandIn | None:
    """The network in a foreign checkpoint: the averaged one (`ema`) if there is one, else `model`; None if neither."""
    found = [root.get("ema"), root.get("model")] if isinstance(root, dict) else [root]
    return next((thing for thing in found if isinstance(thing, StandIn) and "_modules" in thing.state), None)


def state(archive: Archive, network: StandIn) -> dict[str, Tensor]:
    """The state dict of `network`, in torch's order, every tensor in the type it is stored in."""
    views = _walk(archive, _layers(archive, network), "model.", iter(range(MAX_MODULES)))
    return {key: archive.tensor(view) for key, view in views}


def _layers(archive: Archive, network: StandIn) -> StandIn:
    """The list of the network's layers: its child `model`. Other children, such as a loss, are no part of it."""
    layers = dict(_children(archive, network, "_modules")).get("model")
    if not isinstance(layers, StandIn):
        raise PoseError(f"{archive.path}: its network ({network.kind.name}) has no layers")
    return layers


def _walk(archive: Archive, node: StandIn, prefix: str, budget: Iterator[int]) -> Iterator[tuple[str, TensorView]]:
    """Parameters and buffers of a module and its children; `budget` ends a tree that contains itself."""
    if prefix.count(".") > MAX_MODULE_DEPTH:
        raise PoseError(f"{archive.path}: refused: its network has layers without end")
    found = node.state.get("_non_persistent_buffers_set")
    transient = found if isinstance(found, set) else set()
    for group in ("_parameters", "_buffers", "_modules"):
        for name, child in _children(archive, node, group):
            if next(budget, None) is None or len(str(name)) > MAX_IDENTIFIER:
                raise PoseError(f"{archive.path}: refused: its network has layers without end")
            if group == "_modules" and isinstance(child, StandIn):
                yield from _walk(archive, child, f"{prefix}{name}.", budget)
            elif group != "_modules" and isinstance(child, TensorView) and name not in transient:
                yield f"{prefix}{name}", child


def _children(archive: Archive, node: StandIn, group: str) -> list[tuple[Any, Any]]:
    found = node.state.get(group, {})
    if not isinstance(found, dict):
        raise PoseError(f"{archive.path}: damaged: {group} of a {node.kind.name} is no dict")
    return list(found.items())


def describe(archive: Archive, network: StandIn) -> dict[str, Any]:
    """`spec`, `info` (for `ModelInfo.from_dict`), `train_args` and `extra` of a foreign pose checkpoint.

    Raises:
        PoseError: a network of another task, or one that does not say how it is built.
    """
    head = _head(archive, network)
    root = archive.root if isinstance(archive.root, dict) else {}
    spec = archive.plain(network.state.get("yaml"))
    if not (isinstance(spec, dict) and {"backbone", "head"} <= spec.keys()):
        raise PoseError(f"{archive.path}: its network does not say how it is built (a `yaml` with backbone and head)")
    for key in ("nc", "kpt_shape"):  # the layer knows better than the YAML, which the data set may have overruled
        value = archive.plain(head.state.get(key, spec.get(key)))
        spec[key] = list(value) if isinstance(value, tuple) else value
    try:
        classes = whole(spec["nc"], "nc", 1, MAX_CLASSES)
    except PoseError as error:
        raise PoseError(f"{archive.path}: {error}") from None
    train_args = archive.plain(root.get("train_args") or network.state.get("args"))
    train_args = train_args if isinstance(train_args, dict) else {}
    return {
        "spec": spec,
        "info": _about(archive, root)
        | _input(archive, network, spec, train_args)
        | {"names": _or_else(archive.plain(network.state.get("names")), {i: f"class{i}" for i in range(classes)})},
        "train_args": train_args,
        "extra": {key: archive.plain(root[key]) for key in KEPT if root.get(key) is not None},
    }


def _head(archive: Archive, network: StandIn) -> StandIn:
    """The last layer, once it is known to be that of a pose network."""
    layers = [child for _, child in _children(archive, _layers(archive, network), "_modules")]
    if not layers or not isinstance(layers[-1], StandIn):
        raise PoseError(f"{archive.path}: its network ({network.kind.name}) has no layers")
    kind = layers[-1].kind.name
    if kind != "Pose":
        task = f"a {TASKS[kind]} model" if kind in TASKS else f"a model that ends in {kind}"
        raise PoseError(f"{archive.path}: {task}; yolopose runs pose models of the YOLOv8 family")
    head: StandIn = layers[-1]
    return head


def _about(archive: Archive, root: dict[Any, Any]) -> dict[str, Any]:
    """Where the weights come from and whose licence they carry."""
    date, version, licence = (_words(archive.plain(root.get(key))) for key in ("date", "version", "license"))
    origin = f"Ultralytics {version}" if version else "Ultralytics"
    about = {"origin": origin, "license": licence or UNSTATED, "date": date}
    return {key: value for key, value in about.items() if value is not None}


def _words(value: Any) -> str | None:
    """A short text, or None."""
    return value if isinstance(value, str) and len(value) < MAX_IDENTIFIER else None


def _or_else(value: Any, default: Any) -> Any:
    """`value`, or `default` where nothing is stored."""
    return default if value is None or (isinstance(value, dict | list | tuple | str) and not value) else value


def _input(archive: Archive, network: StandIn, spec: dict[str, Any], train_args: dict[str, Any]) -> dict[str, Any]:
    stride = network.state.get("stride")
    steps = archive.tensor(stride) if isinstance(stride, TensorView) else None
    return {
        "kpt_shape": spec["kpt_shape"],
        "kpt_names": archive.plain(network.state.get("kpt_names")),
        "flip_idx": archive.plain(network.state.get("flip_idx")),
        "stride": 32 if steps is None or not steps.numel() or not steps.ndim else float(steps.max()),
        "imgsz": _or_else(train_args.get("imgsz"), 640),
        "dynamic": True,
    }
