"""Steady keypoints of a recorded video: one finished track is repaired, its gaps are filled, and it is smoothed.

    steady = steady_track(frames, boxes, keypoints, layout.flip)

First points that jump are put right: left and right swapped for a few frames (`repair.unswap`), or far off in a single
frame (`repair.outliers`). Then every point is filtered without lag (`local_fit.adaptive_fit`). Last, gaps of at most
`max_gap` frames are filled between the filtered points at their ends; nothing is extrapolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError
from yolopose.track import repair
from yolopose.track.local_fit import adaptive_fit

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

SLOPE = 4  # measurements beside a gap that tell the speed there; fewer are noisy, more too slow in fast motion


@dataclass(frozen=True)
class OfflineOptions:
    """Limits of the repair.

    Attributes:
        max_gap: gaps of at most this many frames are filled, for points and for whole tracks.
        least: points with a lower score are not measured.
        sure: scores from here on count in full; the noise of lower ones is taken to grow in proportion.
    """

    max_gap: int = 15
    least: float = 0.25
    sure: float = 0.5


@dataclass(frozen=True)
class SteadyTrack:
    """One track after the repair, T' ≥ T frames.

    Attributes:
        frames: (T',) int, the given ones and those filled in between.
        boxes: (T', 4) xyxy, as given; in added frames between the boxes before and after.
        keypoints: (T', K, D) smoothed; a filled point has the lower score of the two that it lies between.
        filled: (T', K) bool, the points that were not measured.
        added: (T',) bool, the frames in which the track had been missing.
        swaps: how many times a pair of points was swapped back, in frames.
        outliers: how many points were left out because they were far off.
    """

    frames: NDArray[np.int64]
    boxes: Array
    keypoints: Array
    filled: Mask
    added: Mask
    swaps: int
    outliers: int


def steady_track(
    frames: NDArray[Any],
    boxes: NDArray[Any],
    keypoints: NDArray[Any],
    flip: Sequence[int] | None = None,
    options: OfflineOptions | None = None,
) -> SteadyTrack:
    """Repair, smooth and fill one track.

    Args:
        frames: (T,) whole numbers, rising; successive processed frames differ by one (divide by `vid_stride` first).
        boxes: (T, ≥4) xyxy pixels.
        keypoints: (T, K, 2 or 3) pixels and score. Points that are no numbers or (0, 0) count as not measured.
        flip: the layout's flip indices; without them nothing is swapped back.
        options: see `OfflineOptions`.

    Points that are neither measured nor in a short gap stay as they are.

    Raises:
        PoseError: frames that do not rise, or arrays of different lengths.
    """
    o, frames = options or OfflineOptions(), np.asarray(frames, np.int64)
    if len({len(frames), len(boxes), len(keypoints)}) > 1 or (np.diff(frames) <= 0).any():
        raise PoseError("a track needs one box and one set of keypoints for each frame, and frames that rise")
    parts = np.split(np.arange(len(frames)), np.flatnonzero(np.diff(frames) > o.max_gap + 1) + 1)
    done = [_steady_part(frames[p], np.asarray(boxes)[p, :4], np.asarray(keypoints)[p], flip, o) for p in parts]
    frames, boxes, keypoints, filled, added = (
        np.concatenate(column)
        for column in zip(*((p.frames, p.boxes, p.keypoints, p.filled, p.added) for p in done), strict=True)
    )
    swaps, off = sum(part.swaps for part in done), sum(part.outliers for part in done)
    return SteadyTrack(frames, boxes, keypoints, filled, added, swaps, off)


def _steady_part(
    frames: NDArray[np.int64], boxes: Array, keypoints: Array, flip: Sequence[int] | None, o: OfflineOptions
) -> SteadyTrack:
    """A track without a long gap."""
    if not len(frames):
        no = np.zeros(0, bool)
        return SteadyTrack(frames, boxes, keypoints, no.reshape(0, keypoints.shape[1]), no, 0, 0)
    at = frames - frames[0]
    every = np.arange(at[-1] + 1)
    added = np.ones(len(every), bool)
    added[at] = False
    k, d = keypoints.shape[1:]
    table = np.full((len(every), k, 3), np.nan)
    table[at, :, :d] = keypoints
    table[at, :, d:] = 1.0
    there = np.isfinite(table).all(-1) & (table[..., :2] != 0).any(-1)
    measured = there & (np.where(there, table[..., 2], 0) >= o.least)

    table, measured, swaps = _swap_back(table, measured, repair.pairs_of(flip))
    off = repair.outliers(np.where(measured[..., None], table[..., :2], 0.0), measured)
    measured &= ~off
    points, score = np.where(measured[..., None], table[..., :2], 0.0), np.where(measured, table[..., 2], 0.0)
    smooth = adaptive_fit(points, np.minimum(score / o.sure, 1.0) ** 2)
    table[..., :2] = np.where(measured[..., None], smooth, table[..., :2])
    filled = fill(table, measured, o.max_gap)
    whole = np.stack([np.interp(every, at, side) for side in np.asarray(boxes, np.float64).T], 1)
    return SteadyTrack(every + frames[0], whole, table[..., :d], filled, added, swaps, int(off.sum()))


def _swap_back(table: Array, measured: Mask, pairs: Sequence[tuple[int, int]]) -> tuple[Array, Mask, int]:
    """Exchange the points of swapped pairs, (T, K, 3) and (T, K); also returns how many."""
    swapped = repair.unswap(np.where(measured[..., None], table[..., :2], 0.0), measured, pairs)
    table, measured = table.copy(), measured.copy()
    for (a, b), frames in zip(pairs, swapped.T, strict=True):
        rows = np.flatnonzero(frames)[:, None]
        table[rows, [a, b]] = table[rows, [b, a]]
        measured[rows, [a, b]] = measured[rows, [b, a]]
    return table, measured, int(swapped.sum())


def fill(table: Array, measured: Mask, max_gap: int) -> Mask:
    """Fill the gaps of (T, K, 3) in place, by cubics that continue position and slope; return which (T, K) were filled.

    Frames before the first measurement of a point, after the last one and in longer gaps are left alone.
    """
    filled = np.zeros_like(measured)
    for k in range(measured.shape[1]):
        known = np.flatnonzero(measured[:, k])
        gaps = np.diff(known) - 1
        for i in np.flatnonzero((gaps > 0) & (gaps <= max_gap)):
            start, end = known[i], known[i + 1]
            rows = np.arange(start + 1, end)
            slopes = [_slope(table, known[max(0, i + 1 - SLOPE) : i + 1], k), _slope(table, known[i + 1 :][:SLOPE], k)]
            ends = table[[start, end], k, :2]
            table[rows, k, :2] = cubic((rows - start) / (end - start), ends, np.array(slopes) * (end - start))
            table[rows, k, 2] = table[[start, end], k, 2].min()
            filled[rows, k] = True
    return filled


def _slope(table: Array, rows: NDArray[np.intp], k: int) -> Array:
    """The slope per frame (2,) of the line through the points k in some frames; zero if there is one only."""
    if len(rows) < 2:
        return np.zeros(2)
    time = rows - rows.mean()
    return np.asarray(time @ table[rows, k, :2] / (time @ time))


def cubic(t: Array, ends: Array, slopes: Array) -> Array:
    """Cubic Hermite interpolation at (n,) t in 0 to 1 between two ends (2, 2) with slopes (2, 2) → (n, 2)."""
    t = t[:, None]
    (a, b), (m, n) = ends, slopes
    return np.asarray(
        (2 * t**3 - 3 * t**2 + 1) * a + (t**3 - 2 * t**2 + t) * m + (3 * t**2 - 2 * t**3) * b + (t**3 - t**2) * n
    )
