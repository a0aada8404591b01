"""Sample images with their labels drawn, as they are and mirrored the way training mirrors them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolopose.data.labels import Item
from yolopose.data.spec import DataSpec
from yolopose.draw import DrawStyle, Tile, draw_instances
from yolopose.geometry.boxes import cxcywh_to_xyxy
from yolopose.images import encode_jpeg, read_image

Image = NDArray[np.uint8]

SIDE = 560  # pixels of a preview's long side
THUMB = 220
QUALITY = 82


class Preview(NamedTuple):
    """A JPEG with the labels drawn and, where the layout has flip_idx, the mirrored one."""

    path: Path
    picture: bytes
    mirrored: bytes | None


def choose(items: Sequence[Item], count: int) -> list[Item]:
    """About evenly spread images with labelled keypoints, or with instances at least where there are none."""
    labelled = [item for item in items if (item.labels.keypoints[..., 2] > 0).any()]
    candidates = labelled or [item for item in items if len(item.labels)]
    if len(candidates) <= count:
        return candidates
    return [candidates[int((i + 0.5) * len(candidates) / count)] for i in range(count)]


def preview(item: Item, spec: DataSpec) -> Preview:
    """Draw an image's labels on it and on its mirror image."""
    tile = _tile(item)
    flip = spec.layout.flip
    return Preview(item.path, _drawn(tile, spec), None if flip is None else _drawn(mirrored(tile, flip), spec))


def mirrored(tile: Tile, flip: Sequence[int]) -> Tile:
    """Left and right exchanged, the keypoints' places too, as in training."""
    boxes, keypoints = tile.boxes.copy(), tile.keypoints[:, list(flip)]
    boxes[:, [0, 2]] = tile.image.shape[1] - boxes[:, [2, 0]]
    keypoints[..., 0] = tile.image.shape[1] - keypoints[..., 0]
    return Tile(cv2.flip(tile.image, 1), boxes, keypoints)


def thumbnail(path: Path) -> bytes:
    """A small JPEG of an image file."""
    return encode_jpeg(_shrunk(read_image(path), THUMB), QUALITY)


def _tile(item: Item) -> Tile:
    """The image at preview size with its labels in pixels."""
    image = _shrunk(read_image(item.path), SIDE)
    h, w = image.shape[:2]
    boxes = np.ones((len(item.labels), 6), np.float32)
    boxes[:, :4] = cxcywh_to_xyxy(item.labels.boxes) * np.array([w, h, w, h], np.float32)
    boxes[:, 5] = item.labels.classes
    keypoints = item.labels.keypoints * np.array([w, h, 1], np.float32)
    return Tile(image, boxes, keypoints)


def _shrunk(image: Image, side: int) -> Image:
    """The image with its long side at most `side`."""
    gain = side / max(image.shape[:2])
    if gain >= 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=gain, fy=gain, interpolation=cv2.INTER_AREA))


def _drawn(tile: Tile, spec: DataSpec) -> bytes:
    """The JPEG of an image with its labels."""
    style = DrawStyle(conf=False, labels=len(spec.names) > 1)
    return encode_jpeg(draw_instances(tile.image, tile.boxes, tile.keypoints, spec.layout, spec.names, style), QUALITY)
