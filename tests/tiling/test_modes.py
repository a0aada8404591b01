"""Tiles in predict, track, val, verify and label: results, what is said, wrong arguments, real photographs."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.builders import ManyBackend, make_photo

from yolopose.cli import main
from yolopose.config import LabelConfig, PredictConfig, TrackConfig, ValConfig, parse
from yolopose.data.spec import load_data
from yolopose.errors import UsageError
from yolopose.evaluate.validate import validate
from yolopose.formats.base import OpenOptions
from yolopose.formats.calibration import sample_photographs
from yolopose.formats.table import open_backend
from yolopose.geometry.boxes import iou_matrix
from yolopose.label import make_labels
from yolopose.predict import Predictor
from yolopose.tiling import TileOptions, find
from yolopose.tracking import TrackPredictor
from yolopose.weights import find as find_weights

K = 4
MARKS = [(20, 30, 60, 80), (480, 480, 540, 540), (940, 20, 990, 70), (700, 940, 760, 1000), (250, 600, 280, 640)]


def picture(shift: int = 0) -> np.ndarray:
    """1,000 x 1,000 pixels with white rectangles."""
    image = make_photo((1000, 1000), (0, 0, 0, 0))
    for x1, y1, x2, y2 in MARKS:
        image[y1 : y2 + shift, x1:x2] = 255
    return image


def test_predict_finds_each_once_in_every_picture() -> None:
    images = [picture(), make_photo((100, 90), (10, 10, 40, 40)), picture()]
    config = PredictConfig(tile=320, batch=2, verbose=False)
    counts = [len(result) for result in Predictor(ManyBackend(), images, config)]
    assert counts == [len(MARKS), 1, len(MARKS)]


def test_a_bar_counts_the_tiles_of_a_large_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    list(Predictor(ManyBackend(), [picture()], PredictConfig(tile=160)))
    out = capsys.readouterr().out
    assert "tiles" in out
    assert "━" in out
    list(Predictor(ManyBackend(), [picture()] * 25, PredictConfig(tile=160)))  # the bar of the pictures only
    assert "tiles" not in capsys.readouterr().out


def test_a_picture_scaled_down_far_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    big, small = make_photo((100, 1700), (5, 5, 90, 90)), make_photo((100, 1200), (5, 5, 90, 90))
    config = {"imgsz": 320, "verbose": False}
    list(Predictor(ManyBackend(), [small], PredictConfig(**config)))
    list(Predictor(ManyBackend(), [big], PredictConfig(tile=320, **config)))
    assert caplog.messages == []
    list(Predictor(ManyBackend(), [small, big, big], PredictConfig(**config)))
    (line,) = caplog.messages
    assert "scaled down 5.3 times, to 320 pixels" in line
    assert "tile=320" in line


def test_track_takes_tiles() -> None:
    frames = [picture(shift) for shift in range(4)]
    config = TrackConfig(tile=320, verbose=False, tracker="bytetrack")
    results = list(TrackPredictor(ManyBackend(), frames, config))
    assert [sorted(result.boxes.id.tolist()) for result in results[1:]] == [[1, 2, 3, 4, 5]] * 3


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pictures of white rectangles with their labels; → the data YAML."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    rows = []
    for x1, y1, x2, y2 in MARKS:
        corners = [v for i in range(K) for v in ((x1, x2)[i % 2] / 1000, (y1, y2)[i // 2 % 2] / 1000, 2)]
        box = ((x1 + x2) / 2000, (y1 + y2) / 2000, (x2 - x1) / 1000, (y2 - y1) / 1000)
        rows.append(" ".join(f"{v:.6f}" for v in (0, *box, *corners)).replace("0.000000", "0", 1))
    for name in "ab":
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), picture())
        (tmp_path / "labels" / f"{name}.txt").write_text("\n".join(rows) + "\n")
    yaml = tmp_path / "data.yaml"
    yaml.write_text(f"train: images\nval: images\nkpt_shape: [{K}, 3]\nnames: [person]\n")
    return yaml


@pytest.mark.parametrize("rect", [True, False])
def test_val_measures_with_tiles(data: Path, rect: bool) -> None:
    backend = ManyBackend(k=K)
    config = parse(ValConfig, {"tile": 320, "plots": False, "verbose": False, "workers": 0, "rect": rect})
    metrics = validate(backend, load_data(data), config)
    assert metrics.box.map == pytest.approx(0.995, abs=0.001)
    assert metrics.pose.map == pytest.approx(0.995, abs=0.001)
    assert metrics.report["box"]["protocol"]["resize"].startswith(
        "tiles of 320 pixels, overlap 0.2, and the whole image"
    )
    assert {shape[1:3] for shape in backend.shapes} == {(320, 320), (640, 640)}


def test_val_takes_no_other_scale_with_tiles(data: Path) -> None:
    for resize in ("original", "multi"):
        config = parse(ValConfig, {"tile": 320, "resize": resize, "plots": False, "verbose": False})
        with pytest.raises(UsageError, match=f"resize={resize} does not go with tile=320"):
            validate(ManyBackend(k=K), load_data(data), config)


def test_label_takes_tiles(data: Path, tmp_path: Path) -> None:
    values = {"source": str(data.parent / "images"), "tile": 320, "out": str(tmp_path / "new"), "verbose": False}
    make_labels(ManyBackend(k=K), parse(LabelConfig, values), None)
    written = sorted((tmp_path / "new").rglob("a.txt"))
    assert len(written[0].read_text().splitlines()) == len(MARKS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tile=16"], "tile=16: expected 32 to 65536"),
        (["tile=big"], "tile='big': expected a whole number"),
        (["tile=640", "overlap=1"], "overlap=1.0: expected 0 to 0.9"),
        (["tile=640", "overlap=-0.1"], "overlap=-0.1: expected 0 to 0.9"),
        (["overlap=0.3"], "overlap=0.3 is that of tiles: name their size too, such as tile=640"),
        (["tile=640", "compat"], "tile=640 does not go with compat=True"),
    ],
)
def test_wrong_arguments_are_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "model=yolov8n-face", f"source={sample_photographs()[0]}", "save=False", *words]) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_a_line_of_pixels_is_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "line.png"), np.full((1, 20_000, 3), 200, np.uint8))
    words = ["model=yolov8n-face", f"source={tmp_path / 'line.png'}", "tile=640", "batch=8", "save=False"]
    assert main(["predict", *words]) == 0
    assert "32x640 (no detections)" in capsys.readouterr().out


@pytest.fixture(scope="module")
def face() -> Any:
    return open_backend(str(find_weights("yolov8n-face")), OpenOptions(device="cpu"))


@pytest.mark.parametrize("name", ["coco_000000000165.jpg", "coco_000000000790.jpg"])
def test_faces_in_a_large_picture_are_those_of_the_photograph(face: Any, name: str) -> None:
    photo = cv2.imread(str(next(path for path in sample_photographs() if path.name == name)))
    canvas = np.full((1100, 1300, 3), 90, np.uint8)
    x, y = 500, 300
    canvas[y : y + photo.shape[0], x : x + photo.shape[1]] = photo
    (alone,) = find(face, [photo], TileOptions(conf=0.5))
    (found,) = find(face, [canvas], TileOptions(tile=640, conf=0.5))
    twice = np.triu(iou_matrix(found.boxes[:, :4], found.boxes[:, :4]), 1)
    assert twice.max(initial=0) < 0.3
    assert len(found.boxes) <= len(alone.boxes) + 1  # one more is found at this place in the grid of the network
    overlap = iou_matrix(alone.boxes[:, :4] + np.float32([x, y, x, y]), found.boxes[:, :4])
    assert (overlap.max(1) > 0.65).all()
    points = found.keypoints[overlap.argmax(1), :, :2] - np.float32([x, y])
    sides = np.sqrt(np.prod(alone.boxes[:, 2:4] - alone.boxes[:, :2], axis=1))
    assert (np.abs(points - alone.keypoints[..., :2]).max((1, 2)) < 0.15 * sides).all()
