"""The confusion matrix against hand-made cases."""

import numpy as np

from yolopose.evaluate.confusion import ConfusionMatrix

NAMES = {0: "cat", 1: "dog"}


def detections(*rows: tuple[float, float, float]) -> np.ndarray:
    """(x, conf, cls): boxes 10 by 10 pixels at (x, 0)."""
    return np.array([[x, 0, x + 10, 10, conf, cls] for x, conf, cls in rows], float).reshape(-1, 6)


def test_hits_misses_confusions_and_strays() -> None:
    matrix = ConfusionMatrix(NAMES)
    found = detections((0, 0.9, 0), (21, 0.8, 1), (60, 0.7, 1), (0, 0.2, 1))
    true = detections((0, 1, 0), (20, 1, 0), (40, 1, 1))
    matrix.add(found, true[:, :4], true[:, 5])
    assert matrix.matrix.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert matrix.normalized()[:, 0].tolist() == [0.5, 0.5, 0]


def test_a_truth_keeps_the_nearest_of_those_that_chose_it() -> None:
    matrix = ConfusionMatrix(NAMES)
    matrix.add(detections((2, 0.9, 1), (1, 0.5, 0)), detections((0, 1, 0))[:, :4], np.zeros(1))
    assert matrix.matrix.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_empty_sides_and_the_users_own_confidence() -> None:
    matrix = ConfusionMatrix(NAMES, conf=0.6)
    nothing = detections()
    matrix.add(nothing, nothing[:, :4], nothing[:, 5])
    matrix.add(detections((0, 0.9, 1), (0, 0.5, 1)), nothing[:, :4], nothing[:, 5])
    matrix.add(nothing, detections((0, 1, 0))[:, :4], np.zeros(1))
    assert matrix.matrix.tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 0]]
