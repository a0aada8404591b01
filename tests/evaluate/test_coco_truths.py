"""COCO's figures in validation, with annotations of COCO and with boxes to ignore, as pycocotools has them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluate.test_validate import rectangles, run
from helpers.builders import FakeBackend
from helpers.coco_reference import pycocotools

from yolopose.convert import to_coco
from yolopose.data.labels import scan
from yolopose.data.spec import load_data
from yolopose.errors import PoseError
from yolopose.geometry.keypoints import BODY_AREA

K = 4


def test_coco_annotations_give_areas_and_crowds(tmp_path: Path) -> None:
    """As pycocotools has it from the same annotations and the predictions.json just written."""
    yaml = rectangles(tmp_path)
    yaml.write_text(yaml.read_text() + "annotations:\n  val: truths.json\n")
    spec = load_data(yaml)
    rows = []
    for item in reversed(scan(spec, "val").items):
        h, w = item.hw
        cx, cy, bw, bh = (item.labels.boxes[0].astype(float) * (w, h, w, h)).tolist()
        number = int(item.path.stem)
        points = item.labels.keypoints[0].astype(float) * (w, h, 1) + np.array([3.0 * number, 0, 0])
        rows.append({
            "id": number + 1, "image_id": number, "category_id": 7, "area": 900.0 * (number + 1),
            "iscrowd": int(number == 2), "bbox": [cx - bw / 2, cy - bh / 2, bw, bh],
            "keypoints": points.ravel().tolist(), "num_keypoints": K,
        })  # fmt: skip
    listed = [{"id": i, "file_name": f"val/{i:04}.png"} for i in range(20)]
    truths = {"images": listed, "annotations": rows, "categories": [{"id": 7, "name": "person"}]}
    (tmp_path / "truths.json").write_text(json.dumps(truths))
    metrics = run(FakeBackend(K), yaml, metric="coco", save_json=True, project=str(tmp_path / "runs"))
    assert metrics.save_dir is not None
    results = json.loads((metrics.save_dir / "predictions.json").read_text())
    for result in results:
        result["category_id"] = 7
    for kind in ("bbox", "keypoints"):
        want = pycocotools(truths, results, kind, (1 / K,) * K)
        assert list(metrics.coco[kind].values()) == pytest.approx(want, abs=1e-9)
    assert 0 < metrics.coco["keypoints"]["AP"] < 1

    for change, message in (
        ({"images": listed[:3]}, "does not list the image 0003.png"),
        ({"categories": [{"id": 7, "name": "cat"}]}, r"categories \['cat'\], none of \['person'\]"),
        ({"images": None}, "not readable as COCO annotations"),
    ):
        (tmp_path / "truths.json").write_text(json.dumps(truths | change))
        with pytest.raises(PoseError, match=message):
            run(FakeBackend(K), yaml, metric="coco")


def test_boxes_to_ignore_are_crowds_for_coco(tmp_path: Path) -> None:
    """As pycocotools has it from the JSON that `yolo convert` makes of the same labels."""
    yaml = rectangles(tmp_path)
    for i in (1, 4):  # what is found there belongs to no label
        file = tmp_path / "labels" / f"{i:04}.txt"
        box = file.read_text().split()[1:5]
        file.write_text("")
        file.with_suffix(".ignore.txt").write_text(" ".join(box) + "\n")
    run_values: dict[str, Any] = {"metric": "coco", "save_json": True, "project": str(tmp_path / "runs")}
    metrics = run(FakeBackend(K), yaml, **run_values)
    truths = json.loads(to_coco(yaml, tmp_path / "truths.json").read_text())
    assert sum(row["iscrowd"] for row in truths["annotations"]) == 2
    for row in truths["annotations"]:
        row["area"] *= BODY_AREA
    assert metrics.save_dir is not None
    results = json.loads((metrics.save_dir / "predictions.json").read_text())
    ids = {Path(image["file_name"]).stem: image["id"] for image in truths["images"]}
    for result in results:
        result["image_id"], result["category_id"] = ids[f"{result['image_id']:04}"], 1
    for kind in ("bbox", "keypoints"):
        want = pycocotools(truths, results, kind, (1 / K,) * K)
        assert list(metrics.coco[kind].values()) == pytest.approx(want, abs=1e-6)
    for file in (tmp_path / "labels").glob("*.ignore.txt"):
        file.unlink()
    without = run(FakeBackend(K), yaml, **run_values)
    assert without.coco["bbox"]["AP"] < metrics.coco["bbox"]["AP"]
