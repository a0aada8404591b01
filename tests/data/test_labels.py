import logging
import os
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.builders import make_dataset

from yolopose.data import labels as labels_module
from yolopose.data import rows as rows_module
from yolopose.data.cache_files import cache_folder
from yolopose.data.labels import filter_labels, label_path, scan
from yolopose.data.rows import Labels, parse_rows
from yolopose.data.spec import DataSpec, load_data
from yolopose.errors import PoseError
from yolopose.images import files as files_module
from yolopose.rules import REFERENCE


@pytest.fixture
def spec(tmp_path: Path) -> DataSpec:
    """A small data set in `tmp_path`."""
    return load_data(make_dataset(tmp_path))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The images that a scan really looks at."""
    looked: list[Path] = []
    check = labels_module.check_image

    def spy(path: Path, **bounds: int) -> tuple[int, int]:
        looked.append(path)
        return check(path, **bounds)

    monkeypatch.setattr(labels_module, "check_image", spy)
    return looked


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("/d/images/train/a.jpg", "/d/labels/train/a.txt"),
        ("/images/d/images/a.b.png", "/images/d/labels/a.b.txt"),
        ("/d/pictures/a.jpg", "/d/pictures/a.txt"),
        ("/d/images", "/d/images.txt"),
    ],
)
def test_label_path(image: str, label: str) -> None:
    assert label_path(Path(image)) == Path(label)


def test_scan_finds_images_sizes_and_labels(spec: DataSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="yolopose")
    found = scan(spec, "train")
    assert [item.path.name for item in found.items] == [f"{i:03}.jpg" for i in range(6)]
    assert [item.hw for item in found.items] == [(64, 48), (48, 64)] * 3
    none = dict.fromkeys(("backgrounds", "corrupt", "duplicates", "bad_rows", "ignored", "partial"), 0)
    assert found.counts._asdict() == none | {"images": 6, "instances": 12}
    assert f"train: Scanning {tmp_path / 'labels'}… 6 images, 0 backgrounds, 0 corrupt" in caplog.text
    read, bad, _ = parse_rows(tmp_path / "labels" / "003.txt", spec.layout.shape, 1)
    assert bad == []
    np.testing.assert_array_equal(read.keypoints, found.items[3].labels.keypoints)


def test_images_of_too_many_pixels_are_set_aside_until_the_caller_raises_the_bound(
    spec: DataSpec, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "images" / "003.jpg"), np.zeros((50, 64, 3), np.uint8))
    for max_pixels, items in ((48 * 64, 5), (50 * 64, 6), (48 * 64, 5)):  # by the label cache too
        found = scan(spec, "train", max_pixels=max_pixels)
        assert len(found.items) == items
        assert ["64x50 pixels, more than max_pixels=3072" in row.reason for row in found.bad] == [True] * (6 - items)


def spoil(root: Path) -> None:
    """Image 0: no labels; 1: an empty file; 2: one bad row of two; 3: only bad rows; 4: cut short."""
    labels, images = root / "labels", root / "images"
    (labels / "000.txt").unlink()
    (labels / "001.txt").write_text("")
    (labels / "002.txt").write_text((labels / "002.txt").read_text().replace("0 ", "9 ", 1))
    (labels / "003.txt").write_text("0 0.5 0.5\n")
    whole = (images / "004.jpg").read_bytes()
    (images / "004.jpg").write_bytes(whole[: len(whole) // 2])


def test_invalid_labels_are_set_aside_and_reported(
    spec: DataSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="yolopose")
    spoil(tmp_path)
    found = scan(spec, "train")
    assert [item.path.name for item in found.items] == ["000.jpg", "001.jpg", "002.jpg", "005.jpg"]
    assert [len(item.labels) for item in found.items] == [0, 0, 1, 2]
    assert (found.counts.backgrounds, found.counts.corrupt, found.counts.bad_rows) == (2, 2, 2)
    assert "6 images, 2 backgrounds, 2 corrupt" in caplog.text
    assert f"{tmp_path}/labels/002.txt:1: class is not one of 0..0" in caplog.text
    assert "004.jpg: truncated" in caplog.text


def test_compat_mode_drops_the_whole_image(spec: DataSpec, tmp_path: Path) -> None:
    spoil(tmp_path)
    found = scan(spec, "train", rules=REFERENCE)
    assert [item.path.name for item in found.items] == ["000.jpg", "001.jpg", "005.jpg"]


def test_strict_stops_at_the_first_fault(spec: DataSpec, tmp_path: Path) -> None:
    scan(spec, "train", strict=True)
    spoil(tmp_path)
    with pytest.raises(PoseError, match=r"002\.txt:1: class"):
        scan(spec, "train", strict=True)


def test_a_set_without_any_usable_image_is_an_error(tmp_path: Path) -> None:
    spec = load_data(make_dataset(tmp_path, count=1))
    (tmp_path / "images" / "000.jpg").write_bytes(b"nothing")
    with pytest.raises(PoseError, match=r"none of 1 images is usable: .*000\.jpg"):
        scan(spec, "train")


def test_the_second_scan_comes_from_the_cache_and_is_the_same(
    spec: DataSpec, tmp_path: Path, looks: list[Path]
) -> None:
    spoil(tmp_path)
    first = scan(spec, "train")
    assert len(looks) == 6
    second = scan(spec, "train")
    assert len(looks) == 6
    assert (second.bad, second.counts) == (first.bad, first.counts)
    for a, b in zip(first.items, second.items, strict=True):
        assert (a.path, a.hw) == (b.path, b.hw)
        np.testing.assert_array_equal(a.labels.classes, b.labels.classes)
        np.testing.assert_array_equal(a.labels.boxes, b.labels.boxes)
        np.testing.assert_array_equal(a.labels.keypoints, b.labels.keypoints)


def test_only_what_changed_is_looked_at_again(spec: DataSpec, tmp_path: Path, looks: list[Path]) -> None:
    scan(spec, "train")
    looks.clear()
    label = tmp_path / "labels" / "002.txt"
    before = label.stat()
    label.write_text(label.read_text().replace("0 ", "9 ", 1))  # same size …
    os.utime(label, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # … one nanosecond later
    (tmp_path / "images" / "005.jpg").unlink()
    (tmp_path / "images" / "006.jpg").write_bytes((tmp_path / "images" / "000.jpg").read_bytes())
    found = scan(spec, "train")
    assert sorted(path.name for path in looks) == ["002.jpg", "006.jpg"]  # threads look, in any order
    assert [len(item.labels) for item in found.items] == [2, 2, 1, 2, 2, 0]
    looks.clear()
    scan(spec, "train")
    assert looks == []


def test_a_cache_for_other_keypoints_or_rules_is_not_used(tmp_path: Path, looks: list[Path]) -> None:
    yaml = make_dataset(tmp_path)
    scan(load_data(yaml), "train")
    scan(load_data(yaml), "train", rules=REFERENCE)
    assert len(looks) == 12
    yaml.write_text(yaml.read_text().replace("[thing]", "[thing, other]"))
    scan(load_data(yaml), "train", rules=REFERENCE)
    assert len(looks) == 18


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip", None])
def test_a_damaged_cache_is_no_cache(spec: DataSpec, tmp_path: Path, looks: list[Path], damage: bytes | None) -> None:
    scan(spec, "train")
    (file,) = cache_folder(tmp_path).glob("*.npz")
    data = bytearray(file.read_bytes())
    data[data.index(b"keypoints.npy") + 200] ^= 0xFF  # within the array
    file.write_bytes(bytes(data) if damage is None else damage)
    found = scan(spec, "train")
    assert len(looks) == 12
    assert found.counts.instances == 12


def test_a_data_set_is_never_written_to(tmp_path: Path, looks: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load_data(make_dataset(tmp_path / "set"))
    before = {path: path.stat() for path in (tmp_path / "set").rglob("*")}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    scan(spec, "train")
    scan(spec, "train")
    assert len(looks) == 6
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 1
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")} == {
        path: stat.st_mtime_ns for path, stat in before.items()
    }
    (owner,) = (tmp_path / "cache").rglob("dataset.txt")
    assert owner.read_text() == f"{tmp_path / 'set'}\n"


def test_without_a_cache_folder_there_is_no_cache(
    tmp_path: Path, looks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_data(make_dataset(tmp_path / "set"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        scan(spec, "train")
    assert len(looks) == 12


def test_a_passing_read_error_is_not_remembered(
    spec: DataSpec, tmp_path: Path, looks: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:

    for module, name in ((files_module, "open_regular"), (rows_module, "read_bounded")):
        real = getattr(module, name)

        def fail(path: Path, *rest: object, real: Any = real) -> object:
            if Path(path).stem == "002":
                raise OSError(5, "Input/output error")
            return real(path, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(module, name, fail)
            found = scan(spec, "train")
        assert (found.counts.corrupt, found.counts.instances) == (1, 10)
        assert "Input/output error" in caplog.text
        caplog.clear()
        looks.clear()
        found = scan(spec, "train")
        assert (found.counts.corrupt, found.counts.instances) == (0, 12)
        assert [path.stem for path in looks] == ["002"]
        for file in cache_folder(tmp_path).glob("*.npz"):
            file.unlink()


def test_a_file_replaced_by_one_of_the_same_size_and_date_is_seen(
    spec: DataSpec, tmp_path: Path, looks: list[Path]
) -> None:
    scan(spec, "train")
    looks.clear()
    label = tmp_path / "labels" / "002.txt"
    before = label.stat()
    label.write_text(label.read_text().replace("0 ", "9 ", 1))
    os.utime(label, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert scan(spec, "train").counts.bad_rows == 1
    assert [path.stem for path in looks] == ["002"]


def test_an_image_whose_pixels_are_damaged_is_set_aside_by_the_scan(
    spec: DataSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Header and end are well; only decoding tells."""
    picture = cv2.imread(str(tmp_path / "images" / "000.jpg"))
    data = bytearray(cv2.imencode(".png", picture)[1])
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    (tmp_path / "images" / "000.png").write_bytes(data)
    jpeg = bytearray((tmp_path / "images" / "001.jpg").read_bytes())
    tables = jpeg.index(b"\xff\xc4")
    jpeg[tables + 4 : tables + 20] = b"\xff" * 16
    (tmp_path / "images" / "001.jpg").write_bytes(jpeg)
    for _ in range(2):
        found = scan(spec, "train")
        assert found.counts.corrupt == 2
        assert sorted(Path(row.file).name for row in found.bad) == ["000.png", "001.jpg"]
    assert "000.png: not readable: damaged PNG" in caplog.text


