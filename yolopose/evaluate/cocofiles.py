"""COCO's JSON: annotations and results to arrays, detections to results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError
from yolopose.evaluate.coco import Instances

Array = NDArray[Any]
BODY_AREA = 0.53  # area over box area where annotations have none, as in CrowdPose


def truths_of(annotations: Mapping[str, Any]) -> Instances:
    """The annotations of the images that a COCO annotation file lists."""
    known = {image["id"] for image in annotations["images"]}
    rows = [row for row in annotations["annotations"] if row["image_id"] in known]
    boxes = _boxes(rows)
    box_area = BODY_AREA * boxes[:, 2] * boxes[:, 3]
    area = [row.get("area", guess) for row, guess in zip(rows, box_area, strict=True)]
    return _instances(rows, boxes, np.array(area, np.float64))


def results_of(results: Sequence[Mapping[str, Any]], annotations: Mapping[str, Any]) -> Instances:
    """Results in COCO's format; without boxes the keypoints' bounding boxes serve.

    Raises:
        PoseError: a result belongs to an image that the annotations do not list.
    """
    known = {image["id"] for image in annotations["images"]}
    strange = next((row["image_id"] for row in results if row["image_id"] not in known), None)
    if strange is not None:
        raise PoseError(f"results for image {strange!r}, which the annotations do not list")
    if results and "bbox" not in results[0]:
        points = _keypoints(results)[..., :2]
        boxes = np.concatenate([points.min(1), np.ptp(points, 1)], 1)
    else:
        boxes = _boxes(results)
    return _instances(results, boxes, boxes[:, 2] * boxes[:, 3])


def _instances(rows: Sequence[Mapping[str, Any]], boxes: Array, area: Array) -> Instances:
    """Arrays from rows that have image_id and category_id; what else they have is optional."""
    keypoints = _keypoints(rows)
    labelled = [row.get("num_keypoints", (points[:, 2] > 0).sum()) for row, points in zip(rows, keypoints, strict=True)]
    return Instances(
        image=np.array([row["image_id"] for row in rows], dtype=None if rows else int),
        category=np.array([row["category_id"] for row in rows], int),
        boxes=boxes,
        area=area,
        keypoints=keypoints,
        labelled=np.array(labelled, int),
        score=np.array([row.get("score", 1.0) for row in rows], np.float64),
        crowd=np.array([bool(row.get("iscrowd", 0)) for row in rows], bool),
        unseen=np.array([row.get("id") == 0 for row in rows], bool),
    )


def _boxes(rows: Sequence[Mapping[str, Any]]) -> Array:
    """(N, 4) left, top, width, height."""
    return np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)


def _keypoints(rows: Sequence[Mapping[str, Any]]) -> Array:
    """(N, K, 3); K = 0 where the rows have none."""
    points = [row.get("keypoints", ()) for row in rows]
    return np.array(points, np.float64).reshape(len(rows), len(points[0]) // 3 if rows else 0, 3)
