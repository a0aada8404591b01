from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.builders import make_dataset

from yolopose.data import image_loading
from yolopose.data.image_loading import prefetch, read_working, working_size
from yolopose.data.labels import scan
from yolopose.data.spec import load_data
from yolopose.errors import PoseError
from yolopose.rules import REFERENCE, RULES


@pytest.mark.parametrize(
    ("hw", "default", "compat"),
    [
        ((480, 640), (480, 640), (480, 640)),
        ((427, 640), (427, 640), (427, 640)),
        ((100, 200), (100, 200), (320, 640)),
        ((3000, 2000), (640, 427), (640, 427)),
        ((1000, 1999), (320, 640), (321, 640)),
        ((1, 10000), (1, 640), (1, 640)),
    ],
)
def test_working_size(hw, default, compat) -> None:
    assert working_size(hw, 640) == default
    assert working_size(hw, 640, REFERENCE) == compat


def photo(folder: Path, hw: tuple[int, int], suffix: str = ".jpg") -> tuple[Path, np.ndarray]:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (hw[1], hw[0]), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(folder / f"a{suffix}"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return folder / f"a{suffix}", image


@pytest.mark.parametrize("hw", [(400, 600), (399, 200), (60, 90), (2111, 533)])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("compat", [False, True])
def test_a_photo_is_read_at_its_working_size(tmp_path: Path, hw, suffix: str, compat: bool) -> None:
    path, image = photo(tmp_path, hw, suffix)
    found = read_working(path, hw, 100, RULES[compat])
    assert found.shape[:2] == working_size(hw, 100, RULES[compat])
    expected = cv2.resize(image, found.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(found.astype(int) - expected).mean() < 4


@pytest.mark.parametrize(("longest", "divisor"), [(199, 1), (200, 2), (399, 2), (400, 4), (1600, 8)])
def test_large_jpegs_are_decoded_small(tmp_path: Path, monkeypatch, longest: int, divisor: int) -> None:
    path, _ = photo(tmp_path, (longest // 2, longest))
    decoded = []
    real = image_loading.read_image
    monkeypatch.setattr(image_loading, "read_image", lambda *a, **b: decoded.append(real(*a, **b)) or decoded[-1])
    read_working(path, (longest // 2, longest), 100)
    assert decoded[0].shape[1] == -(-longest // divisor)


@pytest.mark.parametrize("hw", [(683, 1024), (667, 1000), (2111, 533), (1001, 999), (321, 647)])
def test_a_jpeg_decoded_small_has_the_size_that_caches_expect(tmp_path: Path, hw: tuple[int, int]) -> None:
    """Rounded from the file's size, not from the reduced one, which may differ by a pixel."""
    path, _ = photo(tmp_path, hw)
    for imgsz in (100, 160, 320):
        assert read_working(path, hw, imgsz).shape[:2] == working_size(hw, imgsz)


def test_turned_photos_are_turned_at_any_size(tmp_path: Path) -> None:
    path, image = photo(tmp_path, (400, 600))
    data = path.read_bytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    small = read_working(path, (600, 400), 100)
    assert small.shape[:2] == (100, 67)
    expected = cv2.resize(np.rot90(image, -1), (67, 100), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - expected).mean() < 4


def test_damaged_images_are_named(tmp_path: Path) -> None:
    path, _ = photo(tmp_path, (400, 600))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(PoseError, match=r"a\.jpg: truncated"):
        read_working(path, (400, 600), 100)
    path.unlink()
    with pytest.raises(PoseError, match=r"a\.jpg: no such file"):
        read_working(path, (400, 600), 100)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_prefetch_gives_full_images_in_order(tmp_path: Path, threads: int) -> None:
    items = scan(load_data(make_dataset(tmp_path, count=11)), "train", cache=False).items
    found = list(prefetch(items, threads))
    assert [item for item, _ in found] == items
    assert all(image.shape[:2] == item.hw for item, image in found)


@pytest.mark.parametrize("threads", [0, 2])
def test_prefetch_reports_a_lost_image_in_its_turn(tmp_path: Path, threads: int) -> None:
    items = scan(load_data(make_dataset(tmp_path, count=4)), "train", cache=False).items
    items[2].path.unlink()
    reader = prefetch(items, threads)
    assert next(reader)[0] is items[0]
    assert next(reader)[0] is items[1]
    with pytest.raises(PoseError, match=r"002\.jpg"):
        next(reader)


def test_prefetch_reads_no_further_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = scan(load_data(make_dataset(tmp_path, count=12)), "train", cache=False).items
    read = []
    monkeypatch.setattr(image_loading, "read_image", lambda path, **_: read.append(path))
    reader = prefetch(items, 2)
    next(reader)
    reader.close()
    assert len(read) <= 5
