"""val with metric=widerface and metric=landmarks, at several scales, on white rectangles that `FakeBackend` finds."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("matplotlib")
from helpers.builders import FakeBackend
from helpers.wider import ground_truth

from yolopose.cli import main
from yolopose.config import ValConfig, parse
from yolopose.data.spec import load_data
from yolopose.detect import Detections, NmsOptions
from yolopose.errors import PoseError, UsageError
from yolopose.evaluate.batching import merge_scales
from yolopose.evaluate.metrics import Metrics
from yolopose.evaluate.validate import validate

PHOTOS = {"0--A/0_A_1": (40, 30, 120, 100), "1--B/1_B_2": (10, 20, 90, 150), "1--B/portrait_3": (30, 30, 90, 90)}
HW = (170, 140)


def faces(root: Path, folder: bool = True) -> Path:
    """Images with a white rectangle, whose corners are the landmarks (the fifth is the first again); → the YAML."""
    for name, (x1, y1, x2, y2) in PHOTOS.items():
        place = name if folder else name.split("/")[1]
        image, label = root / "images" / f"{place}.png", root / "labels" / f"{place}.txt"
        for file in (image, label):
            file.parent.mkdir(parents=True, exist_ok=True)
        picture = np.full((*HW, 3), 40, np.uint8)
        picture[y1:y2, x1:x2] = 255
        cv2.imwrite(str(image), picture)
        points = [(x / HW[1], y / HW[0], 2) for x, y in ((x1, y1), (x2, y1), (x1, y2), (x2, y2), (x1, y1))]
        box = [(x1 + x2) / 2 / HW[1], (y1 + y2) / 2 / HW[0], (x2 - x1) / HW[1], (y2 - y1) / HW[0]]
        label.write_text(" ".join(f"{v:.6f}" for v in [0, *box, *np.ravel(points)]) + "\n")
    (root / "data.yaml").write_text("path: .\nval: images\nkpt_shape: [5, 3]\nnames: [face]\n")
    return root / "data.yaml"


def truth(root: Path, **moved: tuple[int, int, int, int]) -> Path:
    """The ground truth of the first two images; a second face of the first counts in hard only and is not found."""
    boxes = {name.split("/")[1]: (x1, y1, x2 - x1, y2 - y1) for name, (x1, y1, x2, y2) in PHOTOS.items()} | moved
    one = {"easy": [1], "medium": [1], "hard": [1]}
    photos = {
        "0--A/0_A_1": ([boxes["0_A_1"], (0, 0, 9, 9)], one | {"hard": [1, 2]}),
        "1--B/1_B_2": ([boxes["1_B_2"]], one),
    }
    return ground_truth(root / "gt", photos)


def run(data: Path, **values: Any) -> Metrics:
    arguments = {"plots": False, "workers": 0, "imgsz": 160, "project": str(data.parent / "runs"), **values}
    return validate(FakeBackend(5), load_data(data), parse(ValConfig, arguments))


def test_widerface_in_val_equals_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, gt = faces(tmp_path), truth(tmp_path)
    metrics = run(data, metric="widerface", gt=str(gt), save_widerface=True)
    assert metrics.widerface["easy"] == {"ap": 1.0, "faces": 2}
    assert metrics.widerface["hard"]["ap"] == pytest.approx(2 / 3)
    assert (metrics.widerface["images"], metrics.widerface["images_left_out"]) == (2, 1)
    assert "easy 1.000000 (2 faces)" in capsys.readouterr().out
    assert metrics.save_dir is not None
    report = json.loads((metrics.save_dir / "report.json").read_text())["widerface"]
    assert report["results"] == metrics.widerface
    assert (report["protocol"]["iou"], report["protocol"]["max_det"]) == (0.6, 1000)
    pred = metrics.save_dir / "widerface"
    assert sorted(str(p.relative_to(pred)) for p in pred.rglob("*.txt")) == [f"{name}.txt" for name in PHOTOS]
    lines = (pred / "0--A" / "0_A_1.txt").read_text().splitlines()
    assert lines[:2] == ["0_A_1", "1"]
    assert [float(v) for v in lines[2].split()] == pytest.approx([40, 30, 80, 70, 0.9], abs=1)
    assert main(["eval-widerface", f"pred={pred}", f"gt={gt}"]) == 0
    assert f"hard {metrics.widerface['hard']['ap']:.6f} (3 faces)" in capsys.readouterr().out


def test_users_iou_and_max_det_stand(tmp_path: Path) -> None:
    metrics = run(faces(tmp_path), metric="widerface", gt=str(truth(tmp_path)), iou=0.5, max_det=7)
    facts = metrics.report["widerface"]["protocol"]
    assert (facts["iou"], facts["max_det"], facts["conf"]) == (0.5, 7, 0.001)


def test_events_come_from_the_ground_truth_where_images_lie_flat(tmp_path: Path) -> None:
    data = faces(tmp_path, folder=False)
    told = run(data, metric="widerface", gt=str(truth(tmp_path)), save_widerface=True, prefix=["0_", "1_"])
    assert told.save_dir is not None
    assert sorted(p.parent.name for p in (told.save_dir / "widerface").rglob("*.txt")) == ["0--A", "1--B"]
    plain = run(data, save_widerface=True)
    assert plain.save_dir is not None
    assert (plain.save_dir / "widerface" / "images" / "0_A_1.txt").is_file()


def test_landmarks_in_val(tmp_path: Path, capsys: pytest.CaptureFixture[str], figures: list[Any]) -> None:
    metrics = run(faces(tmp_path), metric="landmarks", plots=True)
    got = metrics.landmarks
    assert (got["faces"], got["found"], metrics.images) == (3, 3, 3)
    assert 0 < got["interocular"]["nme"] < 0.02, "rectangles are found to a pixel"
    out = capsys.readouterr().out
    assert "3 labelled faces, 3 found (confidence 0.25, IoU 0.5)" in out
    assert "interocular" in out
    assert metrics.save_dir is not None
    assert (metrics.save_dir / "landmarks_curve.png").is_file()
    curve = next(figure for figure in figures if "cumulative error" in figure.axes[0].get_title("left"))
    assert [line.get_ydata()[-1] for line in curve.axes[0].lines] == [1, 1], "all faces, by both norms"
    report = json.loads((metrics.save_dir / "report.json").read_text())["landmarks"]
    assert report["results"] == got
    assert report["protocol"]["prefix"] is None


def test_prefixes_choose_images_for_every_metric(tmp_path: Path) -> None:
    metrics = run(faces(tmp_path), metric="landmarks", prefix="1_,portrait")
    assert (metrics.images, metrics.landmarks["faces"]) == (2, 2)
    assert metrics.report["box"]["protocol"]["prefix"] == ["1_", "portrait"]


@pytest.mark.parametrize("resize", ["original", "multi"])
def test_several_scales_find_the_same_boxes(tmp_path: Path, resize: str) -> None:
    backend = FakeBackend(5)
    config = parse(ValConfig, {"plots": False, "imgsz": 96, "workers": 0, "metric": "landmarks", "resize": resize})
    metrics = validate(backend, load_data(faces(tmp_path)), config)
    sides = {shape[1] for shape in backend.shapes}
    assert sides == ({192} if resize == "original" else {96, 160, 192})
    assert metrics.box.mp == metrics.box.mr == 1.0, "merged: one detection a face"
    assert metrics.landmarks["interocular"]["nme"] < (0.001 if resize == "original" else 0.03)
    word = {"original": "own size", "multi": "1, 1.5, 2 times imgsz"}[resize]
    assert word in metrics.report["landmarks"]["protocol"]["resize"]


def test_merging_keeps_classes_apart_and_the_best() -> None:
    def found(*rows: list[float]) -> Detections:
        boxes = np.array(rows, np.float32).reshape(-1, 6)
        return Detections(boxes, np.repeat(boxes[:, None, 4:], 5, 1), {"inference": 1.0}, (1, 3, 64, 64))

    parts = [found([0, 0, 10, 10, 0.5, 0], [0, 0, 10, 10, 0.4, 1]), found(), found([1, 0, 11, 10, 0.8, 0])]
    merged = merge_scales(parts, NmsOptions(iou=0.6))
    assert merged.boxes[:, 4:].tolist() == pytest.approx(np.array([[0.8, 0], [0.4, 1]]))
    assert merged.keypoints[:, 0, 0].tolist() == pytest.approx([0.8, 0.4])
    assert merged.speed == {"inference": 3.0}
    assert len(merge_scales(parts, NmsOptions(iou=0.6, agnostic_nms=True)).boxes) == 1
    assert len(merge_scales(parts, NmsOptions(iou=0.6, max_det=1)).boxes) == 1
    assert len(merge_scales([found(), found()], NmsOptions(iou=0.6)).boxes) == 0


def test_images_that_are_not_of_their_official_size_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gt = truth(tmp_path, **{"1_B_2": (300, 20, 60, 60)})
    run(faces(tmp_path), metric="widerface", gt=str(gt))
    err = capsys.readouterr().err
    assert "1_B_2.png: a face of the ground truth lies outside it, as in 1 of 2 images" in err


def test_invalid_arguments_of_widerface_and_landmarks_are_one_line(tmp_path: Path) -> None:
    data, gt = faces(tmp_path), truth(tmp_path)

    def told(error: type[PoseError] = PoseError, backend: Any = None, **values: Any) -> str:
        config = parse(ValConfig, {"plots": False, "workers": 0, "imgsz": 160, **values})
        with pytest.raises(error) as caught:
            validate(backend or FakeBackend(5), load_data(data), config)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "gt is missing: metric=widerface needs gt=FOLDER" in told(UsageError, metric="widerface")
    assert "no wider_face_val.mat" in told(metric="widerface", gt=str(tmp_path))
    assert "none of the 3 images of val" in told(prefix="helen_")
    assert "none of the images is one of WIDER FACE's" in told(metric="widerface", gt=str(gt), prefix="portrait")
    assert "this file takes 96x96 only" in told(backend=FakeBackend(5, fixed_shape=(1, 96, 96)), resize="multi")
    assert "does not go with compat=True" in told(UsageError, resize="original", compat=True)
    for label in (tmp_path / "labels").rglob("*.txt"):
        label.write_text("0 0.5 0.5 0.2 0.2" + " 0" * 15 + "\n")
    assert "no face of these images has a labelled landmark" in told(metric="landmarks")
