"""Suppression in a file gives the same rows as the package's own."""

from typing import Any

import numpy as np
import pytest
import torch

from yolopose.formats.base import Suppression
from yolopose.formats.wrapper import CHAIN, suppress
from yolopose.geometry.boxes import cxcywh_to_xyxy, nms

K, D = 2, 3


def expected(image: Any, classes: int, how: Suppression) -> np.ndarray:
    """(4+C+K·D, A) → the (N, 6+K·D) rows that stay, best first, by `geometry.boxes.nms` class by class."""
    rows = image.T
    score, label = rows[:, 4 : 4 + classes].max(1), rows[:, 4 : 4 + classes].argmax(1)
    boxes = cxcywh_to_xyxy(rows[:, :4].astype(np.float64))
    kept = []
    for group in [np.arange(len(rows))] if how.agnostic_nms else [np.flatnonzero(label == c) for c in range(classes)]:
        group = group[score[group] > how.conf]
        kept.append(group[nms(boxes[group], score[group], how.iou)])
    index = np.concatenate(kept)
    index = index[np.argsort(-score[index], kind="stable")][: how.max_det]
    return np.column_stack((boxes[index], score[index], label[index], rows[index, 4 + classes :]))


def random_output(classes: int, anchors: int, spread: float, seed: int = 0) -> Any:
    """Decoded (2, 4+C+K·D, A) with boxes of about 40 pixels, scattered over `spread` pixels."""
    rng = np.random.default_rng(seed)
    centre, size = rng.uniform(0, spread, (2, 2, anchors)), rng.uniform(20, 60, (2, 2, anchors))
    scores, points = rng.uniform(0, 1, (2, classes, anchors)), rng.uniform(0, spread, (2, K * D, anchors))
    return torch.from_numpy(np.concatenate((centre, size, scores, points), 1).astype(np.float32))


def check(output: Any, classes: int, how: Suppression) -> list[int]:
    """Compare every image of a batch; the number of boxes that stayed in each."""
    found = suppress(output, classes, how).numpy()
    assert found.shape == (len(output), how.max_det, 6 + K * D)
    counts = []
    for rows, image in zip(found, output.numpy(), strict=True):
        right = expected(image, classes, how)
        np.testing.assert_allclose(rows[: len(right)], right, atol=1e-3)
        assert not rows[len(right) :].any()
        counts.append(len(right))
    return counts


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize(("anchors", "spread"), [(40, 50), (600, 300), (1000, 700)])
def test_nms_of_random_boxes(anchors: int, spread: float, classes: int, agnostic: bool) -> None:
    output = random_output(classes, anchors, spread)
    counts = check(output, classes, Suppression(0.25, 0.5, 1000, agnostic))
    scored = (output[:, 4 : 4 + classes].amax(1) > 0.25).sum(1)
    assert all(0 < count < above for count, above in zip(counts, scored, strict=True))


def test_agnostic_or_not_matters() -> None:
    output = random_output(3, 600, 300)
    apart, together = (check(output, 3, Suppression(0.25, 0.5, 600, agnostic)) for agnostic in (False, True))
    assert all(a > b for a, b in zip(apart, together, strict=True))


@pytest.mark.parametrize("length", [2, 5, CHAIN, CHAIN + 1])
def test_nms_of_chains_of_overlapping_boxes(length: int) -> None:
    """Each box overlaps the next only and scores a little higher: every second one stays, from the top."""
    output = random_output(1, 300, 5000)
    output[:, 4] = 0.0
    steps = torch.arange(length)
    output[:, 0, :length], output[:, 1, :length] = 10.0 * steps, 50.0
    output[:, 2, :length], output[:, 3, :length] = 30.0, 30.0  # IoU 0.5 with the next, 0.2 with the one after
    output[:, 4, :length] = 0.9 - 0.01 * steps
    assert check(output, 1, Suppression(0.25, 0.4, 50, False)) == [-(-length // 2)] * 2


def test_few_anchors_and_few_boxes() -> None:
    """An input so small that it has fewer anchors than the file looks at, and fewer boxes than it has rows."""
    output = random_output(1, 21, 400)
    assert max(check(output, 1, Suppression(0.6, 0.7, 300, False))) < 21
    output[:, 4] = 0.1
    assert check(output, 1, Suppression(0.25, 0.7, 300, False)) == [0, 0]


def test_more_boxes_than_rows() -> None:
    assert check(random_output(1, 900, 4000), 1, Suppression(0.1, 0.7, 20, False)) == [20, 20]
