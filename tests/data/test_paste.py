"""Copy-paste: labels stay on the image's content, what is covered is known, and limits hold. Oracles are pixels."""

from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import make_dataset

from yolopose.data import paste
from yolopose.data.augment import AugmentOptions
from yolopose.data.batch import Sample
from yolopose.data.dataset import PoseDataset, SampleOptions
from yolopose.data.labels import Scan, scan
from yolopose.data.rows import Labels
from yolopose.data.spec import load_data
from yolopose.geometry.boxes import PADDING
from yolopose.rules import REFERENCE

PLAIN = AugmentOptions(**{field.name: 0.0 for field in fields(AugmentOptions)})
CANVAS = (256, 256)


def same(a: Sample, b: Sample) -> bool:
    names = ("image", "classes", "boxes", "keypoints")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def coordinates(h: int = 200, w: int = 240) -> np.ndarray:
    """An image whose blue is the column and whose green is the row of each pixel."""
    rows, columns = np.mgrid[:h, :w]
    return np.stack([columns, rows, np.full((h, w), 200)], 2).astype(np.uint8)


def labels(boxes: list[tuple[float, ...]], hw: tuple[int, int] = (200, 240), points: int = 5, k: int = 5) -> Labels:
    """Instances of xyxy boxes in pixels; `points` of the K keypoints of each are labelled, spread over the box."""
    h, w = hw
    x1, y1, x2, y2 = np.array(boxes, np.float64).reshape(-1, 4).T
    share = (np.arange(k) + 1) / (k + 1)
    keypoints = np.stack([x1[:, None] + share * (x2 - x1)[:, None], y1[:, None] + share * (y2 - y1)[:, None]], -1)
    seen = np.where(np.arange(k) < points, 2, 0)
    table = np.concatenate([keypoints / (w, h), np.broadcast_to(seen[:, None], (*keypoints.shape[:2], 1))], -1)
    centres = np.stack([(x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h], 1)
    return Labels(np.arange(len(x1)), centres.astype(np.float32), table.astype(np.float32))


def blank(boxes: list[tuple[float, ...]] = [], keypoints: np.ndarray | None = None, value: int = 0) -> Sample:  # noqa: B006
    n = len(boxes)
    table = np.zeros((n, 5, 3), np.float32) if keypoints is None else keypoints
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    return Sample(np.full((*CANVAS, 3), value, np.uint8), np.zeros(n, np.int64), corners, table)


def patch_of(h: int, w: int) -> paste.Patch:
    """A white patch with its box inside the margin."""
    box = np.array([w / 12, h / 12, w * 11 / 12, h * 11 / 12])
    keypoints = np.full((5, 3), (w / 2, h / 2, 2), np.float32)
    return paste.Patch(np.full((h, w, 3), 255, np.uint8), paste.outline(h, w), box, keypoints, 0)


@pytest.mark.parametrize("seed", range(20))
def test_pasted_keypoints_and_boxes_lie_on_the_same_content(seed: int) -> None:
    rng = np.random.default_rng(seed)
    box = (60.0, 40.0, 140.0, 150.0)
    rows = labels([box])
    patch = paste.cut(rng, coordinates(), rows, CANVAS)
    assert patch is not None
    sample = paste.paste(rng, blank(), [patch])
    assert sample.classes.tolist() == [0]
    pixel = 110 / (sample.boxes[0, 3] - sample.boxes[0, 1])  # of the source for one of the canvas
    wanted = rows.keypoints[0, :, :2] * (240, 200)
    for (x, y), (px, py, v) in zip(wanted, sample.keypoints[0], strict=True):
        assert v == 2
        blue, green, red = sample.image[int(py), int(px)].astype(float)
        assert red == 200
        assert max(abs(blue - x), abs(green - y)) <= pixel + 1
    x1, y1, x2, y2 = sample.boxes[0]
    for (px, py), (x, y) in zip([(x1, (y1 + y2) / 2), ((x1 + x2) / 2, y2)], [(60, 95), (100, 150)], strict=True):
        blue, green, _ = sample.image[int(py), int(px)].astype(float)  # the middle of a side is still opaque
        assert max(abs(blue - x), abs(green - y)) <= pixel + 1


def test_sizes_are_spread_on_a_logarithmic_scale_up_to_the_limits() -> None:
    rng = np.random.default_rng(0)
    image, large, small = coordinates(), labels([(40, 20, 200, 180)]), labels([(100, 100, 120, 120)])

    def sizes(rows: Labels) -> list[float]:
        cuts = [paste.cut(rng, image, rows, (640, 640)) for _ in range(3000)]
        boxes = np.array([found.box for found in cuts if found is not None])
        assert len(boxes) == 3000
        return np.quantile(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1)), [0, 0.5, 1]).tolist()

    np.testing.assert_allclose(sizes(large), [250**0.5, (250**0.5 * 192) ** 0.5, 192], rtol=0.06)
    np.testing.assert_allclose(sizes(small), [250**0.5, (250**0.5 * 30) ** 0.5, 30], rtol=0.06)  # 1.5 times 20


