"""The rules in which yolopose differs from Ultralytics 8.3, each a switch with both sides in words.

Entry modules turn the argument `compat` into DEFAULT or REFERENCE once; functions below take `rules` and read single
switches. To add a rule, add a switch with its text here, and an `if rules.<switch>` in the code.
`docs/compat.md` is made from this module by `docs/generate.py`.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """Switches; each is False for the default rule and True for the rule of Ultralytics 8.3.

    The text under a switch is its row in `docs/compat.md`: subject | default | Ultralytics 8.3.
    """

    nominal_gain: bool = False
    """mapping back from the letterbox, predict | exact ratio of each axis | one nominal gain: up to half a pixel off on
    odd paddings"""
    zero_unsure: bool = False
    """uncertain keypoints in predictions | kept as they are | x, y written as 0, 0 below a score of 0.5"""
    square_if_mixed: bool = False
    """images of unequal size in one predict call | each padded for itself | all padded to the full square"""
    whole_list: bool = False
    """a Python list of images in one predict call | `batch` images at a time | all of them at once"""
    class_offset: bool = False
    """suppression per class | exact for boxes anywhere | boxes of class c are shifted by 7680·c pixels, in float32"""
    val_batches: bool = False
    """validation batches | each image at its own multiple of the stride | sorted by shape and padded together, sides
    ceil(ratio · imgsz / stride + 0.5) · stride: results move a little with batch size"""
    height_ratio: bool = False
    """mapping back, validation | exact ratio of each axis | both axes by the ratio of the heights; image loaded with
    rounded-up sides"""
    unlabelled_count: bool = False
    """instances without labelled keypoints | ignored in keypoint metrics, masked in the keypoint and visibility losses
    | counted as misses, and as targets "not visible" """
    fixed_sigmas: bool = False
    """sigmas | the YAML's, else COCO's for 17 points, else 1/K | COCO's for exactly [17, 3], else 1/K"""
    one_size: bool = False
    """`imgsz=height,width` and `resize` in val | taken | refused: one number only"""
    whole_rows: bool = False
    """a bad label row | the row is left out; a box over the edge is cut | the whole image is dropped, also for any
    number below 0 or coordinate above 1"""
    first_images: bool = False
    """`fraction` | thins the images out evenly | takes the first ones"""
    exact_side: bool = False
    """training images | never enlarged; a large JPEG is decoded at 1/2, 1/4 or 1/8 | the long side becomes `imgsz`, the
    other is rounded up; decoded whole"""
    nothing_pasted: bool = False
    """`copy_paste` in training | pastes instances by their boxes | has no effect: it needs outlines, which labels of
    poses do not have"""
    rect_in_order: bool = False
    """`rect` in training | batches in random order | batches in order of aspect ratio"""
    extreme_canvas: bool = False
    """the canvas of a `rect` batch in training | the smallest that holds each of its images | one side `imgsz`, the
    other by the most extreme aspect ratio"""
    unaligned_anchors: bool = False
    """positive anchors | those whose predicted box overlaps (CIoU above 0) | others too, where ties happen to choose
    them"""
    moving_statistics: bool = False
    """frozen layers | keep their batch statistics | their batch statistics go on changing"""
    auto_ignores_given: bool = False
    """`optimizer=auto` | your `lr0`, `momentum` and `warmup_bias_lr` are used | they are ignored, and the warm-up ends
    at `momentum` instead of 0.9"""
    zero_is_labelled: bool = False
    """two-number keypoints at 0, 0 | not labelled | labelled"""
    unstable_order: bool = False
    """images of one aspect ratio, with `rect` | keep their order | come in the order of NumPy's default sort: it
    depends on NumPy's version and the processor, so that val with `rect` equals Ultralytics 8.3 to the digit on one
    machine only (elsewhere up to .006 of precision, .001 of mAP)"""
    no_gradient: bool = False
    """a batch without positive anchors | the keypoint branch gets a gradient of zeros: momentum and weight decay go on
    | it gets none and stays as it is"""
    plain_layout: bool = False
    """memory layout in training | channels last, faster on CPUs; batch statistics are exact to 1e-4 | channels first;
    batch statistics are exact to 1e-6"""
    keep_names: bool = False
    """`single_cls` on several classes | the network has one class, "object" | the network keeps the data's classes and
    names; all labels become class 0"""

    frames_buffer: bool = False
    """`track_buffer` of a tracker | counts frames at 30 per second: 30 is a second of any video | counts frames"""
    filtered_boxes: bool = False
    """boxes of tracks | as detected | the state of the tracker's filter: 1 px beside the detection, at times 7"""
    numbers_by_start: bool = False
    """ids of tracks | 1, 2, 3, … in the order of confirmation | a track that is never confirmed uses up one, too"""
    untracked_shown: bool = False
    """a frame of track without confirmed tracks | the result is empty, `boxes.id` an empty array | the result has all
    detections, `boxes.id` is None"""


DEFAULT = Rules()
REFERENCE = Rules(**{field.name: True for field in dataclasses.fields(Rules)})
RULES = {False: DEFAULT, True: REFERENCE}  # by the value of `compat`
