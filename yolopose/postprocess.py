"""From the network's candidate rows to the detections of one image, in NumPy."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from yolopose.geometry.boxes import cxcywh_to_xyxy, nms
from yolopose.rules import DEFAULT, Rules

Float = NDArray[np.float32]

MOST_CANDIDATES = 30_000  # the bound of Ultralytics 8.3 on what suppression looks at; the best are taken
COMPAT_SPAN = 7680  # Ultralytics 8.3 shifts the boxes of class c by 7680·c pixels, in float32


class Choice(Protocol):
    """What decides which candidates become detections; PredictConfig and ValConfig both do."""

    @property
    def conf(self) -> float: ...  # noqa: D102
    @property
    def multi_label(self) -> bool: ...  # noqa: D102
    @property
    def iou(self) -> float: ...  # noqa: D102
    @property
    def max_det(self) -> int: ...  # noqa: D102
    @property
    def agnostic_nms(self) -> bool: ...  # noqa: D102
    @property
    def classes(self) -> tuple[int, ...] | None: ...  # noqa: D102


def choose(rows: Float, classes: int, choice: Choice, rules: Rules = DEFAULT) -> tuple[Float, Float]:
    """(M, 4+C+K·D) → boxes (N, 6) x1 y1 x2 y2 score class, keypoints (N, K·D); input pixels, best first.

    A candidate belongs to its best class, the lower index among equals; with `multi_label` to every class it scores
    above `conf` in. Suppression is per class unless `agnostic_nms`; among equal scores the candidate with the lower row
    wins. No time limit cuts it short.
    """
    if not len(rows):
        return np.empty((0, 6), np.float32), rows[:, 4 + classes :]
    scores = rows[:, 4 : 4 + classes]
    if choice.multi_label and classes > 1:
        row, labels = np.nonzero(scores > choice.conf)
        rows, best = rows[row], scores[row, labels]
    else:
        labels = scores.argmax(1) if classes > 1 else np.zeros(len(rows), np.intp)
        best = scores[np.arange(len(rows)), labels]
    if choice.classes is not None:
        wanted = np.isin(labels, choice.classes)
        rows, labels, best = rows[wanted], labels[wanted], best[wanted]
    if len(rows) > MOST_CANDIDATES:
        top = np.argsort(-best, kind="stable")[:MOST_CANDIDATES]
        rows, labels, best = rows[top], labels[top], best[top]
    boxes = cxcywh_to_xyxy(rows[:, :4])
    kept = nms(_apart(boxes, labels, choice, rules), best, choice.iou, choice.max_det)
    out = np.empty((len(kept), 6), np.float32)
    out[:, :4], out[:, 4], out[:, 5] = boxes[kept], best[kept], labels[kept]
    return out, rows[kept, 4 + classes :]


def _apart(boxes: Float, labels: NDArray[Any], choice: Choice, rules: Rules) -> NDArray[Any]:
    """The boxes with each class moved to a region of its own, so that classes do not suppress one another."""
    if choice.agnostic_nms or not labels.any():
        return boxes
    if rules.class_offset:
        return np.asarray(boxes + (labels[:, None] * COMPAT_SPAN).astype(np.float32))
    span = np.abs(boxes).max() * 2.0 + 1  # in float64, where the shift costs no digit that matters
    return np.asarray(boxes.astype(np.float64) + labels[:, None] * span)