@pytest.mark.parametrize(
    ("box", "more", "points", "suitable"),
    [
        ((60, 40, 140, 140), [], 5, True),
        ((60, 40, 140, 140), [], 3, True),
        ((60, 40, 140, 140), [], 2, False),  # fewer than half of the keypoints
        ((9, 40, 89, 140), [], 5, True),
        ((7, 40, 87, 140), [], 5, False),  # 8 pixels of margin do not fit
        ((60, 95, 140, 195), [], 5, False),
        ((60, 40, 70, 50), [], 5, False),  # would need more than 1.5 times
        ((60, 40, 71, 51), [], 5, True),
        ((60, 40, 140, 140), [(147, 40, 160, 140)], 5, True),  # a margin of 8 shows 1 of its 13 columns
        ((60, 40, 140, 140), [(146, 40, 160, 140)], 5, False),  # 2 of 14
    ],
)
def test_only_complete_instances_alone_in_their_patch_are_cut_out(
    box: tuple[float, ...], more: list[tuple[float, ...]], points: int, suitable: bool
) -> None:
    rows = labels([box], points=points)
    if more:
        others = labels(more, points=0)
        names = ("classes", "boxes", "keypoints")
        rows = Labels(*(np.concatenate([getattr(rows, name), getattr(others, name)]) for name in names))
    found = paste.cut(np.random.default_rng(0), coordinates(), rows, CANVAS)
    assert (found is not None) == suitable


def test_images_without_instances_and_canvases_without_room_give_nothing() -> None:
    rng = np.random.default_rng(0)
    assert paste.cut(rng, coordinates(), labels([]), CANVAS) is None
    assert paste.cut(rng, coordinates(), labels([(60, 40, 140, 140)]), (48, 640)) is None  # 0.3 of 48 is too small
    slim = labels([(60, 20, 64, 180)])
    assert all(paste.cut(rng, coordinates(), slim, (64, 64)) is None for _ in range(20))  # higher than the canvas


def test_labels_without_area_neither_stop_pasting_nor_warn() -> None:
    """A box at the edge of its image may lie outside by a rounding error, and has no area after clipping."""
    rng = np.random.default_rng(0)
    edge = (240.0, 60.0, 240.0, 120.0)
    patch = paste.cut(rng, coordinates(), labels([(60, 40, 140, 150), edge]), CANVAS)
    assert patch is not None
    for _ in range(5):
        assert len(paste.paste(rng, blank([(CANVAS[1], 10.0, CANVAS[1], 20.0)]), [patch, patch]).boxes) == 3


