"""The loss against recorded values, a brute-force reading of its rule, and numerical gradients."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from yolopose import checkpoint
from yolopose.data.batch import Batch
from yolopose.geometry.keypoints import default_layout, fixed_sigmas
from yolopose.loss.assign import Truths, assign
from yolopose.loss.pose import LOSS_PARTS, Gains, PoseLoss, decode, dfl_loss, in_pixels, oks_loss
from yolopose.metadata import ModelInfo
from yolopose.nn.head import Maps, anchors
from yolopose.rules import REFERENCE, RULES

STRIDES = (8, 16, 32)
HW = (96, 128)
GAINS = {"box": 7.5, "pose": 12.0, "kobj": 1.0, "cls": 0.5, "dfl": 1.5}


def make_maps(images, shape=(5, 3), classes=1, *, seed=0, dtype=torch.float32) -> Maps:
    generator = torch.Generator().manual_seed(seed)
    sizes = [(HW[0] // s, HW[1] // s) for s in STRIDES]
    levels = [torch.randn(images, 64 + classes, h, w, generator=generator).to(dtype) for h, w in sizes]
    count = sum(h * w for h, w in sizes)
    keypoints = torch.randn(images, shape[0] * shape[1], count, generator=generator).to(dtype)
    return Maps([level.requires_grad_() for level in levels], keypoints.requires_grad_())


def make_batch(images, rows, k=5, classes=1, *, seed=0) -> Batch:
    """Rows in the order of images; about a third of the keypoints and every fourth instance unlabelled."""
    generator = torch.Generator().manual_seed(seed + 100)
    centre, size = torch.rand(rows, 2, generator=generator), torch.rand(rows, 2, generator=generator) ** 2 * 0.7 + 0.05
    xy = centre[:, None] + (torch.rand(rows, k, 2, generator=generator) - 0.5) * size[:, None]
    v = torch.randint(0, 3, (rows, k, 1), generator=generator)
    v[::4] = 0
    return Batch(
        images=torch.zeros(images, 3, *HW, dtype=torch.uint8),
        image_index=torch.randint(0, images, (rows,), generator=generator).sort().values,
        classes=torch.randint(0, classes, (rows,), generator=generator),
        boxes=torch.cat([centre, size], 1),
        keypoints=torch.cat([xy, v], 2),
        paths=("",) * images,
    )


def make_loss(shape=(5, 3), classes=1, **options) -> PoseLoss:
    info = ModelInfo({i: str(i) for i in range(classes)}, default_layout(shape))
    return PoseLoss(info, STRIDES, Gains(), info.layout.sigmas, **options)


def gradients(maps) -> list[torch.Tensor]:
    """With zeros where a map has no gradient, as for another rank."""
    return [torch.zeros_like(x) if x.grad is None else x.grad for x in (*maps.levels, maps.keypoints)]


# --- recorded values


@pytest.mark.parametrize(
    ("weights", "values", "norms"),
    [
        ("natural-n17", "natural-n17-loss", "natural-n17-gradnorms"),
        ("natural-n17", "natural-n17-loss2", "natural-n17-gradnorms2"),
        ("init-n5", "init-n5-loss2", "init-n5-gradnorms2"),
    ],
)
def test_recorded_losses_and_gradients(golden, weights, values, norms):
    network = checkpoint.build_network(checkpoint.load_checkpoint(golden / f"{weights}.pt")).train()
    recorded = np.load(golden / f"{values}.npz")
    batch = Batch(
        images=torch.from_numpy(recorded["x"]),
        image_index=torch.from_numpy(recorded["batch_idx"]).long(),
        classes=torch.from_numpy(recorded["cls"]).long()[:, 0],
        boxes=torch.from_numpy(recorded["bboxes"]),
        keypoints=torch.from_numpy(recorded["keypoints"]),
        paths=(),
    )
    shape = network.info.kpt_shape
    criterion = PoseLoss(network.info, network.stride.tolist(), Gains(), fixed_sigmas(shape), rules=REFERENCE)
    total, parts = criterion(network(batch.images.float() / 255), batch)
    total.backward()
    assert total.item() == pytest.approx(float(recorded["total"]), rel=1e-4)
    np.testing.assert_allclose(parts.numpy(), recorded["items"], rtol=1e-4)
    parameters = dict(network.named_parameters())
    for name, norm in json.loads((golden / f"{norms}.json").read_text()).items():
        assert parameters[name].grad.norm().item() == pytest.approx(norm, rel=1e-3, abs=1e-6), name


# --- the whole rule by loops


def softplus(x):
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def loop_slot(bins, raw, point, box, points, sigmas):
    """(1 − CIoU, dfl_loss, oks_loss, visibility BCE) of one slot; bins (4, 16), raw (K, D), in grid units."""
    shares = [[math.exp(x - max(side)) for x in side] for side in bins]
    shares = [[x / sum(side) for x in side] for side in shares]
    reach = [sum(i * x for i, x in enumerate(side)) for side in shares]
    found = (point[0] - reach[0], point[1] - reach[1], point[0] + reach[2], point[1] + reach[3])
    w, h, fw, fh = box[2] - box[0], box[3] - box[1], found[2] - found[0], found[3] - found[1]
    inter = max(min(box[2], found[2]) - max(box[0], found[0]), 0) * max(
        min(box[3], found[3]) - max(box[1], found[1]), 0
    )
    iou = inter / (w * h + fw * fh - inter)
    hull = (max(box[2], found[2]) - min(box[0], found[0])) ** 2 + (max(box[3], found[3]) - min(box[1], found[1])) ** 2
    gap = ((box[0] + box[2] - found[0] - found[2]) / 2) ** 2 + ((box[1] + box[3] - found[1] - found[3]) / 2) ** 2
    v = 4 / math.pi**2 * (math.atan(w / h) - math.atan(fw / fh)) ** 2
    ciou = iou - gap / hull - v * v / (v - iou + 1)
    focal_sum = 0.0
    distances = (point[0] - box[0], point[1] - box[1], box[2] - point[0], box[3] - point[1])
    for side, distance in zip(shares, distances, strict=True):
        distance = min(max(distance, 0), 14.99)
        low = int(distance)
        focal_sum -= (low + 1 - distance) * math.log(side[low]) + (distance - low) * math.log(side[low + 1])
    unlike, seen, bce = 0.0, 0, 0.0
    for (x, y, label), guess, sigma in zip(points, raw, sigmas, strict=True):
        d2 = (2 * guess[0] + point[0] - 0.5 - x) ** 2 + (2 * guess[1] + point[1] - 0.5 - y) ** 2
        if label:
            unlike, seen = unlike + 1 - math.exp(-d2 / (2 * (2 * sigma) ** 2 * w * h)), seen + 1
        if len(guess) == 3:
            bce += softplus(guess[2]) - (guess[2] if label else 0)
    return 1 - ciou, focal_sum / 4, unlike / seen if seen else 0.0, bce / len(points)


def loop_loss(maps, batch, sigmas, *, compat):
    """The five parts by loops over the positive slots (the assignment has loops of its own in test_assign.py)."""
    flat = torch.cat([level.detach().flatten(2) for level in maps.levels], 2).double().transpose(1, 2)
    raw = maps.keypoints.detach().double().transpose(1, 2).unflatten(2, (len(sigmas), -1))
    points, steps = (x.double() for x in anchors(maps.levels, STRIDES))
    boxes = torch.cat([batch.boxes[:, :2] - batch.boxes[:, 2:] / 2, batch.boxes[:, :2] + batch.boxes[:, 2:] / 2], 1)
    boxes = boxes.double() * torch.tensor([HW[1], HW[0]] * 2)
    truths = Truths(batch.image_index, batch.classes, boxes)
    predicted = decode(flat[..., :64], points) * steps
    slots = assign(predicted, flat[..., 64:], points * steps, truths, unaligned=compat)
    box = pose = kobj = dfl = total = 0.0
    targets, counted = {}, 0
    for s in slots.positive.nonzero()[:, 0].tolist():
        image, anchor, truth, target = (getattr(slots, n)[s].item() for n in ("image", "anchor", "truth", "target"))
        step = steps[anchor].item()
        scale = torch.tensor([HW[1] / step, HW[0] / step, 1.0])
        terms = loop_slot(
            flat[image, anchor, :64].view(4, 16).tolist(),
            raw[image, anchor].tolist(),
            points[anchor].tolist(),
            (boxes[truth] / step).tolist(),
            (batch.keypoints[truth].double() * scale).tolist(),
            sigmas,
        )
        box, dfl, total = box + terms[0] * target, dfl + terms[1] * target, total + target
        targets[image, anchor, batch.classes[truth].item()] = target
        if compat or batch.keypoints[truth, :, 2].any():
            pose, kobj, counted = pose + terms[2], kobj + terms[3], counted + 1
    logits = flat[..., 64:]
    cls = sum(
        softplus(logits[i].item()) - logits[i].item() * targets.get(tuple(i), 0.0) for i in np.ndindex(*logits.shape)
    )
    norm, counted = max(total, 1), max(counted, 1)
    sums = {"box": box / norm, "pose": pose / counted, "kobj": kobj / counted, "cls": cls / norm, "dfl": dfl / norm}
    return [sums[part] * GAINS[part] for part in LOSS_PARTS]


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize(
    ("images", "rows", "shape", "classes"),
    [
        (1, 1, (5, 3), 1),
        (2, 6, (5, 3), 1),
        (3, 9, (17, 3), 2),
        (2, 5, (4, 2), 3),
        (2, 30, (1, 3), 1),
        (2, 0, (5, 3), 2),
    ],
)
def test_equals_the_loops(images, rows, shape, classes, compat):
    maps = make_maps(images, shape, classes, seed=rows)
    batch = make_batch(images, rows, shape[0], classes, seed=rows)
    total, parts = make_loss(shape, classes, rules=RULES[compat])(maps, batch)
    expected = loop_loss(maps, batch, default_layout(shape).sigmas, compat=compat)
    np.testing.assert_allclose(parts.numpy(), expected, rtol=2e-5, atol=1e-6)
    assert total.item() == pytest.approx(sum(expected) * images, rel=1e-5)


def test_gains_scale_the_parts():
    maps, batch = make_maps(2), make_batch(2, 6)
    base = make_loss()(maps, batch)[1]
    info = ModelInfo({0: "face"}, default_layout((5, 3)))
    other = PoseLoss(info, STRIDES, Gains(box=1, cls=1, dfl=1, pose=1, kobj=2), info.layout.sigmas)(maps, batch)[1]
    np.testing.assert_allclose(other, base / torch.tensor([7.5, 12, 0.5, 0.5, 1.5]), rtol=1e-5)


# --- differences of the default rule


def one_per_image(*, unlabelled):
    """Two images with one large instance each; the second one's keypoints are labelled or not."""
    batch = make_batch(2, 2, seed=5)
    batch = replace(batch, image_index=torch.tensor([0, 1]), boxes=torch.tensor([[0.5, 0.5, 0.6, 0.8]] * 2))
    batch.keypoints[..., 2] = 2
    batch.keypoints[1, :, 2] = 0 if unlabelled else 2
    return batch


