import os
from pathlib import Path

import numpy as np
import pytest
from builders import make_dataset

from yolopose.data import cache as cache_module
from yolopose.data.cache import RECENT, ImageCache, Reader, open_cache
from yolopose.data.labels import Item, Scan, load_data, no_labels, scan
from yolopose.errors import PoseError

SHAPES = [(4, 6), (5, 5), (2, 3)]


def image(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (*SHAPES[index], 3), dtype=np.uint8)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were really decoded."""
    names: list[str] = []
    real = cache_module.read_working

    def spy(path: Path, *rest: object) -> np.ndarray:
        names.append(path.name)
        return real(path, *rest)

    monkeypatch.setattr(cache_module, "read_working", spy)
    return names


@pytest.fixture
def found(tmp_path: Path) -> Scan:
    return scan(load_data(make_dataset(tmp_path / "set")), "train")


def test_what_is_put_comes_back_and_the_rest_is_absent() -> None:
    cache = ImageCache(SHAPES, 10**6, b"")
    assert cache.get(1) is None
    cache.put(1, image(1))
    np.testing.assert_array_equal(cache.get(1), image(1))
    assert cache.get(0) is None
    assert cache.get(2) is None


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_only_as_many_images_as_the_budget_holds(count: int) -> None:
    sizes = [h * w * 3 for h, w in SHAPES]
    cache = ImageCache(SHAPES, 32 + 8 * count + sum(sizes[:count]), b"")
    assert cache.count == count
    assert cache.bytes <= 32 + 8 * count + sum(sizes[:count])
    for index in range(3):
        cache.put(index, image(index))
        assert (cache.get(index) is not None) == (index < count)


def test_an_image_of_another_size_is_not_kept() -> None:
    cache = ImageCache(SHAPES, 10**6, b"")
    cache.put(0, image(1))
    assert cache.get(0) is None


def test_spoiled_pixels_are_not_handed_out() -> None:
    cache = ImageCache(SHAPES, 10**6, b"")
    cache.put(0, image(0))
    cache.memory.array[-1] ^= 1  # of the last image's place
    cache.put(2, image(2))
    cache.memory.array[-1] ^= 1
    assert cache.get(0) is not None
    assert cache.get(2) is None


def test_a_file_is_reused_for_its_key_only(tmp_path: Path) -> None:
    file = tmp_path / "images.cache"
    first, second = bytes(range(32)), bytes(32)
    ImageCache(SHAPES, 10**6, first, file).put(1, image(1))
    np.testing.assert_array_equal(ImageCache(SHAPES, 10**6, first, file).get(1), image(1))
    assert ImageCache(SHAPES, 10**6, second, file).get(1) is None
    assert ImageCache(SHAPES, 10**6, first, file).get(1) is None


def test_a_reader_decodes_once_while_the_image_is_recent(found: Scan, decoded: list[str]) -> None:
    read = Reader(found.items, 64, False)
    first = read(3)
    assert read(3) is first
    assert decoded == ["003.jpg"]


def test_a_reader_keeps_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "read_working", lambda *_: np.zeros((1, 1, 3), np.uint8))
    items = [Item(Path(str(i)), (1, 1), no_labels(1)) for i in range(RECENT + 10)]
    read = Reader(items, 64, False)
    for i in range(len(items)):
        read(i)
    assert len(read.recent) == RECENT


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_a_cache_gives_the_same_pixels_without_decoding(found: Scan, decoded: list[str], kind: str) -> None:
    plain = [Reader(found.items, 40, False)(i) for i in range(6)]
    cache = open_cache(kind, found, found.items, 40, False)
    filling = Reader(found.items, 40, False, cache)
    for i in range(6):
        filling(i)
    decoded.clear()
    reading = Reader(found.items, 40, False, cache)
    for i in range(6):
        np.testing.assert_array_equal(reading(i), plain[i])
    assert decoded == []


def test_a_disk_cache_lasts_until_an_image_changes(found: Scan, decoded: list[str]) -> None:
    def all_read() -> int:
        decoded.clear()
        reader = Reader(found.items, 40, False, open_cache("disk", found, found.items, 40, False))
        for i in range(6):
            reader(i)
        return len(decoded)

    assert [all_read(), all_read()] == [6, 0]
    stat = found.items[0].path.stat()
    os.utime(found.items[0].path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert [all_read(), all_read()] == [6, 0]
    assert len(list((found.spec.path / ".yolopose").glob("images-*"))) == 1  # the old one is gone


def test_little_memory_caches_little_and_says_so(
    found: Scan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache_module, "free_memory", lambda: 2 * 3 * 40 * 30 * 3 + 200)
    caplog.set_level("INFO", logger="yolopose")
    cache = open_cache("ram", found, found.items, 40, False)
    assert cache.count == 3
    assert "cache=ram: 3 of 6 images" in caplog.text
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert open_cache("ram", found, found.items, 40, False).count == 1


def test_a_full_disk_is_named(found: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.os, "posix_fallocate", full, raising=False)
    with pytest.raises(PoseError, match=r"cache=disk: .*No space left"):
        open_cache("disk", found, found.items, 40, False)
    assert not list(tmp_path.rglob("images-*"))
