"""The choice of detections among candidates, against a loop in plain Python."""

from typing import Any

import numpy as np
import pytest

from yolopose import detect
from yolopose.detect import NmsOptions, non_max_suppression
from yolopose.rules import REFERENCE


def candidates(seed: int, classes: int, count: int = 60) -> np.ndarray:
    """Rows with crowded boxes and many equal scores."""
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.uniform(0, 100, (count, 2)), rng.uniform(20, 80, (count, 2))], 1)
    scores = rng.integers(0, 8, (count, classes)) / 8
    rows = np.concatenate([boxes, scores, rng.random((count, 6))], 1).astype(np.float32)
    return rows[scores.max(1) > 0.2]


def by_hand(rows: np.ndarray, classes: int, options: NmsOptions) -> list[tuple[int, int]]:
    """(row, class) of the candidates that stay, in order."""

    def corners(row: np.ndarray) -> list[float]:
        x, y, w, h = (float(v) for v in row[:4])
        return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]

    def overlap(i: int, j: int) -> float:
        a, b = corners(rows[i]), corners(rows[j])
        w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        inter = max(w, 0) * max(h, 0)
        return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)

    if options.multi_label:
        pairs = [(i, c) for i in range(len(rows)) for c in range(classes) if rows[i, 4 + c] > options.conf]
    else:
        pairs = [(i, int(np.argmax(row[4 : 4 + classes]))) for i, row in enumerate(rows)]
    kept: list[tuple[int, int]] = []
    for i, label in sorted(pairs, key=lambda pair: -rows[pair[0], 4 + pair[1]]):
        rivals = [j for j, other in kept if options.agnostic_nms or other == label]
        wanted = options.classes is None or label in options.classes
        if wanted and all(overlap(i, j) <= options.iou for j in rivals):
            kept.append((i, label))
    return kept[: options.max_det]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "changed",
    [{}, {"iou": 0.3}, {"agnostic_nms": True}, {"classes": (0, 2)}, {"max_det": 3}, {"rules": REFERENCE}],
    ids=str,
)
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("multi_label", [False, True])
def test_equals_brute_force(multi_label: bool, seed: int, classes: int, changed: dict[str, Any]) -> None:
    rows = candidates(seed, classes)
    options = NmsOptions(**changed, conf=0.2, multi_label=multi_label)
    row, label = (np.array(part) for part in zip(*by_hand(rows, classes, options), strict=True))
    boxes, keypoints = non_max_suppression(rows, classes, options)
    np.testing.assert_array_equal(keypoints, rows[row, 4 + classes :])
    np.testing.assert_array_equal(boxes[:, 4], rows[row, 4 + label])
    np.testing.assert_array_equal(boxes[:, 5], label)
    np.testing.assert_allclose((boxes[:, :2] + boxes[:, 2:4]) / 2, rows[row, :2], atol=1e-4)
    np.testing.assert_allclose(boxes[:, 2:4] - boxes[:, :2], rows[row, 2:4], atol=1e-4)


def test_no_candidates_give_empty_arrays() -> None:
    boxes, keypoints = non_max_suppression(np.zeros((0, 56), np.float32), 1, NmsOptions())
    assert (boxes.shape, keypoints.shape) == ((0, 6), (0, 51))


def test_the_best_candidates_are_looked_at_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "MOST_CANDIDATES", 5)
    rows = np.zeros((9, 11), np.float32)
    rows[:, 0], rows[:, 2:4] = np.arange(9) * 100, 10  # nine boxes apart
    rows[:, 4] = [0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6, 0.5]
    boxes, _ = non_max_suppression(rows, 1, NmsOptions())
    assert boxes[:, 4].tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])
