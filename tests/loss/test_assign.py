"""The assigner against a brute-force reading of its rule, in Python floats."""

import math

import pytest
import torch

from yolopose.loss import assign as module
from yolopose.loss.assign import Truths, assign, ciou, contains

HW = (96, 128)


def grid(hw=HW, strides=(8, 16, 32)):
    """Anchor centres (A, 2) in pixels."""
    return torch.tensor(
        [[(x + 0.5) * s, (y + 0.5) * s] for s in strides for y in range(hw[0] // s) for x in range(hw[1] // s)]
    )


def predictions(images, classes=1, *, seed=0, spread=1.0):
    """Boxes (B, A, 4) around the anchors and logits (B, A, C)."""
    generator = torch.Generator().manual_seed(seed)
    centres = grid()
    reach = torch.rand(images, len(centres), 4, generator=generator) * 60 * spread + 1
    boxes = torch.cat([centres - reach[..., :2], centres + reach[..., 2:]], -1)
    return boxes, torch.randn(images, len(centres), classes, generator=generator) * 2, centres


def random_truths(images, rows, classes=1, *, seed=0):
    """Rows in arbitrary order of images; some images may stay empty, some boxes leave the picture."""
    generator = torch.Generator().manual_seed(seed + 1000)
    centre = torch.rand(rows, 2, generator=generator) * torch.tensor([HW[1], HW[0]])
    half = torch.rand(rows, 2, generator=generator) ** 2 * 50 + 1
    return Truths(
        torch.randint(0, images, (rows,), generator=generator),
        torch.randint(0, classes, (rows,), generator=generator),
        torch.cat([centre - half, centre + half], 1),
    )


def truths_of(*rows):
    """From (image, x1, y1, x2, y2) rows of class 0."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)
    return Truths(table[:, 0].long(), torch.zeros(len(table), dtype=torch.long), table[:, 1:])


def loop_ciou(a, b, eps=1e-7):
    aw, ah, bw, bh = a[2] - a[0], a[3] - a[1] + eps, b[2] - b[0], b[3] - b[1] + eps
    inter = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    iou = inter / (aw * ah + bw * bh - inter + eps)
    diagonal = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2 + eps
    distance = ((a[0] + a[2] - b[0] - b[2]) / 2) ** 2 + ((a[1] + a[3] - b[1] - b[3]) / 2) ** 2
    v = 4 / math.pi**2 * (math.atan(bw / bh) - math.atan(aw / ah)) ** 2
    return iou - distance / diagonal - v * v / (v - iou + 1 + eps)


def loop_assign(boxes, logits, centres, truths, topk=10):
    """{(image, anchor): (truth, target)} of the default rule, by loops."""
    out, images, boxes, logits = {}, truths.image.tolist(), boxes.tolist(), logits.tolist()
    centres, wanted, classes = centres.tolist(), truths.boxes.tolist(), truths.classes.tolist()
    for image in sorted(set(images)):
        overlap, quality, claims = {}, {}, {}
        mine = [g for g, i in enumerate(images) if i == image]
        for g in mine:
            x1, y1, x2, y2 = wanted[g]
            for a, (x, y) in enumerate(centres):
                if x1 < x < x2 and y1 < y < y2:
                    overlap[g, a] = max(loop_ciou(wanted[g], boxes[image][a]), 0)
                    score = 1 / (1 + math.exp(-logits[image][a][classes[g]]))
                    quality[g, a] = score**0.5 * overlap[g, a] ** 6
            ranked = sorted((a for h, a in quality if h == g and quality[g, a] > 0), key=lambda a, g=g: -quality[g, a])
            for a in ranked[:topk]:
                claims.setdefault(a, []).append(g)
        owner = {}
        for a, by in claims.items():
            rivals = [g for g in mine if (g, a) in overlap]
            owner[a] = by[0] if len(by) == 1 else max(rivals, key=lambda g, a=a: overlap[g, a])
        for a, g in owner.items():
            own = [b for b, h in owner.items() if h == g]
            scale = max(overlap[g, b] for b in own) / (max(quality[g, b] for b in own) + 1e-9)
            out[image, a] = (g, quality[g, a] * scale)
    return out


def as_table(slots):
    """{(image, anchor): (truth, target)} of the positive slots; fails when an anchor counts twice."""
    keep = slots.positive.nonzero()[:, 0]
    rows = [tuple(getattr(slots, name)[keep].tolist()) for name in ("image", "anchor", "truth", "target")]
    table = {(image, anchor): (truth, target) for image, anchor, truth, target in zip(*rows, strict=True)}
    assert len(table) == len(keep)
    return table


def check(boxes, logits, centres, truths):
    slots = assign(boxes.double(), logits.double(), centres.double(), truths._replace(boxes=truths.boxes.double()))
    found, wanted = as_table(slots), loop_assign(boxes, logits, centres, truths)
    assert {key: g for key, (g, _) in found.items()} == {key: g for key, (g, _) in wanted.items()}
    for key, (_, target) in wanted.items():
        assert found[key][1] == pytest.approx(target, rel=1e-9, abs=1e-15)
    assert not slots.target[~slots.positive].any()
    return found


@pytest.mark.parametrize(
    ("images", "rows", "classes", "seed"),
    [
        (1, 1, 1, 0),
        (2, 5, 1, 1),
        (3, 4, 2, 2),
        (5, 3, 1, 3),
        (1, 12, 3, 4),
        (2, 60, 2, 5),
        (1, 150, 1, 6),
        (4, 40, 1, 7),
    ],
)
def test_equals_the_loops_on_random_batches(images, rows, classes, seed):
    assert check(*predictions(images, classes, seed=seed), random_truths(images, rows, classes, seed=seed))


def test_overlapping_and_degenerate_boxes():
    found = check(
        *predictions(2, seed=9),
        truths_of(
            (0, -10, -10, 200, 200),  # covers everything
            (0, 9, 9, 11, 11),  # no anchor centre inside
            (0, 40, 40, 40, 70),  # empty
            (0, 30, 20, 90, 80),
            (0, 30, 20, 90, 80),  # the same again
            (1, 300, 300, 400, 400),  # outside the picture
        ),
    )
    owners = [g for g, _ in found.values()]
    assert {0, 3} <= set(owners)
    assert not {1, 2, 5} & set(owners)


def test_a_centre_on_the_edge_is_outside():
    centres = torch.tensor([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0]])
    assert contains(torch.tensor([[4.0, 0.0, 20.0, 8.0]]), centres).tolist() == [[False, True, False]]


def test_ties_still_give_the_k_best():
    _, _, centres = predictions(1)
    boxes = torch.cat([centres - 20, centres + 20], 1)[None]  # every anchor predicts the same size and score
    truths = truths_of((0, 32, 16, 96, 80), (0, 0, 0, 128, 96))
    slots = assign(boxes, torch.zeros(1, len(centres), 1), centres, truths)
    assert int(slots.positive.sum()) == len(as_table(slots)) <= 20
    quality = ciou(truths.boxes[0], boxes[0]).clamp(min=0) ** 6 * contains(truths.boxes[:1], centres)[0]
    chosen = slots.anchor[:10]
    torch.testing.assert_close(quality[chosen].sort().values, quality.sort().values[-10:], rtol=1e-5, atol=0)


def test_contested_anchor_goes_to_the_best_overlap_even_of_a_truth_that_did_not_choose_it():
    _, _, centres = predictions(1)
    boxes = torch.cat([centres - 1, centres + 1], 1)
    contested = int((centres == torch.tensor([60.0, 44.0])).all(1).nonzero())
    boxes[contested] = torch.tensor([20.0, 10.0, 100.0, 76.0])
    logits = torch.full((1, len(centres), 1), -20.0)
    # Two truths prefer the anchor; a third, which it fits best, has one better anchor and top-k 1.
    better = int((centres == torch.tensor([52.0, 44.0])).all(1).nonzero())
    boxes[better] = torch.tensor([20.0, 10.0, 100.0, 78.0])
    logits[0, better], logits[0, contested] = 4.0, -4.0
    truths = truths_of((0, 56, 20, 110, 80), (0, 57, 12, 110, 76), (0, 20, 10, 100, 77))
    wanted = loop_assign(boxes[None], logits, centres, truths, topk=1)
    slots = assign(boxes[None], logits, centres, truths, topk=1)
    found = as_table(slots)
    assert found[0, contested][0] == wanted[0, contested][0] == 2
    assert found[0, better][0] == 2


def test_no_truths_no_slots():
    boxes, logits, centres = predictions(2)
    slots = assign(boxes, logits, centres, truths_of())
    assert slots.anchor.shape == slots.target.shape == (0,)


def test_fewer_anchors_than_k():
    boxes, logits, centres = (x[:, :4] if x.ndim == 3 else x[:4] for x in predictions(1))
    slots = assign(boxes, logits, centres, truths_of((0, 0, 0, 128, 96)))
    assert slots.anchor.shape == (4,)


def test_empty_predicted_boxes_are_background_by_default():
    _, logits, centres = predictions(1)
    boxes = torch.cat([centres, centres], 1)[None]
    slots = assign(boxes, logits, centres, truths_of((0, 20, 20, 90, 80)))
    assert not slots.positive.any()
    assert slots.target.isfinite().all()


def test_anchors_without_overlap_count_only_with_compat():
    # 12 x 16 + 6 x 8 + 3 x 4 anchors: equal zeros are taken in order, and the first anchors lie inside the truth.
    _, logits, centres = predictions(1)
    boxes = torch.cat([centres + 500, centres + 600], 1)[None]
    truths = truths_of((0, 0, 0, 128, 96))
    assert not assign(boxes, logits, centres, truths).positive.any()
    slots = assign(boxes, logits, centres, truths, unaligned=True)
    assert int(slots.positive.sum()) == 10
    assert not slots.target.any()


def test_compat_gives_anchors_contested_without_overlap_to_the_first_truth_of_the_image():
    _, logits, centres = predictions(2)
    boxes = torch.cat([centres + 500, centres + 600], 1).expand(2, -1, -1)
    truths = truths_of((1, 100, 80, 110, 90), (0, 100, 80, 110, 90), (0, 0, 0, 128, 96), (0, 0, 0, 128, 96))
    slots = assign(boxes, logits.expand(2, -1, -1), centres, truths, unaligned=True)
    assert {truth for (image, _), (truth, _) in as_table(slots).items() if image == 0} == {1}


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_evaluating_all_pairs_as_on_a_gpu_gives_the_same(monkeypatch, compat, seed):
    boxes, logits, centres = predictions(2, seed=seed, spread=8 if seed % 2 else 1)
    truths = random_truths(2, 30, seed=seed)
    sparse = assign(boxes, logits, centres, truths, unaligned=compat)
    every = torch.arange(30 * len(centres))
    monkeypatch.setattr(module, "candidates", lambda inside: (every // len(centres), every % len(centres)))
    dense = assign(boxes, logits, centres, truths, unaligned=compat)
    assert all(torch.equal(a, b) for a, b in zip(sparse[:4], dense[:4], strict=True))
    torch.testing.assert_close(sparse.target, dense.target)


def test_ciou_equals_the_loop():
    generator = torch.Generator().manual_seed(3)
    boxes = torch.rand(2, 200, 4, generator=generator, dtype=torch.float64) * 50
    boxes[..., 2:] += boxes[..., :2]
    boxes[0, 0, 2:] = boxes[0, 0, :2]  # empty
    expected = [loop_ciou(a, b) for a, b in zip(*boxes.tolist(), strict=True)]
    torch.testing.assert_close(ciou(*boxes), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_ciou_of_equal_boxes_is_one_and_of_distant_ones_negative():
    box = torch.tensor([[10.0, 20.0, 50.0, 90.0]])
    assert ciou(box, box).item() == pytest.approx(1, abs=1e-6)
    assert ciou(box, box + 500).item() < 0


def test_ciou_gradient_holds_the_aspect_weight():
    generator = torch.Generator().manual_seed(4)
    a, b = torch.rand(2, 20, 4, generator=generator, dtype=torch.float64)
    a, b = (torch.cat([x[:, :2], x[:, :2] + x[:, 2:] + 0.1], 1) for x in (a, b))

    def aspect_and_weight(x):
        (w, h), (bw, bh) = (x[:, 2:] - x[:, :2]).T, (b[:, 2:] - b[:, :2]).T
        inter = (torch.minimum(x[:, 2:], b[:, 2:]) - torch.maximum(x[:, :2], b[:, :2])).clamp(min=0).prod(1)
        aspect = 4 / math.pi**2 * (torch.atan(bw / bh) - torch.atan(w / h)) ** 2
        return aspect, (aspect / (aspect - inter / (w * h + bw * bh - inter) + 1)).detach()

    constant = aspect_and_weight(a)[1]

    def held(x):
        aspect, weight = aspect_and_weight(x)
        return ciou(x, b) + (weight - constant) * aspect  # numerically: the weight stays; to autograd: just ciou

    assert torch.autograd.gradcheck(held, a.requires_grad_(), atol=1e-5)