@pytest.mark.parametrize("empty", [False, True])
def test_a_set_without_any_label_is_warned_of(
    spec: DataSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture, empty: bool
) -> None:
    for label in (tmp_path / "labels").iterdir():
        label.write_text("") if empty else label.unlink()
    scan(spec, "train")
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert f"train: no labels found for 6 images; they are expected in {tmp_path / 'labels'}" in warning.message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipes_and_devices_are_set_aside_at_once(spec: DataSpec, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "images" / "pipe.jpg")
    (tmp_path / "images" / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "images" / "loop.jpg").symlink_to("loop.jpg")
    for name, make in {"000": os.mkfifo, "001": lambda path: os.symlink("/dev/zero", path)}.items():
        (tmp_path / "labels" / f"{name}.txt").unlink()
        make(tmp_path / "labels" / f"{name}.txt")
    found = scan(spec, "train")
    assert [item.path.stem for item in found.items] == ["002", "003", "004", "005"]
    assert sum("not a regular file" in row.reason for row in found.bad) == 4


def test_a_scan_that_is_broken_off_does_not_look_at_the_rest(
    tmp_path: Path, looks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_data(make_dataset(tmp_path, count=40))

    def interrupt(*_: object, **__: object) -> None:
        time.sleep(0.05)
        raise KeyboardInterrupt

    monkeypatch.setattr(labels_module, "parse_rows", interrupt)
    with pytest.raises(KeyboardInterrupt):
        scan(spec, "train", threads=1)
    assert len(looks) < 40


def test_select_keeps_the_chosen_classes() -> None:
    labels = Labels(np.array([2, 0, 2]), np.eye(3, 4, dtype=np.float32), np.zeros((3, 1, 3), np.float32))
    assert filter_labels(labels, None).classes.tolist() == [2, 0, 2]
    assert filter_labels(labels, (2,)).boxes.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    assert filter_labels(labels, (2,), single_cls=True).classes.tolist() == [0, 0]
    assert len(filter_labels(labels, ())) == 0
