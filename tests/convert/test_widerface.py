"""WIDER FACE → YOLO labels, on a miniature of the official layout."""

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from yolopose.cli import COMMANDS, main
from yolopose.convert.widerface import divide, from_widerface
from yolopose.convert.widerlists import ListedImage
from yolopose.data.labels import scan
from yolopose.data.spec import load_data
from yolopose.errors import PoseError, UsageError

SIZE = (100, 200)  # height, width
POINTS = "30 30 0.0 50 30 0.0 40 40 1.0 32 50 0.0 48 50 0.0"
NONE = "-1 -1 -1 " * 5


def wider(root: Path, *, events: int = 2, each: int = 5, rows: dict[str, str] | None = None) -> Path:
    """WIDER_train: `each` images in each event, one face in each; WIDER_val: one image; RetinaFace's label.txt."""
    listing, marked = [], []
    for e in range(events):
        for i in range(each):
            name = f"{e}--Event/{e}_Event_{i}.jpg"
            image = root / "WIDER_train" / "images" / name
            image.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(image), np.full((*SIZE, 3), 128, np.uint8))
            listing.append(f"{name}\n1\n20 20 40 40 0 0 0 0 0 0 \n")
            marked.append(f"# {name}\n{(rows or {}).get(name, f'20 20 40 40 {POINTS} 0.9')}\n")
    image = root / "WIDER_val" / "images" / "0--Event" / "0_Event_99.jpg"
    image.parent.mkdir(parents=True)
    cv2.imwrite(str(image), np.full((*SIZE, 3), 128, np.uint8))
    split = root / "wider_face_split"
    split.mkdir()
    (split / "wider_face_train_bbx_gt.txt").write_text("".join(listing))
    (split / "wider_face_val_bbx_gt.txt").write_text("0--Event/0_Event_99.jpg\n1\n0 0 50 50 0 0 0 0 0 0\n")
    (root / "train").mkdir()
    (root / "train" / "label.txt").write_text("".join(marked))
    return root


def convert(root: Path, out: Path, **values: Any) -> dict[str, list[str]]:
    """Convert and return the rows of every label file by its name."""
    from_widerface(root, out, **values)
    return {str(p.relative_to(out / "labels")): p.read_text().splitlines() for p in (out / "labels").rglob("*.txt")}


def changes(out: Path) -> list[dict[str, str]]:
    with (out / "changes.csv").open() as file:
        return list(csv.DictReader(file))


def label_of(labels: dict[str, list[str]], stem: str) -> list[str]:
    return next(rows for name, rows in labels.items() if Path(name).stem == stem)


def test_boxes_landmarks_and_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = wider(tmp_path / "raw")
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    labels = convert(root, tmp_path / "out")
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before
    row = label_of(labels, "0_Event_0")[0].split()
    assert [float(v) for v in row] == pytest.approx(
        [0, 0.2, 0.4, 0.2, 0.4, 0.15, 0.3, 2, 0.25, 0.3, 2, 0.2, 0.4, 1, 0.16, 0.5, 2, 0.24, 0.5, 2]
    )
    assert label_of(labels, "0_Event_99")[0].split()[5:] == ["0"] * 15
    spec = load_data(tmp_path / "out" / "data.yaml")
    assert [len(spec.split(s)) for s in ("train", "val", "test")] == [8, 2, 1]
    assert spec.layout.flip == (1, 0, 2, 4, 3)
    assert spec.given_sigmas
    assert not scan(spec, "train", strict=True, cache=False).bad
    assert changes(tmp_path / "out") == []
    assert "seed 0" in capsys.readouterr().out


def test_images_are_links_or_copies(tmp_path: Path) -> None:
    root = wider(tmp_path / "raw", events=1)
    for copy in (False, True):
        convert(root, tmp_path / str(copy), copy=copy)
        image = next((tmp_path / str(copy) / "images" / "train").rglob("*.jpg"))
        assert image.is_symlink() != copy
        assert image.read_bytes() == (root / "WIDER_train/images/0--Event" / image.name).read_bytes()


