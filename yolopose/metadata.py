"""Model metadata (names, keypoints, input size), identical in checkpoints and exported files."""

from __future__ import annotations

import ast
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from yolopose.errors import PoseError, one_line, shown
from yolopose.files import read_yaml
from yolopose.geometry.keypoints import KeypointLayout, default_layout
from yolopose.limits import (
    MAX_BATCH,
    MAX_CLASSES,
    MAX_METADATA,
    MAX_PIXELS,
    MAX_SIDE,
    MAX_STRIDE,
    int_of,
    list_of,
    text_of,
)

PREPROCESSING = "letterbox to (imgsz) with value 114 keeping the aspect ratio, RGB, divide by 255, float32 NCHW"
DECODING = (
    "output (B, 4 + C + K*D, A): box centre x y, width, height in input pixels; C class scores; "
    "K keypoints x y in input pixels and, when D = 3, a visibility score; non-maximum suppression is left to the host"
)

SUPPRESSED = (
    "output (B, N, 6 + K*D), after non-maximum suppression: box x1 y1 x2 y2 in input pixels, score, class; K keypoints "
    "x y in input pixels and, when D = 3, a visibility score; best first, rows of zeros at the end"
)
CHECKPOINT = "yolopose_checkpoint"  # an entry of bundled ONNX files, for `checkpoint.in_onnx` alone
METADATA = "metadata.yaml"  # in the folder of a format that is a folder
Shape = Sequence[Any]  # of an input or output of a file; open sizes are names or None
PRECISIONS = ("float32", "float16", "bfloat16", "int8")


