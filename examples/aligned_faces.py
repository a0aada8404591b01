"""Cut every face out, upright, for face recognition: python examples/aligned_faces.py PICTURE FOLDER"""

import sys
from pathlib import Path

import cv2

from yolopose import YOLO


def main(picture: str, folder: str) -> None:
    (result,) = YOLO("yolov8n-face")(picture, conf=0.5)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, crop in enumerate(result.align(size=112)):  # (N, 112, 112, 3) BGR
        file = Path(folder) / f"face{number}.png"
        cv2.imwrite(str(file), crop)
        print("written:", file)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
