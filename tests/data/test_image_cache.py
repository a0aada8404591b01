import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import make_dataset

from yolopose.data import image_cache as cache_module
from yolopose.data.cache_files import cache_folder
from yolopose.data.image_cache import HEADER, RECENT, ImageCache, Reader, open_cache
from yolopose.data.labels import ImageItem, Scan, scan
from yolopose.data.rows import no_labels
from yolopose.data.spec import load_data
from yolopose.errors import PoseError
from yolopose.rules import DEFAULT

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


def test_stored_images_are_returned_and_others_are_absent() -> None:
    cache = ImageCache(SHAPES, 10**6, b"")
    assert cache.get(1) is None
    cache.put(1, image(1))
    np.testing.assert_array_equal(cache.get(1), image(1))
    assert cache.get(0) is None
    assert cache.get(2) is None


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_only_as_many_images_as_the_budget_holds(count: int) -> None:
    sizes = [h * w * 3 for h, w in SHAPES]
    cache = ImageCache(SHAPES, HEADER + 8 * count + sum(sizes[:count]), b"")
    assert cache.count == count
    assert cache.memory.size <= HEADER + 8 * count + sum(sizes[:count])
    for index in range(3):
        cache.put(index, image(index))
        assert (cache.get(index) is not None) == (index < count)


def test_an_image_of_another_size_is_not_kept() -> None:
    cache = ImageCache(SHAPES, 10**6, b"")
    cache.put(0, image(1))
    assert cache.get(0) is None


def test_images_with_a_wrong_checksum_are_not_returned() -> None:
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
    read = Reader(found.items, 64, DEFAULT)
    first = read(3)
    assert read(3) is first
    assert decoded == ["003.jpg"]


def test_a_reader_keeps_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "read_working", lambda *_: np.zeros((1, 1, 3), np.uint8))
    items = [ImageItem(Path(str(i)), (1, 1), no_labels(1)) for i in range(RECENT + 10)]
    read = Reader(items, 64, DEFAULT)
    for i in range(len(items)):
        read(i)
    assert len(read.recent) == RECENT


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_a_cache_gives_the_same_pixels_without_decoding(found: Scan, decoded: list[str], kind: str) -> None:
    plain = [Reader(found.items, 40, DEFAULT)(i) for i in range(6)]
    cache = open_cache(kind, found, found.items, 40, DEFAULT)
    filling = Reader(found.items, 40, DEFAULT, cache)
    for i in range(6):
        filling(i)
    decoded.clear()
    reading = Reader(found.items, 40, DEFAULT, cache)
    for i in range(6):
        np.testing.assert_array_equal(reading(i), plain[i])
    assert decoded == []


def test_a_disk_cache_lasts_until_an_image_changes(found: Scan, decoded: list[str]) -> None:
    def all_read() -> int:
        decoded.clear()
        reader = Reader(found.items, 40, DEFAULT, open_cache("disk", found, found.items, 40, DEFAULT))
        for i in range(6):
            reader(i)
        return len(decoded)

    assert [all_read(), all_read()] == [6, 0]
    stat = found.items[0].path.stat()
    os.utime(found.items[0].path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert [all_read(), all_read()] == [6, 0]
    assert len(list(cache_folder(found.spec.path).glob("images-*"))) == 1  # the old one is gone


def test_with_little_memory_fewer_images_are_cached_and_a_warning_logged(
    found: Scan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache_module, "free_memory", lambda: 2 * 3 * 40 * 30 * 3 + 200)
    caplog.set_level("INFO", logger="yolopose")
    cache = open_cache("ram", found, found.items, 40, DEFAULT)
    assert cache.count == 3
    assert "cache=ram: 3 of 6 images" in caplog.text
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert open_cache("ram", found, found.items, 40, DEFAULT).count == 1


def test_a_full_disk_is_named(found: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.os, "posix_fallocate", full, raising=False)
    with pytest.raises(PoseError, match=r"cache=disk: .*No space left"):
        open_cache("disk", found, found.items, 40, DEFAULT)
    assert not list(tmp_path.rglob("images-*"))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="nothing to interrupt here")
