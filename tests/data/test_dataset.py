import math
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.builders import make_dataset

from yolopose.config import TrainConfig, pick
from yolopose.data import image_cache as cache_module
from yolopose.data.augment import AugmentOptions
from yolopose.data.batch import Sample
from yolopose.data.dataset import PoseDataset, SampleOptions
from yolopose.data.labels import Scan, scan
from yolopose.data.spec import load_data
from yolopose.geometry.boxes import fit
from yolopose.rules import REFERENCE

PLAIN = AugmentOptions(**{field.name: 0.0 for field in fields(AugmentOptions)})
OFF = {"mosaic": 0.0, "augment": PLAIN}
EVERYTHING = {"mixup": 0.5, "mosaic": 0.8, "augment": AugmentOptions(degrees=10.0, flipud=0.5, bgr=0.3)}


def test_the_options_have_the_defaults_of_the_arguments() -> None:
    assert pick(AugmentOptions, TrainConfig()) == AugmentOptions()
    assert pick(SampleOptions, TrainConfig(), imgsz=TrainConfig().side) == SampleOptions()


@pytest.fixture
def found(tmp_path: Path) -> Scan:
    return scan(load_data(make_dataset(tmp_path, count=7)), "train")


def same(a: Sample, b: Sample) -> bool:
    names = ("image", "classes", "boxes", "keypoints")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


@pytest.mark.parametrize("cache", [False, "ram", "disk"])
def test_a_sample_depends_on_seed_epoch_and_index_only(found: Scan, cache: bool | str) -> None:
    options = SampleOptions(imgsz=64, cache=cache, **EVERYTHING)
    first, second = (PoseDataset(found, options) for _ in range(2))
    first.set_epoch(3)
    wanted = [first[i] for i in range(7)]
    for epoch in (3, 9, 3):  # another history, another order
        second.set_epoch(epoch)
        got = {i: second[i] for i in (6, 0, 4, 4, 2, 1, 3, 5)}
        assert all(same(got[i], wanted[i]) for i in range(7)) == (epoch == 3)
    other = PoseDataset(found, SampleOptions(imgsz=64, seed=1, **EVERYTHING))
    other.set_epoch(3)
    assert not any(same(other[i], wanted[i]) for i in range(7))


def test_without_augmentation_a_sample_is_the_letterboxed_image(found: Scan) -> None:
    dataset = PoseDataset(found, SampleOptions(imgsz=96, **OFF))
    for item, index in zip(found.items, range(7), strict=True):
        box = fit(item.hw, (96, 96), rect=False)
        sample = dataset[index]
        np.testing.assert_array_equal(sample.image, box.image(cv2.imread(str(item.path))))
        h, w = item.hw
        points = item.labels.keypoints * (w, h, 1) * (*box.scale, 1) + (*box.point_offset, 0)
        np.testing.assert_allclose(sample.keypoints, points, atol=1e-3)
        assert sample.path == str(item.path)


@pytest.mark.parametrize("imgsz", [320, 256])
def test_compat_mode_is_the_references_letterbox_pixel_by_pixel(golden: Path, imgsz: int) -> None:
    """Long side to imgsz, the other rounded up, padding split in halves (field.md A10; equal to recorded samples)."""
    found = scan(load_data(golden / "pose8" / "data.yaml"), "train", rules=REFERENCE, cache=False)
    dataset = PoseDataset(found, SampleOptions(imgsz=imgsz, rules=REFERENCE, **OFF))
    for index, item in enumerate(found.items):
        image = cv2.imread(str(item.path))
        gain = imgsz / max(image.shape[:2])
        h, w = (min(math.ceil(side * gain), imgsz) for side in image.shape[:2])
        top, left = (round((imgsz - side) / 2 - 0.1) for side in (h, w))
        expected = np.full((imgsz, imgsz, 3), 114, np.uint8)
        expected[top : top + h, left : left + w] = cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)
        sample = dataset[index]
        np.testing.assert_array_equal(sample.image, expected)
        cx, cy, bw, bh = (item.labels.boxes * (w, h, w, h) + (left, top, 0, 0)).T
        corners = np.stack([cx - bw / 2, cy - bh / 2, cx + bw / 2, cy + bh / 2], 1)
        np.testing.assert_allclose(sample.boxes, np.clip(corners, 0, imgsz), atol=1e-3)
        np.testing.assert_allclose(sample.keypoints[..., 2], item.labels.keypoints[..., 2])


