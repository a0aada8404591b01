"""Read the network of an Ultralytics checkpoint (8.0 to 8.3): the file holds a whole module, read as `StandIn`s."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from yolopose.checkpoint.archive import Archive
from yolopose.checkpoint.records import StandIn, TensorView
from yolopose.errors import PoseError
from yolopose.limits import MAX_CLASSES, MAX_IDENTIFIER, MAX_MODULE_DEPTH, MAX_MODULES, int_of

# The class of the last layer of networks of other tasks.
TASKS = {"Detect": "detection", "Segment": "segmentation", "Classify": "classification", "OBB": "oriented-box"}
KEPT = ("epoch", "best_fitness", "train_metrics", "train_results", "docs")
NO_LICENSE = "not stated in the file; weights by Ultralytics are AGPL-3.0"


def find_network(root: Any) -> StandIn | None:
    """The network in a checkpoint: the averaged one (`ema`) if there is one, else `model`; None if neither."""
    found = [root.get("ema"), root.get("model")] if isinstance(root, dict) else [root]
    return next((item for item in found if isinstance(item, StandIn) and "_modules" in item.state), None)


def read_state(archive: Archive, network: StandIn) -> dict[str, Tensor]:
    """The state dict of `network`, in torch's order, every tensor in the type it is stored in."""
    views = _walk(archive, _layers(archive, network), "model.", iter(range(MAX_MODULES)))
    return {key: archive.tensor(view) for key, view in views}


def read_metadata(archive: Archive, network: StandIn) -> dict[str, Any]:
    """`spec`, `info` (for `ModelInfo.from_dict`), `train_args` and `extra` of a pose checkpoint.

    Raises:
        PoseError: a network of another task, or one that does not say how it is built.
    """
    head = _head(archive, network)
    root = archive.root if isinstance(archive.root, dict) else {}
    spec = archive.plain(network.state.get("yaml"))
    if not (isinstance(spec, dict) and {"backbone", "head"} <= spec.keys()):
        raise PoseError(f"{archive.path}: its network does not say how it is built (a `yaml` with backbone and head)")
    for key in ("nc", "kpt_shape"):  # the layer's are right: the data set may have overruled the YAML
        value = archive.plain(head.state.get(key, spec.get(key)))
        spec[key] = list(value) if isinstance(value, tuple) else value
    train_args = archive.plain(root.get("train_args") or network.state.get("args"))
    train_args = train_args if isinstance(train_args, dict) else {}
    return {
        "spec": spec,
        "info": _read_info(archive, network, root, spec, _or_default(train_args.get("imgsz"), 640)),
        "train_args": train_args,
        "extra": {key: archive.plain(root[key]) for key in KEPT if root.get(key) is not None},
    }


def _read_info(
    archive: Archive, network: StandIn, root: Mapping[str, Any], spec: Mapping[str, Any], imgsz: Any
) -> dict[str, Any]:
    """The values for `ModelInfo.from_dict`."""
    classes = int_of(spec["nc"], f"{archive.path}: nc", 1, MAX_CLASSES)
    stride = network.state.get("stride")
    strides = archive.tensor(stride) if isinstance(stride, TensorView) else None
    version, date, license_ = (
        text if isinstance(text, str) and len(text) < MAX_IDENTIFIER else None
        for text in (archive.plain(root.get(key)) for key in ("version", "date", "license"))
    )
    info = {
        "origin": f"Ultralytics {version}" if version else "Ultralytics",
        "license": license_ or NO_LICENSE,
        "kpt_shape": spec["kpt_shape"],
        "kpt_names": archive.plain(network.state.get("kpt_names")),
        "flip_idx": archive.plain(network.state.get("flip_idx")),
        "stride": 32 if strides is None or not strides.numel() or not strides.ndim else float(strides.max()),
        "imgsz": imgsz,
        "dynamic": True,
        "names": _or_default(archive.plain(network.state.get("names")), {i: f"class{i}" for i in range(classes)}),
    }
    return info | ({} if date is None else {"date": date})


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


def _layers(archive: Archive, network: StandIn) -> StandIn:
    """The list of the network's layers: its child `model`. Other children, such as a loss, are no part of it."""
    layers = dict(_children(archive, network, "_modules")).get("model")
    if not isinstance(layers, StandIn):
        raise PoseError(f"{archive.path}: its network ({network.kind.name}) has no layers")
    return layers


def _head(archive: Archive, network: StandIn) -> StandIn:
    """The last layer, after a check that it is that of a pose network."""
    head = next((child for _, child in reversed(_children(archive, _layers(archive, network), "_modules"))), None)
    if not isinstance(head, StandIn):
        raise PoseError(f"{archive.path}: its network ({network.kind.name}) has no layers")
    kind = head.kind.name
    if kind != "Pose":
        task = f"a {TASKS[kind]} model" if kind in TASKS else f"a model that ends in {kind}"
        raise PoseError(f"{archive.path}: {task}; yolopose runs pose models of the YOLOv8 family")
    return head


def _or_default(value: Any, default: Any) -> Any:
    """`value`, or `default` if it is None or empty."""
    return default if value is None or (isinstance(value, dict | list | tuple | str) and not value) else value