def test_keypoints_under_a_patch_become_hidden_and_no_others() -> None:
    """A keypoint is covered if its pixel is now nearer to the patch's white than to the black it had."""
    changed = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        points = np.concatenate([rng.uniform(-20, 276, (60, 5, 2)), rng.integers(0, 3, (60, 5, 1))], 2)
        boxes = [(-20.0, -20.0, -10.0, -10.0)] * 60  # do not keep patches away
        before = points.astype(np.float32)
        sample = paste.paste(rng, blank(boxes, before.copy()), [patch_of(60, 90), patch_of(70, 40)])
        assert len(sample.boxes) == 62
        after = sample.keypoints[:60]
        np.testing.assert_array_equal(after[..., :2], before[..., :2])
        np.testing.assert_array_equal(sample.boxes[:60], boxes)
        for (x, y, v), now in zip(before.reshape(-1, 3), after[..., 2].ravel(), strict=True):
            inside = 0 <= x < 256 and 0 <= y < 256
            covered = inside and sample.image[int(y), int(x), 0] > 127
            assert now == (min(v, 1) if covered else v)
            changed += now != v
    assert changed > 200


def test_a_patch_takes_along_what_is_to_be_ignored_in_it() -> None:
    """The left half of a box is to be ignored, and with a score all of its image, which is partly labelled."""
    regions = np.array([[0.25, 0.5, 0.5, 1, 0], [0.5, 0.5, 1, 1, 0.3], [0.95, 0.5, 0.1, 1, 0]], np.float32)
    rows = replace(labels([(80, 50, 160, 150)]), ignore=regions)  # the middle of the box is that of the image
    for seed in range(20):
        rng = np.random.default_rng(seed)
        patch = paste.cut(rng, coordinates(), rows, CANVAS)
        assert patch is not None
        below = replace(blank(), ignore=np.array([[1, 2, 3, 4, 0]], np.float32))
        sample = paste.paste(rng, below, [patch])
        (x1, y1, x2, y2), margin = sample.boxes[0], (sample.boxes[0, 2:] - sample.boxes[0, :2]) / 10
        left, top, right, bottom = x1 - margin[0], y1 - margin[1], x2 + margin[0], y2 + margin[1]
        expected = [(1, 2, 3, 4, 0), (left, top, (x1 + x2) / 2, bottom, 0), (left, top, right, bottom, 0.3)]
        np.testing.assert_allclose(sample.ignore, expected, atol=1)  # a patch has whole pixels


def test_at_most_the_allowed_share_of_an_instance_is_hidden_by_all_patches_together() -> None:
    worst, left_out = 0.0, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        corner = rng.uniform(0, 180, (5, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(20, 76, (5, 2))], 1)
        patches = [patch_of(*rng.integers(40, 110, 2).tolist()) for _ in range(6)]
        sample = paste.paste(rng, blank(boxes.tolist()), patches)
        left_out += 11 - len(sample.boxes)
        white = sample.image[..., 0] > 127
        for x1, y1, x2, y2 in boxes.round().astype(int).tolist():
            worst = max(worst, white[y1:y2, x1:x2].mean())
        for box in sample.boxes[5:]:
            np.testing.assert_array_equal(box, box.clip(0, 256))
            low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
            shared = (high - low).clip(0).prod(1)
            assert (shared <= 0.401 * (box[2:] - box[:2]).prod()).all()
            union = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - shared
            assert (shared < 0.3 * union).all()
    assert 0.2 < worst <= 0.42  # pixels at the edge of a box are counted whole
    assert left_out > 0


def test_a_patch_may_hide_a_part_of_an_earlier_one() -> None:
    hidden = 0
    for seed in range(60):
        sample = paste.paste(np.random.default_rng(seed), blank(), [patch_of(90, 90) for _ in range(4)])
        hidden += int((sample.keypoints[..., 2] == 1).sum())
        boxes = sample.boxes
        for i, j in product(range(len(boxes)), repeat=2):
            low, high = np.maximum(boxes[i, :2], boxes[j, :2]), np.minimum(boxes[i, 2:], boxes[j, 2:])
            assert i == j or (high - low).clip(0).prod() <= 0.401 * (boxes[i, 2:] - boxes[i, :2]).prod()
    assert hidden == 0  # their keypoints are in the centre, which 40 % from a side do not reach


