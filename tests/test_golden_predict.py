"""Predictions against those recorded from Ultralytics 8.3, on every photograph and setting there."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolopose.config import PredictConfig, pick
from yolopose.detect import Detections, DetectOptions, detect
from yolopose.formats.base import Backend, OpenOptions
from yolopose.formats.table import export, open_backend
from yolopose.geometry.boxes import iou_matrix
from yolopose.images import read_image
from yolopose.rules import RULES

SETTINGS = [
    {"conf": 0.25, "imgsz": 320},
    {"conf": 0.25, "imgsz": 640},
    {"conf": 0.05, "imgsz": 320, "rect": False},
    {"conf": 0.01, "imgsz": 320, "iou": 0.45, "max_det": 20},
]


@pytest.fixture(scope="module")
def backend(golden: Path) -> Backend:
    return open_backend(golden / "natural-n17.pt", OpenOptions(device="cpu"))


@pytest.fixture(scope="module")
def recorded(golden: Path) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(file name, settings, what Ultralytics 8.3 found)."""
    entries = json.loads((golden / "natural-n17-predict.json").read_text())
    return [(name, json.loads(settings), found) for (name, settings), found in
            ((key.split("|"), found) for key, found in entries.items())]  # fmt: skip


@cache
def photograph(shared: Path, name: str) -> np.ndarray:
    found = [*(shared / "golden" / "pose8" / "images").glob(name), *(shared / "data" / "demo").glob(name)]
    return read_image(found[0])


def matched(found: Detections, boxes: np.ndarray, iou: float) -> np.ndarray:
    """For each recorded box the index of a detection of its own with at least this overlap and nearly its score."""
    assert len(found.boxes) == len(boxes)
    overlap = iou_matrix(boxes[:, :4], found.boxes[:, :4].astype(float))
    near = np.abs(boxes[:, 4, None] - found.boxes[None, :, 4]) <= 1e-3
    best = np.where(near, overlap, 0).argmax(1)
    assert overlap[np.arange(len(best)), best].min() >= iou
    assert len(set(best)) == len(best)
    return best


def test_every_setting_is_recorded(recorded: list[Any]) -> None:
    assert all(settings in SETTINGS for _, settings, _ in recorded)
    assert len(recorded) == 10 * len(SETTINGS)


@pytest.mark.parametrize("compat", [False, True], ids=["exact", "compat"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_recorded_predictions(
    settings: dict[str, Any], compat: bool, backend: Backend, recorded: list[Any], shared: Path
) -> None:
    options = pick(DetectOptions, PredictConfig(**settings), rect=True, rules=RULES[compat])
    errors = []
    for name, these, truth in recorded:
        if these != settings:
            continue
        found = detect(backend, [photograph(shared, name)], options)[0]
        boxes = np.array(truth["boxes"]).reshape(-1, 6)
        if not len(boxes):
            assert not len(found.boxes)
            continue
        keypoints = np.array(truth["keypoints"])
        of = matched(found, boxes, 0.999 if compat else 0.98)
        seen = np.ones(keypoints.shape[:2], bool) if compat else keypoints[..., 2] >= 0.5
        errors.append(np.linalg.norm(keypoints[..., :2] - found.keypoints[of][..., :2], axis=-1)[seen])
        np.testing.assert_allclose(found.keypoints[of][..., 2], keypoints[..., 2], atol=1e-3)
    distance = np.concatenate(errors)
    assert distance.max() <= (0.05 if compat else 0.75)
    assert distance.mean() <= (0.05 if compat else 0.3)


def test_unsure_keypoints_are_hidden_in_compat_mode_only(backend: Backend, shared: Path) -> None:
    image = photograph(shared, "000000000165.jpg")
    raw, hidden = (
        detect(backend, [image], DetectOptions(imgsz=320, rules=RULES[compat]))[0].keypoints for compat in (False, True)
    )
    unsure = raw[..., 2] < 0.5
    assert unsure.any()
    assert (raw[unsure][:, :2] > 0).any(1).all()
    assert not hidden[unsure][:, :2].any()


def test_forward(backend: Backend, golden: Path) -> None:
    data = np.load(golden / "natural-n17-forward.npz")
    decoded = backend.infer(np.ascontiguousarray(data["x"].transpose(0, 2, 3, 1)[..., ::-1]))  # RGB planes → BGR pixels
    pixels = [i for i in range(56) if i < 4 or (i > 4 and i % 3 != 1)]
    scores = [i for i in range(56) if i not in pixels]
    np.testing.assert_allclose(decoded[:, pixels], data["decoded"][:, pixels], atol=1e-3)
    np.testing.assert_allclose(decoded[:, scores], data["decoded"][:, scores], atol=1e-5)


def test_onnx_agrees_with_torch_on_the_demo_photographs(
    backend: Backend, golden: Path, shared: Path, tmp_path: Path
) -> None:
    """On identical letterboxed images: every detection has its counterpart, coordinates within 0.01 px."""
    from yolopose.config import ExportConfig

    path = export(golden / "natural-n17.pt", ExportConfig(dynamic=True, opset=17, out=str(tmp_path / "m.onnx")))
    other = open_backend(path, OpenOptions(device="cpu"))
    options = DetectOptions(imgsz=640, conf=0.02)
    count = 0
    for file in sorted((shared / "data" / "demo").glob("*.jpg")):
        image = read_image(file)
        ours, theirs = (detect(each, [image], options)[0] for each in (backend, other))
        assert ours.shape == theirs.shape
        order = matched(theirs, ours.boxes, 0.99) if len(ours.boxes) else []
        np.testing.assert_allclose(theirs.boxes[order, :4], ours.boxes[:, :4], atol=1e-2)
        np.testing.assert_allclose(theirs.keypoints[order], ours.keypoints, atol=1e-2)
        count += len(ours.boxes)
    assert count > 20
