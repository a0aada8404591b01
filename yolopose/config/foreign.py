"""The documented arguments of Ultralytics 8.3 and 8.4 that yolopose does not have, and how each is treated.

A value that changes nothing is accepted silently. Otherwise an argument that acts on YOLOv8-pose models in this mode is
refused as not implemented, one of another mode is left out with a warning, and one that acts on no YOLOv8-pose model
is accepted with one line of information.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Foreign:
    """An argument of Ultralytics; `modes` are those in which it acts on YOLOv8-pose models.

    `defaults` are values that change nothing, in addition to None, False, 0 and empty ones; `instead` is what to use.
    """

    name: str
    meaning: str
    modes: tuple[str, ...] = ()
    defaults: tuple[Any, ...] = ()
    instead: str = ""
    flag: bool = False  # a boolean: its name alone means True


TRACKER_ENTRIES = (  # of a tracker's file; as arguments they are refused with a line that says so
    "tracker_type", "track_high_thresh", "track_low_thresh", "new_track_thresh", "track_buffer", "match_thresh",
    "fuse_score", "gmc_method", "proximity_thresh", "appearance_thresh", "with_reid",
)  # fmt: skip

FOREIGN = {row.name: row for row in (
    Foreign("augment", "predict on flipped and scaled copies too", ("predict", "track", "val"), flag=True),
    Foreign("visualize", "pictures of feature maps", ("predict", "track", "val"), flag=True),
    Foreign("embed", "feature vectors instead of results", ("predict", "track")),
    Foreign("tracker", "identities over the frames of a video", ("predict",), ("botsort.yaml", "tracktrack.yaml"),
            instead="yolo track, in Python model.track"),
    Foreign("persist", "identities kept between calls", ("predict",), instead="model.track", flag=True),
    Foreign("show_fps", "frames per second on the picture", ("predict", "track"), flag=True),
    Foreign("predictor", "a custom predictor class", ("predict", "track")),
    Foreign("validator", "a custom validator class", ("val",)),
    Foreign("trainer", "a custom trainer class", ("train",)),
    Foreign("save_hybrid", "labels and predictions in one file", ("val",), flag=True),
    Foreign("save_dir", "the exact folder of the run", ("predict", "track", "val", "train"),
            instead="project= and name="),
    Foreign("quantize", "bits of weights and activations", ("predict", "track", "val", "train", "export"),
            instead="half=True for 16 bits (in train amp), in export int8=True for 8"),
    Foreign("cutmix", "probability of pasting a part of another image", ("train",)),
    Foreign("augmentations", "augmentations of the package Albumentations", ("train",)),
    Foreign("cls_pw", "weights of rare classes", ("train",)),
    Foreign("cls_remap", "class weights copied by class name", ("train",)),
    Foreign("distill_model", "a teacher model for distillation", ("train",), instead="teacher=FILE"),
    Foreign("profile", "speeds of exported formats in training", ("train",), instead="yolo benchmark", flag=True),
    Foreign("fraction", "share of the images that calibrate int8", ("export",), (1.0,)),
    Foreign("verbose", "lowest mAP that does not count as failure", ("benchmark",), (True,)),
    Foreign("channels_last", "memory layout; always channels last here", (), (True,), flag=True),
    Foreign("dis", "weight of distillation, no effect unless distill_model is set"),
    Foreign("dnn", "OpenCV's network module for ONNX files", flag=True),
    Foreign("retina_masks", "masks in full resolution (segmentation)", flag=True),
    Foreign("overlap_mask", "masks in one plane (segmentation)", (), (True,), flag=True),
    Foreign("mask_ratio", "size of masks (segmentation)", (), (4,)),
    Foreign("copy_paste_mode", "how segments are pasted (segmentation)", (), ("flip",)),
    Foreign("auto_augment", "augmentation policy (classification)", (), ("randaugment",)),
    Foreign("erasing", "erased share (classification)", (), (0.4,)),
    Foreign("crop_fraction", "share of the crop (classification)", (), (1.0,)),
    Foreign("label_smoothing", "removed from Ultralytics"),
    Foreign("angle", "weight of the angle loss (oriented boxes)", (), (1.0,)),
    Foreign("rle", "weight of a loss of YOLO26-pose", (), (1.0,)),
    Foreign("end2end", "the head of YOLO26", flag=True),
    Foreign("dlog", "weight of a depth loss", (), (1.0,)),
    Foreign("dgrad", "weight of a depth loss", (), (1.0,)),
    Foreign("dlam", "weight of a depth loss", (), (1.0,)),
)}  # fmt: skip
ABSENT = {  # commands and methods of Ultralytics, and what to do instead
    "tune": "yolopose does not search hyperparameters: call train with the values to compare",
    "embed": "yolopose gives no embeddings: model.model is the network, a torch module, for your own hooks",
    "settings": "yolopose has no settings file: everything is an argument (docs/migrate.md)",
    "copy-cfg": "yolopose has no file of defaults to copy; 'yolo cfg' lists them, and each run writes its args.yaml",
    "solutions": "yolopose has no solutions; see examples/ and docs/migrate.md",
    "hub": "yolopose has no online service",
    "login": "yolopose has no online service",
    "logout": "yolopose has no online service",
}
DEFAULTS = {"format": ("torchscript",), "workspace": (4,)}  # of Ultralytics, for arguments with another default here
