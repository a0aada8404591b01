"""The training loss over a validation set."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from yolopose.data.batch import Batch
from yolopose.data.rows import Labels
from yolopose.evaluate.batching import on_canvas
from yolopose.geometry.boxes import Letterbox, cxcywh_to_xyxy, xyxy_to_cxcywh
from yolopose.loss.pose import LOSS_PARTS, PoseLoss, divisors
from yolopose.nn.head import Maps


class Losses:
    """Adds up the parts of the loss, group by group of images.

    With `whole` they are those of the whole set taken as one batch, so that grouping does not matter. Otherwise they
    are the mean over the groups, each normalised by itself: Ultralytics 8.3's rule.
    """

    def __init__(self, criterion: PoseLoss, *, whole: bool) -> None:
        self._criterion = criterion
        self._whole = whole
        self._sums = torch.zeros(len(LOSS_PARTS), dtype=torch.float64)
        self._weights = torch.zeros(len(LOSS_PARTS), dtype=torch.float64)
        self.seconds = 0.0

    def add(self, maps: Maps, batch: Batch) -> None:
        """Add the raw maps of a group and its truths."""
        start = time.perf_counter()
        with torch.inference_mode():
            sums, counts = self._criterion.sums(maps, batch.to(maps.keypoints.device))
            divided_by = divisors(counts)
            parts = (sums / divided_by.clamp(min=1)).cpu().double()  # MPS has no float64
            weights = divided_by.cpu().double() if self._whole else torch.ones(len(LOSS_PARTS))
            self._sums += parts * weights.clamp(min=1)
            self._weights += weights
        self.seconds += time.perf_counter() - start

    def observer(self, labels: Sequence[Labels], boxes: Sequence[Letterbox]) -> Callable[[Maps, list[int]], None]:
        """A function that adds the raw maps of some of these images, by their positions."""
        return lambda maps, at: self.add(maps, batch_of([labels[i] for i in at], [boxes[i] for i in at]))

    def result(self) -> dict[str, float]:
        """The parts under the names of their columns in results.csv."""
        values = self._sums / self._weights.clamp(min=1)
        return {f"val/{part}_loss": float(value) for part, value in zip(LOSS_PARTS, values, strict=True)}


def batch_of(labels: Sequence[Labels], boxes: Sequence[Letterbox]) -> Batch:
    """The truths of a group as the loss takes them, normalised by the canvas that the images share; without images."""
    placed = [on_canvas(own, box) for own, box in zip(labels, boxes, strict=True)]
    h, w = boxes[0].canvas
    truths = xyxy_to_cxcywh(np.concatenate([b for b, _ in placed])) / (w, h, w, h)
    keypoints = np.concatenate([k for _, k in placed]) / (w, h, 1)
    counts = [len(own) for own in labels]
    return Batch(
        images=torch.empty(len(labels), 3, 0, 0, dtype=torch.uint8),
        image_index=torch.from_numpy(np.repeat(np.arange(len(labels)), counts)),
        classes=torch.from_numpy(np.concatenate([own.classes for own in labels])),
        boxes=torch.from_numpy(truths.astype(np.float32)),
        keypoints=torch.from_numpy(keypoints.astype(np.float32)),
        paths=("",) * len(labels),
        ignore=_ignored(labels, boxes),
    )


def _ignored(labels: Sequence[Labels], boxes: Sequence[Letterbox]) -> torch.Tensor | None:
    """The boxes to ignore as `Batch` has them."""
    rows = []
    for i, (own, box) in enumerate(zip(labels, boxes, strict=True)):
        (h, w), (high, wide) = box.size, box.canvas
        corners = (cxcywh_to_xyxy(own.ignore[:, :4]) * (w, h, w, h) + (box.left, box.top) * 2) / ((wide, high) * 2)
        rows.append(np.column_stack([np.full(len(corners), i), corners, own.ignore[:, 4]]))
    ignore = np.concatenate(rows).astype(np.float32)
    return torch.from_numpy(ignore) if len(ignore) else None
