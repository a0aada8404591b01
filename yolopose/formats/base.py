"""Backends: run a network on a batch of letterboxed images and return its decoded output."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from yolopose.console import log
from yolopose.errors import PoseError, UsageError, first_line, shown
from yolopose.metadata import ModelInfo, Shape, info_from_file, is_end_to_end, precision_in_file

Array = NDArray[Any]
Float = NDArray[np.float32]


@dataclass(frozen=True)
class OpenOptions:
    """How to open a model file; a runtime refuses what it cannot do.

    `device` None takes a GPU when the runtime has one. `half` and `bf16` set the type the convolutions compute in;
    decoding stays float32. `kpt_shape` (K, D) describes a file that carries no metadata.
    """

    device: str | None = None
    half: bool = False
    bf16: bool = False
    threads: int | None = None
    kpt_shape: tuple[int, int] | None = None

    def cpu_threads(self) -> int | None:
        """The number of threads set here or by OMP_NUM_THREADS; None is the runtime's own choice."""
        text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
        return self.threads or (int(text) if text.isdecimal() and int(text) > 0 else None)


DEFAULT_OPTIONS = OpenOptions()


class Suppression(NamedTuple):
    """Non-maximum suppression inside a file: thresholds, and `max_det`, the number of rows of its output."""

    conf: float
    iou: float
    max_det: int
    agnostic_nms: bool


@dataclass(frozen=True)
class ExportOptions:
    """How to write a model file; input size, batch, and whether they are variable, are in its ModelInfo.

    `data` is the data set YAML whose images calibrate `int8`, None is the packaged photographs. `opset` None is
    `onnx.OPSET`. `workspace` is TensorRT's, in gigabytes. `verify` is true when the new file will be opened.
    """

    device: str | None = None
    data: str | None = None
    half: bool = False
    int8: bool = False
    simplify: bool = True
    opset: int | None = None
    optimize: bool = False
    keras: bool = False
    workspace: float | None = None
    verify: bool = False
    suppression: Suppression | None = None


class Backend(Protocol):
    """A network ready to run; its methods are safe to call from many threads.

    Images are (B, H, W, 3) BGR, letterboxed: uint8, or float32 from 0 to 1. `fixed_shape` is the (B, H, W) of a file
    that takes no other; `infer` splits and pads batches itself, images must have that H and W.
    """

    info: ModelInfo
    precision: str
    device: str
    fixed_shape: tuple[int, int, int] | None

    def infer(self, images: Array) -> Float:
        """(B, H, W, 3) → (B, 4+C+K·D, A): box cx cy w h and keypoints in input pixels, scores from 0 to 1."""
        ...

    def candidates(self, images: Array, conf: float) -> list[Float]:
        """(B, H, W, 3) → per image the (M, 4+C+K·D) rows whose best class scores above `conf`, in anchor order."""
        return candidates_above(self.infer(images), len(self.info.names), conf)


def candidates_above(output: Float, classes: int, conf: float) -> list[Float]:
    """(B, 4+C+K·D, A) → per image the (M, 4+C+K·D) rows with a class score above `conf`, in anchor order."""
    best = output[:, 4] if classes == 1 else output[:, 4 : 4 + classes].max(1)
    return [np.ascontiguousarray(image[:, hits].T) for image, hits in zip(output, best > conf, strict=True)]


