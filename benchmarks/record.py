"""Record what Ultralytics 8.3.75 gives on our bundled face model and photographs, for tests/test_recordings.py.

    python benchmarks/record.py labels                     # with our environment: labels from our own detections
    ULTRALYTICS_PYTHON benchmarks/record.py numbers        # with an environment that has Ultralytics 8.3.75 and onnx

Ultralytics runs as a black box through its public interface; only numbers are kept. Its network gets our weights, so
no file of its making is needed.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "tests" / "recordings"
PHOTOGRAPHS = sorted((ROOT / "yolopose" / "assets" / "samples" / "images").rglob("*.jpg"))
WEIGHTS = "yolov8n-face.pt"  # the bundled model, run by torch
PREDICT = ({"conf": 0.25, "imgsz": 640}, {"conf": 0.05, "imgsz": 320, "rect": False}, {"conf": 0.01, "iou": 0.4})
VAL = ({"batch": 4, "imgsz": 320, "rect": True}, {"batch": 8, "imgsz": 640, "rect": False})
TRAIN = {
    "epochs": 3, "imgsz": 160, "batch": 8, "optimizer": "SGD", "lr0": 0.01, "nbs": 8, "warmup_epochs": 0,
    "mosaic": 0, "fliplr": 0, "hsv_h": 0, "hsv_s": 0, "hsv_v": 0, "translate": 0, "scale": 0, "amp": False, "seed": 0,
    "workers": 0, "device": "cpu", "plots": False, "close_mosaic": 0,
}  # fmt: skip


def data_set(folder: Path) -> Path:
    """The photographs with the recorded labels as a data set; returns its YAML."""
    for photograph in PHOTOGRAPHS:
        for kind, file in (("images", photograph), ("labels", OUT / "labels" / f"{photograph.stem}.txt")):
            (folder / kind).mkdir(exist_ok=True, parents=True)
            shutil.copy(file, folder / kind)
    yaml = folder / "data.yaml"
    flip = "flip_idx: [1, 0, 2, 4, 3]"
    yaml.write_text(f"path: {folder}\ntrain: images\nval: images\nkpt_shape: [5, 3]\n{flip}\nnames:\n  0: face\n")
    return yaml


def labels() -> None:
    """Write labels near our own detections, so that the metrics are neither perfect nor empty."""
    from yolopose import YOLO

    rng = np.random.default_rng(0)
    for result in YOLO(WEIGHTS)([str(path) for path in PHOTOGRAPHS], conf=0.3, verbose=False):
        rows = []
        boxes, points = result.numpy().boxes, result.numpy().keypoints
        for box, face in zip(boxes.xywhn, points.xyn, strict=True):
            side = box[2:].max()
            moved = np.clip([*(box[:2] + rng.normal(0, 0.06, 2) * side), *(box[2:] * rng.uniform(0.85, 1.15, 2))], 0, 1)
            corners = np.clip([*(moved[:2] - moved[2:] / 2), *(moved[:2] + moved[2:] / 2)], 0.001, 0.999)
            moved = [*(corners[:2] + corners[2:]) / 2, *(corners[2:] - corners[:2])]
            shifted = np.clip(face + rng.normal(0, 0.05, face.shape) * side, 0, 1)
            seen = rng.choice([0, 1, 2], len(face), p=[0.1, 0.2, 0.7])
            rows.append([0, *moved, *np.column_stack((shifted, seen)).ravel()])
        text = "".join(" ".join(f"{number:.5g}" for number in row) + "\n" for row in rows)
        (OUT / "labels" / f"{Path(result.path).stem}.txt").write_text(text)


def network() -> Any:
    """Ultralytics' network with our weights."""
    from ultralytics import YOLO

    text = (ROOT / "yolopose" / "nn" / "models" / "yolov8-pose.yaml").read_text()
    with tempfile.TemporaryDirectory() as folder:
        yaml = Path(folder) / "yolov8n-pose.yaml"
        yaml.write_text(text.replace("kpt_shape: [17, 3]", "kpt_shape: [5, 3]"))
        model = YOLO(str(yaml), task="pose")
    sys.path.insert(0, str(ROOT))
    from yolopose.checkpoint import load_state
    from yolopose.weights import find

    model.model.load_state_dict(load_state(find(WEIGHTS)))
    model.model.names, model.model.kpt_shape = {0: "face"}, [5, 3]
    return model


def rounded(values: Any, digits: int) -> Any:
    """Nested lists of rounded numbers."""
    return np.round(np.asarray(values, np.float64), digits).tolist()


def numbers() -> None:
    """Write recordings.json and, with tensors, forward.npz."""
    if importlib.util.find_spec("peer_shim"):
        import peer_shim  # noqa: F401
    import torch
    import ultralytics
    from ultralytics.cfg import get_cfg

    assert ultralytics.__version__ == "8.3.75", ultralytics.__version__
    found: dict[str, Any] = {"version": ultralytics.__version__, "predict": [], "val": []}
    for settings in PREDICT:
        model = network()
        for photograph in PHOTOGRAPHS:
            (result,) = model.predict(str(photograph), device="cpu", verbose=False, **settings)
            boxes, points = rounded(result.boxes.data, 4), rounded(result.keypoints.data, 4)
            found["predict"].append([settings, photograph.name, boxes, points])
    with tempfile.TemporaryDirectory() as folder:
        yaml = data_set(Path(folder) / "set")
        for settings in VAL:
            metrics = network().val(data=str(yaml), device="cpu", workers=0, plots=False, verbose=False, **settings)
            found["val"].append([settings, {key: float(value) for key, value in metrics.results_dict.items()}])
        model = network()
        start = Path(folder) / "start.pt"
        torch.save({"model": model.model.float(), "train_args": {"task": "pose"}}, start)
        model = ultralytics.YOLO(str(start), task="pose")
        model.train(data=str(yaml), project=folder, name="run", verbose=False, **TRAIN)
        found["train"] = (Path(folder) / "run" / "results.csv").read_text().splitlines()
    rng, model = np.random.default_rng(1), network().model
    images = rng.integers(0, 256, (2, 3, 128, 160), np.uint8)
    batch = {
        "img": torch.from_numpy(images).float() / 255,
        "batch_idx": torch.tensor([0.0, 0, 1]),
        "cls": torch.zeros(3, 1),
        "bboxes": torch.tensor([[0.3, 0.4, 0.3, 0.5], [0.7, 0.6, 0.4, 0.6], [0.5, 0.5, 0.05, 0.06]]),
        "keypoints": torch.from_numpy(
            np.concatenate((rng.uniform(0.2, 0.8, (3, 5, 2)), np.full((3, 5, 1), 2)), 2)
        ).float(),
    }
    batch["keypoints"][1, :, 2] = 0
    model.eval()
    with torch.no_grad():
        output = model(batch["img"])[0]
    model.args = get_cfg()
    model.train()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    total, items = model(batch)
    total.sum().backward()
    norms = {name: float(p.grad.norm()) for name, p in model.named_parameters() if p.grad is not None}
    found["loss"] = {"total": float(total.detach().sum()), "items": rounded(items, 7), "norms": norms}
    arrays = {key: value.numpy() for key, value in batch.items() if key != "img"}
    np.savez_compressed(OUT / "forward.npz", images=images, output=output.numpy(), **arrays)
    (OUT / "recordings.json").write_text(json.dumps(found))


if __name__ == "__main__":
    {"labels": labels, "numbers": numbers}[sys.argv[1]]()
