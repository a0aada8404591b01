"""Pseudo-labels: which detections become labels, what stays as it was, and that the result is a data set."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from helpers.builders import FakeBackend, make_photo

from yolopose import YOLO
from yolopose.cli import COMMANDS, main
from yolopose.config import LabelConfig, parse
from yolopose.data.labels import scan
from yolopose.data.rows import Labels, no_labels, parse_rows
from yolopose.data.spec import load_data
from yolopose.errors import PoseError, UsageError
from yolopose.label import make_labels
from yolopose.label.merge import LabelOptions, merge
from yolopose.label.write import rows_of

K = 4
HW = (240, 320)
BOX = (40, 60, 200, 180)


def labels(*rows: tuple[float, ...], points: float = 0, classes: tuple[int, ...] = ()) -> Labels:
    """Boxes cxcywh, each with two keypoints at its centre whose v is `points`."""
    boxes = np.array(rows, np.float32).reshape(-1, 4)
    keypoints = np.repeat(np.insert(boxes[:, :2], 2, points, axis=1)[:, None], 2, axis=1)
    return Labels(np.array(classes or (0,) * len(boxes), np.int64), boxes, keypoints)


def counted(own: Labels, found: Labels, scores: list[float], **options: Any) -> tuple[Labels, dict[str, int]]:
    merged, counts = merge(own, found, np.array(scores), LabelOptions(**options))
    n = len(own)
    np.testing.assert_array_equal(merged.boxes[:n], own.boxes)  # what was labelled stays, in its place
    np.testing.assert_array_equal(merged.classes[:n], own.classes)
    labelled = own.keypoints[..., 2] > 0
    np.testing.assert_array_equal(merged.keypoints[:n][labelled], own.keypoints[labelled])
    return merged, {key: value for key, value in counts.items() if value}


LEFT, RIGHT = (0.2, 0.5, 0.2, 0.4), (0.8, 0.5, 0.2, 0.4)
NEAR_LEFT, HALF_LEFT = (0.21, 0.5, 0.2, 0.4), (0.2, 0.4, 0.2, 0.2)


def test_sure_detections_are_added_and_unsure_ones_ignored() -> None:
    found = labels(LEFT, RIGHT, (0.5, 0.5, 0.1, 0.1), points=0.9)
    merged, counts = counted(no_labels(2), found, [0.9, 0.5, 0.3])
    assert counts == {"boxes": 2, "ignored": 1}
    assert merged.keypoints[..., 2].tolist() == [[2, 2], [2, 2]]
    np.testing.assert_allclose(merged.ignore, [[0.5, 0.5, 0.1, 0.1, 0]])


def test_labelled_instances_are_not_added_again() -> None:
    found = labels(NEAR_LEFT, HALF_LEFT, RIGHT, points=0.9)
    merged, counts = counted(labels(LEFT, points=1), found, [0.9, 0.9, 0.9])
    assert counts == {"boxes": 1}  # HALF_LEFT overlaps by a half: another person, or the same? nobody knows
    np.testing.assert_array_equal(merged.boxes[1], np.float32(RIGHT))
    other = labels(NEAR_LEFT, points=0.9, classes=(1,))
    assert counted(labels(LEFT, points=1), other, [0.9])[1] == {"boxes": 1}  # of another class


def test_an_unsure_part_of_a_new_label_is_no_box_to_ignore() -> None:
    merged, counts = counted(no_labels(2), labels(LEFT, HALF_LEFT), [0.9, 0.3])
    assert counts == {"boxes": 1}
    assert not len(merged.ignore)


def test_nothing_is_added_in_boxes_to_ignore_but_in_partly_labelled_images() -> None:
    crowd = replace(no_labels(2), ignore=np.array([[0.2, 0.5, 0.3, 0.5, 0]], np.float32))
    merged, counts = counted(crowd, labels(LEFT, RIGHT), [0.9, 0.9])
    assert counts == {"boxes": 1}
    assert len(merged.ignore) == 1
    partial = replace(no_labels(2), ignore=np.array([[0.5, 0.5, 1, 1, 0.1]], np.float32))
    assert counted(partial, labels(LEFT, RIGHT), [0.9, 0.9])[1] == {"boxes": 2}


def test_points_go_to_labelled_boxes_without_any() -> None:
    own = replace(labels(LEFT, RIGHT), keypoints=labels(LEFT, RIGHT).keypoints)
    own.keypoints[1, 0] = (0.8, 0.5, 1)  # one point labelled by hand: the others were left out on purpose
    found = labels(RIGHT, NEAR_LEFT, LEFT, points=0.9)
    found.keypoints[2, 1, 2] = 0.1
    merged, counts = counted(own, found, [0.9, 0.9, 0.3], what="points")
    assert counts == {"points": 1}
    assert merged.keypoints[0].tolist() == [[np.float32(0.2), 0.5, 2], [0, 0, 0]]  # those of the larger overlap
    assert merged.keypoints[1, :, 2].tolist() == [1, 0]
    assert len(merged) == 2
    boxes, counts = counted(own, found, [0.9, 0.9, 0.3], what="boxes")
    assert (len(boxes), counts) == (2, {})


def test_two_labels_do_not_share_a_detection() -> None:
    own = labels(LEFT, NEAR_LEFT)
    merged, counts = counted(own, labels(LEFT, points=0.9), [0.9], what="points")
    assert counts == {"points": 1}
    assert merged.keypoints[:, 0, 2].tolist() == [2, 0]


def test_points_outside_their_box_are_not_labelled() -> None:
    found = labels(LEFT, points=0.9)
    found.keypoints[0, 0, :2] = 0.2 + 0.5 * 0.2 + 0.03, 0.5
    merged, _ = counted(no_labels(2), found, [0.9])
    assert merged.keypoints[0, :, 2].tolist() == [0, 2]


def test_rows_are_read_back_to_the_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    own = Labels(np.arange(9) % 2, rng.uniform(0.3, 0.5, (9, 4)).astype(np.float32),
                 np.insert(rng.random((9, 3, 2), np.float32), 2, 2, axis=2))  # fmt: skip
    for numbers in (2, 3):
        (tmp_path / "a.txt").write_text("\n".join(rows_of(own, numbers)))
        again, bad, _ = parse_rows(tmp_path / "a.txt", (3, numbers), 2)
        assert not bad
        for name in ("classes", "boxes", "keypoints"):
            np.testing.assert_array_equal(getattr(again, name), getattr(own, name))


# --- the mode


def photos(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), make_photo(HW, BOX))
    return folder


def made(out: Path, d: int = 3, **values: Any) -> Path:
    return make_labels(FakeBackend(K, d), parse(LabelConfig, {"out": str(out), "verbose": False, **values}), None)


@pytest.mark.parametrize("d", [2, 3])
def test_photographs_become_a_data_set(tmp_path: Path, d: int) -> None:
    source = photos(tmp_path / "photos", "a.png", "deep/b.c.png")
    (source / "broken.jpg").write_bytes(b"no image")
    file = made(tmp_path / "out", d, source=f"{source}/**")
    found = scan(load_data(file), "train", cache=False)
    assert not found.bad
    assert [item.path.relative_to(tmp_path / "out").as_posix() for item in found.items] == [
        "images/a.png", "images/deep/b.c.png",
    ]  # fmt: skip
    for item in found.items:
        assert item.path.is_symlink()
        np.testing.assert_allclose(item.labels.boxes[0], [120 / 320, 120 / 240, 160 / 320, 120 / 240], atol=0.01)
        assert (item.labels.keypoints[0, :, 2] == 2).all()
    facts = json.loads((tmp_path / "out" / "labels_by_model.json").read_text())
    assert (facts["images"], facts["boxes"], facts["sha256"], facts["conf"]) == (2, 2, None, 0.5)
    assert "labels made by a model" in file.read_text()


def test_copies_need_no_links(tmp_path: Path) -> None:
    made(tmp_path / "out", source=str(photos(tmp_path / "photos", "a.png")), copy=True)
    assert not (tmp_path / "out" / "images" / "a.png").is_symlink()


def data_set(root: Path, rows: str, extra: str = "") -> Path:
    photos(root / "images" / "train", "a.png", "b.png")
    photos(root / "images" / "val", "c.png")
    (root / "labels" / "train").mkdir(parents=True)
    (root / "labels" / "train" / "a.txt").write_text(rows)
    (root / "data.yaml").write_text(
        f"train: images/train\nval: images/val\nkpt_shape: [{K}, 3]\nnames: [person]\nflip_idx: [1, 0, 3, 2]\n{extra}"
    )
    return root / "data.yaml"


def test_a_labelled_data_set_is_completed_in_a_copy(tmp_path: Path) -> None:
    zeros = " 0" * 3 * K
    rows = f"0 0.37 0.5 0.5 0.51{zeros}\n0 0.9 0.9 0.1 0.1{zeros}\n"
    given = data_set(tmp_path / "data", rows, "partial: [a]\n")
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    file = made(tmp_path / "out", data=str(given))
    assert {path: path.read_bytes() for path in before} == before
    spec = load_data(file)
    assert spec.layout.flip == (1, 0, 3, 2)
    assert spec.partial == ()  # what the model does not find is background
    assert load_data(made(tmp_path / "points", data=str(given), what="points")).partial == ("a",)
    a, b = scan(spec, "train", cache=False).items
    np.testing.assert_array_equal(a.labels.boxes, np.float32([[0.37, 0.5, 0.5, 0.51], [0.9, 0.9, 0.1, 0.1]]))
    assert (a.labels.keypoints[:, 0, 2].tolist(), len(b.labels)) == ([2, 0], 1)
    assert [path.name for path in spec.split("val")] == ["c.png"]
    facts = json.loads((tmp_path / "out" / "labels_by_model.json").read_text())
    assert (facts["points"], facts["boxes"], facts["data"], facts["split"]) == (1, 1, "data.yaml", "train")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "name what to label"),
        ({"source": "photos", "data": "data/data.yaml"}, "name what to label"),
        ({"source": "photos", "what": "points"}, "data="),
        ({"source": "photos", "unsure": 0.6}, "must not be above conf=0.5"),
        ({"source": "photos", "classes": [0, 4]}, "classes=4: the model has classes 0 to 0 only"),
        ({"source": "nowhere"}, "nowhere"),
        ({"source": "broken.jpg"}, "broken.jpg"),
        ({"source": "0", "conf": 0.7}, "is a stream"),
        ({"source": "twins"}, "share a label file"),
        ({"source": "ignored"}, "share a label file"),
        ({"source": "mixed"}, "source=mixed: has videos or addresses"),
        ({"source": ["photos/a.png", "https://localhost/a.png"]}, "has videos or addresses"),
        ({"data": "data/none.yaml"}, "none.yaml"),
        ({"data": "other.yaml"}, r"kpt_shape is \[5, 3\], the model's \[4, 3\]"),
        ({"data": "classes.yaml"}, "the classes are dog, the model's person"),
    ],
)
def test_wrong_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos", "a.png")
    photos(tmp_path / "twins", "a.png", "a.jpg")
    photos(tmp_path / "ignored", "a.png", "a.ignore.png")
    (photos(tmp_path / "mixed", "a.png") / "b.mp4").write_bytes(b"a video")
    given = data_set(tmp_path / "data", "").read_text()
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    text = given.replace("images/", "data/images/")
    (tmp_path / "other.yaml").write_text(text.replace("[4, 3]", "[5, 3]").replace("flip_idx", "no_flip_idx"))
    (tmp_path / "classes.yaml").write_text(text.replace("[person]", "[dog]"))
    with pytest.raises((PoseError, UsageError), match=words) as error:
        made(tmp_path / "out", **values)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_existing_files_stay_without_exist_ok(tmp_path: Path) -> None:
    source = str(photos(tmp_path / "photos", "a.png"))
    made(tmp_path / "out", source=source)
    with pytest.raises(PoseError, match="exist_ok=True"):
        made(tmp_path / "out", source=source)
    made(tmp_path / "out", source=source, exist_ok=True)


def contents(folder: Path) -> dict[str, bytes | str]:
    """Files by path; links by what they point to."""
    return {
        str(path): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_sigmas_and_annotations_of_a_completed_data_set_stay_what_they_were(tmp_path: Path) -> None:
    truths = "annotations: {train: a.json, val: b.json}\n"
    for name, extra in (("bare", ""), ("full", f"kpt_oks_sigmas: [0.1, 0.2, 0.3, 0.4]\n{truths}")):
        given = load_data(data_set(tmp_path / name, "", extra))
        spec = load_data(made(tmp_path / f"{name}-out", data=str(given.yaml)))
        assert spec.given_sigmas is given.given_sigmas
        assert spec.layout == given.layout
        assert spec.annotations == {k: v for k, v in given.annotations.items() if k == "val"}  # train has other labels


@pytest.mark.parametrize("copy", [False, True])
def test_photographs_and_data_sets_are_never_overwritten(tmp_path: Path, copy: bool) -> None:
    given = data_set(tmp_path / "data", f"0 0.37 0.5 0.5 0.51{' 0' * 3 * K}\n")
    photos(tmp_path / "flat" / "images", "a.png")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "images").symlink_to(tmp_path / "data" / "images")
    source = str(tmp_path / "data" / "images" / "train")
    made(tmp_path / "first", source=source)
    again = made(tmp_path / "again", data=str(given))
    before = contents(tmp_path)
    for out, values in (
        ("data", {"data": str(given)}),
        ("data", {"source": source}),
        ("flat", {"source": str(tmp_path / "flat" / "images")}),
        ("linked", {"source": source}),
        ("first", {"source": str(tmp_path / "first" / "images")}),
        ("again", {"data": str(again)}),
    ):
        with pytest.raises(PoseError, match="choose another out"):
            made(tmp_path / out, exist_ok=True, copy=copy, **values)
        assert contents(tmp_path) == before, values


@pytest.mark.parametrize(
    ("out", "words"), [("file/new", "file is no folder"), ("made", "labels is no folder"), ("twins", "share a label")]
)
def test_an_out_that_cannot_be_written_is_refused_before_labelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, words: str
) -> None:
    given = data_set(tmp_path / "data", "")
    if out == "twins":
        photos(tmp_path / "data" / "images" / "train", "a.jpg")
    (tmp_path / "file").write_text("")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "labels").write_text("")
    (tmp_path / "made" / "labels_by_model.json").write_text("")
    monkeypatch.setattr("yolopose.label.find", lambda *_: pytest.fail("was labelled"))
    with pytest.raises(PoseError, match=words):
        made(tmp_path / out, data=str(given), exist_ok=True)


def test_command_line_doctor_and_training_take_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shared: Path
) -> None:
    pytest.importorskip("torch")
    samples = Path(__file__).resolve().parents[1] / "yolopose" / "assets" / "samples" / "images" / "val"
    out = tmp_path / "out"
    assert main(["label", "model=yolov8n-face", f"source={samples}", f"out={out}", "verbose=False"]) == 0
    file = out / "data.yaml"
    assert yaml.safe_load(file.read_text())["names"] == {0: "face"}
    assert len(json.loads((out / "labels_by_model.json").read_text())["sha256"]) == 64
    assert COMMANDS["doctor"]({"data": str(file), "out": str(tmp_path / "report")}) == 0
    assert "labels made by a model: model=yolov8n-face.onnx, sha256=" in capsys.readouterr().out
    file.write_text(file.read_text() + "val: images\n")
    model = YOLO("yolov8n-pose.yaml")
    model.train(data=str(file), epochs=1, imgsz=64, batch=4, workers=0, plots=False, project=tmp_path, verbose=False)


def test_no_out_is_a_usage_error(tmp_path: Path) -> None:
    assert main(["label", f"source={photos(tmp_path, 'a.png')}"]) == 2
