"""Largest differences between a model in torch and in every other format, on identical letterboxed photographs.

    python benchmarks/parity.py --model MODEL.pt --images FOLDER

Each photograph is letterboxed once, to the full 640 x 640 that a static file takes; torch and the exported file see the
same pixels. Detections are paired by overlap and score. Written to benchmarks/results/parity.json: how many detections
there were, how many had no counterpart, and the largest differences of coordinates (pixels of the photograph), keypoint
visibilities and scores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from yolopose.config import ExportConfig, PredictConfig
from yolopose.formats.base import Backend
from yolopose.formats.table import FORMATS, export, open_backend
from yolopose.geometry.boxes import iou_matrix
from yolopose.geometry.letterbox import fit
from yolopose.images import read_image
from yolopose.predict import Detections, detect

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared"
CONFIG = PredictConfig(conf=0.02)  # low, so that there is much to compare


def compare(ours: Detections, theirs: Detections) -> dict[str, float]:
    """Differences over the pairs of two sets of detections of one photograph."""
    overlap = iou_matrix(ours.boxes[:, :4], theirs.boxes[:, :4])
    overlap *= np.abs(ours.boxes[:, 4, None] - theirs.boxes[None, :, 4]) < 1e-2
    pairs = [(i, int(row.argmax())) for i, row in enumerate(overlap) if row.size and row.max() > 0.95]
    out = {"found": len(ours.boxes), "unmatched": len(ours.boxes) + len(theirs.boxes) - 2 * len(pairs)}
    out |= {"box_px": 0.0, "keypoint_px": 0.0, "visibility": 0.0, "score": 0.0}
    if pairs:
        mine, other = (np.array(part) for part in zip(*pairs, strict=True))
        boxes = np.abs(ours.boxes[mine] - theirs.boxes[other])
        points = np.abs(ours.keypoints[mine] - theirs.keypoints[other])
        out |= {"box_px": float(boxes[:, :4].max()), "score": float(boxes[:, 4].max())}
        out |= {"keypoint_px": float(points[..., :2].max()), "visibility": float(points[..., 2:].max(initial=0))}
    return out


def over_images(reference: Backend, other: Backend, images: list[Any]) -> dict[str, float]:
    """Counts summed and differences maximised over the photographs."""
    rows = []
    for image in images:
        box = [fit(image.shape[:2], (640, 640), rect=False)]
        rows.append(compare(*(detect(each, [image], CONFIG, letterboxes=box)[0] for each in (reference, other))))
    total = {key: sum(row[key] for row in rows) for key in ("found", "unmatched")}
    return total | {key: max(row[key] for row in rows) for key in rows[0] if key not in total}


def main() -> None:
    """Export, compare, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=SHARED / "golden" / "natural-n17.pt")
    parser.add_argument("--images", type=Path, default=SHARED / "data" / "demo")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "parity.json")
    arguments = parser.parse_args()
    images = [read_image(path) for path in sorted(arguments.images.glob("*.jpg"))]
    reference = open_backend(arguments.model, device="cpu")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for row in FORMATS:
            for half in (False, True) if "half" in row.options else (False,) if row.export else ():
                config = ExportConfig(format=row.argument, imgsz=640, half=half, out=f"{folder}/model{row.suffix}")
                other = open_backend(export(arguments.model, config), device="cpu")
                name = row.title + (" half" if half else "")
                results[name] = over_images(reference, other, images) | {
                    "tolerance_px": None if half else row.tolerance
                }
                print(name, json.dumps(results[name]))
    report = {"date": time.strftime("%Y-%m-%d"), "images": len(images), "conf": CONFIG.conf, "formats": results}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
