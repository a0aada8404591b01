"""Checkpoints: yolopose's own `.pt` (plain tensors and JSON-like metadata), and those of Ultralytics 8.0 to 8.3.

Both are read as data by `archive` and `unpickle`; neither is ever executed. Our own files also load with
`torch.load(path, weights_only=True)`. The checkpoint in an ONNX file of the package is read by `in_onnx`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yolopose.checkpoint import ultralytics
from yolopose.checkpoint.archive import Archive, open_archive
from yolopose.checkpoint.in_onnx import read_onnx
from yolopose.checkpoint.records import STORAGES, TensorView
from yolopose.errors import PoseError, one_line, shown
from yolopose.files import atomic_path, remove_leftovers
from yolopose.metadata import ModelInfo
from yolopose.nn.network import PoseNet
from yolopose.nn.spec import check_spec, read_rows

FORMAT, VERSION = "yolopose", 1
CONTENT = ("state", "spec", "info", "train_args", "extra")  # fields of a checkpoint that its file has


@dataclass
class Checkpoint:
    """A model's weights, architecture and metadata.

    `state` holds float32 weights (and whole-number counters) by the keys of the network, `spec` the model YAML as a
    dict. `extra` holds what else was stored: epoch, metrics, and under `train_state` what resuming needs, as dicts,
    lists and tuples of tensors, numbers and text. `path` is the file it was read from.
    """

    state: dict[str, Tensor]
    spec: dict[str, Any]
    info: ModelInfo
    train_args: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of yolopose or of Ultralytics 8.0 to 8.3; of the latter, the averaged weights if there are any.

    Raises:
        PoseError: the file is missing, damaged, hostile, of another task, an export, or has weights without an
            architecture.
    """
    if (carried := carried_checkpoint(path)) is not None:
        return carried
    with open_archive(Path(path)) as archive:
        if _is_own(archive):
            return _read_own(archive)
        network = ultralytics.find_network(archive.root)
        if network is not None:
            values = ultralytics.read_metadata(archive, network)
            info = _info(archive.path, values.pop("info"))
            return Checkpoint(_floats(ultralytics.read_state(archive, network)), info=info, path=archive.path, **values)
        if _views(archive.root):
            raise PoseError(
                f"{path}: weights without their architecture; name its model YAML, as in "
                f"YOLO('yolov8n-pose.yaml').load('{path}')"
            )
        raise PoseError(f"{path}: no model in this checkpoint")


def carried_checkpoint(path: str | Path) -> Checkpoint | None:
    """The checkpoint in an ONNX file of `recipes/bundle.py`; None for other files, exported ones too.

    Raises:
        PoseError: a damaged ONNX file.
    """
    file = Path(path)
    content = read_onnx(file) if file.suffix == ".onnx" else None
    if content is None:
        return None
    _check_version(file, content)
    return _own(file, {key: content.get(key) for key in CONTENT})


def load_state(path: str | Path) -> dict[str, Tensor]:
    """The float32 weights in any checkpoint, of any task, or in a plain state dict: for `nn.network.transfer`.

    Raises:
        PoseError: the file is missing, damaged or hostile, or holds no weights.
    """
    if (carried := carried_checkpoint(path)) is not None:
        return carried.state
    if Path(path).suffix == ".onnx" and Path(path).is_file():
        raise PoseError(f"{path}: an exported file, whose weights are fused; name the .pt that it was made from")
    with open_archive(Path(path)) as archive:
        if _is_own(archive):
            return _read_own(archive).state
        network = ultralytics.find_network(archive.root)
        if network is not None:
            return _floats(ultralytics.read_state(archive, network))
        if not (views := _views(archive.root)):
            raise PoseError(f"{path}: no weights in this checkpoint")
        return _floats({key: archive.tensor(view) for key, view in views.items()})


