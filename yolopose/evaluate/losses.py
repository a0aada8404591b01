"""The training loss over a validation set."""

from __future__ import annotations

import time

import torch

from yolopose.data.batch import Batch
from yolopose.loss.pose import PARTS, PoseLoss, divisors
from yolopose.nn.head import Maps


class Losses:
    """Adds up the parts of the loss, group by group of images.

    With `whole` they are those of the whole set taken as one batch, so that grouping does not matter. Otherwise they
    are the mean over the groups, each normalised by itself: Ultralytics 8.3's rule.
    """

    def __init__(self, criterion: PoseLoss, *, whole: bool) -> None:
        self._criterion = criterion
        self._whole = whole
        self._sums = torch.zeros(len(PARTS), dtype=torch.float64)
        self._weights = torch.zeros(len(PARTS), dtype=torch.float64)
        self.seconds = 0.0

    def add(self, maps: Maps, batch: Batch) -> None:
        """Add the raw maps of a group and its truths."""
        start = time.perf_counter()
        with torch.inference_mode():
            sums, counts = self._criterion.sums(maps, batch.to(maps.keypoints.device))
            divided_by = divisors(counts)
            parts = (sums / divided_by.clamp(min=1)).cpu().double()  # MPS has no float64
            weights = divided_by.cpu().double() if self._whole else torch.ones(len(PARTS))
            self._sums += parts * weights.clamp(min=1)
            self._weights += weights
        self.seconds += time.perf_counter() - start

    def result(self) -> dict[str, float]:
        """The parts under the names of their columns in results.csv."""
        values = self._sums / self._weights.clamp(min=1)
        return {f"val/{part}_loss": float(value) for part, value in zip(PARTS, values, strict=True)}
