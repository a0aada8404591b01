"""Tiles of large pictures against larger inputs and SAHI: AP by processor time, and a drone-like picture.

WIDER FACE: the photographs of a folder at their official size, each contender on each photograph in turn, one thread.
`cpu_ms` is the processor time of one photograph after it was decoded, mean over photographs: a busy machine disturbs it
less than wall time. SAHI cuts and merges; its detector is ours, so that the network and its suppression are the same.

Drone: `--faces` photographs with one labelled face each are reduced and pasted into 8,000 x 6,000 pixels. What the
model finds in windows of 320 pixels around each of them, where no face is cut, must be found with tiles, each once.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import contenders
import cv2
import numpy as np

from yolopose.detect import detect, unscaled_letterbox
from yolopose.evaluate.widerface import evaluate, official_rows, read_truth
from yolopose.formats.base import OpenOptions
from yolopose.formats.table import open_backend
from yolopose.geometry.boxes import iou_matrix
from yolopose.images import read_image
from yolopose.tiling import TileOptions, find
from yolopose.weights import find as find_weights

DATA = contenders.SHARED / "data"
WIDER = {"conf": 0.01, "iou": 0.6, "max_det": 1000}
# name: options of ours; the part after tiles is the side of a tile, its overlap and the size at which it runs
OURS: dict[str, dict[str, Any]] = {
    "640": {"imgsz": 640},
    "960": {"imgsz": 960},
    "1280": {"imgsz": 1280},
    "original": {"imgsz": "original"},
    "tile 640": {"tile": 640},
    "tile 640, overlap 0.3": {"tile": 640, "overlap": 0.3},
    "tile 512": {"tile": 512},
    "tile 512 at 640": {"tile": 512, "imgsz": 640},
    "tile 320 at 640": {"tile": 320, "imgsz": 640},
    "auto": {"imgsz": "auto"},
}
SAHI = {"SAHI 640": 640, "SAHI 512": 512}
DRONE = (6000, 8000)
Rows = np.ndarray[Any, Any]
Finder = Callable[[Any], Rows]


def ours(backend: Any, imgsz: Any = None, **options: Any) -> Finder:
    """A function of an image that gives its boxes (N, 6)."""
    whole = TileOptions(**WIDER, imgsz=None if isinstance(imgsz, str) else imgsz, **options)
    if imgsz == "original":
        return lambda image: padded(backend, image, whole)
    if imgsz == "auto":
        return lambda image: automatic(backend, image, whole)
    return lambda image: find(backend, [image], whole)[0].boxes


def padded(backend: Any, image: Any, options: TileOptions) -> Rows:
    """Boxes of an image that runs at its own size, padded to multiples of the stride."""
    h, w = image.shape[:2]
    image = cv2.copyMakeBorder(image, 0, -h % 32, 0, -w % 32, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    box = unscaled_letterbox(backend, image.shape[:2])
    return detect(backend, [image], options, letterboxes=[box])[0].boxes


def automatic(backend: Any, image: Any, options: TileOptions, side: float = 40.0) -> Rows:
    """The trial of imgsz=auto: a first pass at 640, then the size at which its median face has `side` pixels."""
    boxes = detect(backend, [image], replace(options, imgsz=640))[0].boxes
    sure = boxes[boxes[:, 4] > 0.25]
    if not len(sure):
        return boxes
    median = float(np.median(np.sqrt((sure[:, 2] - sure[:, 0]) * (sure[:, 3] - sure[:, 1]))))
    size = int(np.clip(max(image.shape[:2]) * side / max(median, 1.0), 640, 2048)) // 32 * 32
    return boxes if size == 640 else detect(backend, [image], replace(options, imgsz=size))[0].boxes


def sahi_finder(backend: Any, side: int) -> Finder:
    """SAHI with its own settings of slicing and merging, and our detector within a slice.

    Below a confidence of 0.1 it merges by suppression (IoU 0.5), and warns of that.
    """
    logging.getLogger("sahi").setLevel(logging.ERROR)
    from sahi.models.base import DetectionModel
    from sahi.predict import get_sliced_prediction
    from sahi.prediction import ObjectPrediction

    options = TileOptions(**WIDER, imgsz=640)

    class Model(DetectionModel):  # type: ignore[misc]
        def load_model(self) -> None:
            self.model = backend
            self.category_mapping = {"0": "face"}

        def perform_inference(self, image: Any) -> None:
            self._original_predictions = detect(backend, [image], options)[0].boxes

        def _create_object_prediction_list_from_original_predictions(
            self, shift_amount_list: Any = None, full_shape_list: Any = None
        ) -> None:
            shift = (shift_amount_list or [[0, 0]])[0]
            full = (full_shape_list or [None])[0]
            self._object_prediction_list_per_image = [[
                ObjectPrediction(bbox=row[:4].tolist(), category_id=0, category_name="face", score=float(row[4]),
                                 shift_amount=shift if isinstance(shift, list) else list(shift_amount_list),
                                 full_shape=full if isinstance(full, list) else full_shape_list)
                for row in self._original_predictions if row[2] - row[0] > 0 and row[3] - row[1] > 0
            ]]  # fmt: skip

    model = Model(confidence_threshold=WIDER["conf"], device="cpu")

    def run(image: Any) -> Rows:
        found = get_sliced_prediction(
            np.ascontiguousarray(image), model, slice_height=side, slice_width=side, verbose=0,
            overlap_height_ratio=0.2, overlap_width_ratio=0.2,
        ).object_prediction_list  # fmt: skip
        rows = [[*p.bbox.to_xyxy(), p.score.value, 0.0] for p in found]
        return np.array(rows, np.float32).reshape(-1, 6)

    return run


def wider(finders: dict[str, Finder], arguments: argparse.Namespace) -> dict[str, Any]:
    """AP easy, medium, hard and milliseconds of each contender; every photograph runs through all of them in turn."""
    truth = {photo.name: photo for photo in read_truth(arguments.gt)}
    paths = [path for path in sorted(arguments.images.glob("*.jpg")) if path.stem in truth]
    used = {path.stem for path in paths[::4]}  # two constants of tiling/merge.py were chosen on these of the test set
    paths = [paths[i] for i in np.random.default_rng(0).permutation(len(paths))[: arguments.photos]]
    found: dict[str, dict[str, Rows]] = {name: {} for name in finders}
    spent = dict.fromkeys(finders, 0.0)
    for number, path in enumerate(paths):
        image = read_image(path)
        for name, finder in finders.items():
            start = time.process_time()
            boxes = finder(image)
            spent[name] += time.process_time() - start
            found[name][path.stem] = official_rows(boxes)
        if number % 20 == 19 or number + 1 == len(paths):
            result = figures([truth[path.stem] for path in paths[: number + 1]], found, spent, used)
            print(json.dumps(result), flush=True)
    return result


def figures(
    photos: list[Any], found: dict[str, dict[str, Rows]], spent: dict[str, float], used: set[str]
) -> dict[str, Any]:
    """What was found in the photographs so far, the time that it took, and AP of the photographs not in `used`."""
    out = {}
    for name, rows in found.items():
        scores = evaluate(photos, rows)
        out[name] = {setting: score.ap for setting, score in scores.items()} | {
            "cpu_ms": spent[name] / len(photos) * 1e3,
            "times_640": spent[name] / spent["640"],
            "boxes": sum(map(len, rows.values())),
        }
        rest = [photo for photo in photos if photo.name not in used]
        parts = evaluate(rest, {photo.name: rows[photo.name] for photo in rest})
        out[name]["unused"] = {setting: score.ap for setting, score in parts.items()}
    return {"photographs": len(photos), "faces": {k: s.faces for k, s in scores.items()}, "contenders": out}


def drone_picture(faces: int, folder: Path, seed: int = 0) -> tuple[Any, Rows]:
    """A picture of DRONE pixels with reduced photographs of one face each, and the centres of the faces (N, 2)."""
    random = np.random.default_rng(seed)
    ground = random.integers(60, 120, (DRONE[0] // 100, DRONE[1] // 100, 3)).astype(np.uint8)
    picture = cv2.resize(ground, DRONE[::-1], interpolation=cv2.INTER_CUBIC)
    files = [p for p in sorted(folder.glob("*.jpg")) if p.name.startswith(("helen_", "afw_"))]
    cells = [(x, y) for y in range(150, DRONE[0] - 150, 260) for x in range(150, DRONE[1] - 150, 260)]
    centres = []
    for x, y in (cells[i] for i in random.permutation(len(cells))[:faces]):
        path = files[random.integers(len(files))]
        label = np.loadtxt(str(path).replace("images", "labels")[:-3] + "txt", ndmin=2)[0]
        image = read_image(path)
        h, w = image.shape[:2]
        side = max(label[3] * w, label[4] * h)
        scale = random.uniform(20, 80) / side
        cx, cy = label[1] * w, label[2] * h
        low = np.maximum(np.array([cx, cy]) - 1.25 * side, 0).astype(int)
        high = np.minimum(np.array([cx, cy]) + 1.25 * side, (w, h)).astype(int)
        crop = image[low[1] : high[1], low[0] : high[0]]
        crop = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        left, top = (np.array([x, y]) + random.integers(-20, 20, 2) - np.array(crop.shape[1::-1]) // 2).tolist()
        picture[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        centres.append(((cx - low[0]) * scale + left, (cy - low[1]) * scale + top))
    return picture, np.array(centres)


def drone(backend: Any, faces: int, folder: Path) -> dict[str, Any]:
    """How many of the faces found in windows around them are found with tiles, and how often."""
    picture, centres = drone_picture(faces, folder)
    options = TileOptions(conf=0.25, max_det=5000)
    native = []
    for cx, cy in centres:
        x, y = (int(np.clip(c - 160, 0, s - 320)) for c, s in zip((cx, cy), DRONE[::-1], strict=True))
        boxes = detect(backend, [picture[y : y + 320, x : x + 320]], replace(options, imgsz=320))[0].boxes
        boxes[:, :4] += np.array([x, y, x, y], np.float32)
        near = [b for b in boxes if b[0] < cx < b[2] and b[1] < cy < b[3]]
        native += near[:1]
    out: dict[str, Any] = {"pasted": len(centres), "found at native scale": len(native)}
    runs = (("640", {}), ("tile 640", {"tile": 640}), ("tile 1280", {"tile": 1280}))
    for name, changed in runs:
        start = time.process_time()
        boxes = find(backend, [picture], replace(options, **changed))[0].boxes
        spent = time.process_time() - start
        overlap = iou_matrix(np.array(native)[:, :4], boxes[:, :4])
        again = overlap.max(1, initial=0) >= 0.5
        twice = (overlap >= 0.3).sum(1) > 1
        alone = ~(iou_matrix(boxes[:, :4], np.array(native)[:, :4]) >= 0.3).any(1)
        out[name] = {
            "found": len(boxes), "found again": int(again.sum()), "part": float(again.mean()),
            "found twice": int(twice.sum()), "not among native": int(alone.sum()), "cpu_ms": spent * 1e3,
        }  # fmt: skip
        print(name, json.dumps(out[name]), flush=True)
    return out


def plot(result: dict[str, Any], path: Path) -> None:
    """Hard and easy AP by time."""
    from matplotlib.figure import Figure

    figure = Figure((10, 4.2), layout="constrained")
    for axes, setting in zip(figure.subplots(1, 2), ("hard", "easy"), strict=True):
        for name, row in result["wider"]["contenders"].items():
            kind = "tab:red" if name.startswith("tile") else "tab:gray" if name.startswith("SAHI") else "tab:blue"
            axes.scatter(row["times_640"], row[setting], color=kind, s=22)
            axes.annotate(name, (row["times_640"], row[setting]), (4, 4), textcoords="offset points", fontsize=7)
        axes.set(xlabel="processor time, 640 = 1", ylabel=f"AP {setting}")
        axes.margins(0.18, 0.08)
        axes.grid(alpha=0.3)
    figure.suptitle(f"WIDER FACE, {result['wider']['photographs']} photographs at official size, {result['model']}")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolov8n-face.onnx")
    parser.add_argument("--images", type=Path, default=DATA / "face" / "images" / "test")
    parser.add_argument("--gt", type=Path, default=DATA / "eval" / "widerface" / "ground_truth")
    parser.add_argument("--pasted", type=Path, default=DATA / "face" / "images" / "val")
    parser.add_argument("--faces", type=int, default=300)
    parser.add_argument("--photos", type=int, help="about so many photographs only")
    parser.add_argument("--only", nargs="+", help="these contenders only, or drone")
    parser.add_argument("--out", type=Path, default=contenders.HERE / "results" / "tiles.json")
    arguments = parser.parse_args()
    backend = open_backend(find_weights(arguments.model), OpenOptions(threads=1))
    finders = {name: ours(backend, **options) for name, options in OURS.items()}
    try:
        finders |= {name: sahi_finder(backend, side) for name, side in SAHI.items()}
    except ImportError:
        print("SAHI is not installed: left out")
    chosen = {name: f for name, f in finders.items() if not arguments.only or name in {"640", *arguments.only}}
    if arguments.only == ["drone"]:
        chosen = {}
    result: dict[str, Any] = {"model": arguments.model, "machine": contenders.machine(1)}
    if not arguments.only or "drone" in arguments.only:
        result["drone"] = drone(backend, arguments.faces, arguments.pasted)
    if chosen:
        result["wider"] = wider(chosen, arguments)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    if chosen:
        plot(result, arguments.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
