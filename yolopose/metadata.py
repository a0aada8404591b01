"""Model metadata (names, keypoints, input size), identical in checkpoints and exported files."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from yolopose.errors import PoseError, shown
from yolopose.geometry.keypoints import KeypointLayout
from yolopose.limits import (
    MAX_BATCH,
    MAX_CLASSES,
    MAX_METADATA,
    MAX_PIXELS,
    MAX_SIDE,
    MAX_STRIDE,
    items,
    text,
    whole,
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


@dataclass(frozen=True)
class ModelInfo:
    """Names, keypoints and input of a model; `extra` holds further JSON-like facts (version, licence, data card, …).

    `stride` is the largest stride in pixels: both sides of an input are multiples of it. `imgsz` is (H, W) in pixels,
    `batch` the images per run; both bind only a model that is not `dynamic`.
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
        """`imgsz` as it is, or for None the size the model was trained at or exported with: a square's side, or (H, W).

        The one rule of predict, val, train, benchmark and export.
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
        """The metadata of an exported file: every value as text, numbers and containers as literals."""
        return {key: value if isinstance(value, str) else repr(value) for key, value in self.described().items()}

    def described(self) -> dict[str, Any]:
        """`to_dict`, with pre-processing and decoding in words."""
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
            known = {f.name for f in fields(cls)} | {"preprocessing", "decoding", *layout.to_dict()}
            return cls(
                names=class_names(values.get("names", {0: "object"})),
                layout=layout,
                stride=whole(values.get("stride", 32), "stride", 1, MAX_STRIDE),
                imgsz=sides(values.get("imgsz", 640)),
                batch=whole(values.get("batch", 1), "batch", 1, MAX_BATCH),
                dynamic=_flag(values.get("dynamic", False), "dynamic"),
                extra={key: value for key, value in values.items() if key not in known},
            )
        except PoseError as error:
            raise PoseError(f"the model's metadata are damaged: {error}") from None

    @classmethod
    def from_strings(cls, values: Mapping[str, str]) -> ModelInfo:
        """From the metadata of an exported file; values are read as literals only, never evaluated."""
        read = {key: literal(value) for key, value in values.items()}
        return cls.from_dict(read)


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
        found = {_class_number(key): text(name, "a name of names") for key, name in value.items()}
        if sorted(found) == list(range(len(value))) and found:
            return dict(sorted(found.items()))
        raise PoseError(f"names must number the classes from 0, got {shown(value)}")
    return {i: text(name, "a name of names") for i, name in enumerate(items(value, "names", 1, MAX_CLASSES))}


def _class_number(key: Any) -> int:
    """A key of `names`; JSON has them as text."""
    if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 8:
        key = int(key)
    return whole(key, "a number of names", 0, MAX_CLASSES)


def sides(value: Any) -> tuple[int, int]:
    """(H, W) in pixels from one side or two. Raises PoseError for anything else, and for more than `MAX_PIXELS`."""
    if isinstance(value, list | tuple):
        h, w = items(value, "imgsz", 1, 2)[0], value[-1]
    else:
        h = w = value
    h, w = whole(h, "imgsz", 1, MAX_SIDE), whole(w, "imgsz", 1, MAX_SIDE)
    if h * w > MAX_PIXELS:
        raise PoseError(f"imgsz must be of at most {MAX_PIXELS} pixels, got {h}x{w}")
    return h, w


def _flag(value: Any, name: str) -> bool:
    """True or False, also as 1 or 0. Raises PoseError for anything else."""
    if isinstance(value, bool):
        return value
    return bool(whole(value, name, 0, 1))


def literal(text: Any) -> Any:
    """A Python literal, or the value itself when it is none, or larger than metadata are."""
    if not isinstance(text, str) or len(text) > MAX_METADATA:
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