@dataclass(frozen=True)
class ModelInfo:
    """Names, keypoints and input of a model; `extra` has further JSON values (version, licence, data card, …).

    `stride` is the largest stride in pixels: both sides of an input are multiples of it. `imgsz` is (H, W) in pixels,
    `batch` the images per run; a `dynamic` model takes others too.
    """

    names: dict[int, str]
    layout: KeypointLayout
    stride: int = 32
    imgsz: tuple[int, int] = (640, 640)
    batch: int = 1
    dynamic: bool = False
    task: str = "pose"
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def kpt_shape(self) -> tuple[int, int]:
        """(K, D)."""
        return self.layout.shape

    def size_for(self, imgsz: int | tuple[int, int] | None) -> int | tuple[int, int]:
        """`imgsz`, or for None the size the model was trained at or exported with: a square's side, or (H, W).

        Predict, val, train, benchmark and export all use this rule.
        """
        if imgsz is None:
            return self.imgsz[0] if self.imgsz[0] == self.imgsz[1] else self.imgsz
        return imgsz

    def input_size(self, imgsz: int | tuple[int, int] | None) -> tuple[int, int]:
        """(H, W) of the network's input for `size_for(imgsz)`, rounded up to multiples of the stride."""
        size = self.size_for(imgsz)
        h, w = (size, size) if isinstance(size, int) else size
        return -(-h // self.stride) * self.stride, -(-w // self.stride) * self.stride

    @property
    def channels(self) -> int:
        """Rows of the decoded output: 4 + C + K·D."""
        return 4 + len(self.names) + self.kpt_shape[0] * self.kpt_shape[1]

    def to_dict(self) -> dict[str, Any]:
        """Everything in JSON types, keypoint layout inline; the inverse of `from_dict`."""
        out: dict[str, Any] = {"task": self.task, "names": dict(self.names), "stride": self.stride}
        out |= {"imgsz": list(self.imgsz), "batch": self.batch, "dynamic": self.dynamic}
        return self.extra | out | self.layout.to_dict()

    def to_strings(self) -> dict[str, str]:
        """The metadata of an exported file as text; numbers and containers are Python literals."""
        return {key: value if isinstance(value, str) else repr(value) for key, value in self.file_metadata().items()}

    def file_metadata(self) -> dict[str, Any]:
        """The metadata of an exported file: `to_dict`, with pre-processing and decoding in words."""
        return {"preprocessing": PREPROCESSING, "decoding": DECODING} | self.to_dict()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelInfo:
        """From `to_dict`, or from the metadata of a file exported by Ultralytics.

        Raises:
            PoseError: a missing or malformed entry, named.
        """
        check_task(values)
        try:
            layout = KeypointLayout.from_dict(values)
            dynamic = values.get("dynamic", False)
            known = {f.name for f in fields(cls)} | {"preprocessing", "decoding", *layout.to_dict()}
            return cls(
                names=class_names(values.get("names", {0: "object"})),
                layout=layout,
                stride=int_of(values.get("stride", 32), "stride", 1, MAX_STRIDE),
                imgsz=sides(values.get("imgsz", 640)),
                batch=int_of(values.get("batch", 1), "batch", 1, MAX_BATCH),
                dynamic=bool(int_of(int(dynamic) if isinstance(dynamic, bool) else dynamic, "dynamic", 0, 1)),
                extra={key: value for key, value in values.items() if key not in known},
            )
        except PoseError as error:
            raise PoseError(f"the model's metadata are damaged: {error}") from None


def check_task(values: Mapping[str, Any]) -> None:
    """Raise PoseError for the metadata of another task's model."""
    if (task := values.get("task", "pose")) != "pose":
        raise PoseError(f"this is a {shown(task)} model; yolopose runs pose models")


def class_names(value: Any) -> dict[int, str]:
    """Class names from a mapping or a list, in the order of their numbers.

    Raises:
        PoseError: neither, too many, or numbers that are not 0, 1, 2, …
    """
    if isinstance(value, Mapping):
        if len(value) > MAX_CLASSES:
            raise PoseError(f"names must have 1 to {MAX_CLASSES} entries, has {len(value)}")
        found = {_class_number(key): text_of(name, "a name of names") for key, name in value.items()}
        if not found or sorted(found) != list(range(len(value))):
            raise PoseError(f"names must number the classes from 0, got {shown(value)}")
        return dict(sorted(found.items()))
    return {i: text_of(name, "a name of names") for i, name in enumerate(list_of(value, "names", 1, MAX_CLASSES))}


def _class_number(key: Any) -> int:
    """A key of `names`; JSON has them as text."""
    if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 8:
        key = int(key)
    return int_of(key, "a number of names", 0, MAX_CLASSES)


def sides(value: Any) -> tuple[int, int]:
    """(H, W) in pixels from one side or two. Raises PoseError for anything else, and for more than `MAX_PIXELS`."""
    both = list_of(value, "imgsz", 1, 2) if isinstance(value, list | tuple) else [value]
    h, w = (int_of(side, "imgsz", 1, MAX_SIDE) for side in (both[0], both[-1]))
    if h * w > MAX_PIXELS:
        raise PoseError(f"imgsz must be of at most {MAX_PIXELS} pixels, got {h}x{w}")
    return h, w


def literal(text: Any) -> Any:
    """A Python literal, or the value itself when it is none, or larger than metadata are."""
    if not isinstance(text, str) or len(text) > MAX_METADATA:
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def info_from_file(
    name: str, metadata: Mapping[str, Any], inputs: Shape, output: Shape, kpt_shape: tuple[int, int] | None
) -> ModelInfo:
    """The ModelInfo of an exported file from its metadata, (B, 3, H, W) input and (B, 4+C+K·D, A) output.

    Open sizes are names or None. Without metadata the layout comes from `kpt_shape`, or from the number of channels
    for one class and three numbers per keypoint.

    Raises:
        PoseError: a model of another task, or an output that does not fit a pose network; with the remedy.
    """
    try:
        check_task(metadata)
        # literals only, nothing is evaluated
        values = {key: literal(value) for key, value in metadata.items() if key != CHECKPOINT}
        if kpt_shape is not None or "kpt_shape" not in values:
            values |= _layout_and_names(values, output, kpt_shape)
        info = ModelInfo.from_dict(values)
        batch, _, h, w = inputs
        imgsz = sides((h, w)) if isinstance(h, int) and isinstance(w, int) else info.imgsz
        batch = int_of(batch, "the batch of its input", 1, MAX_BATCH) if isinstance(batch, int) else 1
        info = replace(info, imgsz=imgsz, batch=batch, dynamic=not isinstance(h, int))
    except PoseError as error:
        raise PoseError(f"{name}: {error}") from None
    channels = output[1]
    if isinstance(channels, int) and channels != info.channels and not is_end_to_end(output, info):
        raise PoseError(
            f"{name}: its output {list(output)} has {channels} channels, "
            f"{len(info.names)} classes and kpt_shape {list(info.kpt_shape)} make {info.channels}"
        )
    return info


def _layout_and_names(values: Mapping[str, Any], output: Shape, kpt_shape: tuple[int, int] | None) -> dict[str, Any]:
    """The keypoint layout and the class names, as in `ModelInfo.to_dict`, of a file without kpt_shape."""
    channels = output[1] if len(output) == 3 and isinstance(output[1], int) else None
    names = values.get("names")
    names = None if names in (None, "None", "") else class_names(names)
    if kpt_shape is None:
        k, rest = divmod((channels or 0) - 4 - len(names or [None]), 3)
        if rest or k < 1:
            raise PoseError(f"no keypoints in its metadata or its output {list(output)}; give kpt_shape=K,D")
        kpt_shape = (k, 3)
    if names is None:
        classes = 1 if channels is None else channels - 4 - kpt_shape[0] * kpt_shape[1]
        if not 1 <= classes <= MAX_CLASSES:
            raise PoseError(f"kpt_shape {list(kpt_shape)} does not fit its output {list(output)}")
        one = {17: "person", 5: "face"}.get(kpt_shape[0], "object")
        names = {0: one} if classes == 1 else {i: f"class{i}" for i in range(classes)}
    return default_layout(kpt_shape).to_dict() | {"names": names}


def precision_in_file(info: ModelInfo, default: str = "float32") -> str:
    """The type that convolutions compute in by the metadata of our files and Ultralytics', else the default."""
    args, precision = _arguments(info), info.extra.get("precision")
    half = args.get("half") is True or args.get("quantize") == 16
    return precision if precision in PRECISIONS else "float16" if half else default


def is_end_to_end(output: Shape, info: ModelInfo) -> bool:
    """Whether an output is (B, N, 6+K·D), non-maximum suppression in the file: by its metadata, or by its shape.

    By the shape alone, a file with as many rows as a plain output has channels would be mistaken for one.
    """
    k, d = info.kpt_shape
    stated = info.extra.get("nms", _arguments(info).get("nms"))
    return len(output) == 3 and output[2] == 6 + k * d and (stated is True or output[1] != info.channels)


def _arguments(info: ModelInfo) -> dict[str, Any]:
    """The export arguments in the metadata of Ultralytics' files."""
    args = info.extra.get("args")
    return args if isinstance(args, dict) else {}


def channels_last(info: ModelInfo) -> ModelInfo:
    """`info` for a file of TensorFlow or TF Lite, whose images have their channels last."""
    return replace(info, extra=info.extra | {"preprocessing": PREPROCESSING.replace("NCHW", "NHWC")})


def read_archived(path: Path, *endings: str | tuple[str, ...]) -> str:
    """The text of an entry of a file's zip archive whose name ends so, of several the first; "" when there is none.

    Raises:
        zipfile.BadZipFile: the file has no archive.
        PoseError: a damaged entry, or one larger than `MAX_METADATA`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(archive.namelist())
            name = next((name for ending in endings for name in names if name.endswith(ending)), None)
            if name is None:
                return ""
            with archive.open(name) as entry:
                data = entry.read(MAX_METADATA + 1)
        content = data.decode()
    except zipfile.BadZipFile:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, struct.error, zlib.error) as e:
        raise PoseError(f"{path}: its metadata cannot be read: {one_line(e)}") from None
    if len(data) > MAX_METADATA:
        raise PoseError(f"{path}: its metadata have more than {MAX_METADATA} bytes")
    return content


def save_metadata(path: Path, info: ModelInfo) -> None:
    """Write the metadata as a YAML file, for formats that cannot store them inside the model file."""
    import yaml

    path.write_text(yaml.safe_dump(info.file_metadata(), sort_keys=False, allow_unicode=True), encoding="utf-8")


def load_metadata(path: Path) -> dict[str, Any]:
    """The entries of a metadata file, ours or Ultralytics'; none when it is missing. Raises PoseError if damaged."""
    return read_yaml(path) if path.is_file() else {}
