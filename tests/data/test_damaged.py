"""Images whose header and end are well and whose pixels are not: set aside alike wherever a data set is read."""

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.builders import FakeBackend, make_dataset, make_network

from yolopose import doctor
from yolopose.config import TrainConfig, ValConfig, parse
from yolopose.data.spec import load_data
from yolopose.evaluate.validate import validate
from yolopose.images import ImageError, check_image, read_image
from yolopose.train.loop import train


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six images, of which a PNG and a JPEG are damaged in the middle, and one BMP is a header only."""
    yaml = make_dataset(tmp_path / "set")
    images = tmp_path / "set" / "images"
    png = bytearray(cv2.imencode(".png", cv2.imread(str(images / "000.jpg")))[1])
    png[len(png) // 2 : len(png) // 2 + 40] = bytes(40)
    (images / "000.jpg").unlink()
    (images / "000.png").write_bytes(png)
    jpeg = bytearray((images / "001.jpg").read_bytes())
    tables = jpeg.index(b"\xff\xc4")
    jpeg[tables + 4 : tables + 20] = b"\xff" * 16
    (images / "001.jpg").write_bytes(jpeg)
    bmp = cv2.imencode(".bmp", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    (images / "002.jpg").unlink()
    (images / "002.bmp").write_bytes(bmp[:118])
    return yaml


DAMAGED = ["000.png", "001.jpg", "002.bmp"]


def named(text: str) -> list[str]:
    return [name for name in DAMAGED if name in text]


def test_the_header_alone_does_not_tell(data: Path) -> None:
    for name in DAMAGED[:2]:
        check_image(data.parent / "images" / name)
        with pytest.raises(ImageError):
            read_image(data.parent / "images" / name)


def test_val_goes_on_without_them(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="yolopose")
    config = parse(ValConfig, {"plots": False, "workers": 2, "imgsz": 64})
    metrics = validate(FakeBackend(5), load_data(data), config)
    assert metrics.images == 3
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert named("\n".join(warnings)) == DAMAGED
    assert sum(bool(named(warning)) for warning in warnings) == 3
    assert "6 images, 0 backgrounds, 3 corrupt" in caplog.text


@pytest.mark.parametrize("workers", [0, 2])
def test_train_goes_on_without_them(data: Path, tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture) -> None:
    values = {"data": str(data), "epochs": 1, "imgsz": 64, "batch": 2, "workers": workers, "plots": False,
              "project": str(tmp_path / "runs"), "device": "cpu"}  # fmt: skip
    outcome = train(parse(TrainConfig, values), make_network(5), callbacks={})
    assert (outcome.save_dir / "weights" / "last.pt").is_file()
    assert named(caplog.text) == DAMAGED


def test_doctor_names_the_same(data: Path, tmp_path: Path) -> None:
    doctor.examine(data, out=tmp_path / "report", previews=0)
    said = json.loads((tmp_path / "report" / "report.json").read_text())
    assert named(json.dumps(said)) == DAMAGED
