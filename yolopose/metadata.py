"""What a model says of itself, the same in a checkpoint and in every exported file."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from yolopose.errors import PoseError
from yolopose.geometry.keypoints import KeypointLayout

T = TypeVar("T")

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
        task = str(values.get("task", "pose"))
        if task != "pose":
            raise PoseError(f"this is a {task!r} model; yolopose runs pose models")
        try:
            layout = KeypointLayout.from_dict(values)
        except (TypeError, ValueError) as e:
            raise PoseError(f"the model's metadata are damaged: keypoint layout: {e}") from None
        known = {f.name for f in fields(cls)} | {"preprocessing", "decoding", *layout.to_dict()}
        return cls(
            names=_entry(values, "names", {0: "object"}, _names),
            layout=layout,
            stride=_entry(values, "stride", 32, int),
            imgsz=_entry(values, "imgsz", 640, _sides),
            batch=_entry(values, "batch", 1, int),
            dynamic=bool(values.get("dynamic", False)),
            extra={key: value for key, value in values.items() if key not in known},
        )

    @classmethod
    def from_strings(cls, values: Mapping[str, str]) -> ModelInfo:
        """From the metadata of an exported file; values are read as literals only, never evaluated."""
        read = {key: literal(value) for key, value in values.items()}
        return cls.from_dict(read)


def _entry(values: Mapping[str, Any], key: str, default: Any, convert: Callable[[Any], T]) -> T:
    """An entry converted. Raises PoseError that names it when it is of the wrong form."""
    value = values.get(key, default)
    try:
        return convert(value)
    except (TypeError, ValueError, IndexError):
        raise PoseError(f"the model's metadata are damaged: {key} is {value!r}") from None


def _names(value: Any) -> dict[int, str]:
    """Class names from a mapping or a list."""
    if isinstance(value, str):
        raise TypeError("text where a mapping or list belongs")
    return {int(i): str(name) for i, name in (value if isinstance(value, Mapping) else dict(enumerate(value))).items()}


def _sides(value: Any) -> tuple[int, int]:
    """(H, W) from one side or two."""
    h, w = (value, value) if isinstance(value, int) else value
    return int(h), int(w)


def literal(text: str) -> Any:
    """A Python literal, or the text itself when it is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
