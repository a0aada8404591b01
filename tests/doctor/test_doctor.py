"""The doctor: its findings, its page, and that it never writes into a data set."""

import base64
import hashlib
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from yolopose.cli import COMMANDS
from yolopose.data.labels import ImageItem, scan
from yolopose.data.rows import Labels
from yolopose.data.spec import load_data
from yolopose.doctor import Report, examine
from yolopose.doctor.previews import preview, select_samples
from yolopose.doctor.statistics import statistics
from yolopose.errors import PoseError, UsageError
from yolopose.geometry.keypoints import default_layout

ROW = "0 0.5 0.5 0.4 0.6 0.4 0.4 2 0.6 0.4 2 0.5 0.5 1\n"
YAML = {
    "train": "images/train",
    "val": "images/val",
    "kpt_shape": [3, 3],
    "kpt_names": ["left_eye", "right_eye", "nose"],
    "flip_idx": [1, 0, 2],
    "names": ["face"],
}


def picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.uniform(0, 255, (n, n, 3)), (160, 120), interpolation=cv2.INTER_CUBIC) for n in (4, 9, 25)]
    return np.clip(np.mean(layers, 0), 0, 255).astype(np.uint8)


def data_set(folder: Path, **changes: Any) -> Path:
    """Six training and two validation images, all different, each with one face."""
    for seed, name in enumerate([*(f"train/{i}" for i in range(6)), "val/6", "val/7"]):
        put(folder, f"{name}.jpg", picture(seed), ROW)
    (folder / "data.yaml").write_text(yaml.safe_dump(YAML | changes))
    return folder / "data.yaml"


