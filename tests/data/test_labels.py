import logging
import os
from pathlib import Path

import numpy as np
import pytest
from builders import make_dataset

from yolopose.data import labels as labels_module
from yolopose.data.labels import Labels, label_path, load_data, read_labels, scan, select
from yolopose.errors import PoseError


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The images that a scan really looks at."""
    looked: list[Path] = []
    check = labels_module.check_image

    def spy(path: Path) -> tuple[int, int]:
        looked.append(path)
        return check(path)

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


def test_scan_finds_images_sizes_and_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="yolopose")
    spec = load_data(make_dataset(tmp_path))
    found = scan(spec, "train")
    assert [item.path.name for item in found.items] == [f"{i:03}.jpg" for i in range(6)]
    assert [item.hw for item in found.items] == [(64, 48), (48, 64)] * 3
    assert found.counts._asdict() == dict(images=6, backgrounds=0, corrupt=0, instances=12, duplicates=0, bad_rows=0)
    assert f"train: Scanning {tmp_path / 'labels'}… 6 images, 0 backgrounds, 0 corrupt" in caplog.text
    read, bad = read_labels(tmp_path / "labels" / "003.txt", spec)
    assert bad == []
    np.testing.assert_array_equal(read.keypoints, found.items[3].labels.keypoints)


def spoil(root: Path) -> None:
    """Image 0: no labels; 1: an empty file; 2: one bad row of two; 3: only bad rows; 4: cut short."""
    labels, images = root / "labels", root / "images"
    (labels / "000.txt").unlink()
    (labels / "001.txt").write_text("")
    (labels / "002.txt").write_text((labels / "002.txt").read_text().replace("0 ", "9 ", 1))
    (labels / "003.txt").write_text("0 0.5 0.5\n")
    whole = (images / "004.jpg").read_bytes()
    (images / "004.jpg").write_bytes(whole[: len(whole) // 2])


def test_what_is_wrong_is_set_aside_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="yolopose")
    spec = load_data(make_dataset(tmp_path))
    spoil(tmp_path)
    found = scan(spec, "train")
    assert [item.path.name for item in found.items] == ["000.jpg", "001.jpg", "002.jpg", "005.jpg"]
    assert [len(item.labels) for item in found.items] == [0, 0, 1, 2]
    assert (found.counts.backgrounds, found.counts.corrupt, found.counts.bad_rows) == (2, 2, 2)
    assert "6 images, 2 backgrounds, 2 corrupt" in caplog.text
    assert f"{tmp_path}/labels/002.txt:1: class is not one of 0..0" in caplog.text
    assert "004.jpg: truncated" in caplog.text


def test_compat_mode_drops_the_whole_image(tmp_path: Path) -> None:
    spec = load_data(make_dataset(tmp_path))
    spoil(tmp_path)
    found = scan(spec, "train", compat=True)
    assert [item.path.name for item in found.items] == ["000.jpg", "001.jpg", "005.jpg"]


def test_strict_stops_at_the_first_fault(tmp_path: Path) -> None:
    spec = load_data(make_dataset(tmp_path))
    scan(spec, "train", strict=True)
    spoil(tmp_path)
    with pytest.raises(PoseError, match=r"002\.txt:1: class"):
        scan(spec, "train", strict=True)


def test_a_set_without_any_usable_image_is_an_error(tmp_path: Path) -> None:
    spec = load_data(make_dataset(tmp_path, count=1))
    (tmp_path / "images" / "000.jpg").write_bytes(b"nothing")
    with pytest.raises(PoseError, match=r"none of 1 images is usable: .*000\.jpg"):
        scan(spec, "train")


def test_the_second_scan_comes_from_the_cache_and_is_the_same(tmp_path: Path, looks: list[Path]) -> None:
    spec = load_data(make_dataset(tmp_path))
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


def test_only_what_changed_is_looked_at_again(tmp_path: Path, looks: list[Path]) -> None:
    spec = load_data(make_dataset(tmp_path))
    scan(spec, "train")
    looks.clear()
    label = tmp_path / "labels" / "002.txt"
    before = label.stat()
    label.write_text(label.read_text().replace("0 ", "9 ", 1))  # same size …
    os.utime(label, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # … one nanosecond later
    (tmp_path / "images" / "005.jpg").unlink()
    (tmp_path / "images" / "006.jpg").write_bytes((tmp_path / "images" / "000.jpg").read_bytes())
    found = scan(spec, "train")
    assert [path.name for path in looks] == ["002.jpg", "006.jpg"]
    assert [len(item.labels) for item in found.items] == [2, 2, 1, 2, 2, 0]
    looks.clear()
    scan(spec, "train")
    assert looks == []


def test_other_keypoints_or_rules_make_the_cache_useless(tmp_path: Path, looks: list[Path]) -> None:
    yaml = make_dataset(tmp_path)
    scan(load_data(yaml), "train")
    scan(load_data(yaml), "train", compat=True)
    assert len(looks) == 12
    yaml.write_text(yaml.read_text().replace("[thing]", "[thing, other]"))
    scan(load_data(yaml), "train", compat=True)
    assert len(looks) == 18


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip", None])
def test_a_damaged_cache_is_no_cache(tmp_path: Path, looks: list[Path], damage: bytes | None) -> None:
    spec = load_data(make_dataset(tmp_path))
    scan(spec, "train")
    (file,) = (tmp_path / ".yolopose").iterdir()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data) if damage is None else damage)
    found = scan(spec, "train")
    assert len(looks) == 12
    assert found.counts.instances == 12


def test_a_read_only_data_set_is_cached_elsewhere(
    tmp_path: Path, looks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_data(make_dataset(tmp_path / "set"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "set" / ".yolopose").write_text("a file where the folder would be")  # root may write anywhere
    scan(spec, "train")
    scan(spec, "train")
    assert len(looks) == 6
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 1


def test_select() -> None:
    labels = Labels(np.array([2, 0, 2]), np.eye(3, 4, dtype=np.float32), np.zeros((3, 1, 3), np.float32))
    assert select(labels, None).classes.tolist() == [2, 0, 2]
    assert select(labels, (2,)).boxes.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    assert select(labels, (2,), single_cls=True).classes.tolist() == [0, 0]
    assert len(select(labels, ())) == 0
