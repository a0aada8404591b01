"""The training loss over a validation set."""

from __future__ import annotations

import copy
import time

import torch
from torch import Tensor

from yolopose.data.batch import Batch
from yolopose.loss.pose import PARTS, PoseLoss
from yolopose.nn.head import Maps


class Losses:
    """Adds up the parts of the loss, group by group of images.

    With `whole` they are those of the whole set taken as one batch, so that grouping does not matter. Otherwise they
    are the mean over the groups, each normalised by itself: Ultralytics 8.3's rule.
    """

    def __init__(self, criterion: PoseLoss, *, whole: bool) -> None:
        # A copy of its own, whose normalisers are seen here instead of being summed over ranks.
        self._criterion = copy.copy(criterion)
        self._criterion.reduce = self._note
        self._whole = whole
        self._counts = torch.zeros(2)
        self._sums = torch.zeros(len(PARTS), dtype=torch.float64)
        self._weights = torch.zeros(len(PARTS), dtype=torch.float64)
        self.seconds = 0.0

    def add(self, maps: Maps, batch: Batch) -> None:
        """Take the raw maps of a group and its truths."""
        start = time.perf_counter()
        with torch.inference_mode():
            parts = self._criterion(maps, batch.to(maps.keypoints.device))[1].cpu().double()  # MPS has no float64
            targets, counted = self._counts.cpu().double()
            weights = torch.stack((targets, counted, counted, targets, targets)) if self._whole else torch.ones(5)
            self._sums += parts * weights.clamp(min=1)  # the criterion divides by no less than 1
            self._weights += weights
        self.seconds += time.perf_counter() - start

    def result(self) -> dict[str, float]:
        """The parts by the names that results.csv gives them."""
        values = self._sums / self._weights.clamp(min=1)
        return {f"val/{part}_loss": float(value) for part, value in zip(PARTS, values, strict=True)}

    def _note(self, counts: Tensor) -> Tensor:
        """Remember Σ t and |P| of a group, see `PoseLoss`."""
        self._counts = counts[:2]
        return counts
