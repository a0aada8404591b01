"""Metadata of an exported file, or what its output shape tells."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from yolopose.errors import PoseError, one_line
from yolopose.files import read_yaml
from yolopose.formats.base import Float
from yolopose.geometry.keypoints import default_layout
from yolopose.limits import MAX_BATCH, MAX_CLASSES, MAX_METADATA, whole
from yolopose.metadata import PREPROCESSING, ModelInfo, check_task, class_names, literal, sides

Dims = Sequence[Any]
PRECISIONS = ("float32", "float16", "bfloat16", "int8")
METADATA = "metadata.yaml"  # in the folder of a format that is a folder


def describe(
    name: str, metadata: Mapping[str, Any], inputs: Dims, output: Dims, kpt_shape: tuple[int, int] | None
) -> ModelInfo:
    """The ModelInfo of a file from its metadata, its (B, 3, H, W) input and its (B, 4+C+K·D, A) output.

    Sizes that a file leaves open are names or None. Without metadata the layout comes from `kpt_shape`, or from the
    number of channels for one class and three numbers per keypoint.

    Raises:
        PoseError: another task's model, or an output that fits no pose network; with the remedy.
    """
    try:
        check_task(metadata)
        if kpt_shape is None and "kpt_shape" in metadata:
            info = ModelInfo.from_strings(metadata)
        else:
            info = _from_shape(name, metadata, output, kpt_shape)
        info = _with_input(info, inputs)
    except PoseError as error:
        raise PoseError(f"{name}: {str(error).removeprefix(f'{name}: ')}") from None
    channels = output[1]
    if isinstance(channels, int) and channels != info.channels and not is_end_to_end(output, info):
        raise PoseError(
            f"{name}: its output {list(output)} has {channels} channels, "
            f"{len(info.names)} classes and kpt_shape {list(info.kpt_shape)} make {info.channels}"
        )
    return info


def _with_input(info: ModelInfo, inputs: Dims) -> ModelInfo:
    """`info` with the batch and the sides of the input, where the file fixes them."""
    b, _, h, w = inputs
    if isinstance(h, int) and isinstance(w, int):
        info = replace(info, imgsz=sides((h, w)))
    batch = whole(b, "the batch of its input", 1, MAX_BATCH) if isinstance(b, int) else 1
    return replace(info, batch=batch, dynamic=not isinstance(h, int))


def _from_shape(name: str, metadata: Mapping[str, Any], output: Dims, kpt_shape: tuple[int, int] | None) -> ModelInfo:
    """The description of a file that does not name its keypoints."""
    channels = output[1] if len(output) == 3 and isinstance(output[1], int) else None
    names = literal(metadata.get("names"))
    names = None if names in (None, "None", "") else class_names(names)
    if kpt_shape is None:
        k, rest = divmod((channels or 0) - 4 - len(names or [None]), 3)
        if rest or k < 1:
            raise PoseError(f"{name}: no keypoints in its metadata or its output {list(output)}; give kpt_shape=K,D")
        kpt_shape = (k, 3)
    if names is None:
        classes = 1 if channels is None else channels - 4 - kpt_shape[0] * kpt_shape[1]
        if not 1 <= classes <= MAX_CLASSES:
            raise PoseError(f"{name}: kpt_shape {list(kpt_shape)} does not fit its output {list(output)}")
        one = {17: "person", 5: "face"}.get(kpt_shape[0], "object")
        names = {0: one} if classes == 1 else {i: f"class{i}" for i in range(classes)}
    return ModelInfo.from_dict(
        {key: literal(value) for key, value in metadata.items()}
        | default_layout(kpt_shape).to_dict()
        | {"names": names}
    )


def stated_precision(info: ModelInfo, default: str = "float32") -> str:
    """The type that convolutions compute in: as our files and Ultralytics' state it, else the default."""
    args = info.extra.get("args")
    stated = args if isinstance(args, dict) else {}
    half = stated.get("half") is True or stated.get("quantize") == 16
    precision = info.extra.get("precision")
    return precision if precision in PRECISIONS else "float16" if half else default


def is_end_to_end(output: Dims, info: ModelInfo) -> bool:
    """Whether an output is (B, N, 6+K·D), non-maximum suppression within the file: as it says itself, or by its shape.

    By the shape alone, a file of as many rows as the other kind has channels would be taken for that.
    """
    k, d = info.kpt_shape
    args = info.extra.get("args")
    stated = info.extra.get("nms", args.get("nms") if isinstance(args, dict) else None)
    return len(output) == 3 and output[2] == 6 + k * d and (stated is True or output[1] != info.channels)


def decoded(rows: Float, classes: int) -> Float:
    """(B, N, 6+K·D) xyxy score class keypoints → (B, 4+C+K·D, N), the form of a file without suppression."""
    out = np.zeros((rows.shape[0], rows.shape[2] - 2 + classes, rows.shape[1]), np.float32)
    low, high = rows[..., :2], rows[..., 2:4]
    out[:, 0:2] = ((low + high) / 2).transpose(0, 2, 1)
    out[:, 2:4] = (high - low).transpose(0, 2, 1)
    for c in range(classes):
        out[:, 4 + c] = np.where(rows[..., 5] == c, rows[..., 4], 0)
    out[:, 4 + classes :] = rows[..., 6:].transpose(0, 2, 1)
    return out


def channels_last(info: ModelInfo) -> ModelInfo:
    """What a file of TensorFlow or TF Lite says of itself: its images have their channels last."""
    return replace(info, extra=info.extra | {"preprocessing": PREPROCESSING.replace("NCHW", "NHWC")})


def archived(path: Path, pick: Callable[[list[str]], str | None]) -> str | None:
    """The text of the entry that `pick` chooses among the names of the archive in a file; None when it chooses none.

    Raises:
        zipfile.BadZipFile: there is no archive in the file.
        PoseError: a damaged entry, or one larger than metadata are.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = pick(archive.namelist())
            if name is None:
                return None
            with archive.open(name) as entry:
                data = entry.read(MAX_METADATA + 1)
        text = data.decode()
    except zipfile.BadZipFile:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, struct.error, zlib.error) as e:
        raise PoseError(f"{path}: its metadata cannot be read: {one_line(e)}") from None
    if len(data) > MAX_METADATA:
        raise PoseError(f"{path}: its metadata have more than {MAX_METADATA} bytes")
    return text


def save_metadata(path: Path, info: ModelInfo) -> None:
    """Write what a model says of itself as YAML, for formats that cannot carry it within."""
    import yaml

    path.write_text(yaml.safe_dump(info.described(), sort_keys=False, allow_unicode=True), encoding="utf-8")


def load_metadata(path: Path) -> dict[str, Any]:
    """The entries of a metadata file, ours or Ultralytics'; none when it is missing. Raises PoseError if damaged."""
    return read_yaml(path) if path.is_file() else {}
