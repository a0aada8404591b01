"""The detections of a frame, and the tracks of a video as one structured array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Detections:
    """N detections of one frame; boxes and points in pixels, float64.

    `boxes` (N, 4) xyxy, `scores` (N,), `classes` (N,), `points` (N, K, 3) x y score, `index` (N,) positions in the
    arrays that the caller gave.
    """

    boxes: Array
    scores: Array
    classes: Array
    points: Array
    index: NDArray[np.intp]

    @classmethod
    def of(cls, boxes: Array, keypoints: Array) -> Detections:
        """(N, 6) xyxy score class, (N, K, D) → the detections that have finite numbers and sides above 0."""
        rows = np.asarray(boxes, np.float64).reshape(-1, 6)
        points = np.asarray(keypoints, np.float64)
        fine = np.isfinite(rows).all(1) & (rows[:, 2:4] > rows[:, :2]).all(1)
        index = np.flatnonzero(fine)
        if len(index) < len(rows):
            rows, points = rows[index], points[index]
        if points.shape[2] == 2:  # without scores: all points are sure
            points = np.concatenate((points, np.ones_like(points[..., :1])), axis=2)
        if not np.isfinite(points).all():
            points = np.where(np.isfinite(points).all(2, keepdims=True), points, 0.0)
        return cls(rows[:, :4], rows[:, 4], rows[:, 5], points, index)

    def __len__(self) -> int:
        return len(self.boxes)


def no_tracks(keypoints: int) -> Array:
    """An empty array of tracks with K keypoints. Times are counted in frames, boxes and points are pixels."""
    return np.empty(
        0,
        [
            ("id", np.int64),  # 0 until the track is confirmed
            ("number", np.int64),  # the id that it will have, with numbers_by_start
            ("class", np.float64),
            ("misses", np.int64),  # frames since the last detection: 0 for an active track, more for a lost one
            ("born", np.float64),  # when it was first detected
            ("seen", np.float64),  # when it was last detected
            ("detection", np.int64),  # its position in the arrays that the caller gave, of the last detection
            ("state", np.float64, (4, 5)),  # of its motion, see kalman.py
            ("box", np.float64, (4,)),  # as last detected, xyxy
            ("points", np.float64, (keypoints, 3)),  # as last detected, x y score
        ],
    )