def save_checkpoint(path: str | Path, checkpoint: Checkpoint, half: bool = False) -> None:
    """Write `checkpoint` to `path` atomically; `half` stores float16 weights (`train_state` keeps its types).

    Raises:
        PoseError: the file cannot be written.
        TypeError: something that is neither tensor nor JSON-like, named by its place.
    """
    path = Path(path)
    content = {"format": FORMAT, "format_version": VERSION} | {name: getattr(checkpoint, name) for name in CONTENT}
    content["info"] = checkpoint.info.to_dict()
    if half:
        content["state"] = _floats(checkpoint.state, torch.float16)
    try:
        remove_leftovers(path)
        with atomic_path(path) as part, part.open("wb") as file:
            torch.save(_storable(content, ""), file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # torch's writer raises the latter
        raise PoseError(f"{path}: cannot be written ({one_line(error)})") from None


def build_network(checkpoint: Checkpoint) -> PoseNet:
    """The network of a checkpoint with its weights, in evaluation mode; fused if the weights are.

    Raises:
        PoseError: the weights do not fit the architecture.
    """
    where = checkpoint.path or "checkpoint"
    try:
        network = _empty_network(checkpoint)
    except (PoseError, TypeError, ValueError, OverflowError) as error:
        raise PoseError(f"{where}: its architecture cannot be built: {error}") from None
    wanted, given = _shapes(network.state_dict()), _shapes(checkpoint.state)
    if wanted != given:
        wrong = sorted(key for key in wanted.keys() | given.keys() if wanted.get(key) != given.get(key))
        raise PoseError(
            f"{where}: weights and architecture differ in {len(wrong)} entries, first "
            f"{shown(wrong[0])}: {given.get(wrong[0], 'absent')} stored, {wanted.get(wrong[0], 'none')} expected"
        )
    network.load_state_dict({key: value.clone() for key, value in checkpoint.state.items()}, assign=True)
    network.info, network.args = checkpoint.info, checkpoint.train_args
    return network.eval()


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int | str, ...]]:
    """The shape of every entry, marked where it holds whole numbers."""
    return {
        key: tuple(value.shape) if value.is_floating_point() else (*value.shape, "whole numbers")
        for key, value in state.items()
    }


def _empty_network(checkpoint: Checkpoint) -> PoseNet:
    """The network without weights, on torch's meta device: the file's own tensors bound the memory it may take."""
    spec, info, state = checkpoint.spec, checkpoint.info, checkpoint.state
    if sum(row.repeats for row in read_rows(check_spec(spec))) > len(state):
        raise PoseError("it has more layers than weights")
    new = partial(PoseNet, spec, names=info.names, layout=info.layout, channels=spec.get("ch", 3))
    with torch.device("meta"):
        network = new()
    if any(".bn." in key for key in state):
        return network
    if sum(value.numel() for value in network.state_dict().values()) > 2 * sum(v.numel() for v in state.values()):
        raise PoseError("it is larger than its weights")
    return new().fuse()  # for real: its arithmetic is slow to start on the meta device


def _is_own(archive: Archive) -> bool:
    return isinstance(archive.root, dict) and archive.root.get("format") == FORMAT


def _views(root: Any) -> dict[str, TensorView]:
    """The tensors of a plain state dict."""
    items = root.items() if isinstance(root, dict) else ()
    return {str(key): value for key, value in items if isinstance(value, TensorView)}


def _floats(state: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """`state` with its floating-point entries in `dtype`."""
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}


def _read_own(archive: Archive) -> Checkpoint:
    _check_version(archive.path, archive.root)
    return _own(archive.path, {key: archive.plain(archive.root.get(key)) for key in CONTENT})


def _check_version(path: Path, root: Mapping[str, Any]) -> None:
    version = root.get("format_version")
    if version != VERSION:
        raise PoseError(f"{path}: written by another yolopose (format {shown(version)}, this one reads {VERSION})")


def _own(path: Path, content: dict[str, Any]) -> Checkpoint:
    """The checkpoint with this content, from a `.pt` or an ONNX file."""
    wrong = next((key for key, value in content.items() if not isinstance(value, dict)), None)
    if wrong or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content["state"].items()):
        raise PoseError(f"{path}: damaged: '{wrong or 'state'}' is not what it should be")
    content |= {"state": _floats(content["state"]), "info": _info(path, content["info"])}
    return Checkpoint(**content, path=path)


def _info(path: Path, values: Mapping[str, Any]) -> ModelInfo:
    try:
        return ModelInfo.from_dict(values)
    except PoseError as error:
        raise PoseError(f"{path}: {error}") from None


def _storable(value: Any, place: str) -> Any:
    """`value` as stored: tensors on the CPU with a storage of their own, NumPy numbers as Python's, paths as text."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor) and str(value.dtype).removeprefix("torch.") in STORAGES.values():
        return value.detach().cpu().clone(memory_format=torch.contiguous_format)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping) and all(type(key) in (int, str) for key in value):
        return {key: _storable(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_storable(item, f"{place}[{i}]") for i, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(
        f"a checkpoint holds tensors, numbers and text in lists, tuples and dicts (keys: text or whole numbers); "
        f"{place[1:]} is {type(value).__name__} {shown(value, 40)}"
    )
