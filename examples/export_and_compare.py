"""Export a model to ONNX and compare what both files find: python examples/export_and_compare.py MODEL.pt PICTURE"""

import sys

import numpy as np

from yolopose import YOLO


def main(weights: str, picture: str) -> None:
    model = YOLO(weights)
    file = model.export(format="onnx", imgsz=320)  # opened again and compared on photographs before it is kept
    (first,) = model(picture, imgsz=320, rect=False)
    (second,) = YOLO(file)(picture)
    assert len(first) == len(second), "the files find different numbers of instances"
    apart = np.abs(first.numpy().keypoints.xy - second.numpy().keypoints.xy).max(initial=0.0)
    print(f"{file}: {len(second)} instances, keypoints at most {apart:.4f} pixels apart")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
