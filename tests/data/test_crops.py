"""Square crops: where they lie, how sharp they are, and that labels stay on the image's content."""

from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.builders import make_dataset

from yolopose.data import augment
from yolopose.data import image_loading as loading
from yolopose.data.augment import AugmentOptions
from yolopose.data.batch import Sample
from yolopose.data.dataset import PoseDataset, SampleOptions
from yolopose.data.labels import Scan, scan
from yolopose.data.spec import load_data
from yolopose.geometry.boxes import PADDING

PLAIN = AugmentOptions(**{field.name: 0.0 for field in fields(AugmentOptions)})
OFF = {"mosaic": 0.0, "augment": PLAIN}
EVERYTHING = {"mixup": 0.5, "mosaic": 0.8, "augment": AugmentOptions(degrees=10.0, flipud=0.5, bgr=0.3)}


def same(a: Sample, b: Sample) -> bool:
    names = ("image", "classes", "boxes", "keypoints")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


@pytest.fixture
def found(tmp_path: Path) -> Scan:
    return scan(load_data(make_dataset(tmp_path, count=7)), "train")


def one_image(root: Path, image: np.ndarray, row: str, suffix: str = ".png") -> Scan:
    """A data set of one image with one label row."""
    yaml = make_dataset(root, count=1)
    for file in (root / "images").iterdir():
        file.unlink()
    cv2.imwrite(str(root / "images" / f"000{suffix}"), image)
    (root / "labels" / "000.txt").write_text(row + "\n")
    return scan(load_data(yaml), "train", cache=False)


def coordinates(h: int, w: int) -> np.ndarray:
    """An image whose blue is the column and whose green is the row of each pixel."""
    rows, columns = np.mgrid[:h, :w]
    return np.stack([columns, rows, np.full((h, w), 200)], 2).astype(np.uint8)


