"""Let many threads use one model: python examples/threads.py PICTURE …"""

import sys
from concurrent.futures import ThreadPoolExecutor

from yolopose import YOLO

MODEL = YOLO("yolov8n-face")  # opened once; predicting changes nothing in it


def count(picture: str) -> tuple[str, int]:
    (result,) = MODEL(picture, verbose=False)
    return picture, len(result)


def main(pictures: list[str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        for picture, faces in pool.map(count, pictures):
            print(f"{picture}: {faces} faces")


if __name__ == "__main__":
    main(sys.argv[1:])
