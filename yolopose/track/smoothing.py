"""Steady keypoints while the video runs: a One-Euro filter for each track and point, without look-ahead.

Source: Casiez, Roussel, Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012. A low-pass filter whose cutoff rises with the speed of the point: slow points become steady, fast
ones follow at once. Ours differs in four things. The speed is that of the point in the plane, not of x and y apart. It
is in sizes of the person per second, so that near and far people behave alike. The cutoff rises with its third power
instead of linearly, which keeps the noise of a resting point out of it. And measurements with low scores count less.

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
    """The filter's parameters; cutoffs in Hz, speeds in sizes of the person (root of the box's area) per second.

    Attributes:
        cutoff: of a point at rest.
        gain: how much the cutoff rises: by `gain` at a speed of one, and with the third power of the speed.
        speed_cutoff: of the low-pass filter of the speed.
        sure: scores from here on count in full, lower ones in proportion.
        least: a point with a lower score than this is not measured: it keeps its last estimate for `hold` seconds.
        hold: seconds after which an estimate is too old to keep, or to go on from.
        forget: seconds after which a track that was not seen is forgotten.
    """

    cutoff: float = 1.5
    gain: float = 320.0
    speed_cutoff: float = 2.0
    sure: float = 0.5
    least: float = 0.1
    hold: float = 0.5
    forget: float = 5.0


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
        self._last: Array = np.empty((0, 0))  # (R, K) when the point was last measured, -inf for never
        self._measured: Array = np.empty((0, 0, 2))  # (R, K, 2) that measurement
        self._estimate: Array = np.empty((0, 0, 2))
        self._velocity: Array = np.empty((0, 0, 2))  # sizes per second

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
        points, weight = keypoints[..., :2], self._weights(keypoints)[..., None]
        measured = weight > 0
        last = self._last[rows][..., None]
        known = now - last <= o.hold
        elapsed = np.where(known, np.maximum(now - last, SHORTEST), 1.0)
        size = np.sqrt(np.maximum(boxes[:, 2:4] - boxes[:, :2], 1.0).prod(1))[:, None, None]
        old, before = self._estimate[rows], self._measured[rows]

        safe = np.where(measured, points, old)
        trusted = old + weight * (safe - old)  # an unsure measurement moves towards the estimate
        velocity = self._velocity[rows]
        velocity = velocity + smoothing(o.speed_cutoff, elapsed) * ((trusted - before) / elapsed / size - velocity)
        speed = np.linalg.norm(velocity, axis=-1, keepdims=True)
        estimate = old + smoothing(o.cutoff + o.gain * speed**3, elapsed) * (trusted - old)

        going = measured & known
        fresh = measured & ~known
        self._estimate[rows] = np.where(going, estimate, np.where(fresh, safe, old))
        self._velocity[rows] = np.where(going, velocity, np.where(fresh, 0.0, self._velocity[rows]))
        self._measured[rows] = np.where(going, trusted, np.where(fresh, safe, before))
        self._last[rows] = np.where(measured[..., 0], now, self._last[rows])
        return np.asarray(np.where(measured | known, self._estimate[rows], points))

    def _weights(self, keypoints: Array) -> Array:
        """(M, K, 2 or 3) → (M, K) how much each measurement counts, 0 to 1."""
        there = np.isfinite(keypoints).all(-1) & (keypoints[..., :2] != 0).any(-1)
        score = keypoints[..., 2] if keypoints.shape[-1] == 3 else np.ones(there.shape)
        weight = np.minimum(score / self.options.sure, 1.0)
        return np.asarray(np.where(there & (score >= self.options.least), weight, 0.0))

    def _rows_of(self, ids: NDArray[Any], points: int) -> NDArray[np.intp]:
        """The rows of some tracks in the arrays; new tracks get new ones."""
        if self._rows and points != self._last.shape[1]:
            raise PoseError(f"the tracks so far have {self._last.shape[1]} keypoints, this frame has {points}")
        new = [i for i in map(int, ids) if i not in self._rows]
        if new:
            first, count = len(self._seen), len(new)
            self._rows.update(zip(new, range(first, first + count), strict=True))
            self._seen = np.concatenate([self._seen, np.zeros(count)])
            self._last = np.concatenate([self._last.reshape(-1, points), np.full((count, points), -np.inf)])
            blank = np.zeros((count, points, 2))
            self._measured, self._estimate, self._velocity = (
                np.concatenate([old.reshape(-1, points, 2), blank])
                for old in (self._measured, self._estimate, self._velocity)
            )
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
        self._seen, self._last = self._seen[keep], self._last[keep]
        self._measured, self._estimate = self._measured[keep], self._estimate[keep]
        self._velocity = self._velocity[keep]


def smoothing(cutoff: float | Array, dt: Array) -> Array:
    """The share of a new value in a low-pass filter of one pole: 1 / (1 + tau / dt), tau = 1 / (2 pi cutoff).

    Source: the paper's equations 5 and 6.
    """
    r = 2 * math.pi * cutoff * dt
    return np.asarray(r / (1 + r))
