"""Train on a data set, validate the best epoch and print the figures: python examples/train.py DATA.yaml [EPOCHS]"""

import sys

from yolopose import YOLO


def main(data: str, epochs: int = 100, imgsz: int = 640, **arguments: object) -> None:
    model = YOLO("yolov8n-pose.yaml")  # random weights; YOLO("yolov8n-pose.pt") starts from trained ones
    model.train(data=data, epochs=epochs, imgsz=imgsz, **arguments)  # afterwards the model is the best epoch
    metrics = model.val(data=data, imgsz=imgsz)
    print(f"box mAP50 {metrics.box.map50:.3f}, pose mAP50 {metrics.pose.map50:.3f}")
    print("weights:", model.ckpt_path)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
