"""What the instances of a data set are like: sizes, shapes, numbers, which keypoints are labelled."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.data.labels import Item
from yolopose.geometry.keypoints import KeypointLayout

Array = NDArray[Any]

INPUT = 640  # pixels of the long side of the input that sizes are given at
SIZES = (0, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 640)
ASPECTS = (0, 1 / 4, 1 / 2, 4 / 5, 5 / 4, 2, 4, float("inf"))  # width over height
ASPECT_WORDS = ("< 1:4", "1:4–1:2", "1:2–4:5", "4:5–5:4", "5:4–2:1", "2:1–4:1", "> 4:1")
NUMBERS = (0, 1, 2, 3, 5, 9, 17, 33, 10**9)
NUMBER_WORDS = ("0", "1", "2", "3–4", "5–8", "9–16", "17–32", "33 +")
OUTSIDE = 0.1  # of the box: a keypoint as far outside its own box is counted


@dataclass(frozen=True)
class Histogram:
    """Counts by bin, with the bins in words."""

    bins: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class KeypointCount:
    """One keypoint in the instances that have any labelled one: not labelled, hidden, visible.

    `mean` is its mean place in the box (0..1 from the left upper corner) where it is labelled, None where it never is.
    """

    name: str
    unlabelled: int
    hidden: int
    visible: int
    mean: tuple[float, float] | None

    @property
    def labelled(self) -> float:
        """Share of the instances."""
        return (self.hidden + self.visible) / max(self.unlabelled + self.hidden + self.visible, 1)


@dataclass(frozen=True)
class Statistics:
    """Of all instances; `size` is the square root of the box's area at `INPUT`, with its 5 %, 50 % and 95 % points."""

    instances: int
    with_keypoints: int
    size: Histogram
    size_percentiles: tuple[float, float, float]
    aspect: Histogram
    per_image: Histogram
    keypoints: tuple[KeypointCount, ...]
    outside_box: int

    @property
    def below_8(self) -> float:
        """Share of boxes under 8 pixels at the input, the finest stride of the network."""
        return sum(self.size.counts[: SIZES.index(8)]) / max(self.instances, 1)


def statistics(items: Sequence[Item], layout: KeypointLayout) -> Statistics:
    """The statistics of the instances of these images."""
    boxes = np.concatenate([np.empty((0, 4)), *(_pixels(item) for item in items)])
    points = np.concatenate([np.empty((0, layout.shape[0], 3)), *(item.labels.keypoints for item in items)])
    side = np.sqrt(boxes[:, 2] * boxes[:, 3])
    norm = np.concatenate([np.empty((0, 4)), *(item.labels.boxes for item in items)])
    place = (points[..., :2] - norm[:, None, :2]) / np.maximum(norm[:, None, 2:], 1e-9) + 0.5
    there: Array = points[..., 2] > 0
    labelled = np.asarray(there.any(1))
    numbers = np.array([len(item.labels) for item in items])
    words = [f"{low}–{high}" for low, high in itertools.pairwise(SIZES)]
    percentiles = np.percentile(side, (5, 50, 95)).round(1).tolist() if len(side) else [0.0, 0.0, 0.0]
    return Statistics(
        instances=len(boxes),
        with_keypoints=int(labelled.sum()),
        size=_histogram(side, (*SIZES[:-1], np.inf), words),
        size_percentiles=tuple(percentiles),
        aspect=_histogram(boxes[:, 2] / np.maximum(boxes[:, 3], 1e-9), ASPECTS, ASPECT_WORDS),
        per_image=_histogram(numbers, NUMBERS, NUMBER_WORDS),
        keypoints=tuple(_keypoint(name, points[:, k, 2], place[:, k], labelled) for k, name in enumerate(layout.names)),
        outside_box=int((there & (abs(place - 0.5) > 0.5 + OUTSIDE).any(-1)).sum()),
    )


def _pixels(item: Item) -> Array:
    """(N, 4) boxes of an image in pixels of the input, the long side scaled to `INPUT`."""
    h, w = item.hw
    return np.asarray(item.labels.boxes * np.tile((w, h), 2) * (INPUT / max(h, w)))


def _histogram(values: Array, edges: Sequence[float], words: Sequence[str]) -> Histogram:
    counts: Array = np.histogram(values, edges)[0]
    return Histogram(tuple(words), tuple(counts.tolist()))


def _keypoint(name: str, v: Array, place: Array, counted: Array) -> KeypointCount:
    """(N,), (N, 2), (N,) of one keypoint."""
    there = v > 0
    x, y = place[there].mean(0).round(4).tolist() if there.any() else (0.0, 0.0)
    hidden = int((there & (v < 2)).sum())
    return KeypointCount(
        name, int((counted & ~there).sum()), hidden, int((v >= 2).sum()), (x, y) if there.any() else None
    )