def put(folder: Path, name: str, image: np.ndarray | None, row: str | None, quality: int = 95) -> Path:
    file = folder / "images" / name
    label = (folder / "labels" / name).with_suffix(".txt")
    for path in (file, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    if image is not None:
        cv2.imwrite(str(file), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if row is not None:
        label.write_text(row)
    return file


def examined(file: Path, out: Path, **values: Any) -> Report:
    return examine(file, out=out, **values)


def tree(folder: Path) -> dict[str, str]:
    """Every file and folder with a hash of its content and its time."""
    return {
        str(
            path
        ): f"{path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ''}"
        for path in folder.rglob("*")
    }


def test_a_correct_data_set_has_no_findings_and_is_not_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = data_set(tmp_path / "data")
    before = tree(tmp_path / "data")
    for path in sorted((tmp_path / "data").rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    out = tmp_path / "out"
    assert COMMANDS["doctor"]({"data": str(file), "out": str(out), "strict": True}) == 0
    said = capsys.readouterr().out
    assert "nothing wrong" in said
    assert "left_eye ↔ right_eye" in said
    assert tree(tmp_path / "data") == before
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.json"]
    for path in (tmp_path / "data").rglob("*"):
        path.chmod(0o755)


def test_every_problem_of_a_data_set_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    file = data_set(folder, names=["face", "hat"], test="images/test")
    put(folder, "val/same.jpg", picture(0), ROW)
    put(folder, "val/near.jpg", cv2.resize(picture(1), None, fx=0.7, fy=0.7), ROW, 60)
    put(folder, "train/again.jpg", picture(2), ROW, 50)
    put(folder, "train/rows.jpg", picture(20), "0 0.5 0.5\n" + ROW + "9" + ROW[1:] + ROW)
    put(folder, "train/stray.jpg", picture(21), ROW.replace("0.4 0.4 2", "1.4 0.4 2", 1))
    whole = put(folder, "train/cut.jpg", picture(22), ROW).read_bytes()
    (folder / "images/train/cut.jpg").write_bytes(whole[: len(whole) // 2])
    put(folder, "train/orphan.jpg", None, ROW)
    before = tree(folder)
    config = {"data": str(file), "out": str(tmp_path / "out")}
    assert COMMANDS["doctor"](config) == 0
    assert COMMANDS["doctor"](config | {"strict": True, "exist_ok": True}) == 1
    assert tree(folder) == before
    said = capsys.readouterr().out
    for expected in (
        "test: ",
        "train: 1 unusable file, left out",
        "images/train/cut.jpg: truncated",
        "train: 2 bad label rows, left out",
        "labels/train/rows.txt:1: 3 columns, expected 14",
        "labels/train/rows.txt:3: class is not one of 0..1",
        "train: 1 duplicate label row, left out",
        "train: 1 stray keypoint",
        "val shares 2 of its 4 images with train (1 identical and 1 near-identical)",
        "images/val/same.jpg = images/train/0.jpg",
        "images/val/near.jpg ≈ images/train/1.jpg",
        "train holds images twice: 1 near-identical",
        "1 label file without an image",
        "train: no instance of hat",
    ):
        assert expected in said, expected
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    train = report["splits"]["train"]
    counted = (train["images"], train["corrupt"], train["bad_rows"], train["duplicate_rows"], train["instances"])
    assert counted == (10, 1, 2, 1, 9)
    assert {(m["split"], m["other_split"], m["identical"]) for m in report["matches"]} == {
        ("val", "train", True),
        ("val", "train", False),
        ("train", "train", False),
    }
    assert len(report["bad_rows"]["train"]) == 4
    assert [f["level"] for f in report["findings"]] == sorted(f["level"] for f in report["findings"])


def test_boxes_to_ignore_and_partly_labelled_images_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = data_set(tmp_path / "data", partial=["2", "images/val", "none_"])
    (tmp_path / "data" / "labels" / "train" / "1.ignore.txt").write_text("0.5 0.5 0.2 0.2\n0.1 0.1 0.1 0.1\n1 2\n")
    assert COMMANDS["doctor"]({"data": str(file), "out": str(tmp_path / "out")}) == 0
    said = capsys.readouterr().out
    for expected in (
        "train: 2 boxes to ignore",
        "train: 1 of 6 images are only partly labelled",
        "val: 2 of 2 images are only partly labelled",
        "partial: none_: fits no image",
        "labels/train/1.ignore.txt:3: 2 columns, expected 4",
    ):
        assert expected in said, expected
    assert "without an image" not in said
    splits = json.loads((tmp_path / "out" / "report.json").read_text())["splits"]
    assert [(splits[name]["ignored"], splits[name]["partial"]) for name in ("train", "val")] == [(2, 1), (0, 2)]


def test_damage_behind_a_valid_header_is_found(tmp_path: Path) -> None:
    file = data_set(tmp_path / "data")
    path = tmp_path / "data" / "images" / "train" / "bad.png"
    data = bytearray(cv2.imencode(".png", picture(30))[1].tobytes())
    data[60:-40] = bytes(len(data) - 100)
    path.write_bytes(data)
    report = examined(file, tmp_path / "out")
    assert report.counts["train"].corrupt == 1
    assert [row.file for row in report.bad["train"]] == [str(path)]


def test_labels_without_keypoints_or_files_are_reported(tmp_path: Path) -> None:
    file = data_set(tmp_path / "a")
    for label in (tmp_path / "a" / "labels").rglob("*.txt"):
        label.write_text("0 0.5 0.5 0.4 0.6" + " 0" * 9)
    assert "no instance has a labelled keypoint" in [f.what for f in examined(file, tmp_path / "oa").findings]
    for label in (tmp_path / "a" / "labels" / "train").iterdir():
        label.unlink()
    told = [f.what for f in examined(file, tmp_path / "ob").findings]
    assert "train: none of the 6 images has a label file" in told
    file = data_set(tmp_path / "c")
    for label in (tmp_path / "c" / "labels").rglob("*.txt"):
        label.write_text(ROW.replace("0.6 0.4 2", "0 0 0"))
    assert "never labelled: right_eye" in [f.what for f in examined(file, tmp_path / "oc").findings]


def test_a_wrong_flip_idx_is_reported(tmp_path: Path) -> None:
    file = data_set(tmp_path / "data", flip_idx=[0, 1, 2])
    for label in (tmp_path / "data" / "labels").rglob("*.txt"):
        label.write_text(
            "".join(f"0 {0.49 + i / 1000} 0.5 0.4 0.6 0.37 0.4 2 0.63 0.4 2 0.5 0.5 2\n" for i in range(12))
        )
    found = examined(file, tmp_path / "out").findings
    assert [f.topic for f in found] == ["flip", "flip"]
    assert "puts left_eye in the place of left_eye" in found[0].what
    assert "mirrored, left_eye near right_eye" in found[1].what
    (tmp_path / "data" / "data.yaml").write_text(yaml.safe_dump(YAML | {"flip_idx": [1, 2, 0]}))
    with pytest.raises(PoseError, match="must undo itself"):
        examined(file, tmp_path / "out2")
    report = examined(data_set(tmp_path / "none", flip_idx=None), tmp_path / "out3")
    assert any("flip_idx is not given" in fact for fact in report.facts)


def test_sigmas_are_explained(tmp_path: Path) -> None:
    report = examined(data_set(tmp_path / "a"), tmp_path / "oa")
    lenient = next(fact for fact in report.facts if "sigma" in fact)
    assert "0.333" in lenient
    assert "57%" in lenient  # OKS 0.5 = exp(-d² / (2·(2/3)²·0.53)) at d = 0.571
    report = examined(data_set(tmp_path / "b", kpt_oks_sigmas=[0.05, 0.05, 0.1]), tmp_path / "ob")
    assert any("given: 0.05, 0.05, 0.1" in fact for fact in report.facts)


def test_wrong_arguments_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="data is missing"):
        COMMANDS["doctor"]({})
    with pytest.raises(PoseError, match=r"nowhere\.yaml"):
        examine("nowhere.yaml")
    file = tmp_path / "data.yaml"
    file.write_text(yaml.safe_dump(YAML))
    with pytest.raises(PoseError, match="does not exist"):
        examined(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    data_set(tmp_path)
    examined(file, tmp_path / "out", previews=0)
    with pytest.raises(PoseError, match="exist_ok"):
        examined(file, tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    folders = [examine(file, previews=0).folder for _ in range(2)]
    assert [os.fspath(folder) for folder in folders] == ["runs/pose/doctor", "runs/pose/doctor2"]


class Tags(HTMLParser):
    """The tags of a page, and those left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "line", "rect", "circle") or tag == "circle":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_no_other_file(tmp_path: Path) -> None:
    file = data_set(tmp_path / "data", names=["<b>face</b>", "a&b"])
    put(tmp_path / "data", "val/<script>x.jpg", picture(0), ROW)
    examined(file, tmp_path / "out", previews=3)
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    tags = Tags(text)
    assert not tags.open
    assert not {"script", "link", "iframe", "b-face"} & {tag for tag, _ in tags.seen}
    assert "<b>face</b>" not in text
    sources = [attrs["src"] or "" for tag, attrs in tags.seen if tag == "img"]
    assert len(sources) == 3 * 2 + 2  # previews with their mirror images, one pair of copies
    for source in sources:
        kind, data = source.split(",")
        assert kind == "data:image/jpeg;base64"
        assert cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1) is not None
    assert not re.search(r"https?:|url\(|@import|\son\w+=", text)


def test_previews_are_mirrored_as_training_does(tmp_path: Path) -> None:
    """The mirrored preview is that of the mirrored image with labels mirrored by hand."""
    mirrored_row = "0 0.5 0.5 0.4 0.6 0.4 0.4 2 0.6 0.5 2 0.3 0.5 1\n"
    row = "0 0.5 0.5 0.4 0.6 0.4 0.5 2 0.6 0.4 2 0.7 0.5 1\n"
    put(tmp_path, "train/a.png", picture(0), row)
    put(tmp_path, "train/b.png", np.flip(picture(0), 1), mirrored_row)
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({**YAML, "val": "images/train"}))
    spec = load_data(tmp_path / "data.yaml")
    first, second = (preview(item, spec) for item in scan(spec, "train", cache=False).items)
    assert first.mirrored is not None
    images = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1) for jpeg in (first.mirrored, second.picture)]
    np.testing.assert_allclose(images[0].astype(float), images[1], atol=2)
    assert np.abs(images[0].astype(float) - cv2.imdecode(np.frombuffer(first.picture, np.uint8), 1)).mean() > 5


def item(hw: tuple[int, int], boxes: list[list[float]], v: list[list[float]]) -> ImageItem:
    points = np.zeros((len(boxes), 2, 3), np.float32)
    points[..., :2] = 0.5
    points[..., 2] = np.reshape(v, (len(boxes), 2))
    return ImageItem(
        Path("x.jpg"), hw, Labels(np.zeros(len(boxes), np.int64), np.array(boxes, np.float32).reshape(-1, 4), points)
    )


def test_statistics_of_known_instances() -> None:
    items = [
        item((480, 640), [[0.5, 0.5, 0.1, 0.1], [0.25, 0.5, 0.005, 0.01]], [[2, 1], [0, 0]]),
        item((1280, 640), [[0.6, 0.5, 0.4, 0.2]], [[2, 0]]),
        item((100, 100), [], []),
    ]
    found = statistics(items, default_layout((2, 3)))
    assert (found.instances, found.with_keypoints, found.outside_box) == (3, 2, 0)
    # at 640: √(64·48) = 55.4, √(3.2·4.8) = 3.9, √(128·128) = 128
    assert {w for w, n in zip(found.size.bins, found.size.counts, strict=True) if n} == {"0–4", "32–64", "128–192"}
    assert {w for w, n in zip(found.aspect.bins, found.aspect.counts, strict=True) if n} == {
        "1:2–4:5",
        "4:5–5:4",
        "5:4–2:1",
    }
    assert found.per_image.counts[:3] == (1, 1, 1)
    first, second = found.keypoints
    assert (first.visible, first.hidden, first.unlabelled, first.labelled) == (2, 0, 0, 1)
    assert (second.visible, second.hidden, second.unlabelled, second.labelled) == (0, 1, 1, 0.5)
    assert first.mean == pytest.approx((0.375, 0.5))
    assert found.below_8 == pytest.approx(1 / 3)
    empty = statistics(items[2:], default_layout((2, 3)))
    assert (empty.instances, empty.keypoints[0].mean, empty.below_8) == (0, None, 0)


def test_samples_are_spread_over_images_with_keypoints() -> None:
    plain, labelled = (item((9, 9), [[0.5, 0.5, 0.2, 0.2]], [[v, 0]]) for v in (0, 2))
    assert select_samples([plain, labelled, plain, labelled], 1) == [labelled]
    assert select_samples([plain, plain], 5) == [plain, plain]
    many = [item((9, 9), [[0.5, 0.5, 0.2, 0.2]], [[2, 0]]) for _ in range(10)]
    assert [many.index(chosen) for chosen in select_samples(many, 3)] == [1, 5, 8]


@pytest.mark.slow
def test_real_data_sets(shared: Path, tmp_path: Path) -> None:
    pose = examined(shared / "data" / "pose" / "data.yaml", tmp_path / "pose")
    assert pose.findings == []
    assert {name: counts.instances for name, counts in pose.counts.items()} == {"train": 1025, "val": 115, "test": 350}
    face = examined(shared / "data" / "face" / "data.yaml", tmp_path / "face")
    assert {f.topic for f in face.findings} == {"labels", "duplicates"}  # neighbouring frames of films, one double row
    assert sum(counts.images for counts in face.counts.values()) == 3403