def test_unlabelled_instances_leave_the_keypoint_losses_alone():
    maps = make_maps(2, seed=5)
    total, parts = make_loss()(maps, one_per_image(unlabelled=True))
    total.backward()
    assert not maps.keypoints.grad[1].any()
    first = Maps([level[:1] for level in maps.levels], maps.keypoints[:1])
    batch = one_per_image(unlabelled=True)
    alone = replace(batch, image_index=batch.image_index[:1], classes=batch.classes[:1], boxes=batch.boxes[:1],
                    keypoints=batch.keypoints[:1])  # fmt: skip
    torch.testing.assert_close(make_loss()(first, alone)[1][1:3], parts[1:3])


def test_compat_lets_unlabelled_instances_count():
    maps = make_maps(2, seed=5)
    total, parts = make_loss(rules=REFERENCE)(maps, one_per_image(unlabelled=True))
    total.backward()
    visibility = maps.keypoints.grad[1].view(5, 3, -1)[:, 2]
    assert (visibility >= 0).all()
    assert visibility.any()
    assert parts[1].item() < make_loss()(maps, one_per_image(unlabelled=True))[1][1].item()


def test_models_without_visibility_take_it_from_the_labels():
    maps, batch = make_maps(2, (5, 2), seed=1), make_batch(2, 6, seed=1)
    before = make_loss((5, 2))(maps, batch)[1]
    batch.keypoints[1, 2, 2], batch.keypoints[1, 2, 0] = 0, 9.0
    total, after = make_loss((5, 2))(maps, batch)
    assert before[2] == after[2] == 0
    batch.keypoints[1, 2, 0] = -9.0
    assert make_loss((5, 2))(maps, batch)[0] == total


