"""Parts of the image, one per instance: what `save_crop` writes, and upright faces."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError
from yolopose.images import encode_jpeg
from yolopose.results.arrays import Boxes

Image = NDArray[np.uint8]


def write_crops(image: Image, boxes: Boxes, name: Callable[[int], str], folder: Path, stem: str) -> None:
    """Write each box's part of the image as `folder/<class name>[/id_<track>]/stem.jpg`, `stem2.jpg` and so on."""
    ids = boxes.table[:, 4].tolist() if boxes.is_track else [None] * len(boxes)
    for (cls, crop), track in zip(crops(image, boxes), ids, strict=True):
        place = folder / re.sub(r"[^\w .-]|^\.+", "_", name(cls)[:60])  # not a path to another folder
        place = place if track is None else place / f"id_{int(track)}"
        write_numbered(place, stem, ".jpg", encode_jpeg(np.ascontiguousarray(crop)))


def aligned_faces(image: Image, points: NDArray[Any], size: int) -> Image:
    """(N, 5, ≥2) landmarks → (N, size, size, 3) upright faces, see `Results.align`.

    Raises:
        PoseError: a face whose landmarks coincide.
    """
    from yolopose.geometry.align import align_face

    faces = np.empty((len(points), size, size, 3), np.uint8)
    for i, (crop, face) in enumerate(zip(faces, points[..., :2], strict=True)):
        try:
            crop[:] = align_face(image, face, size)
        except ValueError:
            raise PoseError(f"align: the landmarks of face {i} coincide (compat=True zeroes unsure ones)") from None
    return faces


def crops(image: NDArray[np.uint8], boxes: Boxes) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """(class, part of the image (H, W, 3) inside the box) per instance: whole pixels, at least one, none outside."""
    (h, w), boxes = image.shape[:2], boxes.numpy()
    low = np.floor(boxes.xyxy[:, :2]).clip(0, (w - 1, h - 1)).astype(int)
    high = np.maximum(np.ceil(boxes.xyxy[:, 2:]).clip(0, (w, h)).astype(int), low + 1)
    for cls, (x1, y1), (x2, y2) in zip(boxes.cls.tolist(), low, high, strict=True):
        yield int(cls), image[y1:y2, x1:x2]


def write_numbered(folder: Path, stem: str, suffix: str, data: bytes) -> Path:
    """Write `stem.suffix`, or `stem2.suffix`, `stem3.suffix` … whichever is free first, also among several threads.

    Numbers are expected without gaps: the free one is found by bisection, so that long videos stay fast.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def path(number: int) -> Path:
        return folder / f"{stem}{number if number > 1 else ''}{suffix}"

    while True:
        high = next(2**power for power in count() if not path(2**power).exists())
        free = high // 2 + 1 + bisect_left(range(high // 2 + 1, high), True, key=lambda n: not path(n).exists())
        try:
            with path(free).open("xb") as file:
                file.write(data)
        except FileExistsError:  # another thread or process took it
            continue
        return path(free)
