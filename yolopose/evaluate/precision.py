"""Precision, recall and average precision of detections, by box IoU and by keypoint similarity, in NumPy.

The rule is the one that YOLO users know. At each of ten overlap thresholds every detection chooses the truth of its
class that it overlaps most, and every truth accepts the most confident detection that chose it; average precision is
the area under the monotone precision envelope, read at 101 recalls. P and R are reported at the confidence where the
smoothed F1, averaged over the classes, is largest. `evaluate.coco` has COCO's own, slightly different, rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.geometry.boxes import iou_matrix
from yolopose.geometry.keypoints import BODY_AREA, oks

Array = NDArray[Any]
THRESHOLDS = np.linspace(0.5, 0.95, 10)
CONFIDENCES = np.linspace(0, 1, 1000)  # where the P, R and F1 curves are read
RECALLS = np.linspace(0, 1, 101)
SMOOTHING = 101  # points of CONFIDENCES: a tenth of them, made odd so that the window has a middle


@dataclass(frozen=True)
class Truth:
    """What is labelled in one image: G instances, in the pixels of the image."""

    classes: Array  # (G,)
    boxes: Array  # (G, 4) xyxy
    keypoints: Array  # (G, K, 3) x y v, v = 0: not labelled

    @property
    def posed(self) -> NDArray[np.bool_]:
        """(G,) instances with at least one labelled keypoint."""
        return np.asarray((self.keypoints[..., 2] != 0).any(1))


@dataclass(frozen=True)
class Matches:
    """One image's N detections against its G truths; the axis of 10 is THRESHOLDS."""

    confidence: Array  # (N,)
    classes: Array  # (N,)
    box_right: Array  # (N, 10) bool
    pose_right: Array  # (N, 10) bool
    pose_ignored: Array  # (N, 10) bool: neither right nor wrong for pose
    found: Array  # (N,) row of the truth that the detection finds by box at IoU 0.5, -1 for none
    truth_classes: Array  # (G,)
    truth_posed: Array  # (G,) bool: counts for pose