@pytest.mark.parametrize("hw", [(60, 100), (100, 60), (80, 80)])
def test_squares_are_spread_evenly_over_the_sides_and_places_that_are_allowed(hw: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    squares = np.array([augment.random_square(rng, hw, (0.3, 2.0)) for _ in range(4000)])
    left, top, side = squares.T
    factors = side / min(hw)
    np.testing.assert_allclose(np.quantile(factors, [0, 0.25, 0.5, 0.75, 1]), np.linspace(0.3, 2, 5), atol=0.05)
    shares = left / (hw[1] - side), top / (hw[0] - side)
    assert abs(np.corrcoef(*shares)[0, 1]) < 0.05
    for start, length in ((left, hw[1]), (top, hw[0])):
        inside = side <= length  # the square in the image, or the image in the square
        assert (np.where(inside, start, -start) >= 0).all()
        assert np.where(inside, start + side <= length, start + side >= length).all()
        share = start / (length - side)
        np.testing.assert_allclose(np.quantile(share, [0, 0.5, 1]), [0, 0.5, 1], atol=0.05)


def test_the_limits_may_come_in_either_order() -> None:
    sides = [augment.random_square(np.random.default_rng(i), (10, 20), (2.0, 0.5))[2] for i in range(50)]
    assert 5 <= min(sides) < 8
    assert 17 < max(sides) <= 20


def test_each_axis_of_a_reduced_image_has_its_own_ratio() -> None:
    """701 x 907 pixels read as 88 x 114: the square's corners are those of the canvas."""
    place = augment.square_place((300.0, 200.0, 400.0), (701, 907), (88, 114), (100, 100))
    corners = np.array([[300, 200], [700, 200], [700, 600]]) * (114 / 907, 88 / 701)
    np.testing.assert_allclose(augment.transform(corners, place), [[-50, -50], [50, -50], [50, 50]], atol=1e-9)


def test_zoom_and_shift_leave_crops_as_they_are(found: Scan) -> None:
    options = SampleOptions(imgsz=64, crop=1.0, augment=AugmentOptions(scale=0.0, translate=0.0))
    moving = replace(options, augment=AugmentOptions(scale=0.9, translate=0.5))
    first, second = PoseDataset(found, options), PoseDataset(found, moving)
    assert all(same(first[i], second[i]) for i in range(7))


@pytest.mark.parametrize("degrees", [0.0, 30.0])
def test_keypoints_stay_on_their_pixels(tmp_path: Path, degrees: float) -> None:
    h, w = 120, 200
    points = [(60, 40), (100, 60), (140, 80), (30, 100), (180, 20)]
    row = "0 0.5 0.5 0.9 0.9 " + " ".join(f"{x / w} {y / h} 2" for x, y in points)
    found = one_image(tmp_path, coordinates(h, w), row)
    dataset = PoseDataset(found, SampleOptions(imgsz=256, crop=1.0, augment=replace(PLAIN, degrees=degrees)))
    seen = np.zeros(3, int)
    for epoch in range(40):
        dataset.set_epoch(epoch)
        sample = dataset[0]
        for keypoints, box in zip(sample.keypoints, sample.boxes, strict=True):
            for (x, y), (px, py, v) in zip(points, keypoints.tolist(), strict=True):
                outside = not (0 <= px <= 256 and 0 <= py <= 256)
                assert v == (0 if outside else 2)
                seen[int(v)] += 1
                if 4 < px < 252 and 4 < py < 252:
                    blue, green, red = sample.image[int(py), int(px)].tolist()
                    assert max(abs(blue - x), abs(green - y), abs(red - 200)) <= 2.5
            np.testing.assert_array_equal(box, box.clip(0, 256))
    assert min(seen[0], seen[2]) > 20


def test_a_crop_is_the_square_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against slicing by hand: one square inside the image, one that is larger than it."""
    image = coordinates(100, 160)
    found = one_image(tmp_path, image, "0 0.5 0.5 0.5 0.5 " + "0.5 0.5 2 " * 5)
    dataset = PoseDataset(found, SampleOptions(imgsz=80, **OFF, crop=1.0))
    monkeypatch.setattr(augment, "random_square", lambda *_: (50.0, 10.0, 40.0))
    inside = dataset[0]
    np.testing.assert_array_equal(inside.image, cv2.resize(image[10:50, 50:90], (80, 80)))
    np.testing.assert_allclose(inside.boxes, [[0, 30, 80, 80]], atol=1e-4)
    np.testing.assert_allclose(inside.keypoints[0, 0], [60, 80, 2], atol=1e-4)
    monkeypatch.setattr(augment, "random_square", lambda *_: (-20.0, -60.0, 200.0))
    padded = dataset[0]
    covered = np.zeros((80, 80), bool)
    covered[24:64, 8:72] = True
    np.testing.assert_array_equal(padded.image[..., 2], np.where(covered, 200, PADDING))
    np.testing.assert_allclose(padded.boxes, [[24, 34, 56, 54]], atol=1e-4)


@pytest.mark.parametrize(("side", "reduce"), [(100.0, 1), (190.0, 1), (200.0, 2), (399.0, 2), (420.0, 4), (800.0, 8)])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_crop_is_as_sharp_as_its_file_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, side: float, reduce: int
) -> None:
    """Decoded no smaller than the canvas needs, no larger than that, and not from the small working image."""
    image = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    found = one_image(tmp_path, image, "0 0.5 0.5 0.5 0.5 " + "0.5 0.5 2 " * 5, suffix)
    dataset = PoseDataset(found, SampleOptions(imgsz=100, **OFF, crop=1.0))
    monkeypatch.setattr(augment, "random_square", lambda *_: (8.0, 16.0, side))
    asked = []
    real = loading.read_image
    monkeypatch.setattr(loading, "read_image", lambda *a, **k: asked.append(k["reduce"]) or real(*a, **k))
    sample = dataset[0]
    assert asked == [reduce]
    if side == 100.0:
        np.testing.assert_array_equal(sample.image, real(found.items[0].path)[16:116, 8:108])


def test_crops_of_small_or_whole_images_use_the_cached_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scan(load_data(make_dataset(tmp_path, count=4, hw=(48, 64))), "train")
    small, large = (SampleOptions(imgsz=imgsz, crop=1.0, cache="ram", **OFF) for imgsz in (64, 32))
    decoded = []
    real = loading.read_image
    monkeypatch.setattr(loading, "read_image", lambda *a, **k: decoded.append(a[0]) or real(*a, **k))
    dataset = PoseDataset(found, small)
    for epoch in range(5):
        dataset.set_epoch(epoch)
        [dataset[i] for i in range(4)]
    assert len(decoded) == 4
    dataset = PoseDataset(found, replace(large, crop_range=(1.5, 2.0)))  # at least 72 pixels: all of the image
    for epoch in range(5):
        dataset.set_epoch(epoch)
        [dataset[i] for i in range(4)]
    assert len(decoded) == 8


@pytest.mark.parametrize("cache", [False, "ram", "disk"])
def test_a_cropped_sample_depends_on_seed_epoch_and_index_only(found: Scan, cache: bool | str) -> None:
    options = SampleOptions(imgsz=40, crop=0.6, **EVERYTHING)
    first, second = PoseDataset(found, options), PoseDataset(found, replace(options, cache=cache))
    first.set_epoch(3)
    wanted = [first[i] for i in range(7)]
    for epoch in (3, 9, 3):
        second.set_epoch(epoch)
        got = {i: second[i] for i in (6, 0, 4, 4, 2, 1, 3, 5)}
        assert all(same(got[i], wanted[i]) for i in range(7)) == (epoch == 3)


def test_without_crops_samples_stay_as_they_were(found: Scan) -> None:
    options = SampleOptions(imgsz=64, **EVERYTHING)
    first, second = PoseDataset(found, options), PoseDataset(found, replace(options, crop_range=(1.0, 1.1)))
    assert all(same(first[i], second[i]) for i in range(7))


def test_crops_come_with_their_probability_in_closing_epochs_too_but_not_with_rect(
    found: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = SampleOptions(imgsz=64, crop=0.3, epochs=100, close_mosaic=50, **(OFF | {"mosaic": 1.0}))
    cropped = []
    real = augment.random_square
    monkeypatch.setattr(augment, "random_square", lambda *a: cropped.append(dataset.epoch) or real(*a))
    dataset = PoseDataset(found, options)
    for epoch, index in product(range(100), range(7)):
        dataset.set_epoch(epoch)
        dataset[index]
    for half in (0, 1):
        assert 0.22 < sum((epoch >= 50) == half for epoch in cropped) / 350 < 0.38
    cropped.clear()
    dataset = PoseDataset(found, replace(options, rect=True, crop=1.0))
    dataset.sample(0, (32, 64))
    assert not cropped
