"""Images as training and validation want them: decoded no larger than needed, or read ahead in threads."""

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
    """(H, W) at which training keeps an image: its long side is at most `imgsz`; with `exact_side` it is that."""
    gain = imgsz / max(hw)
    if rules.exact_side:
        return min(math.ceil(hw[0] * gain), imgsz), min(math.ceil(hw[1] * gain), imgsz)
    return hw if gain >= 1 else (max(round(hw[0] * gain), 1), max(round(hw[1] * gain), 1))


def read_working(path: Path, hw: tuple[int, int], imgsz: int, rules: Rules = DEFAULT) -> Image:
    """An image file of (H, W) pixels → (H', W', 3) BGR at its working size.

    A JPEG of at least twice that is decoded at 1/2, 1/4 or 1/8, which the format offers at a fraction of the work,
    but never below the working size; with `exact_side` every pixel is decoded.
    Raises PoseError for a file that cannot be read.
    """
    times = 1 if rules.exact_side else max(hw) // imgsz
    reduce = next((divisor for divisor in (8, 4, 2) if divisor <= times), 1)
    image = read_image(path, max_pixels=_bound(hw), reduce=reduce)
    h, w = working_size(hw, imgsz, rules)
    if image.shape[:2] != (h, w):
        image = np.asarray(cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)
    return image


def _bound(hw: tuple[int, int]) -> int:
    """The pixels that an image may have now: as many as when it was scanned, by the caller's `max_pixels`."""
    return max(hw[0] * hw[1], MAX_PIXELS)


def _whole(item: ImageItem) -> Image:
    return read_image(item.path, max_pixels=_bound(item.hw))


def prefetch(items: Iterable[ImageItem], threads: int = 8) -> Iterator[tuple[ImageItem, Image]]:
    """Each item with its image, (H, W, 3) BGR at full size, in order; `threads` read ahead, at most two images each.

    With 0 threads nothing is read ahead. Raises PoseError, in its turn, for an image that cannot be read.
    """
    if threads == 0:
        yield from ((item, _whole(item)) for item in items)
        return
    todo = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[ImageItem, Future[Image]]] = deque()
        try:
            waiting.extend((item, pool.submit(_whole, item)) for item in islice(todo, 2 * threads))
            while waiting:
                item, image = waiting.popleft()
                waiting.extend((later, pool.submit(_whole, later)) for later in islice(todo, 1))
                yield item, image.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
