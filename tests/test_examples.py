"""The programs in examples/ are short and do what they say."""

import csv
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import yolopose
from yolopose import YOLO
from yolopose.weights import FINDS, bundled

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PICTURES = Path(yolopose.__file__).parent / "assets" / "samples" / "images" / "val"
ASTRONAUT = str(PICTURES / "astronaut_nasa.jpg")
THREE = str(PICTURES / "intel_three_people.jpg")


def example(name: str) -> Callable[..., None]:
    """The `main` of a program."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_no_program_is_longer_than_forty_lines() -> None:
    lengths = {file.name: len(file.read_text().splitlines()) for file in EXAMPLES.glob("*.py")}
    assert len(lengths) == 9
    assert {name: count for name, count in lengths.items() if count > 40} == {}


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("demo")([])
    lines = capsys.readouterr().out.splitlines()[-len(bundled()) :]
    for name, line in zip(bundled(), lines, strict=True):
        assert line.startswith(f"{name} ({FINDS[name]}): ")
        assert line.endswith(f" of 8 photographs; pictures in runs/demo/{name}")
        assert len(list((tmp_path / "runs" / "demo" / name).glob("*.jpg"))) == 8
    assert "faces with 5 points): 1" in lines[list(bundled()).index("yolov8n-face")]


def test_image(capsys: pytest.CaptureFixture[str]) -> None:
    example("image")([ASTRONAUT, THREE])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if ": face " in line] == [ASTRONAUT, *[THREE] * 3]
    written = [Path(line.removeprefix("written: ")) for line in lines if line.startswith("written: ")]
    assert [cv2.imread(str(file)).shape for file in written] == [cv2.imread(p).shape for p in (ASTRONAUT, THREE)]


def test_video(tmp_path: Path) -> None:
    clip = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (512, 512))
    picture = cv2.resize(cv2.imread(ASTRONAUT), (512, 512))
    for _ in range(3):
        clip.write(picture)
    clip.release()
    example("video")("clip.avi", "faces.csv")
    rows = list(csv.DictReader((tmp_path / "faces.csv").read_text().splitlines()))
    assert [row["frame"] for row in rows] == ["0", "1", "2"]
    (box,) = YOLO("yolov8n-face")(picture)[0].boxes.xyxy.tolist()
    assert float(rows[0]["x1"]) == pytest.approx(box[0], abs=2)


def test_track(capsys: pytest.CaptureFixture[str]) -> None:
    clip = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10, (512, 512))
    picture = cv2.resize(cv2.imread(ASTRONAUT), (512, 512))
    for shift in range(4):
        clip.write(np.roll(picture, 5 * shift, 1))
    clip.release()
    assert example("track")("clip.avi") == {1: pytest.approx(0.3)}  # type: ignore[func-returns-value]
    assert capsys.readouterr().out == "id 1: from 0.0 to 0.3 s, in 4 frames\n"
    assert len(Path("tracks.csv").read_text().splitlines()) == 5


def test_train(capsys: pytest.CaptureFixture[str]) -> None:
    arguments: dict[str, Any] = {"batch": 4, "workers": 0, "plots": False}
    example("train")("sample-pose.yaml", epochs=1, imgsz=64, **arguments)
    assert "box mAP50 0." in (text := capsys.readouterr().out)
    assert Path(text.split("weights: ")[1].strip()).name == "best.pt"


def test_aligned_faces(tmp_path: Path) -> None:
    example("aligned_faces")(THREE, "crops")
    assert [cv2.imread(str(file)).shape for file in (tmp_path / "crops").iterdir()] == [(112, 112, 3)] * 3


def test_export_and_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("export_and_compare")("yolov8n-face.pt", THREE)
    line = capsys.readouterr().out.splitlines()[-1]
    assert "3 instances" in line
    assert (tmp_path / "yolov8n-face.onnx").is_file()


def test_threads(capsys: pytest.CaptureFixture[str]) -> None:
    example("threads")([ASTRONAUT, THREE] * 2)
    assert [line[-7:] for line in capsys.readouterr().out.splitlines()] == ["1 faces", "3 faces"] * 2


def test_custom_keypoints(tmp_path: Path) -> None:
    example("custom_keypoints")("arrows", images=8, epochs=1, batch=4, workers=0, plots=False, project="runs")
    assert YOLO(tmp_path / "runs" / "train" / "weights" / "best.pt").model_info.kpt_shape == (2, 3)
    assert len(list((tmp_path / "arrows" / "labels").glob("*.txt"))) == 8
