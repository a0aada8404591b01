"""The order of the images in an epoch: a pure function of (seed, epoch), for any number of workers or ranks.

The order is divided into blocks of `BLOCK` positions, and a mosaic takes its other images from the same block. Since a
worker makes whole blocks, each image is decoded once an epoch, not four times.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from yolopose.rules import DEFAULT, Rules

BLOCK = 64
_ORDER, _SAMPLE = 0, 1  # purposes of random streams


def generator(seed: int, purpose: int, epoch: int, index: int) -> np.random.Generator:
    """The random generator of one sample or order: a counter-based stream (Philox) addressed by these four numbers."""
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, epoch, index]))


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random generator of sample `index` in an epoch."""
    return generator(seed, _SAMPLE, epoch, index)


def shuffled(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """(count,) a random permutation for an epoch."""
    return generator(seed, _ORDER, epoch, 0).permutation(count)


def by_aspect(sizes: Sequence[tuple[int, int]], rules: Rules = DEFAULT) -> NDArray[np.int64]:
    """(count,) the images of the given (H, W) sorted by H / W, for batches of similar shape.

    Images of equal ratio keep their order. With the rule `unstable_order` their order is that of NumPy's default sort,
    which depends on NumPy's version and on the processor.
    """
    hw = np.array(sizes, np.float64).reshape(-1, 2)
    return np.argsort(hw[:, 0] / hw[:, 1], kind=None if rules.unstable_order else "stable")


def block(position: int, count: int) -> tuple[int, int]:
    """The block [start, end) of positions that contains `position`; a short last block joins the one before it."""
    start = position // BLOCK * BLOCK
    if start and count - start < BLOCK // 2:
        start -= BLOCK
    end = start + BLOCK
    return start, count if count - end < BLOCK // 2 else end


def global_batches(count: int, batch: int, world: int) -> list[NDArray[np.int64]]:
    """The positions of each step's batch over all ranks.

    The last batch may be smaller; it is filled from the start of the order up to a multiple of `world`, so that all
    ranks get the same number.
    """
    positions = np.arange(-(-count // world) * world) % count
    return [positions[i : i + batch * world] for i in range(0, len(positions), batch * world)]


def rect_canvas(
    sizes: Sequence[tuple[int, int]], imgsz: int, stride: int, rules: Rules = DEFAULT, *, pad: float = 0.0
) -> tuple[int, int]:
    """The canvas (H, W) of a rectangular batch of images with the given (H, W).

    By default the smallest one that holds each image scaled to the long side `imgsz`. With the rule `extreme_canvas`
    one side is `imgsz`, and where all images are wider, or all are higher, than a square, the other follows from the
    most extreme aspect ratio. Sides are rounded up to a multiple of `stride`, after adding `pad` strides.
    """
    hw = np.array(sizes, np.float64)
    if rules.extreme_canvas:
        ratio = hw[:, 0] / hw[:, 1]
        sides = imgsz * np.array([min(ratio.max(), 1.0), 1 / max(ratio.min(), 1.0)])
    else:
        sides = np.round(hw * (imgsz / hw.max(1, keepdims=True))).max(0)
    high, wide = np.ceil(sides / stride + pad) * stride
    return int(high), int(wide)
