"""Load images for training and validation: decoded no larger than needed, or read ahead in threads."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from yolopose.data.labels import ImageItem
from yolopose.images import read_image
from yolopose.limits import MAX_PIXELS
from yolopose.rules import DEFAULT, Rules

Image = NDArray[np.uint8]


def working_size(hw: tuple[int, int], imgsz: int, rules: Rules = DEFAULT) -> tuple[int, int]:
    """(H, W) of an image in training: the long side is at most `imgsz`, and with the rule `exact_side` exactly that."""
    gain = imgsz / max(hw)
    if rules.exact_side:
        return min(math.ceil(hw[0] * gain), imgsz), min(math.ceil(hw[1] * gain), imgsz)
    return hw if gain >= 1 else (max(round(hw[0] * gain), 1), max(round(hw[1] * gain), 1))


def read_working(path: Path, hw: tuple[int, int], imgsz: int, rules: Rules = DEFAULT) -> Image:
    """An image file of (H, W) pixels → (H', W', 3) BGR at its working size.

    A JPEG of at least twice that size is decoded at 1/2, 1/4 or 1/8, which is much faster, but never below the working
    size; with the rule `exact_side` it is decoded in full.
    Raises PoseError for a file that cannot be read.
    """
    image = read_reduced(path, hw, max(hw) / imgsz, rules)
    h, w = working_size(hw, imgsz, rules)
    if image.shape[:2] != (h, w):
        image = np.asarray(cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)
    return image


def read_reduced(path: Path, hw: tuple[int, int], times: float, rules: Rules = DEFAULT) -> Image:
    """An image file of (H, W) pixels → (H', W', 3) BGR at full size, or a JPEG at 1/2, 1/4 or 1/8 of it.

    It is never reduced more than `times`, and with the rule `exact_side` not at all. Raises PoseError for a file that
    cannot be read.
    """
    allowed = 1 if rules.exact_side else times
    return _read(path, hw, next((divisor for divisor in (8, 4, 2) if divisor <= allowed), 1))


def prefetch(items: Iterable[ImageItem], threads: int = 8) -> Iterator[tuple[ImageItem, Image]]:
    """Each item with its image, (H, W, 3) BGR at full size, in order; each of the `threads` reads two images ahead.

    With 0 threads nothing is read ahead. Raises PoseError for an image that cannot be read, when its turn comes.
    """
    if threads == 0:
        yield from ((item, _read(item.path, item.hw)) for item in items)
        return
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        queue: deque[tuple[ImageItem, Future[Image]]] = deque()
        try:
            queue.extend((item, pool.submit(_read, item.path, item.hw)) for item in islice(remaining, 2 * threads))
            while queue:
                item, image = queue.popleft()
                queue.extend((later, pool.submit(_read, later.path, later.hw)) for later in islice(remaining, 1))
                yield item, image.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read(path: Path, hw: tuple[int, int], reduce: int = 1) -> Image:
    """Read an image, limited to as many pixels as in the scan, where the caller may have raised `max_pixels`."""
    return read_image(path, max_pixels=max(hw[0] * hw[1], MAX_PIXELS), reduce=reduce)
