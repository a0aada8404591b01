"""Keypoints that jump: left and right swapped for a few frames, and points far off in a single frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from yolopose.track.local_fit import noise_of

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

LONGEST_SWAP = 10  # frames; what lasts longer is left as it is
SWAPPED = 8.0  # cost of calling a frame swapped, in variances of the path's second difference
FAR = 6.0  # deviations by which an outlier is off
LEAST_NOISE = 0.25  # pixels; noise-free points would make the smallest bend an outlier


def pairs_of(flip: Sequence[int] | None) -> list[tuple[int, int]]:
    """The left/right pairs of a layout's flip indices."""
    return [(a, b) for a, b in enumerate(flip or ()) if a < b]


def unswap(points: Array, measured: Mask, pairs: Sequence[tuple[int, int]]) -> Mask:
    """Find the frames in which a pair is swapped: (T, K, 2), (T, K) → (T, P) bool for P pairs.

    For each pair the labelling of all frames that makes both paths smoothest, by dynamic programming (Viterbi): the sum
    over frames of the squared second differences of both points, in units of their noise, plus `SWAPPED` for each frame
    that is called swapped. Paths that cross are smooth as they are and stay so. Frames in which one point is missing
    are left out, and a pair starts anew after three of them.
    """
    found = np.zeros((len(points), len(pairs)), bool)
    noise = np.maximum(noise_of(points, measured.astype(np.float64)), LEAST_NOISE)
    for p, (a, b) in enumerate(pairs):
        frames = np.flatnonzero(measured[:, a] & measured[:, b])
        variance = 6 * max(noise[a], noise[b]) ** 2
        for part in np.split(frames, np.flatnonzero(np.diff(frames) > 3) + 1):
            if len(part) >= 4:
                swapped = smoothest(points[part][:, [a, b]], variance, part)
                found[part[_short_runs(swapped)], p] = True
    return found


def smoothest(pair: Array, variance: float, times: NDArray[np.intp]) -> Mask:
    """The labelling (T,) of (T, 2, 2) that costs least, see `unswap`; times (T,) are frame numbers."""
    both = np.stack([pair, pair[:, ::-1]])  # (2, T, 2, 2) as given, swapped
    ratio = (np.diff(times)[1:] / np.diff(times)[:-1])[:, None, None]
    bends = np.empty((len(pair) - 2, 2, 2, 2))  # of frame t, with the states of t - 2, t - 1 and t
    for i, j, k in np.ndindex(2, 2, 2):
        ahead = both[j, 1:-1] + (both[j, 1:-1] - both[i, :-2]) * ratio
        bends[:, i, j, k] = ((both[k, 2:] - ahead) ** 2).sum((1, 2)) / (2 * variance)
    bends[..., 1] += SWAPPED
    cost = np.array([[0.0, SWAPPED], [SWAPPED, 2 * SWAPPED]])  # of the states of the last two frames
    back = np.empty((len(bends), 2, 2), np.intp)
    for t, bend in enumerate(bends):
        total = cost[:, :, None] + bend
        back[t] = total.argmin(0)
        cost = total.min(0)
    before, last = np.unravel_index(int(cost.argmin()), (2, 2))
    states = [int(last), int(before)]
    for choice in back[::-1]:
        states.append(int(choice[states[-1], states[-2]]))
    return np.array(states[::-1], bool)


def _short_runs(swapped: Mask) -> Mask:
    """`swapped` without runs of more than `LONGEST_SWAP` frames and without those at the ends of the track."""
    result = swapped.copy()
    edges = np.flatnonzero(np.diff(np.pad(swapped, 1).astype(np.int8)))
    for start, end in edges.reshape(-1, 2):
        if end - start > LONGEST_SWAP or start == 0 or end == len(swapped):
            result[start:end] = False
    return result


def outliers(points: Array, measured: Mask) -> Mask:
    """Points far from where they are before and after: (T, K, 2), (T, K) → (T, K) bool, single frames only.

    Far from the cubic through two neighbours on either side, by `FAR` deviations of its noise, and by half of that
    distance also from both straight lines through two neighbours: at a sudden real move one of these meets the point.
    """
    found = np.zeros(measured.shape, bool)
    if len(points) < 5:
        return found
    noise = np.maximum(noise_of(points, measured.astype(np.float64)), LEAST_NOISE)
    a, b, here, c, d = (points[i : len(points) - 4 + i] for i in range(5))
    off = np.linalg.norm(here - (4 * (b + c) - a - d) / 6, axis=-1)
    left = np.linalg.norm(here - (2 * b - a), axis=-1)
    right = np.linalg.norm(here - (2 * c - d), axis=-1)
    there = np.min([measured[i : len(measured) - 4 + i] for i in range(5)], axis=0)
    limit = FAR * noise * np.sqrt(2 * (1 + 34 / 36))
    found[2:-2] = there & (off > limit) & (np.minimum(left, right) > off / 2)
    return found
