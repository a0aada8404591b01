"""What every runtime offers: the decoded output of the network for a batch of letterboxed images."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from yolopose.console import log
from yolopose.errors import PoseError, UsageError
from yolopose.metadata import ModelInfo

Array = NDArray[Any]
Float = NDArray[np.float32]


@dataclass(frozen=True)
class OpenOptions:
    """How a model file is opened; a runtime refuses what it cannot do.

    `device` None takes a GPU when the runtime has one. `half` and `bf16` set the type the convolutions compute in;
    decoding stays float32. `kpt_shape` (K, D) describes a file that carries no metadata.
    """

    device: str | None = None
    half: bool = False
    bf16: bool = False
    threads: int | None = None
    kpt_shape: tuple[int, int] | None = None

    def cpu_threads(self) -> int | None:
        """The threads asked for here or by OMP_NUM_THREADS; None leaves the choice to the runtime."""
        text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
        return self.threads or (int(text) if text.isdecimal() and int(text) > 0 else None)


class Backend(Protocol):
    """A network ready to run; its methods keep no state and may be called from many threads at once.

    Images are (B, H, W, 3) BGR, letterboxed: uint8, or float32 from 0 to 1. `fixed_shape` is the (B, H, W) of a file
    that takes no other; `infer` splits and fills batches itself, H and W are the caller's to keep.
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
        return select(self.infer(images), len(self.info.names), conf)


def select(output: Float, classes: int, conf: float) -> list[Float]:
    """(B, 4+C+K·D, A) → per image the (M, 4+C+K·D) rows with a class score above `conf`, in anchor order."""
    best = output[:, 4] if classes == 1 else output[:, 4 : 4 + classes].max(1)
    return [np.ascontiguousarray(image[:, hits].T) for image, hits in zip(output, best > conf, strict=True)]


def refuse_other_shape(name: str, images: Array, fixed: tuple[int, int, int] | None) -> None:
    """Raise PoseError, naming both sizes, when images (B, H, W, 3) are not of the one size that a file takes."""
    if fixed and images.shape[1:3] != fixed[1:]:
        (h, w), (rows, columns) = fixed[1:], images.shape[1:3]
        raise PoseError(
            f"{name}: takes images of {h}x{w} only, got {rows}x{columns}; export it with imgsz={rows},{columns}"
        )


def as_exported(name: str, precision: str, options: OpenOptions) -> None:
    """For runtimes that compute on the CPU only, and only in the `precision` of the file: is something else wanted?

    Raises:
        UsageError: another device; -1, an idle GPU, is answered with a line.
    """
    if options.device == "-1":
        log.info(f"device=-1: {name} runs on the CPU only")
    elif options.device not in (None, "", "auto", "cpu"):
        raise UsageError(f"device={options.device}: {name} runs on the CPU only; leave it out")
    keep_precision(name, precision, options)


def keep_precision(name: str, precision: str, options: OpenOptions) -> None:
    """For runtimes that compute in the `precision` of the file: warn when something else is wanted."""
    if (options.half and precision != "float16") or options.bf16:
        log.warning(f"{name}: computes in {precision}, as it was exported; half and bf16 change nothing")


def in_batches_of(size: int, images: Array, run: Callable[[Array], Float]) -> Float:
    """`run` on batches of exactly `size` images, the last one filled up with blanks, as files of fixed batch need."""
    outputs = []
    for start in range(0, len(images), size):
        part = images[start : start + size]
        blank = np.zeros((size - len(part), *part.shape[1:]), part.dtype)
        outputs.append(run(np.concatenate([part, blank]) if len(blank) else part)[: len(part)])
    return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)


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
    """(B, H, W, 3) BGR → RGB, contiguous; by OpenCV, which is many times faster at it than NumPy."""
    import cv2

    b, h, w, _ = images.shape
    return np.asarray(cv2.cvtColor(images.reshape(b * h, w, 3), cv2.COLOR_BGR2RGB)).reshape(images.shape)
