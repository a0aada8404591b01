"""Precision, recall and average precision of detections, by box IoU and by keypoint similarity, in NumPy.

The rule is the one that YOLO users know. At each of ten overlap thresholds every detection chooses the truth of its
class that it overlaps most, and every truth accepts the most confident detection that chose it; average precision is
the area under the monotone precision envelope, read at 101 recalls. P and R are reported at the confidence where the
smoothed F1, averaged over the classes, is largest. `evaluate.coco` has COCO's own, slightly different, rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
class Judged:
    """One image's N detections against its G truths; the axis of 10 is THRESHOLDS."""

    confidence: Array  # (N,)
    classes: Array  # (N,)
    box_right: Array  # (N, 10) bool
    pose_right: Array  # (N, 10) bool
    pose_ignored: Array  # (N, 10) bool: neither right nor wrong for pose
    found: Array  # (N,) row of the truth found by box at IoU 0.5, -1 for none
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


def judge(boxes: Array, keypoints: Array, truth: Truth, sigmas: Sequence[float], *, ignore_unlabelled: bool) -> Judged:
    """(N, 6) xyxy conf cls and (N, K, D) in image pixels, most confident first, against one image's truth.

    With `ignore_unlabelled` a truth without a labelled keypoint does not count for pose, and neither does the detection
    that finds it (by box, at IoU 0.5), as COCO has it; otherwise such a truth is a miss, Ultralytics 8.3's rule.
    """
    same_class = truth.classes[:, None] == boxes[None, :, 5]
    by_box = match(iou_matrix(truth.boxes.astype(np.float64), boxes[:, :4].astype(np.float64)) * same_class)
    w, h = (truth.boxes[:, 2:4] - truth.boxes[:, :2]).astype(np.float64).T
    pose_right = match(oks(truth.keypoints, keypoints, BODY_AREA * w * h, sigmas) * same_class) >= 0
    found, counted, ignored = by_box[:, 0], np.ones(len(truth.classes), bool), np.zeros_like(pose_right)
    if ignore_unlabelled:
        counted = truth.posed
        found_unlabelled = (found >= 0) & ~np.append(counted, True)[found]
        ignored = found_unlabelled[:, None] & ~pose_right
    return Judged(boxes[:, 4], boxes[:, 5], by_box >= 0, pose_right, ignored, found, truth.classes, counted)


def match(overlap: Array) -> NDArray[np.int64]:
    """(G, N) overlaps, most confident detection first → (N, 10) row of the truth found, or -1, by threshold."""
    g, n = overlap.shape
    hits = np.full((n, len(THRESHOLDS)), -1, np.int64)
    if g == 0 or n == 0:
        return hits
    choice = overlap.argmax(0)  # (N,)
    best = overlap.max(0)
    for t, threshold in enumerate(THRESHOLDS):
        able = np.flatnonzero(best >= threshold)
        rows, first = np.unique(choice[able], return_index=True)
        hits[able[first], t] = rows
    return hits


def score(images: Sequence[Judged], kind: str) -> Scores:
    """The scores of a set of judged images for `kind` "box" or "pose"."""
    conf, cls = (_join([getattr(j, name) for j in images]) for name in ("confidence", "classes"))
    right = _join([j.box_right if kind == "box" else j.pose_right for j in images], (0, len(THRESHOLDS)))
    skip = np.zeros_like(right) if kind == "box" else _join([j.pose_ignored for j in images], right.shape)
    counted = [j.truth_classes if kind == "box" else j.truth_classes[j.truth_posed] for j in images]
    order = np.argsort(-conf, kind="stable")
    return _score(right[order], skip[order], conf[order], cls[order], _join(counted))


def _join(parts: list[Array], empty: tuple[int, ...] = (0,)) -> Array:
    """The parts one after the other."""
    return np.concatenate(parts) if parts else np.zeros(empty)


def _score(right: Array, skip: Array, conf: Array, cls: Array, truth_classes: Array) -> Scores:
    """(N, 10) right, (N, 10) left out, (N,) confidence in falling order, (N,) class, (G,) class of each truth."""
    classes, truths = np.unique(truth_classes, return_counts=True)
    ap = np.zeros((len(classes), len(THRESHOLDS)))
    precision, recall = np.zeros((2, len(classes), len(CONFIDENCES)))
    envelope = np.zeros((len(classes), len(RECALLS)))
    for c, (name, total) in enumerate(zip(classes, truths, strict=True)):
        mine = cls == name
        for t in range(len(THRESHOLDS)):
            rows = mine & ~skip[:, t]
            hits = np.cumsum(right[rows, t])
            if not len(hits):
                continue
            p, r = hits / np.arange(1, len(hits) + 1), hits / total
            read = _envelope(p, r)
            ap[c, t] = _area(read)
            if t == 0:
                envelope[c] = read
                precision[c] = np.interp(-CONFIDENCES, -conf[rows], p, left=1)
                recall[c] = np.interp(-CONFIDENCES, -conf[rows], r, left=0)
    scores = Scores(classes.astype(np.int64), truths, ap, precision, recall, envelope, 0)
    if not len(classes):
        return scores
    best = int(smooth(scores.f1.mean(0)).argmax())
    return Scores(scores.classes, truths, ap, precision, recall, envelope, best)


def _area(read: NDArray[np.float64]) -> float:
    """The area below precisions at RECALLS, by trapezoids; NumPy's own function has another name before 2.0."""
    return float((np.diff(RECALLS) * (read[1:] + read[:-1]) / 2).sum())


def _envelope(precision: Array, recall: Array) -> Array:
    """(N,), (N,) → (101,) precision at RECALLS once it never rises with recall, from (0, 1) down to (1, 0).

    The closing point (1, 0) belongs to Ultralytics 8.3's rule: perfect detections score 0.995, not 1.
    """
    r = np.concatenate(([0.0], recall, [1.0]))
    p = np.concatenate(([1.0], precision, [0.0]))
    return np.interp(RECALLS, r, np.maximum.accumulate(p[::-1])[::-1])


def smooth(values: Array) -> Array:
    """(1000,) → (1000,) running mean over SMOOTHING points; beyond its ends the curve goes on level."""
    half = SMOOTHING // 2
    padded = np.pad(values, half, mode="edge")
    return np.convolve(padded, np.full(SMOOTHING, 1 / SMOOTHING), mode="valid")
