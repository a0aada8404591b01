"""The camera's motion between two frames, from points of the background that are followed by optical flow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SIDE = 640  # pixels: the frame's longer side is reduced to this
POINTS = 400  # background points that are followed
FEWEST = 12  # points that have to agree on one motion,
SHARE = 0.3  # and which part of all that could be followed


class CameraMotion:
    """Affine motion of the background from frame to frame: turning, scaling, shifting.

    Sparse optical flow (Lucas and Kanade, with image pyramids) follows corners (Shi and Tomasi) that lie outside of the
    boxes of the previous frame; RANSAC finds the motion that most of them share. BoT-SORT, section 3.2.
    """

    def __init__(self) -> None:
        self._grey: Array | None = None
        self._points: Array | None = None

    def estimate(self, image: Array, boxes: Array) -> NDArray[np.float64] | None:
        """The (2, 3) matrix that takes pixels of the previous frame to this one; None if it is not known.

        `image` is (H, W, 3) BGR or (H, W), uint8; `boxes` (N, 4) xyxy are what moves by itself in it.
        """
        grey, scale = _reduced(image)
        before, points = self._grey, self._points
        self._grey, self._points = grey, _corners(grey, boxes * scale)
        if before is None or points is None or before.shape != grey.shape:
            return None
        matrix = _motion(before, grey, points)
        if matrix is not None:
            matrix[:, 2] = (matrix[:, 2] + (np.eye(2) - matrix[:, :2]) @ (0.5, 0.5)) / scale  # OpenCV's 0 is our 0.5
        return matrix


def _reduced(image: Array) -> tuple[Array, float]:
    """A grey image with a longer side of at most SIDE, and the factor of its size."""
    import cv2

    scale = min(1.0, SIDE / max(image.shape[:2]))
    if scale < 1:
        size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale > 0.5 else cv2.INTER_LINEAR)
    return (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image), scale


def _corners(grey: Array, boxes: Array) -> Array | None:
    """(P, 1, 2) corners outside of the boxes; None if there are none."""
    import cv2

    mask = np.full(grey.shape, 255, np.uint8)
    for x1, y1, x2, y2 in np.clip(boxes, 0, 2 * SIDE).astype(int).tolist():
        mask[y1 : y2 + 1, x1 : x2 + 1] = 0
    found: Array | None = cv2.goodFeaturesToTrack(grey, POINTS, qualityLevel=0.01, minDistance=5, mask=mask)
    return found


def _motion(before: Array, grey: Array, points: Array) -> NDArray[np.float64] | None:
    """The (2, 3) motion that most of the points share; None if too few do."""
    import cv2

    moved, status, _ = cv2.calcOpticalFlowPyrLK(before, grey, points, None)
    good = status.ravel() == 1
    if good.sum() < FEWEST:
        return None
    matrix, agree = cv2.estimateAffinePartial2D(points[good], moved[good], ransacReprojThreshold=1.5)
    if matrix is None or agree.sum() < max(FEWEST, SHARE * good.sum()):
        return None
    return np.asarray(matrix, np.float64)
