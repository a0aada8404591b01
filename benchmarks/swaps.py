"""How many left/right swaps `smooth=offline` finds, on walking people whose true places are known.

    python benchmarks/swaps.py

The people of nine scenes of `scenes.py`, with white noise of a coordinate of 0.4 to 3.2 % of the person's size. Every
10 to 30 frames left and right are swapped for 1 to 5 frames: of all points, of the legs, or of the arms. Counted are
pairs whose two points are more than six deviations of the noise apart: nearer ones look the same either way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scenes import Scene, make_scene
from smoothing import LEVELS

from yolopose.geometry.keypoints import COCO_17
from yolopose.track.repair import pairs_of, unswap

Array = NDArray[Any]
PAIRS = pairs_of(COCO_17.flip)
PARTS = (range(8), (5, 6, 7), (2, 3, 4))  # pairs: all, legs, arms
KINDS, SEEDS = ("meeting", "overtaking", "crowd5b"), range(100, 103)


def walkers(scene: Scene) -> Iterator[tuple[Array, Array]]:
    """The places (T, 17, 2) and sizes (T,) of each person who is there in at least 60 successive frames."""
    for person in sorted({int(i) for frame in scene.frames for i in frame.ids}):
        rows = [(t, f, list(f.ids).index(person)) for t, f in enumerate(scene.frames) if person in f.ids]
        times = np.array([t for t, _, _ in rows])
        if len(rows) >= 60 and (np.diff(times) == 1).all():
            boxes = np.array([f.boxes[i] for _, f, i in rows])
            yield np.array([f.keypoints[i, :, :2] for _, f, i in rows]), np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))


def swaps(frames: int, rng: np.random.Generator) -> Array:
    """(T, 8) bool, the pairs that are swapped in each frame."""
    swapped, at = np.zeros((frames, len(PAIRS)), bool), 5
    while (at := at + int(rng.integers(10, 30))) + 9 < frames:
        count = int(rng.integers(1, 6))
        swapped[at : at + count, list(PARTS[rng.integers(3)])] = True
        at += count
    return swapped


def counts(truth: Array, size: Array, level: float, rng: np.random.Generator) -> Array:
    """(4,): swapped, of these found, not swapped, of these called swapped."""
    points = truth + rng.normal(size=truth.shape) * level * size[:, None, None]
    swapped, apart = swaps(len(truth), rng), np.zeros((len(truth), len(PAIRS)))
    for p, (a, b) in enumerate(PAIRS):
        apart[:, p] = np.linalg.norm(truth[:, a] - truth[:, b], axis=-1) / (level * size)
        rows = np.flatnonzero(swapped[:, p])[:, None]
        points[rows, [a, b]] = points[rows, [b, a]]
    found, clear = unswap(points, np.ones(points.shape[:2], bool), PAIRS), apart > 6
    return np.array([(m & clear).sum() for m in (swapped, swapped & found, ~swapped, ~swapped & found)])


def main() -> None:
    """Count and print."""
    people = [one for kind in KINDS for seed in SEEDS for one in walkers(make_scene(kind, seed=seed))]
    print("| noise | swapped pairs | found | called swapped though right |\n|---|---|---|---|")
    for level in LEVELS:
        rng = np.random.default_rng(0)
        total = sum(counts(*one, level, rng) for one in people)
        print(f"| {level:.1%} | {total[0]} | {total[1] / total[0]:.1%} | {total[3] / total[2]:.2%} of {total[2]} |")


if __name__ == "__main__":
    main()
