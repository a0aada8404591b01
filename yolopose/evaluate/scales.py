"""Validation at other scales: each image at its own size, or at several sizes whose finds are merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from yolopose.config import ValConfig, pick
from yolopose.detect import Detections, DetectOptions, letterboxes_for
from yolopose.errors import PoseError, UsageError
from yolopose.formats.base import Backend
from yolopose.geometry.boxes import nms
from yolopose.geometry.letterbox import Letterbox, fit
from yolopose.rules import rules_of

FACTORS = (1.0, 1.5, 2.0)  # of imgsz with resize=multi


def check(backend: Backend, config: ValConfig) -> None:
    """Raise PoseError or UsageError when the model or another argument does not go with `config.resize`."""
    if config.resize == "imgsz":
        return
    if backend.fixed_shape is not None:
        h, w = backend.fixed_shape[1:]
        raise PoseError(
            f"resize={config.resize}: this file takes {h}x{w} only; export it with dynamic=True, or use its .pt"
        )
    if rules_of(config.compat).one_size:
        raise UsageError(f"resize={config.resize} does not go with compat=True: Ultralytics 8.3 has one size only")


def detect_options(config: ValConfig) -> DetectOptions:
    """How `predict.detect` is to run for validation: uncertain keypoints are kept, also under the rules of 8.3."""
    rules = replace(rules_of(config.compat), zero_unsure=False)
    agnostic = config.agnostic_nms or config.single_cls
    return pick(DetectOptions, config, agnostic_nms=agnostic, multi_label=True, rules=rules)


def letterboxes(backend: Backend, sizes: Sequence[tuple[int, int]], config: ValConfig) -> list[Letterbox]:
    """The (first) letterbox of each image (H, W)."""
    if config.resize != "original":
        return letterboxes_for(backend, sizes, detect_options(config))
    info = backend.info
    return [fit(hw, info.input_size(hw), stride=info.stride, scaleup=False) for hw in sizes]


def further(backend: Backend, sizes: Sequence[tuple[int, int]], config: ValConfig) -> list[list[Letterbox]]:
    """For every further scale the letterbox of each image."""
    if config.resize != "multi":
        return []
    h, w = backend.info.input_size(config.imgsz)
    options = detect_options(config)
    return [letterboxes_for(backend, sizes, replace(options, imgsz=(round(h * f), round(w * f)))) for f in FACTORS[1:]]


def merge(parts: Sequence[Detections], options: DetectOptions) -> Detections:
    """What the scales found in one image, by the same suppression as within one; times add up."""
    boxes = np.concatenate([part.boxes for part in parts])
    keypoints = np.concatenate([part.keypoints for part in parts])
    classes = None if options.agnostic_nms else boxes[:, 5]
    kept = nms(boxes[:, :4].astype(np.float64), boxes[:, 4], options.iou, options.max_det, classes)
    speed = {step: sum(part.speed[step] for part in parts) for step in parts[0].speed}
    return Detections(boxes[kept], keypoints[kept], speed, parts[-1].shape)
