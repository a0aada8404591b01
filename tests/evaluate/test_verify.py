"""Two models are the same exactly when every detection of one is found by the other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.builders import make_network, tiny_onnx

from yolopose.cli import main
from yolopose.config import ExportConfig
from yolopose.errors import PoseError
from yolopose.evaluate.verify import Comparison, check_export, compare, digest, fault
from yolopose.formats.base import Backend
from yolopose.formats.pytorch import TorchBackend
from yolopose.formats.table import export, open_backend
from yolopose.geometry.keypoints import default_layout
from yolopose.metadata import ModelInfo

IMAGE = np.zeros((1, 64, 64, 3), np.uint8)


class Fixed(Backend):
    """Gives the same rows whatever the image: cx cy w h, scores of two classes, two points x y v."""

    precision, device, fixed_shape = "float32", "cpu", None

    def __init__(self, rows: Any, classes: int = 2, **extra: Any) -> None:
        names = {i: f"class{i}" for i in range(classes)}
        self.info = ModelInfo(names, default_layout((2, 3)), imgsz=(64, 64), extra=extra)
        self.rows = np.asarray(rows, np.float32).reshape(-1, 4 + classes + 6)

    def infer(self, images: Any) -> Any:
        return np.repeat(self.rows.T[None], len(images), 0)


def row(x: float, score: float, label: int = 0, v: float = 0.5) -> list[float]:
    scores = [0.0, 0.0]
    scores[label] = score
    return [x, 20, 10, 16, *scores, x, 20, v, x + 2, 22, v]


THREE = [row(20, 0.9), row(100, 0.6), row(200, 0.3, 1)]


def test_differences_are_counted_in_pixels_both_ways() -> None:
    other = [row(20.5, 0.9), row(100, 0.62, v=0.4), row(200, 0.3, 1)]
    result = compare(Fixed(THREE), Fixed(other), [IMAGE, IMAGE])
    assert (result.images, result.matched, result.unmatched) == (2, 12, 0)
    assert (result.box_worst, result.keypoint_worst, result.box_median) == (0.5, 0.5, 0.0)
    assert result.score_worst == pytest.approx(0.02)
    assert result.visibility_worst == pytest.approx(0.1)
    same = compare(Fixed(THREE), Fixed(THREE), [IMAGE])
    assert (same.worst, same.score_worst, same.unmatched) == (0, 0, 0)


@pytest.mark.parametrize(
    ("other", "unmatched"),
    [
        (THREE[:2], 1),
        ([*THREE, row(300, 0.4)], 1),
        ([*THREE[:2], row(200, 0.3, 0)], 2),
        ([*THREE[:2], row(206, 0.3, 1)], 2),
    ],
    ids=["missing", "more", "other class", "elsewhere"],
)
def test_detections_without_counterpart_are_counted(other: Any, unmatched: int) -> None:
    assert compare(Fixed(THREE), Fixed(other), [IMAGE]).unmatched == unmatched


def test_what_the_noise_of_scores_moves_across_the_threshold_is_no_difference() -> None:
    many = [row(40 * i, 0.9) for i in range(20)]
    below, above = [*many, row(1000, 0.2499)], [*many[:-1], row(760, 0.8995), row(1000, 0.2501)]
    assert compare(Fixed(below), Fixed(above), [IMAGE]).unmatched == 0
    assert compare(Fixed(many), Fixed([*many, row(1000, 0.2601)]), [IMAGE]).unmatched == 1


def test_order_of_suppression_does_not_matter() -> None:
    first, second = row(20, 0.8), row(21, 0.8001)
    result = compare(Fixed([first, second]), Fixed([[*first[:4], 0.8002, *first[5:]], second]), [IMAGE])
    assert (result.unmatched, result.worst) == (0, 0)


def test_a_neighbour_of_lower_score_is_not_taken_for_the_counterpart() -> None:
    result = compare(Fixed([row(20, 0.9)]), Fixed([row(20.5, 0.89), row(20.2, 0.3)]), [IMAGE])
    assert (result.unmatched, result.box_worst) == (0, 0.5)
    assert result.score_worst == pytest.approx(0.01)


def test_low_scores_are_compared_where_there_are_no_others() -> None:
    low = [row(40 * i, 1e-4 + 1e-6 * i) for i in range(30)]
    result = compare(Fixed(low), Fixed(low), [IMAGE])
    assert result.matched > 30
    assert compare(Fixed([]), Fixed([]), [IMAGE]).matched == 0


def test_detections_that_a_file_with_nms_cannot_give_are_not_expected() -> None:
    hidden = [row(20, 0.9), row(100, 0.6), row(200, 0.3)]
    within = Fixed(hidden[:2], nms=True, conf=0.5)
    assert compare(Fixed(hidden), within, [IMAGE]).unmatched == 0


def test_models_of_different_things_are_refused() -> None:
    with pytest.raises(PoseError, match=r"different things: 2 classes .* and 1 classes"):
        compare(Fixed(THREE), Fixed([], classes=1), [IMAGE])


def result_of(**values: Any) -> Comparison:
    names = ("box_worst", "box_median", "keypoint_worst", "keypoint_median", "score_worst", "visibility_worst")
    return Comparison(**({"images": 1, "matched": 50, "unmatched": 0} | dict.fromkeys(names, 0.0) | values))


@pytest.mark.parametrize(
    ("values", "precision", "words"),
    [
        ({"box_worst": 0.02}, "float32", "0.02 px off"),
        ({"keypoint_worst": 0.009}, "float32", None),
        ({"keypoint_worst": 1.9}, "float16", None),
        ({"keypoint_worst": 2.1}, "float16", "2.1 px off"),
        ({"keypoint_worst": 9.0, "unmatched": 5}, "int8", None),
        ({"keypoint_median": 2.5}, "int8", "median"),
        ({"unmatched": 1}, "float16", "1 of 51 detections"),
        ({"unmatched": 6}, "int8", "6 of 56"),
        ({"matched": 0}, "float32", "nothing"),
    ],
)
def test_the_tolerance_follows_the_precision(values: Any, precision: str, words: str | None) -> None:
    said = fault(result_of(**values), precision, 0.01)
    assert (words in (said or "")) if words else said is None


def test_a_damaged_export_leaves_nothing_and_keeps_the_older_file(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("onnx")
    target = tmp_path / "m.onnx"
    target.write_text("older")
    network, other = make_network(), make_network(seed=1)
    config = ExportConfig(imgsz=64, opset=17, out=str(target))

    def check(_: Any, made: Path, name: Path, device: str | None) -> None:
        check_export(other, made, name)  # as if the file were wrong

    with pytest.raises(PoseError, match="differs from the model it was made from"):
        export(network, config, check)
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("m.onnx", "older")]
    export(network, config, check_export)
    report = json.loads((tmp_path / "m.onnx.verify.json").read_text())
    assert report["sha256"] == digest(target)
    assert report["box_worst"] < 0.01
    assert report["matched"] > 0
    assert compare(TorchBackend(network), open_backend(target), [IMAGE]).worst < 0.01


def test_the_command_compares_two_files(tmp_path: Path, caplog: Any) -> None:
    a, b = tiny_onnx(tmp_path / "a.onnx"), tiny_onnx(tmp_path / "b.onnx")
    with caplog.at_level("INFO", "yolopose"):
        assert main(["verify", str(a), str(b), f"out={tmp_path / 'r.json'}"]) == 0
    assert "the same within the tolerance" in caplog.text
    assert json.loads((tmp_path / "r.json").read_text())["passed"] is True
    assert main(["verify", str(a)]) == 2
    assert main(["verify", str(a), str(tmp_path / "c.onnx")]) == 1


def test_a_digest_follows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    before = digest(tmp_path / "a")
    (tmp_path / "a" / "x").write_text("2")
    assert digest(tmp_path / "a") != before