def test_patches_lie_on_images_not_on_the_grey_around_them() -> None:
    for seed in range(40):
        sample = blank(value=PADDING)
        sample.image[60:200, 30:150] = 10
        image = sample.image.copy()
        pasted = paste.paste(np.random.default_rng(seed), sample, [patch_of(40, 40)])
        for x1, y1, x2, y2 in (pasted.boxes + np.array([-1, -1, 1, 1]) * 40 / 12).round().astype(int):
            assert (image[y1:y2, x1:x2] == PADDING).all(-1).mean() <= 0.3
    nothing = paste.paste(np.random.default_rng(0), blank(value=PADDING), [patch_of(40, 40)])
    assert len(nothing.boxes) == 0


@pytest.fixture
def found(tmp_path: Path) -> Scan:
    """Seven images with one instance each that can be pasted, of a class of its own."""
    yaml = make_dataset(tmp_path, count=7, hw=(100, 140))
    names = [f"thing{i}" for i in range(7)]
    yaml.write_text(yaml.read_text().replace("[thing]", str(names)))
    for i, file in enumerate(sorted((tmp_path / "labels").iterdir())):
        file.write_text(f"{i} 0.5 0.5 0.4 0.4 " + "0.5 0.5 2 " * 5 + "\n")
    return scan(load_data(yaml), "train", cache=False)


@pytest.mark.parametrize("cache", [False, "ram"])
def test_a_sample_depends_on_seed_epoch_and_index_only(found: Scan, cache: bool | str) -> None:
    options = SampleOptions(imgsz=128, copy_paste=0.7, mixup=0.3, crop=0.3)
    first, second = PoseDataset(found, options), PoseDataset(found, replace(options, cache=cache))
    first.set_epoch(3)
    wanted = [first[i] for i in range(7)]
    for epoch in (3, 9, 3):
        second.set_epoch(epoch)
        got = {i: second[i] for i in (6, 0, 4, 4, 2, 1, 3, 5)}
        assert all(same(got[i], wanted[i]) for i in range(7)) == (epoch == 3)


def test_pasting_changes_only_its_samples_and_leaves_cached_images_alone(found: Scan) -> None:
    options = SampleOptions(imgsz=128, mosaic=0.0, augment=PLAIN, cache="ram")
    plain = [PoseDataset(found, options)[i] for i in range(7)]
    dataset = PoseDataset(found, replace(options, copy_paste=0.5))
    own, pasted, counts = np.zeros(7, int), 0, []
    for epoch, index in product(range(30), range(7)):
        dataset.set_epoch(epoch)
        sample = dataset[index]
        own += np.bincount(sample.classes, minlength=7)
        assert sample.classes[0] == index
        assert index not in sample.classes[1:]  # never its own instance again
        changed = not same(sample, plain[index])
        assert changed == (len(sample.classes) > 1)
        pasted += changed
        counts.append(len(sample.classes) - 1)
    assert 70 < pasted < 110  # half of 210, less those without a place
    assert 1 < max(counts) <= 6
    assert own.min() > 30
    off = PoseDataset(found, options)
    assert all(same(off[i], plain[i]) for i in range(7))


def test_closing_epochs_and_compat_paste_nothing(found: Scan) -> None:
    options = SampleOptions(imgsz=128, mosaic=0.0, copy_paste=1.0, epochs=10, close_mosaic=4, augment=PLAIN)
    dataset = PoseDataset(found, options)
    counts = []
    for epoch in (5, 6):
        dataset.set_epoch(epoch)
        counts.append(sum(len(dataset[i].classes) for i in range(7)))
    assert counts[0] > 7 == counts[1]
    reference = PoseDataset(found, replace(options, rules=REFERENCE))
    plain = PoseDataset(found, replace(options, rules=REFERENCE, copy_paste=0.0))
    assert all(same(reference[i], plain[i]) for i in range(7))
