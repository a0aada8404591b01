"""Boxes to ignore and partly labelled images: from the files to the batch."""

import logging
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import make_dataset

from yolopose.data import augment
from yolopose.data.augment import AugmentOptions, Tile
from yolopose.data.dataset import PoseDataset, SampleOptions
from yolopose.data.labels import UNSURE, ignore_path, scan
from yolopose.data.loader import Loader
from yolopose.data.rows import Labels, no_labels, parse_ignored
from yolopose.data.spec import load_data
from yolopose.errors import PoseError

STILL = AugmentOptions(hsv_h=0, hsv_s=0, hsv_v=0, translate=0, scale=0, fliplr=0)


def ignored(root: Path, image: str, text: str) -> Path:
    file = root / "labels" / f"{image}.ignore.txt"
    file.write_text(text)
    return file


def test_the_file_stands_next_to_the_labels() -> None:
    assert ignore_path(Path("/d/labels/a.b.txt")) == Path("/d/labels/a.b.ignore.txt")


def test_rows_are_boxes_and_are_cut_at_the_edge(tmp_path: Path) -> None:
    file = tmp_path / "a.ignore.txt"
    file.write_text("0.5 0.5 0.2 0.4\n\n0.1 0.5 0.4 0.2\n")
    boxes, bad = parse_ignored(file)
    assert not bad
    np.testing.assert_allclose(boxes, [[0.5, 0.5, 0.2, 0.4, 0], [0.15, 0.5, 0.3, 0.2, 0]], atol=1e-6)
    assert parse_ignored(tmp_path / "none.txt")[0].shape == (0, 5)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("0 0.5 0.5 0.2 0.4", "5 columns, expected 4"),
        ("0.5 0.5 0 0.4", "no positive size"),
        ("0.5 0.5 0.2 nan", "not finite"),
        ("50 50 20 40", "not normalised"),
        ("a b c d", "not a number: 'a'"),
    ],
)
def test_a_bad_row_is_told_and_the_image_stays(tmp_path: Path, row: str, words: str) -> None:
    spec = load_data(make_dataset(tmp_path))
    ignored(tmp_path, "001", f"0.5 0.5 0.2 0.2\n{row}\n")
    found = scan(spec, "train", cache=False)
    assert [(Path(b.file).name, b.line) for b in found.bad] == [("001.ignore.txt", 2)]
    assert words in found.bad[0].reason
    assert found.counts.images == len(found.items) == 6
    assert found.counts.ignored == 1


def test_a_new_or_changed_file_is_read_although_the_scan_is_cached(tmp_path: Path) -> None:
    spec = load_data(make_dataset(tmp_path))
    assert scan(spec, "train").counts.ignored == 0
    file = ignored(tmp_path, "002", "0.5 0.5 0.2 0.2\n")
    for _ in range(2):
        found = scan(spec, "train")
        assert [len(item.labels.ignore) for item in found.items] == [0, 0, 1, 0, 0, 0]
    file.write_text("0.5 0.5 0.2 0.2\n0.2 0.2 0.1 0.1\n")
    assert scan(spec, "train").counts.ignored == 2
    file.unlink()
    assert scan(spec, "train").counts.ignored == 0


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("partial: ['003', 004]", [3]),
        ("partial: '00'", [0, 1, 2, 3, 4, 5]),
        ("partial: true", [0, 1, 2, 3, 4, 5]),
        ("partial: false", []),
        ("partial: images/", [0, 1, 2, 3, 4, 5]),
        ("partial: [003.j, ./images/more]", [3, 5]),
    ],
)
def test_partly_labelled_images_by_name_and_folder(tmp_path: Path, entry: str, expected: list[int]) -> None:
    file = make_dataset(tmp_path)
    (tmp_path / "images" / "more").mkdir()
    (tmp_path / "images" / "005.jpg").rename(tmp_path / "images" / "more" / "005.jpg")
    text = file.read_text()
    file.write_text(text + entry.replace(", 004]", "]"))
    found = scan(load_data(file), "train", cache=False)
    marked = [int(i.path.stem) for i in found.items if len(i.labels.ignore)]
    assert marked == expected
    assert found.counts.partial == len(expected)
    for item in found.items:
        if len(item.labels.ignore):
            np.testing.assert_allclose(item.labels.ignore, [[0.5, 0.5, 1, 1, UNSURE]])