# --- edges


def test_a_batch_without_truths_reaches_every_map():
    maps = make_maps(2)
    total, parts = make_loss()(maps, make_batch(2, 0))
    total.backward()
    assert [bool(x) for x in parts] == [False, False, False, True, False]
    assert all(x.grad is not None and x.grad.isfinite().all() for x in (*maps.levels, maps.keypoints))


def test_a_degenerate_prediction_stays_finite():
    maps, batch = make_maps(2), make_batch(2, 6)
    with torch.no_grad():
        for level in maps.levels:
            level[:, 0:64:16] += 1e4  # all distances 0
        maps.keypoints.mul_(1e6)
    total, _ = make_loss(rules=REFERENCE)(maps, batch)
    total.backward()
    assert total.isfinite()
    assert all(x.isfinite().all() for x in gradients(maps))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_maps_are_computed_in_float32(dtype):
    maps, batch = make_maps(2, dtype=dtype), make_batch(2, 6)
    exact = Maps(
        [x.detach().float().requires_grad_() for x in maps.levels], maps.keypoints.detach().float().requires_grad_()
    )
    with torch.autocast("cpu", torch.bfloat16):
        total, parts = make_loss()(maps, batch)
    reference, expected = make_loss()(exact, batch)
    assert total.dtype == parts.dtype == torch.float32
    torch.testing.assert_close(parts, expected, rtol=1e-6, atol=0)
    total.backward()
    reference.backward()
    for a, b in zip(gradients(maps), gradients(exact), strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a, b.to(dtype))


