"""Letterboxes and batches of validation: Ultralytics 8.3's against recorded ones, truths there and back."""

from typing import Any

import numpy as np
import pytest
from helpers.builders import FakeBackend

from yolopose.data.rows import Labels
from yolopose.evaluate.batching import BatchOptions, Group, groups, truth_of
from yolopose.evaluate.losses import batch_of
from yolopose.rules import RULES

# (H, W) of golden/pose8, in the order of their names
POSE8 = [(536, 640), (640, 427), (375, 500), (429, 640), (640, 427), (640, 480), (413, 640), (640, 480)]


def plan(compat: bool = False, **values: Any) -> list[Group]:
    return groups(FakeBackend(), POSE8, BatchOptions(rules=RULES[compat], **values))


def places(group: Group) -> list[tuple[int, int]]:
    """(left, top) of the images in their canvas."""
    return [(box.left, box.top) for box in group.letterboxes]


def test_compat_batches_are_the_recorded_ones() -> None:
    (whole,) = plan(compat=True, batch=8, imgsz=320)
    assert [POSE8[i] for i in whole.positions[:4]] == [(413, 640), (429, 640), (375, 500), (536, 640)]
    assert {box.canvas for box in whole.letterboxes} == {(352, 352)}
    assert [p[::-1] for p in places(whole)][:4] == [(72, 16), (68, 16), (56, 16), (42, 16)]
    assert places(whole)[4:] == [(56, 16), (56, 16), (69, 16), (69, 16)]
    assert [box.size for box in whole.letterboxes][:3] == [(207, 320), (215, 320), (240, 320)]

    singles = plan(compat=True, batch=1, imgsz=640)
    canvases = [(448, 672), (448, 672), (512, 672), (576, 672), (672, 512), (672, 512), (672, 448), (672, 448)]
    assert [group.letterboxes[0].canvas for group in singles] == canvases
    assert [places(group)[0] for group in singles[:4]] == [(16, 17), (16, 9), (16, 16), (16, 20)]
    assert singles[2].letterboxes[0].size == (480, 640)  # enlarged

    thirds = plan(compat=True, batch=3, imgsz=352)
    assert [group.letterboxes[0].canvas for group in thirds] == [(288, 384), (384, 384), (384, 256)]
    assert thirds[0].letterboxes[0].size == (228, 352)

    (square,) = plan(compat=True, batch=8, imgsz=320, rect=False)
    assert square.positions == tuple(range(8))
    assert places(square) == [(0, 26), (53, 0), (0, 40), (0, 52), (53, 0), (40, 0), (0, 56), (40, 0)]
    assert plan(compat=True, batch=8, imgsz=300)[0] == whole  # rounded up to the stride


def test_an_image_has_its_own_letterbox_whatever_the_batch() -> None:
    by_batch = []
    for batch in (1, 3, 8):
        own = {i: box for group in plan(batch=batch) for i, box in zip(group.positions, group.letterboxes, strict=True)}
        assert sorted(own) == list(range(8))
        by_batch.append(own)
        assert all(len(group.positions) <= batch for group in plan(batch=batch))
        assert all(len({box.canvas for box in group.letterboxes}) == 1 for group in plan(batch=batch))
    assert by_batch[0] == by_batch[1] == by_batch[2]
    assert by_batch[0][6].canvas == (416, 640)


@pytest.mark.parametrize("compat", [False, True])
def test_labels_are_mapped_back_to_the_original_image(compat: bool) -> None:
    """Exactly by default; in compat mode both axes by the heights' ratio, as the detections do."""
    labels = Labels(
        np.zeros(1, np.int64), np.array([[0.5, 0.4, 0.6, 0.2]], np.float32), np.array([[[0.25, 0.75, 2]]], np.float32)
    )
    plans = plan(compat=compat, batch=8, imgsz=320, rect=False)
    box = next(b for group in plans for i, b in zip(group.positions, group.letterboxes, strict=True) if i == 6)
    truth = truth_of(labels, box)
    x_scale = (320 / 640) / (207 / 413) if compat else 1.0
    assert truth.boxes[0] == pytest.approx(np.array([128 * x_scale, 123.9, 512 * x_scale, 206.5]), abs=1e-4)
    assert truth.keypoints[0, 0] == pytest.approx([160 * x_scale, 309.75, 2], abs=1e-4)
    batch = batch_of([labels], [box])
    height = 207 if compat else 206
    assert batch.boxes[0].tolist() == pytest.approx([0.5, (box.top + 0.4 * height) / 320, 0.6, 0.2 * height / 320])
    assert batch.keypoints[0, 0].tolist() == pytest.approx([0.25, (box.top + 0.75 * height) / 320, 2])