class FileBackend(Backend):
    """A network in an exported file. The class of a runtime loads the file and implements `_run`.

    `path` is for messages. `channels_last` tells that the file takes (B, H, W, 3) in place of (B, 3, H, W).
    """

    channels_last = False

    def __init__(
        self,
        path: Path,
        options: OpenOptions,
        metadata: Mapping[str, Any],
        inputs: Sequence[Shape],
        outputs: Sequence[Shape],
        *,
        precision: str = "float32",
        device: str | None = None,
    ) -> None:
        """Take the metadata of a loaded file and the shapes of its inputs and outputs; open sizes are None or names.

        `precision` is the type of the convolutions where the metadata do not state it, `device` the one that the file
        was loaded on; None is for runtimes that have the CPU only.

        Raises:
            PoseError: not one image input and one decoded output, or metadata that do not fit them.
            UsageError: a device that the runtime does not have.
        """
        self.path = str(path)
        channels = 3 if self.channels_last else 1
        ranks = [len(shape) for shape in (*inputs, *outputs)]
        if ranks != [4, 3] or (isinstance(inputs[0][channels], int) and inputs[0][channels] != 3):
            given = f"{shown(list(inputs))} → {shown(list(outputs))}"
            raise PoseError(f"{path}: expected one image input and one decoded (B, 4+C+K·D, A) output, got {given}")
        sizes = [size if isinstance(size, int) else None for size in inputs[0]]
        batch, h, w = (sizes[i] for i in ((0, 1, 2) if self.channels_last else (0, 2, 3)))
        self.info = info_from_file(self.path, metadata, (batch, 3, h, w), outputs[0], options.kpt_shape)
        self.fixed_shape = (batch or 1, h, w) if h and w else None
        self._batch = batch
        self._end_to_end = is_end_to_end(outputs[0], self.info)
        self.precision = precision_in_file(self.info, precision)
        self.device = device or "cpu"
        if device is None:
            refuse_other_device(self.path, options)
        if (options.half and self.precision != "float16") or options.bf16:
            log.warning(f"{path}: computes in {self.precision}, as it was exported; half and bf16 change nothing")

    def infer(self, images: Array) -> Float:
        """(B, H, W, 3) → (B, 4+C+K·D, A), see `Backend`."""
        self.check_size(images)
        return in_batches_of(self._batch or len(images), images, self._run_decoded)

    def check_size(self, images: Array) -> None:
        """Raise PoseError, naming both sizes, when images (B, H, W, 3) are not of the one size that the file takes."""
        if self.fixed_shape and images.shape[1:3] != self.fixed_shape[1:]:
            (h, w), (rows, columns) = self.fixed_shape[1:], images.shape[1:3]
            remedy = f"export it with imgsz={rows},{columns}"
            raise PoseError(f"{self.path}: takes images of {h}x{w} only, got {rows}x{columns}; {remedy}")

    def _run_decoded(self, images: Array) -> Float:
        """`_run` with its output checked, and converted from the form with suppression."""
        output = self._run(images)
        k, d = self.info.kpt_shape
        axis, size = (2, 6 + k * d) if self._end_to_end else (1, self.info.channels)
        if output.ndim != 3 or len(output) != len(images) or output.shape[axis] != size:
            raise PoseError(f"{self.path}: its output {list(output.shape)} has not the {size} channels of its metadata")
        return decoded(output, len(self.info.names)) if self._end_to_end else output

    @abstractmethod
    def _run(self, images: Array) -> Float:
        """Run the file on a batch (B, H, W, 3) that it takes and return its output as float32."""


@contextmanager
def loading(path: Path, runtime: str) -> Iterator[None]:
    """Turn any error of loading `path` with `runtime` into a PoseError of one line; runtimes raise many types."""
    try:
        yield
    except PoseError:
        raise
    except Exception as e:
        raise PoseError(f"{path}: {runtime} cannot load it: {first_line(e)}") from None


def refuse_other_device(name: str, options: OpenOptions) -> None:
    """Raise UsageError for any device but the CPU; for -1, an idle GPU, only log a line."""
    if options.device == "-1":
        log.info(f"device=-1: {name} runs on the CPU only")
    elif options.device not in (None, "", "auto", "cpu"):
        raise UsageError(f"device={options.device}: {name} runs on the CPU only; leave it out")


def decoded(rows: Float, classes: int) -> Float:
    """(B, N, 6+K·D) xyxy score class keypoints → (B, 4+C+K·D, N), the form of a file without suppression."""
    low, high = rows[..., :2], rows[..., 2:4]
    scores = np.where(rows[..., 5:6] == np.arange(classes), rows[..., 4:5], np.float32(0))  # (B, N, C)
    return np.concatenate([(low + high) / 2, high - low, scores, rows[..., 6:]], 2).transpose(0, 2, 1)


def in_batches_of(size: int, images: Array, run: Callable[[Array], Float]) -> Float:
    """`run` on batches of exactly `size` images, the last one padded with black images, for files of a fixed batch."""
    count, missing = len(images), -len(images) % size
    if missing:
        images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
    outputs = [run(images[i : i + size]) for i in range(0, count, size)]
    return (outputs[0] if len(outputs) == 1 else np.concatenate(outputs))[:count]


def to_nchw(images: Array) -> Float:
    """(B, H, W, 3) BGR uint8, or float32 from 0 to 1 → (B, 3, H, W) RGB float32 from 0 to 1, contiguous."""
    import cv2

    out = np.empty((len(images), 3, *images.shape[1:3]), np.float32)
    scale = np.float32(255 if images.dtype == np.uint8 else 1)
    for image, planes in zip(images, out, strict=True):
        for source, plane in zip(cv2.split(image), planes[::-1], strict=True):  # B G R into the planes of R G B
            np.divide(source, scale, out=plane)
    return out


def to_nhwc(images: Array) -> Float:
    """(B, H, W, 3) BGR uint8, or float32 from 0 to 1 → (B, H, W, 3) RGB float32 from 0 to 1, contiguous."""
    scale = np.float32(255 if images.dtype == np.uint8 else 1)
    return np.divide(to_rgb(images), scale, dtype=np.float32)


def to_rgb(images: Array) -> Array:
    """(B, H, W, 3) BGR → RGB, contiguous; by OpenCV, many times faster than NumPy."""
    import cv2

    b, h, w, _ = images.shape
    return np.asarray(cv2.cvtColor(images.reshape(b * h, w, 3), cv2.COLOR_BGR2RGB)).reshape(images.shape)
