"""Find faces in photographs, print them and write annotated pictures: python examples/image.py PICTURE …"""

import sys

from yolopose import YOLO


def main(pictures: list[str]) -> None:
    model = YOLO("yolov8n-face")  # in the package; YOLO("yolov8n-pose.pt") finds people
    for result in model(pictures, conf=0.4):
        for face in result:
            x1, y1, x2, y2 = face.boxes.xyxy[0].tolist()
            nose = face.keypoints.xy[0, 2].tolist()
            print(f"{result.path}: face {x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f}, nose at {nose[0]:.0f} {nose[1]:.0f}")
        print("written:", result.save())


if __name__ == "__main__":
    main(sys.argv[1:])
