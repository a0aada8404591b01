"""compat=True against numbers that Ultralytics 8.3.75 gave on the bundled face model and photographs.

Made by benchmarks/record.py; everything is inside the repository, so that any clone can check the claim.
"""

import csv
import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolopose import YOLO
from yolopose.geometry.boxes import iou_matrix

torch = pytest.importorskip("torch")
from yolopose import checkpoint  # noqa: E402
from yolopose.data.batch import Batch  # noqa: E402
from yolopose.geometry.keypoints import fixed_sigmas  # noqa: E402
from yolopose.loss.pose import Gains, PoseLoss  # noqa: E402
from yolopose.rules import REFERENCE  # noqa: E402
from yolopose.weights import find  # noqa: E402

RECORDER = runpy.run_path(str(Path(__file__).resolve().parents[1] / "benchmarks" / "record.py"))
FOLDER, WEIGHTS = RECORDER["OUT"], RECORDER["WEIGHTS"]
RECORDED: dict[str, Any] = json.loads((FOLDER / "recordings.json").read_text())
PHOTOGRAPHS = {path.name: path for path in RECORDER["PHOTOGRAPHS"]}


@pytest.fixture(scope="module")
def model() -> YOLO:
    return YOLO(WEIGHTS)


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(RECORDER["data_set"](tmp_path / "set"))


def test_every_photograph_and_setting_is_recorded() -> None:
    assert len(RECORDED["predict"]) == len(PHOTOGRAPHS) * len(RECORDER["PREDICT"]) == 24
    assert [settings for settings, _ in RECORDED["val"]] == list(RECORDER["VAL"])
    assert sum(len(boxes) for _, _, boxes, _ in RECORDED["predict"]) > 200


@pytest.mark.parametrize("entry", RECORDED["predict"], ids=lambda entry: f"{entry[1]}-{entry[0]}")
def test_predict(entry: list[Any], model: YOLO) -> None:
    settings, name, *recorded = entry
    result = model(str(PHOTOGRAPHS[name]), compat=True, device="cpu", verbose=False, **settings)[0].numpy()
    boxes, points = np.array(recorded[0]).reshape(-1, 6), np.array(recorded[1]).reshape(-1, 5, 3)
    near = np.abs(boxes[:, 4, None] - result.boxes.conf) <= 1e-3
    best = (iou_matrix(boxes[:, :4], result.boxes.xyxy) * near).argmax(1) if len(boxes) else np.zeros(0, int)
    assert sorted(best) == list(range(len(result)))
    np.testing.assert_allclose(result.boxes.xyxy[best], boxes[:, :4], atol=0.02)
    np.testing.assert_allclose(result.keypoints.data[best], points, atol=0.02)


@pytest.mark.parametrize(("settings", "recorded"), RECORDED["val"], ids=lambda v: str(v.get("imgsz")))
def test_val(settings: dict[str, Any], recorded: dict[str, float], model: YOLO, data: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"workers": 0, "plots": False, "verbose": False, "project": str(tmp_path)}
    metrics = model.val(data=data, compat=True, device="cpu", **arguments, **settings)
    assert metrics.results_dict == pytest.approx(recorded, abs=5e-4)


def test_train(data: str, tmp_path: Path) -> None:
    arguments = RECORDER["TRAIN"] | {"compat": True, "project": str(tmp_path), "name": "run", "verbose": False}
    YOLO(WEIGHTS).train(data=data, **arguments)
    with (tmp_path / "run" / "results.csv").open(newline="") as file:
        ours = list(csv.DictReader(file))
    for mine, recorded in zip(ours, csv.DictReader(RECORDED["train"]), strict=True):
        for key, value in recorded.items():
            if key != "time":
                tolerance = 1e-6 if key.startswith("lr") else 0.02 if key.startswith("metrics") else 0
                assert float(mine[key]) == pytest.approx(float(value), rel=0.003, abs=tolerance), key


def test_output_losses_and_gradients() -> None:
    recorded = np.load(FOLDER / "forward.npz")
    network = checkpoint.build_network(checkpoint.load_checkpoint(find(WEIGHTS)))
    images = torch.from_numpy(recorded["images"])
    with torch.no_grad():
        output = network.eval()(images.float() / 255)
    np.testing.assert_allclose(output, recorded["output"], atol=2e-3)
    batch = Batch(
        images=images,
        image_index=torch.from_numpy(recorded["batch_idx"]).long(),
        classes=torch.from_numpy(recorded["cls"]).long()[:, 0],
        boxes=torch.from_numpy(recorded["bboxes"]),
        keypoints=torch.from_numpy(recorded["keypoints"]),
        paths=(),
    )
    criterion = PoseLoss(network.info, network.stride.tolist(), Gains(), fixed_sigmas((5, 3)), rules=REFERENCE)
    total, parts = criterion(network.train()(images.float() / 255), batch)
    total.backward()
    assert total.item() == pytest.approx(RECORDED["loss"]["total"], rel=1e-4)
    np.testing.assert_allclose(parts.numpy(), RECORDED["loss"]["items"], rtol=1e-4)
    parameters = dict(network.named_parameters())
    for name, norm in RECORDED["loss"]["norms"].items():
        assert parameters[name].grad.norm().item() == pytest.approx(norm, rel=1e-3, abs=1e-6), name
