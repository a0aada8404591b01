"""Statistics of the instances of a data set: sizes, shapes, numbers per image, which keypoints are labelled."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.data.labels import ImageItem
from yolopose.geometry.keypoints import KeypointLayout

Array = NDArray[Any]

INPUT = 640  # sizes are given in pixels of an input with this long side
SIZES = (0, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 640)
SIZE_NAMES = tuple(f"{low}–{high}" for low, high in itertools.pairwise(SIZES))
ASPECTS = (0, 1 / 4, 1 / 2, 4 / 5, 5 / 4, 2, 4, np.inf)  # width over height
ASPECT_NAMES = ("< 1:4", "1:4–1:2", "1:2–4:5", "4:5–5:4", "5:4–2:1", "2:1–4:1", "> 4:1")
NUMBERS = (0, 1, 2, 3, 5, 9, 17, 33, 10**9)
NUMBER_NAMES = ("0", "1", "2", "3–4", "5–8", "9–16", "17–32", "33 +")
OUTSIDE = 0.1  # of the box: a keypoint this far outside its own box is counted


@dataclass(frozen=True)
class Histogram:
    """Counts by bin; `bins` are the bins' names."""

    bins: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class KeypointCount:
    """One keypoint in the instances that have any labelled one: how often not labelled, hidden, visible.

    `mean` is its mean position in the box (0..1 from the top left corner) where it is labelled, None if it never is.
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


def statistics(items: Sequence[ImageItem], layout: KeypointLayout) -> Statistics:
    """The statistics of the instances of these images."""
    boxes = np.concatenate([np.empty((0, 4)), *(item.labels.boxes for item in items)])  # (N, 4) cxcywh, normalised
    points = np.concatenate([np.empty((0, layout.shape[0], 3)), *(item.labels.keypoints for item in items)])
    per_image = np.array([len(item.labels) for item in items], np.int64)
    scales = [np.array(item.hw[::-1]) * (INPUT / max(item.hw)) for item in items]  # (w, h) at the input
    sizes = boxes[:, 2:] * np.repeat(np.reshape(scales, (-1, 2)), per_image, 0)
    side = np.sqrt(sizes.prod(1))
    position = (points[..., :2] - boxes[:, None, :2]) / np.maximum(boxes[:, None, 2:], 1e-9) + 0.5  # in the box
    labelled = points[..., 2] > 0  # (N, K)
    with_keypoints = int(labelled.any(1).sum())
    low, middle, high = np.percentile(side, (5, 50, 95)).round(1).tolist() if len(side) else (0.0, 0.0, 0.0)
    return Statistics(
        instances=len(boxes),
        with_keypoints=with_keypoints,
        size=_histogram(side, (*SIZES[:-1], np.inf), SIZE_NAMES),
        size_percentiles=(low, middle, high),
        aspect=_histogram(sizes[:, 0] / np.maximum(sizes[:, 1], 1e-9), ASPECTS, ASPECT_NAMES),
        per_image=_histogram(per_image, NUMBERS, NUMBER_NAMES),
        keypoints=tuple(
            _keypoint_count(name, points[:, k, 2], position[:, k], with_keypoints)
            for k, name in enumerate(layout.names)
        ),
        outside_box=int((labelled & (abs(position - 0.5) > 0.5 + OUTSIDE).any(-1)).sum()),
    )


def _keypoint_count(name: str, v: Array, position: Array, instances: int) -> KeypointCount:
    """The counts of one keypoint: v (N,) and position (N, 2) of all instances, `instances` with any keypoint."""
    visible, labelled = int((v >= 2).sum()), int((v > 0).sum())
    mean = position[v > 0].mean(0).round(4).tolist() if labelled else None
    return KeypointCount(name, instances - labelled, labelled - visible, visible, mean and (mean[0], mean[1]))


def _histogram(values: Array, edges: Sequence[float], names: tuple[str, ...]) -> Histogram:
    return Histogram(names, tuple(np.histogram(values, edges)[0].tolist()))
