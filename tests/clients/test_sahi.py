"""sahi: its model for Ultralytics, with that name standing for this package; whole images and slices."""

import sys

import pytest
from sahi import AutoDetectionModel
from sahi.predict import get_prediction, get_sliced_prediction

import yolopose
from yolopose.weights import find

pytestmark = pytest.mark.clients


@pytest.fixture(params=["pt", "onnx"])
def detector(request, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ultralytics", yolopose)
    path = str(
        find("yolov8n-face") if request.param == "onnx" else yolopose.YOLO("yolov8n-face").save(tmp_path / "face.pt")
    )
    options = {"confidence_threshold": 0.25, "image_size": 640, "device": "cpu"}
    return AutoDetectionModel.from_pretrained("ultralytics", path, **options)


def test_whole_image(detector, faces, photograph):
    found = get_prediction(str(photograph), detector).object_prediction_list
    ours = sorted(faces.boxes.xyxy.tolist())
    assert sorted(one.bbox.to_xyxy() for one in found) == [pytest.approx(box, abs=0.5) for box in ours]
    assert {one.category.name for one in found} == {"face"}


def test_slices(detector, photograph):
    found = get_sliced_prediction(str(photograph), detector, slice_height=200, slice_width=240, verbose=0)
    assert len(found.object_prediction_list) >= 4
