"""Sample images with their labels drawn, as they are and mirrored as in training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolopose.data.augment import flip
from yolopose.data.batch import Sample
from yolopose.data.labels import ImageItem
from yolopose.data.spec import DataSpec
from yolopose.draw import DrawStyle, draw_instances
from yolopose.draw.ignored import draw_ignored
from yolopose.geometry.boxes import cxcywh_to_xyxy
from yolopose.images import encode_jpeg, read_image

PREVIEW_SIDE = 560  # pixels of the long side
THUMBNAIL_SIDE = 220
QUALITY = 82  # of the JPEGs


class Preview(NamedTuple):
    """A JPEG with the labels drawn and, where the layout has flip_idx, the mirrored one."""

    path: Path
    picture: bytes
    mirrored: bytes | None


def select_samples(items: Sequence[ImageItem], count: int) -> list[ImageItem]:
    """At most `count` images, evenly spread: those with labelled keypoints, or with instances if there are none."""
    labelled = [item for item in items if (item.labels.keypoints[..., 2] > 0).any()]
    candidates = labelled or [item for item in items if len(item.labels)]
    if len(candidates) <= count:
        return candidates
    return [candidates[int((i + 0.5) * len(candidates) / count)] for i in range(count)]


def preview(item: ImageItem, spec: DataSpec) -> Preview:
    """Draw an image's labels on it and on its mirror image."""
    image = _shrunk(read_image(item.path), PREVIEW_SIDE)
    size = np.array([image.shape[1], image.shape[0], 1], np.float32)
    labels = item.labels
    boxes = cxcywh_to_xyxy(labels.boxes) * size[[0, 1, 0, 1]]
    ignore = labels.ignore[labels.ignore[:, 4] == 0, :4]
    draw_ignored(image, cxcywh_to_xyxy(ignore) * size[[0, 1, 0, 1]])
    sample = Sample(image, labels.classes, boxes, labels.keypoints * size)
    mirrored = None if spec.layout.flip is None else _drawn(flip(sample, spec.layout, 0), spec)
    return Preview(item.path, _drawn(sample, spec), mirrored)


def thumbnail(path: Path) -> bytes:
    """A small JPEG of an image file."""
    return encode_jpeg(_shrunk(read_image(path), THUMBNAIL_SIDE), QUALITY)


def _shrunk(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The image with its long side at most `side`."""
    gain = side / max(image.shape[:2])
    if gain >= 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=gain, fy=gain, interpolation=cv2.INTER_AREA))


def _drawn(sample: Sample, spec: DataSpec) -> bytes:
    """The JPEG of an image with its labels."""
    boxes = np.column_stack([sample.boxes, np.ones_like(sample.classes), sample.classes]).astype(np.float32)
    style = DrawStyle(conf=False, labels=len(spec.names) > 1)
    return encode_jpeg(draw_instances(sample.image, boxes, sample.keypoints, spec.layout, spec.names, style), QUALITY)
