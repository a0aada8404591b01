"""Photographs that calibrate 8-bit numbers, and that verify new files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from yolopose.console import log
from yolopose.data.spec import load_data
from yolopose.errors import PoseError
from yolopose.formats.base import Array
from yolopose.geometry.boxes import fit
from yolopose.images import read_image
from yolopose.metadata import ModelInfo

Item = TypeVar("Item")

SAMPLES = Path(__file__).parents[1] / "assets" / "samples" / "images"
CALIBRATION_IMAGES = 128


def sample_photographs() -> list[Path]:
    """The photographs that come with the package."""
    return sorted(SAMPLES.rglob("*.jpg"))


def calibration_paths(data: str | None) -> list[Path]:
    """The train images of a data set, or the packaged photographs when there is none.

    Raises:
        PoseError: the data set cannot be read or has no train images.
    """
    paths = sample_photographs() if data is None else load_data(data).split("train")
    if not paths:
        raise PoseError(f"data={data}: its train split has no images")
    return paths


def calibration_images(info: ModelInfo, data: str | None) -> list[Array]:
    """Letterboxed (1, H, W, 3) BGR uint8 images of the size that `info` states.

    At most `CALIBRATION_IMAGES` of `calibration_paths(data)`, evenly spaced.

    Raises:
        PoseError: the data set or one of its images cannot be read.
    """
    if data is None:
        log.warning("int8: calibrated on the 8 packaged photographs; data=YAML of the model's own data is better")
    return [letterboxed(path, info) for path in evenly(calibration_paths(data), CALIBRATION_IMAGES)]


def calibration_batches(info: ModelInfo, data: str | None) -> list[Array]:
    """`calibration_images` as (B, H, W, 3) batches of the size that `info` states; the last ones may be left out."""
    images, size = calibration_images(info, data), info.batch
    count = max(len(images) // size, 1) * size
    repeated = [images[i % len(images)] for i in range(count)]  # fewer images than a batch are repeated
    return [np.concatenate(repeated[i : i + size]) for i in range(0, count, size)]


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items, the first and the last among them, evenly spaced."""
    return [items[i] for i in np.linspace(0, len(items) - 1, min(len(items), most)).astype(int)]


def letterboxed(path: Path, info: ModelInfo, imgsz: tuple[int, int] | None = None) -> Array:
    """A photograph as a (1, H, W, 3) BGR uint8 image of exactly `imgsz` (H, W), None is the input size of `info`."""
    image = read_image(path)
    h, w = image.shape[:2]
    return fit((h, w), imgsz or info.imgsz, stride=info.stride, rect=False).image(image)[None]
