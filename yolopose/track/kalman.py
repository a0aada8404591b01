"""Kalman filters with constant velocity for the boxes of all tracks at once.

A box is four numbers, each with a velocity. Their noise is independent, and so are their first covariances; therefore
the 8 x 8 covariance of the published filters has only the four 2 x 2 blocks of a number and its velocity other than 0.
Predict and update are computed on these blocks, which gives the same result as the full matrices.

A filter state is (T, 4, 5): for T tracks and four numbers each the position, its velocity, the variance of the
position, the covariance of both, and the variance of the velocity. Positions are pixels (`aspect` has no unit), time
is counted in frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolopose.geometry.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh

Floats = NDArray[np.float64]

POSITION = 1 / 20  # standard deviations as fractions of the box's side, from the code of SORT, ByteTrack and BoT-SORT
VELOCITY = 1 / 160


@dataclass(frozen=True)
class BoxFilter:
    """A constant-velocity filter of centre x, centre y, width and height (BoT-SORT, section 3.1).

    With `aspect` the third number is width / height, nearly constant, and all noise follows the height: the filter of
    ByteTrack (and of DeepSORT, where it comes from).
    """

    aspect: bool = False

    def start(self, boxes: Floats) -> Floats:
        """(N, 4) xyxy → (N, 4, 5) state of new tracks, at rest and with uncertain velocity."""
        position, velocity = self._deviations(boxes)
        state = np.zeros((len(boxes), 4, 5))
        state[..., 0] = self.measure(boxes)
        state[..., 2] = (2 * position) ** 2
        state[..., 4] = (10 * velocity) ** 2
        if self.aspect:
            state[:, 2, 2], state[:, 2, 4] = 1e-2**2, 1e-5**2
        return state

    def predict(self, state: Floats, step: float = 1.0) -> None:
        """Move the (T, 4, 5) state on by `step` frames, in place."""
        position, velocity = self._deviations(self.boxes(state))
        if self.aspect:
            position[:, 2] = 1e-2
        state[..., 0] += step * state[..., 1]
        state[..., 2] += step * (2 * state[..., 3] + step * state[..., 4]) + step * position**2
        state[..., 3] += step * state[..., 4]
        state[..., 4] += step * velocity**2

    def update(self, state: Floats, boxes: Floats) -> Floats:
        """(T, 4, 5) predicted state and (T, 4) xyxy detections → the corrected state, a new array."""
        noise, _ = self._deviations(self.boxes(state))
        if self.aspect:
            noise[:, 2] = 1e-1
        p, v, pp, pv, vv = state.transpose(2, 0, 1)
        total = pp + noise**2
        gain, gain_v = pp / total, pv / total
        miss = self.measure(boxes) - p
        parts = (p + gain * miss, v + gain_v * miss, pp - gain * pp, pv - gain * pv, vv - gain_v * pv)
        return np.array(parts).transpose(1, 2, 0)

    def transform(self, state: Floats, matrix: Floats) -> None:
        """Move the (T, 4, 5) state by a (2, 3) matrix that turns, scales and shifts the image, in place.

        Sides only scale. Variances only scale, too: those of x and y are nearly equal, and then a turn keeps them.
        """
        scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        state[:, :2, 0] = state[:, :2, 0] @ matrix[:, :2].T + matrix[:, 2]
        state[:, :2, 1] = state[:, :2, 1] @ matrix[:, :2].T
        state[:, :2, 2:] *= scale**2
        sides = slice(3 if self.aspect else 2, None)
        state[:, sides, :2] *= scale
        state[:, sides, 2:] *= scale**2

    def measure(self, boxes: Floats) -> Floats:
        """(N, 4) xyxy → (N, 4) the four numbers."""
        numbers = xyxy_to_cxcywh(boxes)
        if self.aspect:
            numbers[:, 2] /= numbers[:, 3]
        return numbers

    def boxes(self, state: Floats) -> Floats:
        """(T, 4, 5) state → (T, 4) xyxy; sides are at least one pixel, whatever a long prediction made of them."""
        numbers = state[..., 0].copy()
        np.maximum(numbers[:, 3], 1, out=numbers[:, 3])
        if self.aspect:
            numbers[:, 2] *= numbers[:, 3]
        np.maximum(numbers[:, 2], 1, out=numbers[:, 2])
        return cxcywh_to_xyxy(numbers)

    def stop_growing(self, state: Floats, lost: NDArray[np.bool_]) -> None:
        """Set the velocity of the sides of lost tracks to 0, in place: they would shrink or grow without bound."""
        state[lost, (3 if self.aspect else 2) :, 1] = 0

    def _deviations(self, boxes: Floats) -> tuple[Floats, Floats]:
        """(N, 4) xyxy → standard deviations (N, 4) of position and (N, 4) of velocity noise."""
        sides = boxes[:, 2:] - boxes[:, :2]
        if not self.aspect:
            scale = np.concatenate((sides, sides), axis=1)
            return POSITION * scale, VELOCITY * scale
        height = np.repeat(sides[:, 1:], 4, axis=1)
        position, velocity = POSITION * height, VELOCITY * height
        velocity[:, 2] = 1e-5
        return position, velocity
