"""Jitter and lag of smoothed keypoints. A filter can buy each with the other, so both are always stated.

All functions take positions in pixels as arrays (T, …, D): T frames, x and y the first two of D numbers, NaN where a
point is missing. `truth` and `estimate` have the same shape up to D.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
STEP = 20.0  # pixels of the step that `measure` puts in
SPEEDS = (1.0, 5.0, 20.0)  # pixels per frame of its constant motions
REACHED = 0.9  # share of a step after which it counts as followed
WARM_UP, LENGTH = 30, 60  # frames before a motion starts, and of the motion


@dataclass(frozen=True)
class Steadiness:
    """Jitter at rest (px per frame²) before and after a filter, and its lag in frames: at a step, and by speed."""

    raw_jitter: float
    jitter: float
    step_lag: float
    delay: Mapping[float, float]

    @property
    def reduction(self) -> float:
        """The share of the jitter that the filter removed: 0.7 is 70 % less."""
        return 1.0 - self.jitter / self.raw_jitter


def jitter(estimate: Array, truth: Array | None = None) -> float:
    """Root mean square of the acceleration |x(t+1) − 2 x(t) + x(t−1)| over frames and points, in px per frame².

    With `truth` only the moments count at which the true point rests in all three frames, otherwise all (the subject
    must be at rest). Differences with a missing point are left out; NaN when none is left.
    """
    acceleration = np.diff(_points(estimate), n=2, axis=0)
    squares = (acceleration**2).sum(-1)
    if truth is not None:
        still = (np.diff(_points(truth), axis=0) == 0).all(-1)
        squares = squares[still[1:] & still[:-1]]
    squares = squares[~np.isnan(squares)]
    return float(np.sqrt(squares.mean())) if squares.size else float("nan")


def step_lag(truth: Array, estimate: Array, share: float = REACHED) -> float:
    """Frames from a step of the truth until the estimate has covered `share` of it; 0 is in the same frame.

    The truth rests, jumps once and rests again; all points jump in the same frame. Distances are measured along the
    step, from the true place before it. The mean over the points, inf when one of them never gets there.

    Raises:
        ValueError: the truth does not change, or changes in several frames.
    """
    true, seen = _points(truth), _points(estimate)
    moved = np.flatnonzero((np.diff(true, axis=0) != 0).reshape(len(true) - 1, -1).any(1))
    if len(moved) != 1:
        raise ValueError(f"the truth must jump in one frame, it changes in {len(moved)}")
    start = int(moved[0])
    step = true[start + 1] - true[start]
    covered = ((seen[start + 1 :] - true[start]) * step).sum(-1) / (step**2).sum(-1)
    reached = covered >= share
    frames = np.where(reached.any(0), reached.argmax(0), np.inf)
    return float(np.mean(frames))


def delay(truth: Array, estimate: Array, skip: int = 0) -> float:
    """Mean frames that the estimate is behind a truth in constant motion; below 0 it is ahead.

    The distance still to go, along the motion, divided by the speed; over all frames in which the truth moves, without
    the first `skip` of these, and over all points that are not missing. NaN when the truth never moves.
    """
    true, seen = _points(truth), _points(estimate)
    velocity = np.diff(true, axis=0)
    behind = true[1:] - seen[1:]
    speed = (velocity**2).sum(-1)
    moving = np.flatnonzero(np.nan_to_num(speed).reshape(len(speed), -1).any(1))[skip:]
    with np.errstate(invalid="ignore", divide="ignore"):
        frames = ((behind * velocity).sum(-1) / speed)[moving]
    frames = frames[np.isfinite(frames)]
    return float(frames.mean()) if frames.size else float("nan")


def measure(smooth: Callable[[Array], Array], rest: Array) -> Steadiness:
    """Jitter and lag of one filter with one setting: on points at rest, a step of 20 px and motions at three speeds.

    Args:
        smooth: maps positions (T, K, 2) to filtered ones of the same shape; it must not remember earlier calls.
        rest: (T, K, 2) what a detector says of K points that do not move, in pixels, from T >= 3 frames.

    Lag is measured without noise, as the filter's own; the motion goes to the right after `WARM_UP` frames at rest.
    """
    step = np.zeros((WARM_UP + LENGTH, 1, 2))
    step[WARM_UP:, :, 0] = STEP
    delays = {}
    for speed in SPEEDS:
        ramp = np.zeros_like(step)
        ramp[WARM_UP:, 0, 0] = speed * np.arange(1, LENGTH + 1)
        delays[speed] = delay(ramp, smooth(ramp))
    return Steadiness(jitter(rest), jitter(smooth(rest)), step_lag(step, smooth(step)), delays)


def _points(positions: Array) -> Array:
    """(T, …, D) → (T, …, 2) in float64."""
    return np.asarray(positions, np.float64)[..., :2]
