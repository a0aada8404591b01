"""Train on keypoints of your own, here the two ends of drawn arrows: python examples/custom_keypoints.py FOLDER"""

import sys
from pathlib import Path

import cv2
import numpy as np

from yolopose import YOLO

DATA = """path: .
train: images
val: images
kpt_shape: [2, 3]  # tail and tip; x, y and visibility
flip_idx: [0, 1]  # a mirrored arrow still has its tail at 0 and its tip at 1
names: {0: arrow}
"""


def main(folder: str, images: int = 64, **arguments: object) -> None:
    root, rng = Path(folder), np.random.default_rng(0)
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "data.yaml").write_text(DATA)
    for i in range(images):
        image, ends = np.full((128, 128, 3), 200, np.uint8), rng.integers(20, 108, (2, 2))
        cv2.arrowedLine(image, ends[0].tolist(), ends[1].tolist(), (40, 60, 200), 3, tipLength=0.3)
        cv2.imwrite(str(root / "images" / f"{i}.png"), image)
        low, high = ends.min(0) - 6, ends.max(0) + 6
        row = [0, *(low + high) / 256, *(high - low) / 128]  # class, then the box: centre and size, normalised
        row += [*ends[0] / 128, 2, *ends[1] / 128, 2]  # each point: x, y, 2 = visible
        (root / "labels" / f"{i}.txt").write_text(" ".join(f"{number:.6g}" for number in row) + "\n")
    YOLO("yolov8n-pose.yaml").train(data=str(root / "data.yaml"), imgsz=128, **arguments)


if __name__ == "__main__":
    main(sys.argv[1])
