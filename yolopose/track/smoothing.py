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
Complex = NDArray[np.complex128]

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


# What is known of a point: rows of a complex array (5, R·K), R tracks of K points, x + i y.
ESTIMATE = 0  # pixels
MEASURED = 1  # the last measurement, pixels
VELOCITY = 2  # filtered, sizes per second
STEP = 3  # the way from the measurement before to the last one, in sizes
BEND = 4  # that step less the one before
KNOWN = 5  # the number of rows


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
        self._points = 0  # K
        self._last: Array = np.empty(0)  # (R·K,) when a point was last measured, -inf for never
        self._noise: Array = np.empty(0)  # (R·K,) variance of a coordinate, in sizes squared
        self._state: Complex = np.empty((KNOWN, 0), complex)

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
        points = np.ascontiguousarray(keypoints[..., :2]).view(complex)[..., 0]  # (M, K)
        weight = self._weights(points, keypoints)
        at = rows[:, None] * self._points + np.arange(self._points)
        known = self._time - self._last[at] <= self.options.hold
        measured = weight > 0
        going, fresh = measured & known, measured & ~known
        if going.any():
            size = np.sqrt(np.maximum(boxes[:, 2:4] - boxes[:, :2], 1.0).prod(1))[going.nonzero()[0]]
            self._filter(at[going], points[going], weight[going], size)
        if fresh.any():
            new = at[fresh]
            self._state[:, new] = self._noise[new] = 0.0
            self._state[ESTIMATE, new] = self._state[MEASURED, new] = points[fresh]
            self._last[new] = self._time
        steady = np.where(measured | known, self._state[ESTIMATE][at], points)
        return steady[..., None].view(np.float64)

    def _filter(self, at: NDArray[np.intp], points: Complex, weight: Array, size: Array) -> None:
        """Measure points that are known: their places in the state, measurements, weights, sizes, all (P,)."""
        o, noise = self.options, self._noise[at]
        old, measured, velocity, before, turned = self._state[:, at]
        elapsed = np.maximum(self._time - self._last[at], SHORTEST)
        gain = o.gain / np.maximum(noise / o.noise**2, 1.0)
        # An unsure measurement is drawn to where the point would be if it went on as before. In fast motion, in which
        # the estimate follows at once (share near 1), that is worth less than the measurement.
        share = low_pass(o.cutoff + gain * square(velocity), elapsed)
        expected = old + share * size * before
        certain = ((share**2) ** 2) ** 2
        trusted = expected + (weight + (1 - weight) * certain) * (points - expected)
        step = (trusted - measured) / size
        velocity = velocity + low_pass(o.speed_cutoff, elapsed) * (step / elapsed - velocity)
        estimate = old + low_pass(o.cutoff + gain * square(velocity), elapsed) * (trusted - old)
        self._noise[at] = self._noisier(noise, step - before, turned, elapsed)
        self._state[:, at] = estimate, trusted, velocity, step, step - before
        self._last[at] = self._time

    def _noisier(self, noise: Array, bend: Complex, before: Complex, elapsed: Array) -> Array:
        """(P,) the variance of each point's noise, from how much its path turns back and forth.

        White noise of variance s in x and y makes two successive second differences of the path vary against each
        other: the mean of their product is -8 s. Real motion is smooth: its product is positive.
        """
        o = self.options
        sample = (bend * before.conj()).real / -8.0
        most = 9.0 * np.maximum(noise, o.noise**2)  # a jump is no noise
        sample = np.minimum(np.maximum(sample, -most), most)
        return np.asarray(noise + elapsed / (elapsed + o.noise_time) * (sample - noise))

    def _weights(self, points: Complex, keypoints: Array) -> Array:
        """(M, K), (M, K, 2 or 3) → (M, K) how much each measurement counts, 0 to 1."""
        there = np.isfinite(points) & (points != 0)
        if keypoints.shape[-1] == 2:
            return np.asarray(there, np.float64)
        score = keypoints[..., 2]
        weight = np.minimum(score / self.options.sure, 1.0)
        return np.asarray(np.where(there & (score >= self.options.least) & np.isfinite(score), weight, 0.0))

    def _rows_of(self, ids: NDArray[Any], points: int) -> NDArray[np.intp]:
        """The rows of some tracks in the arrays; new tracks get new ones."""
        if self._rows and points != self._points:
            raise PoseError(f"the tracks so far have {self._points} keypoints, this frame has {points}")
        self._points = points
        numbers = [int(i) for i in ids]
        new = [i for i in numbers if i not in self._rows]
        if new:
            first, count = len(self._seen), len(new)
            self._rows.update(zip(new, range(first, first + count), strict=True))
            self._seen = np.concatenate([self._seen, np.zeros(count)])
            self._last = np.concatenate([self._last, np.full(count * points, -np.inf)])
            self._noise = np.concatenate([self._noise, np.zeros(count * points)])
            self._state = np.concatenate([self._state, np.zeros((KNOWN, count * points), complex)], axis=1)
        rows = np.array([self._rows[i] for i in numbers])
        self._seen[rows] = self._time
        return rows

    def _forget(self) -> None:
        """Drop the tracks that were not seen for too long."""
        keep = self._time - self._seen <= self.options.forget
        if keep.all():
            return
        place = np.cumsum(keep) - 1
        self._rows = {track: int(place[row]) for track, row in self._rows.items() if keep[row]}
        every = np.repeat(keep, self._points)
        self._seen, self._last, self._noise = self._seen[keep], self._last[every], self._noise[every]
        self._state = self._state[:, every]


def square(vector: Complex) -> Array:
    """The squared lengths of vectors."""
    return np.asarray(vector.real**2 + vector.imag**2)


def low_pass(cutoff: float | Array, dt: Array) -> Array:
    """The share of a new value in a low-pass filter of one pole: 1 / (1 + tau / dt), tau = 1 / (2 pi cutoff).

    Source: the paper's equations 5 and 6.
    """
    r = 2 * math.pi * cutoff * dt
    return np.asarray(r / (1 + r))
