"""Boxes against brute force."""

import numpy as np
import pytest

from yolopose.geometry.boxes import clip_boxes, cxcywh_to_xyxy, iou_matrix, nms, xyxy_to_cxcywh


def random_boxes(rng: np.random.Generator, n: int) -> np.ndarray:
    corner = rng.uniform(0, 100, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(1, 60, (n, 2))], 1)


def iou_by_hand(a: np.ndarray, b: np.ndarray) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union if union > 0 else 0.0


def nms_by_hand(boxes: np.ndarray, scores: np.ndarray, iou: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if all(iou_by_hand(boxes[i], boxes[j]) <= iou for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("iou", [0.0, 0.3, 0.7])
def test_nms_equals_brute_force(seed: int, iou: float) -> None:
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 300)  # more than two blocks
    scores = rng.integers(0, 20, 300) / 20.0  # many ties
    expected = nms_by_hand(boxes, scores, iou)
    assert nms(boxes, scores, iou).tolist() == expected
    assert nms(boxes, scores, iou, limit=5).tolist() == expected[:5]


def test_nms_ties_keep_the_lower_index() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    assert nms(boxes, np.array([0.5, 0.5, 0.5]), 0.5).tolist() == [0, 2]


def test_nms_of_nothing() -> None:
    assert nms(np.zeros((0, 4)), np.zeros(0), 0.5).shape == (0,)


def test_iou_matrix_equals_brute_force() -> None:
    rng = np.random.default_rng(1)
    a, b = random_boxes(rng, 20), random_boxes(rng, 30)
    b[0] = 0  # an empty box
    expected = [[iou_by_hand(x, y) for y in b] for x in a]
    np.testing.assert_allclose(iou_matrix(a, b), expected, atol=1e-12)
    assert iou_matrix(a.astype(np.float32), b.astype(np.float32)).dtype == np.float32


def test_conversions_undo_each_other() -> None:
    boxes = random_boxes(np.random.default_rng(2), 50)
    np.testing.assert_allclose(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes)


def test_clip() -> None:
    assert clip_boxes(np.array([[-5.0, 3.0, 30.0, 40.0]]), (20, 25)).tolist() == [[0.0, 3.0, 25.0, 20.0]]
