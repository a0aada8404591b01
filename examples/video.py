"""Write the face boxes of a video as CSV, one frame in memory at a time: python examples/video.py CLIP.mp4 OUT.csv"""

import csv
import sys

from yolopose import YOLO


def main(clip: str, table: str) -> None:
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", "x1", "y1", "x2", "y2", "score"])
        for frame, result in enumerate(YOLO("yolov8n-face")(clip, stream=True)):  # path, camera number, rtsp://…
            for *box, score, _ in result.boxes.data.tolist():
                writer.writerow([frame, *(round(side, 1) for side in box), round(score, 3)])
    print("written:", table)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
