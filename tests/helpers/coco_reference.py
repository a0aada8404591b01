"""pycocotools without its output, which COCO's figures are compared with, and results in its format."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from yolopose.evaluate.coco import Instances
from yolopose.evaluate.cocofiles import keypoints_of
from yolopose.geometry.keypoints import COCO_SIGMAS


def pycocotools(
    truths: dict[str, Any], results: list[dict[str, Any]], kind: str, sigmas: Any = COCO_SIGMAS
) -> list[float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = deepcopy(truths)
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(deepcopy(results)), kind)
        run.params.kpt_oks_sigmas = np.array(sigmas)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return list(run.stats)


def results_of(results: Sequence[Mapping[str, Any]], annotations: Mapping[str, Any]) -> Instances:
    """Results in COCO's format as arrays; without boxes the keypoints' bounding boxes are taken."""
    known = {image["id"] for image in annotations["images"]}
    assert all(row["image_id"] in known for row in results)
    keypoints = keypoints_of(results)
    if results and "bbox" not in results[0]:
        points = keypoints[..., :2]
        boxes = np.concatenate([points.min(1), np.ptp(points, 1)], 1)
    else:
        boxes = np.array([row["bbox"] for row in results], np.float64).reshape(-1, 4)
    image, category = (np.array([row[key] for row in results], int) for key in ("image_id", "category_id"))
    score = np.array([row["score"] for row in results], np.float64)
    return Instances.of(image, category, boxes, boxes[:, 2] * boxes[:, 3], keypoints, score=score)
