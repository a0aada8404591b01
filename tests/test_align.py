"""Aligned crops of faces."""

import cv2
import numpy as np
import pytest
from helpers.builders import make_results

from yolopose.errors import PoseError
from yolopose.geometry.align import FACE_TEMPLATE
from yolopose.results import Results


def face(angle: float, scale: float, hw: tuple[int, int] = (400, 500)) -> Results:
    """Five discs, each of its own grey, turned and scaled; the result that finds their centres."""
    turn = cv2.getRotationMatrix2D((56, 56), angle, scale)
    points = FACE_TEMPLATE @ turn[:, :2].T + turn[:, 2] + (150, 120)
    image = np.zeros((*hw, 3), np.uint8)
    for i, point in enumerate(points):
        cv2.circle(image, [round(16 * v) for v in point], int(5 * scale * 16), (50 + 50 * i,) * 3, -1, cv2.LINE_AA, 4)
    keypoints = np.concatenate([points + 0.5, np.ones((5, 1))], 1)[None]
    return Results(image, "face.jpg", {0: "face"}, [[100, 100, 300, 300, 0.9, 0]], keypoints)


@pytest.mark.parametrize(("angle", "scale", "size"), [(0, 1, 112), (35, 1.7, 112), (-160, 1.3, 112), (20, 2, 224)])
def test_landmarks_come_to_the_template(angle: float, scale: float, size: int) -> None:
    (crop,) = face(angle, scale).align(size)
    assert crop.shape == (size, size, 3)
    for i, (x, y) in enumerate(FACE_TEMPLATE * size / 112):
        assert abs(int(crop[round(y), round(x), 0]) - (50 + 50 * i)) <= 2
        reach = 9 * size // 112
        rows, columns = np.mgrid[round(y) - reach : round(y) + reach + 1, round(x) - reach : round(x) + reach + 1]
        disc = crop[rows, columns, 0].astype(float)
        assert (disc * rows).sum() / disc.sum() == pytest.approx(y, abs=0.1)
        assert (disc * columns).sum() / disc.sum() == pytest.approx(x, abs=0.1)


def test_every_face_has_a_crop_and_none_is_none() -> None:
    results = make_results(3, 5)
    assert results.align().shape == (3, 112, 112, 3)
    assert results[[]].align(64).shape == (0, 64, 64, 3)


def test_results_that_cannot_be_aligned_are_refused() -> None:
    with pytest.raises(PoseError, match="align needs the five landmarks of faces, these results have 17"):
        make_results(1, 17).align()
    with pytest.raises(PoseError, match="at least 1 pixel, got 0"):
        make_results(1, 5).align(0)
    results = make_results(2, 5)
    results.keypoints.data[1] = 0
    with pytest.raises(PoseError, match="the landmarks of face 1 coincide"):
        results.align()
    lost = Results(None, "nowhere.jpg", {0: "face"}, [[0, 0, 9, 9, 0.9, 0]], np.ones((1, 5, 3)), orig_shape=(9, 9))
    with pytest.raises(PoseError, match=r"nowhere\.jpg"):
        lost.align()