def test_the_last_epochs_have_no_mosaic(found: Scan) -> None:
    dataset = PoseDataset(found, SampleOptions(imgsz=64, epochs=10, close_mosaic=3, mixup=0.5))
    states = []
    for epoch in range(10):
        dataset.set_epoch(epoch)
        states.append((dataset.mosaic, dataset.mixup))
    assert states == [(1.0, 0.5)] * 7 + [(0.0, 0.0)] * 3
    dataset.set_epoch(2, closing=True)
    assert dataset.mosaic == 0.0
    never = PoseDataset(found, SampleOptions(imgsz=64, epochs=10, close_mosaic=0))
    never.set_epoch(9)
    assert never.mosaic == 1.0


def test_a_mosaic_shows_several_images_and_a_single_one_only_its_own(tmp_path: Path) -> None:
    yaml = make_dataset(tmp_path, count=4)
    for i in range(4):
        cv2.imwrite(str(tmp_path / "images" / f"{i:03}.jpg"), np.full((64, 64, 3), 40 + 50 * i, np.uint8))
    still = OFF | {"augment": replace(PLAIN, scale=0.5, translate=0.1)}
    found = scan(load_data(yaml), "train")

    def shades(sample: Sample) -> set[int]:
        values, counts = np.unique(sample.image[..., 0], return_counts=True)
        large = values[(counts > 40) & (np.abs(values.astype(int) - 114) > 2)]
        return {round((v - 40) / 50) for v in large.tolist()}

    single = PoseDataset(found, SampleOptions(imgsz=64, **still))
    assert all(shades(single[i]) == {i} for i in range(4))
    mosaic = PoseDataset(found, SampleOptions(imgsz=64, **(still | {"mosaic": 1.0})))
    seen = [shades(mosaic[i]) for i in range(4)]
    assert max(len(s) for s in seen) >= 3


def test_fraction_thins_out_evenly_and_keeps_the_first_ones_in_compat_mode(found: Scan) -> None:
    def kept(**values: object) -> list[int]:
        items = PoseDataset(found, SampleOptions(imgsz=64, **values)).items
        return [int(item.path.stem) for item in items]

    assert kept(fraction=0.43) == [0, 2, 4]
    assert kept(fraction=0.43, rules=REFERENCE) == [0, 1, 2]
    assert kept(fraction=0.001) == [0]
    assert kept() == list(range(7))


def test_classes_and_single_cls(tmp_path: Path) -> None:
    yaml = make_dataset(tmp_path, count=2)
    yaml.write_text(yaml.read_text().replace("[thing]", "[a, b]"))
    for file in (tmp_path / "labels").iterdir():
        first, second = file.read_text().splitlines()
        file.write_text(f"{first}\n1{second[1:]}\n")
    found = scan(load_data(yaml), "train")
    options = ({}, {"classes": (1,)}, {"single_cls": True}, {"classes": (1,), "single_cls": True})
    classes = [PoseDataset(found, SampleOptions(imgsz=64, **OFF, **more))[0].classes.tolist() for more in options]
    assert classes == [[0, 1], [1], [0, 0], [0]]


def test_without_flip_idx_images_are_not_mirrored_and_a_warning_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="yolopose")
    yaml = make_dataset(tmp_path, count=2)
    yaml.write_text(yaml.read_text().replace("flip_idx: [1, 0, 2, 3, 4]\n", ""))
    found = scan(load_data(yaml), "train")
    plain = PoseDataset(found, SampleOptions(imgsz=64, **OFF))
    flipping = PoseDataset(
        found, SampleOptions(imgsz=64, **(OFF | {"augment": replace(PLAIN, fliplr=1.0, flipud=1.0)}))
    )
    assert same(flipping[0], plain[0])
    assert caplog.text.count("no flip_idx, so images are not mirrored") == 1


def test_a_flip_idx_that_does_not_fit_gets_a_warning(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = scan(load_data(shared / "data" / "face" / "data.yaml"), "test", cache=False)
    PoseDataset(found, SampleOptions(imgsz=64))
    assert "flip_idx does not fit" not in caplog.text
    wrong = replace(found.spec, layout=replace(found.spec.layout, flip=(0, 1, 2, 3, 4)))
    PoseDataset(replace(found, spec=wrong), SampleOptions(imgsz=64))
    assert "flip_idx does not fit" in caplog.text


def test_an_image_is_decoded_once_an_epoch_not_once_per_mosaic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scan(load_data(make_dataset(tmp_path, count=100)), "train")
    dataset = PoseDataset(found, SampleOptions(imgsz=64))
    decoded = []
    real = cache_module.read_working
    monkeypatch.setattr(cache_module, "read_working", lambda *a: decoded.append(a[0]) or real(*a))
    for index in dataset.order:
        dataset[int(index)]
    assert len(decoded) == len(set(decoded)) == 100
