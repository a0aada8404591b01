"""What a model finds in an image, merged with the labels that the image has."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.data.rows import Labels
from yolopose.geometry.boxes import area, cxcywh_to_xyxy, intersections, iou_matrix

Array = NDArray[Any]
SAME = 0.5  # IoU above which a detection and a label are of one instance
APART = 0.3  # IoU up to which they are of two; between the two nobody knows, and nothing is added
OUTSIDE = 0.1  # of the box's side: a keypoint further outside its own box is not labelled
COVERED = 0.5  # share of a detection's area in a box to ignore above which it is part of it


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """Which detections become labels; `docs/arguments.md` explains each field of the same name."""

    what: str = "both"
    conf: float = 0.5
    unsure: float = 0.2
    kpt_conf: float = 0.5


def merge(own: Labels, found: Labels, scores: Array, options: LabelOptions) -> tuple[Labels, Counter[str]]:
    """The labels of an image with what a model adds, and how much of each kind it added.

    What is labelled stays as it is and in its place. With points, a labelled instance without any labelled keypoint
    gets those of the detection of its class that overlaps it most (IoU of `SAME` or more). With boxes, a detection that
    overlaps no label of its class by more than `APART` is added, or, with a score below `conf`, becomes a box to
    ignore. Detections in a box to ignore are part of it.

    Args:
        own: the labels.
        found: the detections, all with a score of `options.unsure` or more; v of a keypoint is its score.
        scores: (N,) of the detections.
        options: the thresholds, and what is added.
    """
    points = found.keypoints.copy()
    place = np.abs(points[..., :2] - found.boxes[:, None, :2]) / found.boxes[:, None, 2:]  # 0.5 is the box's edge
    points[..., 2] = 2.0 * ((points[..., 2] >= options.kpt_conf) & (place <= 0.5 + OUTSIDE).all(-1))
    points[points[..., 2] == 0] = 0
    if options.what == "boxes":
        points = np.zeros_like(points)
    found = replace(found, keypoints=points)
    counts: Counter[str] = Counter()
    labels = own
    if options.what != "boxes":
        labels = _with_points(own, found)
        counts["points"] = int(((labels.keypoints[..., 2] > 0).any(1) & ~(own.keypoints[..., 2] > 0).any(1)).sum())
    if options.what != "points":
        free = _is_free(own, found)
        sure = free & (scores >= options.conf)
        added = found.keep(sure)
        unsure = found.keep(free & ~sure & _is_free(added, found))
        ignore = np.pad(unsure.boxes, ((0, 0), (0, 1)))
        labels = Labels(
            np.concatenate([labels.classes, added.classes]),
            np.concatenate([labels.boxes, added.boxes]),
            np.concatenate([labels.keypoints, added.keypoints]),
            np.concatenate([labels.ignore, ignore]),
        )
        counts.update(boxes=len(added), ignored=len(unsure))
    return labels, counts


def _with_points(own: Labels, found: Labels) -> Labels:
    """`own` with keypoints of detections where an instance has none; pairs of largest overlap first."""
    overlap: Any = _overlap(own, found)
    keypoints = own.keypoints.copy()
    bare = ~np.asarray((keypoints[..., 2] > 0).any(1))
    while overlap.size and overlap.max() >= SAME:
        row, column = divmod(int(overlap.argmax()), overlap.shape[1])
        if bare[row]:
            keypoints[row] = found.keypoints[column]
        overlap[row], overlap[:, column] = -1, -1
    return replace(own, keypoints=keypoints)


def _is_free(own: Labels, found: Labels) -> NDArray[np.bool_]:
    """(N,) whether a detection overlaps no label of its class, and lies in no box to ignore."""
    boxes = cxcywh_to_xyxy(found.boxes)
    inside = intersections(boxes, cxcywh_to_xyxy(own.ignore[own.ignore[:, 4] == 0, :4]))[0]
    covered = (inside > COVERED * area(boxes)[:, None]).any(1)
    return np.asarray(~covered & ~(_overlap(own, found) > APART).any(0))


def _overlap(own: Labels, found: Labels) -> Array:
    """(G, N) IoU of labels and detections of one class, 0 between classes; a new array."""
    iou = iou_matrix(cxcywh_to_xyxy(own.boxes), cxcywh_to_xyxy(found.boxes))
    return np.where(own.classes[:, None] == found.classes, iou, 0.0)
