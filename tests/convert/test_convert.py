"""COCO keypoints JSON ↔ YOLO labels: round trips, what is left out, what is refused."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from yolopose.cli import COMMANDS
from yolopose.convert import from_coco, to_coco
from yolopose.data.labels import label_path, scan
from yolopose.data.rows import parse_rows
from yolopose.data.spec import load_data
from yolopose.errors import PoseError, UsageError
from yolopose.geometry.keypoints import COCO_17, FACE_5, flip_from_names


def coco_json(**changes: Any) -> dict[str, Any]:
    """One image of 100 x 50 with two persons (the second without keypoints) and a crowd region."""
    shape = [10.0, 20.0, 2, 0, 0, 0, 30.0, 40.0, 1]
    rows = [
        {"id": 1, "image_id": 7, "category_id": 5, "bbox": [5, 10, 40, 35], "iscrowd": 0, "keypoints": shape},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [60, 10, 20, 20], "area": 99.0, "iscrowd": 0},
        {"id": 3, "image_id": 7, "category_id": 5, "bbox": [0, 0, 99, 49], "iscrowd": 1},
    ]
    names = ["nose", "left_eye", "right_eye"]
    return {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 50, "width": 100}],
        "annotations": rows,
        "categories": [
            {"id": 5, "name": "person", "keypoints": names, "skeleton": [[1, 2], [1, 3]]},
            {"id": 3, "name": "dog"},
        ],
    } | changes


def written(folder: Path, values: Any) -> Path:
    file = folder / "coco.json"
    file.write_text(json.dumps(values))
    return file


def photo_folder(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((50, 100, 3), 128, np.uint8))
    return folder


def test_labels_and_draft_of_a_small_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = photo_folder(tmp_path / "photos", "a.jpg")
    draft = from_coco(written(tmp_path, coco_json()), tmp_path / "out", images=photos, split="train")
    assert "1 crowd regions: now boxes to ignore" in capsys.readouterr().out
    values = yaml.safe_load(draft.read_text())
    assert values["names"] == {0: "dog", 1: "person"}
    assert values["flip_idx"] == [0, 2, 1]
    assert "kpt_oks_sigmas" not in values
    spec = load_data(draft)
    assert spec.layout.edges == ((0, 1), (0, 2))
    result = scan(spec, "train", cache=False)
    assert not result.bad
    labels = result.items[0].labels
    assert labels.classes.tolist() == [1, 0]
    np.testing.assert_allclose(labels.boxes[0], (0.25, 0.55, 0.4, 0.7), atol=1e-7)
    np.testing.assert_allclose(labels.keypoints[0], ((0.1, 0.4, 2), (0, 0, 0), (0.3, 0.8, 1)), atol=1e-7)
    assert not labels.keypoints[1].any()
    np.testing.assert_allclose(labels.ignore, [(0.495, 0.49, 0.99, 0.98, 0)], atol=1e-7)
    back = json.loads(to_coco(draft, tmp_path / "back.json", split="train").read_text())
    crowds = [row for row in back["annotations"] if row["iscrowd"]]
    assert [row["category_id"] for row in crowds] == [1, 2]  # of every class
    for row in crowds:
        np.testing.assert_allclose(row["bbox"], [0, 0, 99, 49], atol=1e-4)
        assert (row["num_keypoints"], row["keypoints"]) == (0, [0] * 9)
    values = coco_json()
    values["annotations"] = values["annotations"][:2]
    from_coco(written(tmp_path, values), tmp_path / "out", images=photos, exist_ok=True)
    assert not list((tmp_path / "out" / "labels").glob("*.ignore.txt"))  # none of an earlier conversion stays


def test_edges_are_cut_and_stray_points_unlabelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = coco_json()
    values["annotations"][0] |= {"bbox": [-5, 10, 40, 60], "keypoints": [-1, 3, 2, 0, 0, 0, 30, 40, 1]}
    values["annotations"][1] |= {"bbox": [120, 10, 20, 20]}
    values["annotations"].append({**values["annotations"][1], "image_id": 99})
    draft = from_coco(written(tmp_path, values), tmp_path / "out")
    said = capsys.readouterr().out
    for what in ("1 boxes cut", "1 keypoints outside", "1 boxes without size", "1 annotations of images"):
        assert what in said
    spec = load_data(draft)
    labels, bad, _ = parse_rows(tmp_path / "out" / "labels" / "a.txt", spec.layout.shape, len(spec.names))
    assert not bad
    np.testing.assert_allclose(labels.boxes, [(0.175, 0.6, 0.35, 0.8)], atol=1e-7)
    assert labels.keypoints[0, :, 2].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"annotations": [{"id": 4, "image_id": 7, "category_id": 9, "bbox": [1, 1, 2, 2]}]}, "category_id 9"),
        ({"annotations": [{"id": 4, "image_id": 7, "category_id": 5, "bbox": [1, 1, 2]}]}, "annotation 4: bbox"),
        ({"annotations": [{"id": 4, "image_id": 7, "category_id": 5}]}, "lacks 'bbox'"),
        ({"annotations": 5}, "not COCO keypoints"),
        ({"images": [{"id": 7, "file_name": "../a.jpg", "height": 5, "width": 5}]}, "leads out of the folder"),
        ({"images": [{"id": 7, "file_name": "/a.jpg", "height": 5, "width": 5}]}, "leads out of the folder"),
        ({"images": [{"id": 7, "file_name": "a.jpg"}]}, "no width and height"),
        ({"images": [{"id": i, "file_name": f"a.{i}", "height": 5, "width": 5} for i in (1, 2)]}, "share a label"),
        ({"categories": [{"id": 5, "name": "person"}]}, "no category has keypoints"),
        ({"categories": [{"id": i, "name": str(i), "keypoints": ["a", "b"][:i]} for i in (1, 2)]}, "one layout"),
    ],
)
def test_invalid_coco_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(PoseError, match=says) as error:
        from_coco(written(tmp_path, coco_json(**changes)), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"images": []}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(PoseError, match=r"x\.json"):
        from_coco(tmp_path / "x.json", tmp_path / "out")


def test_existing_outputs_stay_without_exist_ok(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", "a.jpg")
    file, out = written(tmp_path, coco_json()), tmp_path / "out"
    from_coco(file, out, images=photos)
    with pytest.raises(PoseError, match="exist_ok"):
        from_coco(file, out, images=photos)
    draft = from_coco(file, out, images=photos, exist_ok=True)
    from_coco(file, out, images=out / "images", exist_ok=True)  # the link itself
    assert (out / "images").resolve() == photos
    back = to_coco(draft, tmp_path / "back.json")
    with pytest.raises(PoseError, match="exist_ok"):
        to_coco(draft, back)
    to_coco(draft, back, exist_ok=True)
    assert not list(tmp_path.rglob(".*"))  # nothing half-written stays


def test_arguments_select_the_direction(tmp_path: Path) -> None:
    for values in ({}, {"coco": "a.json", "data": "b.yaml", "out": "c"}, {"coco": "a.json"}, {"data": "b.yaml"}):
        with pytest.raises(UsageError):
            COMMANDS["convert"](values)
    out = tmp_path / "out"
    assert COMMANDS["convert"]({"coco": str(written(tmp_path, coco_json())), "out": str(out)}) == 0
    photo_folder(out / "images", "a.jpg")
    back = tmp_path / "back.json"
    assert COMMANDS["convert"]({"data": str(out / "data.yaml"), "out": str(back)}) == 0
    assert [row["iscrowd"] for row in json.loads(back.read_text())["annotations"]] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("names", "flip"),
    [
        (COCO_17.names, COCO_17.flip),
        (FACE_5.names, FACE_5.flip),
        (("eyeLeft", "eyeRight", "Left Ear", "Right Ear"), (1, 0, 3, 2)),
        (("tip", "upright"), None),
        (("left_eye", "nose"), None),
    ],
)
def test_flip_from_names(names: tuple[str, ...], flip: tuple[int, ...] | None) -> None:
    assert flip_from_names(names) == flip


@pytest.mark.parametrize(("kpt_shape", "row"), [([2, 3], "0 0.5 0.5 0.2 0.4 0.4 0.6 2 0.7 0.3 0"),
                                                ([2, 2], "0 0.5 0.5 0.2 0.4 0.4 0.6 0 0")])  # fmt: skip
def test_json_of_yolo_labels(tmp_path: Path, kpt_shape: list[int], row: str) -> None:
    photo_folder(tmp_path / "images", "x/000012.jpg", "y/7.jpg")
    label = label_path(tmp_path / "images" / "x" / "000012.jpg")
    label.parent.mkdir(parents=True)
    label.write_text(row)
    values = {"val": "images", "names": ["cup"], "kpt_shape": kpt_shape, "skeleton": [[0, 1]]}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(values))
    document = json.loads(to_coco(tmp_path / "data.yaml", tmp_path / "out.json").read_text())
    assert [(i["id"], i["file_name"], i["height"], i["width"]) for i in document["images"]] == [
        (12, "x/000012.jpg", 50, 100),
        (7, "y/7.jpg", 50, 100),
    ]
    (annotation,) = document["annotations"]
    np.testing.assert_allclose(annotation["bbox"], (40, 15, 20, 20), atol=1e-4)
    np.testing.assert_allclose(annotation["keypoints"], (40, 30, 2, 0, 0, 0), atol=1e-4)
    assert (annotation["image_id"], annotation["num_keypoints"], annotation["iscrowd"]) == (12, 1, 0)
    assert annotation["area"] == pytest.approx(400, abs=0.01)
    assert document["categories"][0]["skeleton"] == [[1, 2]]
    assert not (tmp_path / ".yolopose").exists()


def test_yolo_to_coco_and_back(shared: Path, tmp_path: Path) -> None:
    for name in ("face", "pose"):
        source = load_data(shared / "data" / name / "data.yaml")
        file = to_coco(source.yaml, tmp_path / f"{name}.json", split="val")
        draft = from_coco(file, tmp_path / name, images=source.path / "images" / "val")
        ours = {item.path.name: item.labels for item in scan(load_data(draft), "val", cache=False).items}
        theirs = scan(source, "val", cache=False).items
        assert sum(len(item.labels) for item in theirs) > 100
        for item in theirs:
            a, b = item.labels, ours[item.path.name]
            labelled = a.keypoints[..., 2] > 0
            np.testing.assert_array_equal(a.classes, b.classes)
            np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-6)
            np.testing.assert_array_equal(a.keypoints[..., 2], b.keypoints[..., 2])
            np.testing.assert_allclose(a.keypoints[labelled], b.keypoints[labelled], atol=1e-6)


def test_coco_to_yolo_agrees_with_given_labels_and_comes_back(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "pose"
    given = load_data(source / "data.yaml")
    file = source / "person_keypoints_val.json"
    draft = from_coco(file, tmp_path / "out", images=source / "images" / "val")
    for item in scan(load_data(draft), "val", cache=False).items:
        rows = source / "labels" / "val" / f"{item.path.stem}.txt"
        labels = parse_rows(rows, given.layout.shape, len(given.names))[0]
        order = [np.lexsort(rows.boxes.T.round(4)) for rows in (labels, item.labels)]
        assert len(labels) == len(item.labels)
        np.testing.assert_allclose(labels.boxes[order[0]], item.labels.boxes[order[1]], atol=2e-6)
        np.testing.assert_allclose(labels.keypoints[order[0]], item.labels.keypoints[order[1]], atol=2e-6)
    before = json.loads(file.read_text())
    after = json.loads(to_coco(draft, tmp_path / "back.json").read_text())
    assert {i["id"]: (i["file_name"], i["height"]) for i in before["images"]} == {
        i["id"]: (i["file_name"], i["height"]) for i in after["images"]
    }
    kept, made = (
        sorted(j["annotations"], key=lambda a: (a["iscrowd"], a["image_id"], a["bbox"])) for j in (before, after)
    )
    for row in kept:
        row["keypoints"] = row["keypoints"] if not row["iscrowd"] else [0] * 51
    assert len(kept) == len(made)
    for a, b in zip(kept, made, strict=True):
        np.testing.assert_allclose(a["bbox"], b["bbox"], atol=1e-2)
        np.testing.assert_allclose(a["keypoints"], b["keypoints"], atol=1e-2)
        assert a["num_keypoints"] == b["num_keypoints"]
    assert after["categories"][0]["skeleton"] == before["categories"][0]["skeleton"]