def test_memory_layout_does_not_matter():
    maps, batch = make_maps(2), make_batch(2, 6)
    swapped = Maps([x.to(memory_format=torch.channels_last) for x in maps.levels], maps.keypoints)
    torch.testing.assert_close(make_loss()(swapped, batch)[1], make_loss()(maps, batch)[1], rtol=1e-6, atol=0)


def test_float64_agrees_with_float32():
    maps, batch = make_maps(2), make_batch(2, 6)
    exact = Maps([x.double() for x in maps.levels], maps.keypoints.double())
    total, parts = make_loss()(exact, batch)
    assert total.dtype == torch.float64
    torch.testing.assert_close(parts.float(), make_loss()(maps, batch)[1], rtol=1e-5, atol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # dynamo looks at the gradients of what it traces
def test_can_be_compiled():
    maps, batch = make_maps(2), make_batch(2, 6)
    compiled = torch.compile(make_loss(), backend="eager")
    torch.testing.assert_close(compiled(maps, batch)[1], make_loss()(maps, batch)[1])


# --- several ranks


def shard(maps, batch, first, stop):
    """The images first..stop-1 as one rank's leaves and batch."""
    mine = (batch.image_index >= first) & (batch.image_index < stop)
    part = replace(
        batch,
        images=batch.images[first:stop],
        image_index=batch.image_index[mine] - first,
        **{name: getattr(batch, name)[mine] for name in ("classes", "boxes", "keypoints")},
    )
    cut = Maps(*([x.detach()[first:stop].clone().requires_grad_() for x in maps.levels],
                 maps.keypoints.detach()[first:stop].clone().requires_grad_()))  # fmt: skip
    return cut, part


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_ranks_average_to_the_gradient_of_one_process(cut, compat):
    maps, batch = make_maps(4, seed=3), make_batch(4, 12, seed=3)
    batch.image_index[batch.image_index == 3] = 2  # the last image, a rank of its own when cut = 3, has no truth
    whole, parts = make_loss(rules=RULES[compat])(maps, batch)
    whole.backward()
    ranks = [shard(maps, batch, 0, cut), shard(maps, batch, cut, 4)]
    counts = []

    def remember(vector):
        counts.append(vector)
        return vector

    for rank in ranks:
        make_loss(rules=RULES[compat], reduce=remember)(*rank)
    results = [make_loss(rules=RULES[compat], reduce=lambda _: counts[0] + counts[1])(*rank) for rank in ranks]
    for total, _ in results:
        total.backward()
    torch.testing.assert_close(results[0][1] + results[1][1], parts)
    torch.testing.assert_close((results[0][0] + results[1][0]) / 2, whole)
    for left, right, expected in zip(*(gradients(m) for m in (ranks[0][0], ranks[1][0], maps)), strict=True):
        torch.testing.assert_close(torch.cat([left, right]) / 2, expected)


# --- gradients of the pieces


def doubles(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_dfl_loss_gradient_and_clamp():
    distances = torch.tensor([[0.3, 5.0, 14.7, 99.0], [-2.0, 0.0, 13.999, 15.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda bins: dfl_loss(bins, distances), doubles(2, 64).requires_grad_())
    bins = doubles(2, 64)
    torch.testing.assert_close(dfl_loss(bins, distances), dfl_loss(bins, distances.clamp(0, 14.99)))
    last = bins[:1].view(1, 4, 16).log_softmax(2)[..., 14:].mean(1)[0]  # what 14.99 is made of
    torch.testing.assert_close(dfl_loss(bins[:1], torch.full((1, 4), 99.0)), -(0.01 * last[:1] + 0.99 * last[1:]))


def test_dfl_loss_of_certain_bins():
    bins = torch.full((1, 4, 16), -50.0)
    bins[:, :, 3] = bins[:, :, 4] = 0
    assert dfl_loss(bins.flatten(1), torch.full((1, 4), 3.5)).item() == pytest.approx(math.log(2))


def test_decode_gradient():
    points = doubles(3, 2, seed=1)
    assert torch.autograd.gradcheck(lambda bins: decode(bins, points), doubles(3, 64).requires_grad_())


def test_oks_loss_gradient():
    labelled = torch.tensor([[1.0, 0, 1], [0, 0, 0]], dtype=torch.float64)
    area, sigmas = torch.tensor([30.0, 4.0], dtype=torch.float64), torch.tensor([0.2, 0.1, 0.05], dtype=torch.float64)
    offset = doubles(2, 3, 2, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: oks_loss(x, labelled, area, sigmas), offset)
    assert oks_loss(offset, labelled, area, sigmas)[1] == 0


def test_labels_in_pixels():
    batch = make_batch(1, 1)
    truths, keypoints = in_pixels(batch, 100, 200, torch.float64)
    x, y, w, h = batch.boxes[0].double().tolist()
    expected = [(x - w / 2) * 200, (y - h / 2) * 100, (x + w / 2) * 200, (y + h / 2) * 100]
    np.testing.assert_allclose(truths.boxes[0], expected)
    np.testing.assert_allclose(keypoints[0, :, 0], batch.keypoints[0, :, 0].double() * 200)
