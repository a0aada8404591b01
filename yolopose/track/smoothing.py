"""Steady keypoints while the video runs: a One-Euro filter for each track and point, without look-ahead.

Source: Casiez, Roussel, Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012. A low-pass filter whose cutoff rises with the speed of the point: slow points become steady, fast
ones follow at once. Ours differs in five things. The speed is that of the point in the plane, not of x and y apart. It
is in sizes of the person per second, so that near and far people behave alike. The cutoff rises with its square, which
keeps the noise of a resting point out of it, and less where the noise of the point is larger than usual.
Measurements with low scores count less. What this is worth: `benchmarks/smoothing.py`.

    smoother = OneEuro()
    steady = smoother.update(ids, boxes, keypoints, dt)  # once per frame, with the seconds since the frame before
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError, shown

Array = NDArray[np.float64]

SHORTEST = 1e-3  # seconds; live streams give frames with equal times


@dataclass(frozen=True)
class OneEuroOptions:
    """The filter's parameters. Cutoffs in Hz; a size is that of the person, the root of the box's area in pixels.

    Attributes:
        cutoff: of a point at rest.
        gain: how much the cutoff rises at a speed of one size per second; four times as much at twice the speed.
        speed_cutoff: of the low-pass filter of the speed.
        noise: deviation of a coordinate, in sizes, from which on the speed counts less: half at twice this noise.
        noise_time: seconds over which the noise of a point is estimated.
        sure: scores from here on count in full, lower ones in proportion.
        least: a point with a lower score than this is not measured: it keeps its last estimate for `hold` seconds.
        hold: seconds after which an estimate is too old to keep, or to go on from.
        forget: seconds after which a track that was not seen is forgotten.
    """

    cutoff: float = 1.0
    gain: float = 267.0
    speed_cutoff: float = 1.0
    noise: float = 0.0075
    noise_time: float = 2.0
    sure: float = 0.5
    least: float = 0.1
    hold: float = 0.5
    forget: float = 5.0


# What is known of a point: columns of an array (R, K, 12), R tracks. Vectors are x and y.
LAST = 0  # when it was last measured, -inf for never
NOISE = 1  # variance of a coordinate, in sizes squared
ESTIMATE = slice(2, 4)  # pixels
MEASURED = slice(4, 6)  # the last measurement, pixels
VELOCITY = slice(6, 8)  # filtered, sizes per second
STEP = slice(8, 10)  # the way from the measurement before to the last one, in sizes
BEND = slice(10, 12)  # that step less the one before
COLUMNS = 12


class OneEuro:
    """The filters of all tracks. Not for several threads at once; each stream needs its own.

    Memory is bounded by the tracks of the last `forget` seconds.
    """

    def __init__(self, options: OneEuroOptions | None = None) -> None:
        self.options = options or OneEuroOptions()
        self.reset()

    def reset(self) -> None:
        """Forget all tracks."""
        self._time = 0.0
        self._rows: dict[int, int] = {}  # track id: its row in the arrays
        self._seen: Array = np.empty(0)  # (R,) when the track was last there
        self._state: Array = np.empty((0, 0, COLUMNS))  # (R, K, 12)

    def __len__(self) -> int:
        return len(self._rows)

    def update(self, ids: NDArray[Any], boxes: NDArray[Any], keypoints: NDArray[Any], dt: float) -> NDArray[Any]:
        """The keypoints of one frame, made steady: (M,), (M, ≥4) xyxy, (M, K, 2 or 3) pixels → a new (M, K, 2 or 3).

        `dt` is the time since the frame before in seconds; frames without a track count too. Scores stay as they are.
        Points that are no numbers or (0, 0) (not found) are treated like those with too low a score.

        Raises:
            PoseError: `dt` is negative or no number, or the number of keypoints has changed.
        """
        if not 0 <= dt < math.inf:
            raise PoseError(f"the time between two frames must not be negative, got {shown(dt)}")
        self._time += dt
        result = np.array(keypoints)
        if len(ids):
            rows = self._rows_of(ids, result.shape[1])
            result[..., :2] = self._step(rows, np.asarray(boxes, np.float64), result.astype(np.float64))
        self._forget()
        return result

    def _step(self, rows: NDArray[np.intp], boxes: Array, keypoints: Array) -> Array:
        """Filter the points of some tracks, (M, K, 2 or 3) → (M, K, 2)."""
        o, now = self.options, self._time
        state, points, weight = self._state[rows], keypoints[..., :2], self._weights(keypoints)
        age = now - state[..., LAST]
        known = age <= o.hold
        measured = weight > 0
        if measured.any():
            size = np.sqrt(np.maximum(boxes[:, 2:4] - boxes[:, :2], 1.0).prod(1))[:, None]
            elapsed = np.where(known, np.maximum(age, SHORTEST), 1.0)
            self._state[rows] = np.where(
                (measured & known)[..., None], self._filtered(state, points, weight, elapsed, size), state
            )
        fresh = measured & ~known
        if fresh.any():
            row, point = np.nonzero(fresh)
            self._state[rows[row], point] = 0.0
            self._state[rows[row], point, ESTIMATE] = self._state[rows[row], point, MEASURED] = points[row, point]
            self._state[rows[row], point, LAST] = now
        return np.where((measured | known)[..., None], self._state[rows][..., ESTIMATE], points)

    def _filtered(self, state: Array, points: Array, weight: Array, elapsed: Array, size: Array) -> Array:
        """The states of points after a measurement: (M, K, 12), (M, K, 2), (M, K), (M, K), (M, 1) → (M, K, 12)."""
        o, new = self.options, np.empty_like(state)
        old, velocity = state[..., ESTIMATE], state[..., VELOCITY]
        # An unsure measurement is drawn to where the point would be if it went on as before. In fast motion, in which
        # the estimate follows at once (share near 1), that is worth less than the measurement.
        share = self._share(velocity, state, elapsed)
        weight = np.where(weight > 0, weight + (1 - weight) * share**8, 0.0)[..., None]
        expected = old + (share * size)[..., None] * state[..., STEP]
        trusted = expected + weight * (np.where(weight > 0, points, expected) - expected)
        step = (trusted - state[..., MEASURED]) / size[..., None]
        velocity = velocity + low_pass(o.speed_cutoff, elapsed)[..., None] * (step / elapsed[..., None] - velocity)
        bend = step - state[..., STEP]
        new[..., LAST] = self._time
        new[..., NOISE] = self._noise(state, bend, elapsed)
        new[..., ESTIMATE] = old + self._share(velocity, state, elapsed)[..., None] * (trusted - old)
        new[..., MEASURED], new[..., VELOCITY], new[..., STEP], new[..., BEND] = trusted, velocity, step, bend
        return new

    def _share(self, velocity: Array, state: Array, elapsed: Array) -> Array:
        """(M, K) how much of a new measurement enters the estimate at (M, K, 2) velocities."""
        o = self.options
        excess = np.maximum(state[..., NOISE] / o.noise**2, 1.0)
        return low_pass(o.cutoff + o.gain * (velocity**2).sum(-1) / excess, elapsed)

    def _noise(self, state: Array, bend: Array, elapsed: Array) -> Array:
        """(M, K) the variance of each point's noise, from how much its path turns back and forth.

        White noise of variance s in x and y makes two successive second differences of the path vary against each
        other: the mean of their product is -8 s. Real motion is smooth: its product is positive.
        """
        o, noise = self.options, state[..., NOISE]
        sample = (bend * state[..., BEND]).sum(-1) / -8.0
        most = 9.0 * np.maximum(noise, o.noise**2)  # a jump is no noise
        return np.asarray(noise + elapsed / (elapsed + o.noise_time) * (np.clip(sample, -most, most) - noise))

    def _weights(self, keypoints: Array) -> Array:
        """(M, K, 2 or 3) → (M, K) how much each measurement counts, 0 to 1."""
        there = np.isfinite(keypoints).all(-1) & (keypoints[..., :2] != 0).any(-1)
        score = keypoints[..., 2] if keypoints.shape[-1] == 3 else np.ones(there.shape)
        weight = np.minimum(score / self.options.sure, 1.0)
        return np.asarray(np.where(there & (score >= self.options.least), weight, 0.0))

    def _rows_of(self, ids: NDArray[Any], points: int) -> NDArray[np.intp]:
        """The rows of some tracks in the arrays; new tracks get new ones."""
        if self._rows and points != self._state.shape[1]:
            raise PoseError(f"the tracks so far have {self._state.shape[1]} keypoints, this frame has {points}")
        new = [i for i in map(int, ids) if i not in self._rows]
        if new:
            first, count = len(self._seen), len(new)
            self._rows.update(zip(new, range(first, first + count), strict=True))
            self._seen = np.concatenate([self._seen, np.zeros(count)])
            blank = np.zeros((count, points, COLUMNS))
            blank[..., LAST] = -np.inf
            self._state = np.concatenate([self._state.reshape(-1, points, COLUMNS), blank])
        rows = np.array([self._rows[int(i)] for i in ids])
        self._seen[rows] = self._time
        return rows

    def _forget(self) -> None:
        """Drop the tracks that were not seen for too long."""
        keep = self._time - self._seen <= self.options.forget
        if keep.all():
            return
        place = np.cumsum(keep) - 1
        self._rows = {track: int(place[row]) for track, row in self._rows.items() if keep[row]}
        self._seen, self._state = self._seen[keep], self._state[keep]


def low_pass(cutoff: float | Array, dt: Array) -> Array:
    """The share of a new value in a low-pass filter of one pole: 1 / (1 + tau / dt), tau = 1 / (2 pi cutoff).

    Source: the paper's equations 5 and 6.
    """
    r = 2 * math.pi * cutoff * dt
    return np.asarray(r / (1 + r))
