"""Similarity transforms between sets of points, and the five-point template of aligned faces."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Where the image-left eye, image-right eye, nose tip and mouth corners lie in the 112 x 112 crops that face
# recognition networks are trained on (ArcFace, Deng et al. 2019); pixel (0, 0) has its centre at 0, 0.
FACE_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
FACE_TEMPLATE_SIDE = 112


def similarity(source: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    """(K, 2), (K, 2) → (2, 3): the scale, rotation and shift that bring `source` closest to `target`.

    Least squares without reflection (Umeyama 1991, equations 40 to 43).

    Raises:
        ValueError: all source points are the same, or a coordinate is not finite.
    """
    a, b = np.asarray(source, np.float64), np.asarray(target, np.float64)
    centre_a, centre_b = a.mean(0), b.mean(0)
    spread = float(((a - centre_a) ** 2).sum(1).mean())
    if not np.isfinite(spread) or spread < 1e-12:
        raise ValueError("points that coincide or are not finite have no similarity transform")
    u, values, vt = np.linalg.svd((b - centre_b).T @ (a - centre_a) / len(a))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])  # no mirror image
    linear = (u * sign) @ vt * float((values * sign).sum()) / spread
    return np.column_stack([linear, centre_b - linear @ centre_a])


def align_face(image: NDArray[np.uint8], points: NDArray[Any], size: int) -> NDArray[np.uint8]:
    """(H, W, 3) and the five landmarks (5, 2) of a face in continuous pixels → the upright face (size, size, 3).

    Raises:
        ValueError: the points are all the same.
    """
    import cv2

    # the template and OpenCV count from the centre of a pixel, keypoints from its corner
    matrix = similarity(np.asarray(points, np.float64) - 0.5, FACE_TEMPLATE * (size / FACE_TEMPLATE_SIDE))
    return np.asarray(cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR), np.uint8)
