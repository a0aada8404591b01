"""Reads the checkpoint in an ONNX file of `recipes/bundle.py`, as data: nothing is executed, no other file is opened.

The package carries a model once: ONNX Runtime runs the file, and for training the network is rebuilt from it. Its
initialisers are the weights of the unfused network, and one entry of its metadata has the rest. An exported file has no
such entry, and its weights are fused with their batch normalization: it cannot be trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yolopose.errors import PoseError, one_line, shown
from yolopose.limits import MAX_AXIS, MAX_WEIGHTS
from yolopose.metadata import CHECKPOINT, literal

PREFIX = "network."  # of the initialisers' names, before the key in the state dict
HALF = ".half"  # at the end of their names where the file stores float16 and casts it to float32
TYPES = {1: "<f4", 10: "<f2"}  # by ONNX's numbers: FLOAT, FLOAT16


def read_onnx(path: Path) -> dict[str, Any] | None:
    """The content of the checkpoint in an ONNX file, as in a `.pt` of ours; None when the file carries none.

    The weights come as float32.

    Raises:
        PoseError: the file is damaged or cannot be read, or the onnx package is not installed.
    """
    try:
        from onnx import ModelProto
    except ModuleNotFoundError as error:
        raise PoseError(f"{path}: needs {error.name}: pip install 'yolopose[train]'") from None
    try:
        if not path.is_file() or path.stat().st_size > MAX_WEIGHTS:
            return None
        model = ModelProto.FromString(path.read_bytes())
    except OSError as error:
        raise PoseError(f"{path}: cannot be read: {one_line(error.strerror or error)}") from None
    except Exception as error:  # protobuf's own; its package has no types
        raise PoseError(f"{path}: damaged: no ONNX file ({one_line(error)})") from None
    text = next((entry.value for entry in model.metadata_props if entry.key == CHECKPOINT), None)
    if text is None:
        return None
    content = literal(text)
    if not isinstance(content, dict) or not isinstance(content.get("state"), dict):
        raise PoseError(f"{path}: damaged: its entry {CHECKPOINT} is {shown(content)}")
    state = {str(key): _small(key, value, path) for key, value in content["state"].items()}
    for weight in model.graph.initializer:
        if isinstance(weight.name, str) and weight.name.startswith(PREFIX):  # bytes where it is no text
            state[weight.name.removeprefix(PREFIX).removesuffix(HALF)] = _tensor(weight, path)
    return content | {"state": state}


def stored_rest(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Entries of a state dict as numbers and nested lists for the metadata: counters, and constants of the graph."""
    return {key: value.tolist() for key, value in state.items()}


def _small(key: Any, value: Any, path: Path) -> Tensor:
    """A number or nested lists of numbers → float32, or int64 for whole ones."""
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        array = np.empty(0, object)
    if array.dtype.kind not in "if" or not array.size:
        raise PoseError(f"{path}: damaged: {shown(key)} is {shown(value)}")
    return torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))


def _tensor(weight: Any, path: Path) -> Tensor:
    """The numbers of an initialiser as float32; they must be in the file itself."""
    shape, kind = tuple(weight.dims), TYPES.get(weight.data_type)
    whole = kind is not None and all(0 < size <= MAX_AXIS for size in shape)
    if not whole or math.prod(shape) * np.dtype(kind).itemsize != len(weight.raw_data):
        raise PoseError(f"{path}: damaged: {shown(weight.name)} is not {shown(list(shape))} numbers in 32 or 16 bits")
    return torch.from_numpy(np.frombuffer(weight.raw_data, kind).reshape(shape).astype(np.float32))