def test_every_changed_row_is_reported(tmp_path: Path) -> None:
    names = [f"0--Event/0_Event_{i}.jpg" for i in range(5)]
    root = wider(
        tmp_path / "raw",
        events=1,
        rows={
            names[0]: "-5 20 45 100 " + NONE + "0.5",
            names[1]: "20 20 40 40 30 -3 0.0 50 30 0.0 40 40 0.0 32 50 0.0 480 50 0.0 0.9",
            names[2]: f"300 20 40 40 {POINTS} 0.9\n20 20 0 40 {POINTS} 0.9",
            names[3]: f"20 20 40 x {POINTS} 0.9\n20 20 40 40 {POINTS}\n20 20 40 40 {POINTS}",
            names[4]: "20 20 40 40",
        },
    )
    labels = convert(root, tmp_path / "out")
    cut = [float(v) for v in label_of(labels, "0_Event_0")[0].split()]
    assert cut == pytest.approx([0, 0.1, 0.6, 0.2, 0.8, *[0] * 15])
    assert label_of(labels, "0_Event_1")[0].split()[7::3] == ["0", "2", "2", "2", "0"]
    assert label_of(labels, "0_Event_2") == []
    assert len(label_of(labels, "0_Event_3")) == len(label_of(labels, "0_Event_4")) == 1
    told = sorted((row["image"][-5], int(row["line"]), row["what"], row["after"]) for row in changes(tmp_path / "out"))
    assert told == [
        ("0", 2, "boxes cut at the image's edge", "0 20 40 80"),
        ("1", 4, "faces with landmarks outside their image: those not labelled", "landmarks [0 4]"),
        ("2", 6, "boxes without size inside their image left out", ""),
        ("2", 7, "boxes without size inside their image left out", ""),
        ("3", 9, "rows that cannot be read left out", ""),
        ("3", 11, "duplicate rows left out", ""),
    ]


def test_without_landmarks_the_official_boxes_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = wider(tmp_path / "raw", events=1)
    (root / "train" / "label.txt").unlink()
    listing = root / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    text = listing.read_text().replace("0_Event_0.jpg\n1\n20 20 40 40 0 0 0 0", "0_Event_0.jpg\n1\n20 20 40 40 0 0 0 1")
    listing.write_text(text.replace("0_Event_1.jpg\n1\n20 20 40 40", "0_Event_1.jpg\n0\n0 0 0 0"))
    labels = convert(root, tmp_path / "out")
    assert "boxes without landmarks" in capsys.readouterr().out
    assert label_of(labels, "0_Event_0") == label_of(labels, "0_Event_1") == []
    assert label_of(labels, "0_Event_2") == ["0 0.200000 0.400000 0.200000 0.400000" + " 0" * 15]
    assert [row["what"] for row in changes(tmp_path / "out")] == ["faces marked invalid: now boxes to ignore"]
    ignored = {file.name: file.read_text() for file in (tmp_path / "out" / "labels").rglob("*.ignore.txt")}
    assert ignored == {"0_Event_0.ignore.txt": "0.200000 0.400000 0.200000 0.400000\n"}


def test_an_image_that_the_landmarks_leave_out_keeps_its_boxes(tmp_path: Path) -> None:
    root = wider(tmp_path / "raw", events=1)
    moved = tmp_path / "mine.txt"
    rows = (root / "train" / "label.txt").read_text().splitlines()
    moved.write_text("\n".join(rows[2:]))
    listing = root / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    listing.write_text(
        listing.read_text().replace("0_Event_1.jpg\n1\n20 20 40 40 0 0 0 0", "0_Event_1.jpg\n1\n1 1 9 9 0 0 0 1")
    )
    labels = convert(root, tmp_path / "out", landmarks=str(moved))
    assert label_of(labels, "0_Event_0")[0].split()[5:] == ["0"] * 15
    told = [row["what"] for row in changes(tmp_path / "out")]
    assert told == ["faces marked invalid: now boxes to ignore", "not in mine.txt: without landmarks"]
    assert len(label_of(labels, "0_Event_1")) == 1  # of RetinaFace's list, which knows no invalid faces
    (file,) = (tmp_path / "out" / "labels").rglob("*.ignore.txt")
    assert (file.name, len(file.read_text().splitlines())) == ("0_Event_1.ignore.txt", 1)


def test_a_missing_image_is_left_out_and_reported(tmp_path: Path) -> None:
    root = wider(tmp_path / "raw", events=1)
    (root / "WIDER_train/images/0--Event/0_Event_3.jpg").unlink()
    labels = convert(root, tmp_path / "out")
    assert not any("0_Event_3" in name for name in labels)
    assert changes(tmp_path / "out")[0]["what"] == "images that cannot be read left out"


def test_only_training_images(tmp_path: Path) -> None:
    root = wider(tmp_path / "raw", events=1)
    (root / "WIDER_val").rename(root / "elsewhere")
    convert(root, tmp_path / "out")
    assert "test" not in yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())


def sources(count: int) -> list[ListedImage]:
    names = [f"{i % 7}--E/{i}.jpg" for i in range(count)]
    return [ListedImage(name, Path(name), Path("list"), 1) for name in names]