@dataclass(frozen=True)
class Scores:
    """Average precisions and curves of the C' classes that have truths."""

    classes: Array  # (C',) class indices
    truths: Array  # (C',) how many truths each class has
    ap: Array  # (C', 10) by threshold
    precision: Array  # (C', 1000) at CONFIDENCES, threshold 0.5
    recall: Array  # (C', 1000)
    envelope: Array  # (C', 101) precision at RECALLS, threshold 0.5
    best: int  # where in CONFIDENCES the mean smoothed F1 is largest

    @property
    def f1(self) -> Array:
        """(C', 1000) harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return np.asarray(2 * self.precision * self.recall / np.maximum(total, 1e-16))


def match_image(
    boxes: Array, keypoints: Array, truth: Truth, sigmas: Sequence[float], *, ignore_unlabelled: bool
) -> Matches:
    """(N, 6) xyxy conf cls and (N, K, D) in image pixels, most confident first, against one image's truth.

    With `ignore_unlabelled` a truth without a labelled keypoint does not count for pose, and neither does the detection
    that finds it (by box, at IoU 0.5), as in COCO; otherwise such a truth is a miss, Ultralytics 8.3's rule.
    """
    same_class = truth.classes[:, None] == boxes[None, :, 5]
    by_box = match_overlaps(iou_matrix(truth.boxes.astype(np.float64), boxes[:, :4].astype(np.float64)) * same_class)
    w, h = (truth.boxes[:, 2:4] - truth.boxes[:, :2]).astype(np.float64).T
    pose_right = match_overlaps(oks(truth.keypoints, keypoints, BODY_AREA * w * h, sigmas) * same_class) >= 0
    found, counted, ignored = by_box[:, 0], np.ones(len(truth.classes), bool), np.zeros_like(pose_right)
    if ignore_unlabelled:
        counted = truth.posed
        found_unlabelled = (found >= 0) & ~np.append(counted, True)[found]
        ignored = found_unlabelled[:, None] & ~pose_right
    return Matches(boxes[:, 4], boxes[:, 5], by_box >= 0, pose_right, ignored, found, truth.classes, counted)


def match_overlaps(overlap: Array) -> NDArray[np.int64]:
    """(G, N) overlaps, most confident detection first → (N, 10) row of the truth found, or -1, by threshold."""
    hits = np.full((overlap.shape[1], len(THRESHOLDS)), -1, np.int64)
    if not overlap.size:
        return hits
    choice, best = overlap.argmax(0), overlap.max(0)  # (N,)
    for t, threshold in enumerate(THRESHOLDS):
        able = np.flatnonzero(best >= threshold)
        rows, first = np.unique(choice[able], return_index=True)
        hits[able[first], t] = rows
    return hits


def compute_scores(images: Sequence[Matches], kind: str) -> Scores:
    """The scores of all images for `kind` "box" or "pose"."""
    none, no_rows = np.zeros(0), np.zeros((0, len(THRESHOLDS)), bool)
    conf = np.concatenate([none, *(m.confidence for m in images)])
    cls = np.concatenate([none, *(m.classes for m in images)])
    right = np.concatenate([no_rows, *(m.box_right if kind == "box" else m.pose_right for m in images)])
    skip = np.zeros_like(right) if kind == "box" else np.concatenate([no_rows, *(m.pose_ignored for m in images)])
    truths = [m.truth_classes if kind == "box" else m.truth_classes[m.truth_posed] for m in images]
    order = np.argsort(-conf, kind="stable")
    return _scores(right[order], skip[order], conf[order], cls[order], np.concatenate([none, *truths]))


def _scores(right: Array, skip: Array, conf: Array, cls: Array, truth_classes: Array) -> Scores:
    """(N, 10) right, (N, 10) left out, (N,) confidence in falling order, (N,) class, (G,) class of each truth."""
    classes, truths = np.unique(truth_classes, return_counts=True)
    ap, envelope = np.zeros((len(classes), len(THRESHOLDS))), np.zeros((len(classes), len(RECALLS)))
    precision, recall = np.zeros((2, len(classes), len(CONFIDENCES)))
    for c, (name, total) in enumerate(zip(classes, truths, strict=True)):
        for t in range(len(THRESHOLDS)):
            rows = (cls == name) & ~skip[:, t]
            if not rows.any():
                continue
            hits = np.cumsum(right[rows, t])
            p, r = hits / np.arange(1, len(hits) + 1), hits / total
            read = _envelope(p, r)
            ap[c, t] = (np.diff(RECALLS) * (read[1:] + read[:-1]) / 2).sum()  # np.trapezoid needs NumPy 2
            if t == 0:
                envelope[c] = read
                precision[c] = np.interp(-CONFIDENCES, -conf[rows], p, left=1)
                recall[c] = np.interp(-CONFIDENCES, -conf[rows], r, left=0)
    scores = Scores(classes.astype(np.int64), truths, ap, precision, recall, envelope, 0)
    return replace(scores, best=int(smooth(scores.f1.mean(0)).argmax())) if len(classes) else scores


def _envelope(precision: Array, recall: Array) -> Array:
    """(N,), (N,) → (101,) the monotone envelope of precision at RECALLS, from (0, 1) down to (1, 0).

    The closing point (1, 0) belongs to Ultralytics 8.3's rule: perfect detections score 0.995, not 1.
    """
    r = np.concatenate(([0.0], recall, [1.0]))
    p = np.concatenate(([1.0], precision, [0.0]))
    return np.interp(RECALLS, r, np.maximum.accumulate(p[::-1])[::-1])


def smooth(values: Array) -> Array:
    """(1000,) → (1000,) running mean over SMOOTHING points; the curve is extended by its end values."""
    half = SMOOTHING // 2
    padded = np.pad(values, half, mode="edge")
    return np.convolve(padded, np.full(SMOOTHING, 1 / SMOOTHING), mode="valid")
