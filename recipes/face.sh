#!/usr/bin/env bash
# Face detector with five landmarks: YOLOv8s-pose on WIDER FACE with RetinaFace's landmarks.
#
#   recipes/face.sh WIDER_FOLDER GROUND_TRUTH_FOLDER
#
# WIDER_FOLDER          WIDER_train, WIDER_val, wider_face_split and RetinaFace's label.txt (train/label.txt is found too);
#                       their publishers want them fetched by hand, for research that is not commercial
# GROUND_TRUTH_FOLDER   wider_face_val.mat, wider_easy_val.mat, medium, hard: eval_tools/ground_truth of WIDER FACE
#
# Time    about 14 hours and 17 GB on one RTX 3090 (as published for this command, see below)
# Expect  WIDER FACE validation set, long side 640, conf 0.001, iou 0.6, max_det 1000:
#
#         | model        | easy  | medium | hard  |
#         |--------------|-------|--------|-------|
#         | yolov8s-pose | 0.955 | 0.940  | 0.847 |
#         | yolov8n-pose | 0.946 | 0.925  | 0.810 |
#
#         Published by YOLO11Face 1.0.0 for the same command, data and split sizes with Ultralytics 8.3.75. Nobody has yet
#         run it with this package. Own validation part at 800: box mAP50 0.726, mAP50-95 0.418; its pose mAP is not
#         comparable, for it took OKS sigmas of 0.2 and counted faces without landmarks as misses.
set -euo pipefail

data=${1:?folder of WIDER FACE}
truth=${2:?folder of the ground truth .mat files}

yolo pose convert widerface="$data" out=datasets/widerface-landmarks
yolo pose train model=yolov8s-pose.pt data=widerface-landmarks.yaml epochs=300 imgsz=800 batch=8 name=face
yolo pose val model=runs/pose/face/weights/best.pt data=widerface-landmarks.yaml split=test imgsz=640 \
  metric=widerface gt="$truth" save_widerface name=face-widerface