@pytest.mark.parametrize("stratify", [False, True])
def test_the_official_set_splits_into_10304_and_2576(stratify: bool) -> None:
    every = sources(12880)
    parts = divide(every, 0, stratify=stratify)
    assert [len(parts[name]) for name in ("train", "val")] == [10304, 2576]
    assert {s.name for part in parts.values() for s in part} == {s.name for s in every}
    same, other = (divide(every[::-1], seed, stratify=stratify) for seed in (0, 1))
    assert [s.name for s in same["val"]] == [s.name for s in parts["val"]] != [s.name for s in other["val"]]
    shares = [sum(s.event == e for s in parts["val"]) / sum(s.event == e for s in every) for e in ("0--E", "6--E")]
    if stratify:
        assert shares == pytest.approx([0.2, 0.2], abs=0.001)


def break_list(root: Path) -> None:
    (root / "wider_face_split" / "wider_face_train_bbx_gt.txt").write_text("20 20 40 40\n")


def break_label(root: Path) -> None:
    (root / "train" / "label.txt").write_text("20 20 40 40\n")


def climb(root: Path) -> None:
    (root / "train" / "label.txt").write_text("# ../../secret.jpg\n20 20 40 40\n")


def empty(root: Path) -> None:
    (root / "train" / "label.txt").write_text("\n")


def unlist(root: Path) -> None:
    (root / "wider_face_split" / "wider_face_val_bbx_gt.txt").unlink()


def unpack_nothing(root: Path) -> None:
    (root / "WIDER_train").rename(root / "train_images")


def no_pictures(root: Path) -> None:
    for image in (root / "WIDER_train").rglob("*.jpg"):
        image.write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("harm", "values", "told"),
    [
        (break_list, {}, "line 1: expected the name of an image"),
        (break_label, {}, "label.txt, line 1: expected '# EVENT/NAME.jpg' first"),
        (climb, {}, "line 1: '../../secret.jpg' is no name EVENT/NAME.jpg"),
        (empty, {}, "label.txt: names no image"),
        (unlist, {}, "wider_face_val_bbx_gt.txt: No such file"),
        (unpack_nothing, {}, "no such folder; widerface= is the folder with WIDER_train"),
        (no_pictures, {}, "train: none of 8 images can be read; the first"),
        (None, {"landmarks": "nowhere.txt"}, "landmarks=nowhere.txt: no such file"),
        (None, {"widerface": "nowhere"}, "widerface=nowhere: no such folder"),
    ],
)
def test_errors_are_reported_in_one_line(tmp_path: Path, harm: Any, values: dict[str, str], told: str) -> None:
    root = wider(tmp_path / "raw")
    if harm is not None:
        harm(root)
    arguments = {"widerface": str(root), "out": str(tmp_path / "out"), **values}
    with pytest.raises(PoseError) as caught:
        COMMANDS["convert"](arguments)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_data_set_is_not_written_over(tmp_path: Path) -> None:
    root = wider(tmp_path / "raw", events=1)
    convert(root, tmp_path / "out")
    with pytest.raises(PoseError, match="exists; choose another out, or exist_ok=True"):
        convert(root, tmp_path / "out")
    assert convert(root, tmp_path / "out", exist_ok=True)
    with pytest.raises(UsageError, match="name what to convert"):
        COMMANDS["convert"]({"widerface": "a", "coco": "b", "out": "c"})
    with pytest.raises(UsageError, match="out is missing: a folder"):
        COMMANDS["convert"]({"widerface": "a"})


def test_the_command_line(tmp_path: Path) -> None:
    root = wider(tmp_path / "raw")
    assert main(["pose", "convert", f"widerface={root}", f"out={tmp_path / 'out'}", "stratify", "seed=3"]) == 0
    assert "80/20 by event, seed 3" in (tmp_path / "out" / "data.yaml").read_text()


def test_the_packaged_description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PoseError, match=r"does not exist; the first lines of .* say how to make it"):
        load_data("widerface-landmarks.yaml")
    convert(wider(tmp_path / "raw"), tmp_path / "datasets" / "widerface-landmarks")
    spec = load_data("widerface-landmarks.yaml")
    assert len(spec.split("test")) == 1
    assert spec.names == {0: "face"}
    assert spec.layout.sigmas == (0.04,) * 5


def test_no_row_of_the_table_of_changes_is_a_formula(tmp_path: Path) -> None:
    root = wider(tmp_path / "raw", rows={"0--Event/0_Event_0.jpg": "=HYPERLINK(1) 20 40 40"})
    convert(root, tmp_path / "out")
    assert [row["before"][:12] for row in changes(tmp_path / "out") if "HYPER" in row["before"]] == ["'=HYPERLINK("]
