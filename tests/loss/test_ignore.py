"""Boxes to ignore in the class loss: the rule by loops, and that all else stays as it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from loss.test_pose import HW, STRIDES, make_batch, make_loss, make_maps

from yolopose.loss.assign import Truths, assign
from yolopose.loss.ignore import class_mask
from yolopose.loss.pose import decode, in_pixels
from yolopose.nn.head import anchors

CLS = 3  # the place of the class loss among the parts


def rows(*boxes: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float32)


def slots_of(maps, batch):
    """Logits (B, A, C), centres (A, 2), truths and slots as the loss has them."""
    flat = torch.cat([level.detach().flatten(2) for level in maps.levels], 2).transpose(1, 2)
    points, steps = anchors(maps.levels, STRIDES)
    truths, _ = in_pixels(batch, *HW, torch.float32)
    logits = flat[..., 64:]
    return (
        logits,
        points * steps,
        truths,
        assign(decode(flat[..., :64], points) * steps, logits, points * steps, truths),
    )


def loop_mask(logits, centres, truths, slots, ignore) -> np.ndarray:
    """The rule read aloud, prediction by prediction."""
    taken = {
        (int(image), int(anchor))
        for image, anchor, positive in zip(slots.image, slots.anchor, slots.positive, strict=True)
        if positive
    }
    out = np.ones(logits.shape)
    for image, anchor, cls in np.ndindex(*logits.shape):
        x, y = centres[anchor].tolist()
        score = 1 / (1 + np.exp(-logits[image, anchor, cls].item()))
        known = any(
            int(where) == image and x1 < x < x2 and y1 < y < y2
            for where, (x1, y1, x2, y2) in zip(truths.image, truths.boxes.tolist(), strict=True)
        )
        for where, x1, y1, x2, y2, limit in ignore.tolist():
            if where == image and x1 < x < x2 and y1 < y < y2 and score > limit and (image, anchor) not in taken:
                out[image, anchor, cls] = 0 if limit == 0 or not known else out[image, anchor, cls]
    return out


@pytest.mark.parametrize("seed", range(4))
def test_the_mask_equals_the_loops(seed: int) -> None:
    maps, batch = make_maps(3, classes=2, seed=seed), make_batch(3, 5, classes=2, seed=seed)
    logits, centres, truths, slots = slots_of(maps, batch)
    ignore = rows((0, 0, 0, 128, 96, 0.4), (1, 10, 10, 70, 60, 0), (2, 0, 0, 128, 96, 0.6), (2, 50, 0, 100, 90, 0.3))
    mask = class_mask(logits, centres, truths, slots, ignore)
    # where two boxes meet, the lower score of the two holds: the loops take each box by itself, which is the same
    np.testing.assert_array_equal(mask.numpy(), loop_mask(logits, centres, truths, slots, ignore))
    assert 0 < mask.mean() < 1


def test_only_the_class_loss_outside_the_labels_changes() -> None:
    maps, batch = make_maps(2), make_batch(2, 4)
    before = make_loss()(maps, batch)[1]
    ignored = replace(batch, ignore=rows((0, 0, 0, 1, 1, 0), (1, 0, 0, 1, 1, 0)))
    total, after = make_loss()(maps, ignored)
    assert after[CLS] < before[CLS]
    assert [a == b for i, (a, b) in enumerate(zip(after, before, strict=True)) if i != CLS] == [True] * 4
    total.backward()
    logits, _, _, slots = slots_of(maps, batch)
    moved = torch.cat([level.grad[:, 64:].flatten(2) for level in maps.levels], 2).transpose(1, 2)[..., 0]
    assigned = torch.zeros(logits.shape[:2], dtype=torch.bool)
    assigned[slots.image[slots.positive], slots.anchor[slots.positive]] = True
    assert (moved[assigned] != 0).all()
    assert not moved[~assigned].any()


def test_a_box_to_ignore_elsewhere_changes_nothing() -> None:
    maps, batch = make_maps(2), make_batch(2, 4)
    far = replace(batch, ignore=rows((0, 0.999, 0.999, 1, 1, 0)))  # holds no anchor's centre
    assert make_loss()(maps, far)[0] == make_loss()(maps, batch)[0]
    sure = replace(batch, ignore=rows((0, 0, 0, 1, 1, 1), (1, 0, 0, 1, 1, 1)))  # no score is above 1
    assert make_loss()(maps, sure)[0] == make_loss()(maps, batch)[0]


def test_a_batch_that_is_ignored_as_a_whole_stays_finite() -> None:
    maps, batch = make_maps(1), make_batch(1, 0)
    total, parts = make_loss()(maps, replace(batch, ignore=rows((0, 0, 0, 1, 1, 0))))
    total.backward()
    assert not parts.any()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in (*maps.levels, maps.keypoints))


def test_without_truths_the_mask_is_the_score_alone() -> None:
    logits = torch.tensor([[[-3.0], [3.0]]])
    centres = torch.tensor([[5.0, 5.0], [15.0, 5.0]])
    truths = Truths(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))
    slots = assign(torch.zeros(1, 2, 4), logits, centres, truths)
    mask = class_mask(logits, centres, truths, slots, rows((0, 0, 0, 20, 20, 0.5)))
    assert mask[0, :, 0].tolist() == [1, 0]
