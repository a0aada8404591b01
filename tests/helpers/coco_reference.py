"""pycocotools, silenced: the twin that COCO's figures are compared with."""

from __future__ import annotations

import contextlib
import io
from copy import deepcopy
from typing import Any

import numpy as np

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
