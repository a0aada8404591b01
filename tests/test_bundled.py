"""The bundled ONNX model finds faces: by Python, by the command line, and in val; nothing but the light install."""

from pathlib import Path

import numpy as np
import pytest
from helpers.builders import make_dataset

import yolopose
from yolopose import YOLO
from yolopose.cli import main
from yolopose.images import read_image

PHOTO = Path(yolopose.__file__).parent / "assets" / "samples" / "images" / "val" / "astronaut_nasa.jpg"


def test_a_face_is_found() -> None:
    (result,) = YOLO("yolov8n-face")(str(PHOTO), imgsz=320, verbose=False)
    assert len(result.boxes) == 1
    assert result.keypoints.shape == (1, 5, 3)
    x1, y1, x2, y2 = np.asarray(result.boxes.xyxy)[0]
    assert 0.2 < (x1 + x2) / 2 / result.orig_shape[1] < 0.6
    assert y1 < y2 < result.orig_shape[0] / 2


def test_the_command_line(tmp_path: Path) -> None:
    assert (
        main(["predict", "model=yolov8n-face", f"source={PHOTO}", f"project={tmp_path}", "imgsz=320", "save_txt=True"])
        == 0
    )
    drawn, photo = (read_image(path) for path in (tmp_path / "predict" / PHOTO.name, PHOTO))
    assert drawn.shape == photo.shape
    assert not np.array_equal(drawn, photo)
    assert len((tmp_path / "predict" / "labels" / "astronaut_nasa.txt").read_text().split()) == 5 + 15


@pytest.mark.parametrize("metric", ["pose", "coco"])
def test_val(metric: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_dataset(tmp_path / "data")
    words = ["model=yolov8n-face", f"data={data}", "split=train", "imgsz=64", f"project={tmp_path}", "plots=False"]
    assert main(["val", *words, *([f"metric={metric}"] if metric == "coco" else [])]) == 0
    assert "mAP50-95" in capsys.readouterr().out