@pytest.mark.parametrize(
    ("entry", "warns"),
    [("['003', imags]", "partial: 'imags' names no image of train (a folder ends in a slash)"), ("['003']", "")],
)
def test_an_entry_that_names_nothing_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, entry: str, warns: str
) -> None:
    file = make_dataset(tmp_path)
    file.write_text(f"{file.read_text()}partial: {entry}\n")
    scan(load_data(file), "train", cache=False, verbose=False)
    assert (warns in caplog.text) if warns else not caplog.text


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("partial: [1, 2]", "partial must be the beginning of file names"),
        ("partial: {a: b}", "partial must be"),
        ("partial: ['']", "an empty text"),
        ("partial: nowhere/", "no folder in"),
        ("partial: [0_, 3_]", r"numbers in quotes\), a folder/, .*, got \[0, 3\]"),  # YAML takes 0_ for a number
    ],
)
def test_wrong_entries_are_one_line(tmp_path: Path, entry: str, words: str) -> None:
    with pytest.raises(PoseError, match=words) as error:
        load_data(make_dataset(tmp_path, extra=entry))
    assert "\n" not in str(error.value)
    assert "data.yaml" in str(error.value)


def test_the_summary_tells_both(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="yolopose")
    file = make_dataset(tmp_path, extra="partial: ['000', '001']")
    ignored(tmp_path, "002", "0.5 0.5 0.2 0.2\n")
    scan(load_data(file), "train")
    assert "train: 1 boxes to ignore, 2 partly labelled images" in caplog.text


def labels(*ignore: tuple[float, ...]) -> Labels:
    empty = no_labels(5)
    return Labels(empty.classes, empty.boxes, empty.keypoints, np.array(ignore, np.float32).reshape(-1, 5))


def test_boxes_follow_their_image_into_a_mosaic() -> None:
    image = np.zeros((50, 100, 3), np.uint8)
    tiles = [
        Tile(image, labels((0.5, 0.5, 1, 1, 0.1)), augment.scaling(1, 0, 0)),
        Tile(image, labels(), augment.scaling(1, 100, 0)),
        Tile(image, labels((0.25, 0.5, 0.5, 0.2, 0)), augment.scaling(2, -60, 50)),
        Tile(image, labels((0.5, 0.5, 1, 1, 0.1)), augment.scaling(1, 300, 0)),  # outside the canvas
    ]
    sample = augment.compose(tiles, (100, 200))
    np.testing.assert_allclose(sample.ignore, [[0, 0, 100, 50, 0.1], [0, 90, 40, 100, 0]], atol=1e-4)
    assert sample.ignore.dtype == np.float32


def test_a_turned_image_is_covered() -> None:
    image = np.zeros((50, 100, 3), np.uint8)
    turn = np.array([[0, -1, 60], [1, 0, 10], [0, 0, 1]], float)  # a quarter turn
    sample = augment.compose([Tile(image, labels((0.5, 0.5, 1, 1, 0.1)), turn)], (200, 200))
    np.testing.assert_allclose(sample.ignore, [[10, 10, 60, 110, 0.1]], atol=1e-4)


def test_flips_and_mixup_keep_them(tmp_path: Path) -> None:
    layout = load_data(make_dataset(tmp_path)).layout
    image = np.zeros((50, 100, 3), np.uint8)
    one = augment.compose([Tile(image, labels((0.25, 0.25, 0.5, 0.5, 0)), augment.scaling(1, 0, 0))], (50, 100))
    np.testing.assert_allclose(augment.flip(one, layout, 0).ignore, [[50, 0, 100, 25, 0]])
    np.testing.assert_allclose(augment.flip(one, layout, 1).ignore, [[0, 25, 50, 50, 0]])
    both = augment.mixup(np.random.default_rng(0), one, augment.flip(one, layout, 0))
    np.testing.assert_allclose(both.ignore, [[0, 0, 50, 25, 0], [50, 0, 100, 25, 0]])


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_number_them_by_image(tmp_path: Path, workers: int) -> None:
    file = make_dataset(tmp_path, hw=(64, 64), extra="partial: '003'")
    ignored(tmp_path, "001", "0.25 0.5 0.5 0.5\n")
    options = SampleOptions(imgsz=64, mosaic=0, augment=STILL)
    loader = Loader(PoseDataset(scan(load_data(file), "train", cache=False), options), 6, workers=workers)
    try:
        (batch,) = loader
    finally:
        loader.close()
    names = [Path(path).stem for path in batch.paths]
    expected = {names.index("001"): [0, 0.25, 0.5, 0.75, 0], names.index("003"): [0, 0, 1, 1, UNSURE]}
    assert batch.ignore is not None
    np.testing.assert_allclose({int(r[0]): r[1:].tolist() for r in batch.ignore}[names.index("001")],
                               expected[names.index("001")], atol=1e-6)  # fmt: skip
    np.testing.assert_allclose({int(r[0]): r[1:].tolist() for r in batch.ignore}[names.index("003")],
                               expected[names.index("003")], atol=1e-6)  # fmt: skip
    assert batch.to("meta").ignore.device.type == "meta"


def test_without_any_the_batch_has_none(tmp_path: Path) -> None:
    dataset = PoseDataset(scan(load_data(make_dataset(tmp_path)), "train", cache=False), SampleOptions(imgsz=64))
    (batch,) = Loader(dataset, 6)
    assert batch.ignore is None
    assert batch.to("cpu").ignore is None
