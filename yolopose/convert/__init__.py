"""Conversion: COCO keypoints JSON to YOLO labels and back, WIDER FACE with landmarks to YOLO labels."""

from yolopose.convert.coco import from_coco, to_coco
from yolopose.convert.widerface import from_widerface

__all__ = ["from_coco", "from_widerface", "to_coco"]