def test_a_file_whose_making_was_broken_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cache_module.os, "posix_fallocate", broken_off)
    with pytest.raises(KeyboardInterrupt):
        ImageCache(SHAPES, 10**6, bytes(32), tmp_path / "images.cache")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_used_as_it_is_whatever_the_budget(tmp_path: Path) -> None:
    file, key = tmp_path / "images.cache", bytes(range(32))
    first = ImageCache(SHAPES, 10**6, key, file)
    second = ImageCache(SHAPES, HEADER + 8 + 72, key, file)  # there is less room now, for one image
    assert second.count == first.count == 3
    first.put(2, image(2))
    np.testing.assert_array_equal(second.get(2), image(2))


@pytest.mark.parametrize("damage", ["short", "count", "long", "header"])
def test_a_file_of_another_size_than_its_header_says_is_made_anew(tmp_path: Path, damage: str) -> None:
    file, key = tmp_path / "images.cache", bytes(range(32))
    ImageCache(SHAPES, 10**6, key, file).put(1, image(1))
    data = file.read_bytes()
    if damage == "count":
        data = data[:32] + (2**63).to_bytes(8, "little") + data[40:]
    file.write_bytes({"short": data[:-1], "long": data + b"x", "header": data[:20]}.get(damage, data))
    cache = ImageCache(SHAPES, 10**6, key, file)
    assert cache.get(1) is None
    cache.put(1, image(1))
    np.testing.assert_array_equal(ImageCache(SHAPES, 10**6, key, file).get(1), image(1))


def test_a_cache_file_replaced_by_another_run_is_empty(tmp_path: Path) -> None:
    """In a worker that is started, not forked: it maps the file anew."""
    file = tmp_path / "images.cache"
    cache = ImageCache(SHAPES, 10**6, bytes(range(32)), file)
    cache.put(1, image(1))
    travelling = pickle.dumps(cache)
    assert pickle.loads(travelling).get(1) is not None
    ImageCache(SHAPES, 10**6, bytes(32), file)
    assert pickle.loads(travelling).get(1) is None


def test_processes_that_begin_at_once_share_one_file(tmp_path: Path) -> None:
    """Each sees another free space, and so would plan for another number of images."""
    script = """
import sys, time
from pathlib import Path
import numpy as np
from yolopose.data.image_cache import ImageCache
folder, budget = Path(sys.argv[1]), int(sys.argv[2])
shapes = [(20 + i, 30) for i in range(40)]
(folder / f"ready-{budget}").touch()
while len(list(folder.glob("ready-*"))) < 3:
    time.sleep(0.001)
cache = ImageCache(shapes, budget, bytes(range(32)), folder / "images.cache")
pictures = [np.full((*shape, 3), i, np.uint8) for i, shape in enumerate(shapes)]
for _ in range(20):
    for i, picture in enumerate(pictures):
        cache.put(i, picture)
        found = cache.get(i)
        assert found is None or np.array_equal(found, picture), i
print(cache.count)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    running = [
        subprocess.Popen([*command, budget], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for budget in ("60000", "90000", "900000")
    ]
    answers = [process.communicate(timeout=60) for process in running]
    assert len({out for out, _ in answers}) == 1, answers
    assert int(answers[0][0]) > 10


def test_cache_dir_sets_the_folder_of_the_cache(found: Scan, tmp_path: Path) -> None:
    open_cache("disk", found, found.items, 40, DEFAULT, str(tmp_path / "big"))
    (file,) = (tmp_path / "big").rglob("images-*.cache")
    assert (file.parent / "dataset.txt").read_text() == f"{found.spec.path}\n"


def test_a_reader_keeps_no_more_bytes_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "read_working", lambda *_: np.zeros((10, 10, 3), np.uint8))
    read = Reader([ImageItem(Path(str(i)), (10, 10), no_labels(1)) for i in range(20)], 64, False)
    read.room = 1000
    for i in range(20):
        read(i)
    assert list(read.recent) == [17, 18, 19]
