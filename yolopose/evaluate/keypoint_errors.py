"""How far keypoints lie from where they should: percentiles in pixels and by instance size, and PCK, per keypoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.evaluate.precision import Judged, Truth

Array = NDArray[Any]
NEAR = (0.05, 0.1)  # PCK: within this share of √(box area)
RULE = (
    "distance from each labelled keypoint of a truth to that of the most confident detection that finds the truth by "
    "box (IoU 0.5); relative: over the square root of the box's area; PCK: share within so much of that root; "
    "truths that are not found are left out, see `found`"
)


class KeypointErrors:
    """Collects distances image by image."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._pixels: list[Array] = []  # (M, K) each, NaN where not labelled
        self._sizes: list[Array] = []  # (M,) √(box area)
        self._labelled = np.zeros(len(self.names), int)

    def add(self, keypoints: Array, truth: Truth, judged: Judged) -> None:
        """(N, K, D) detected keypoints of one image, in its pixels."""
        labelled = truth.keypoints[..., 2] != 0
        self._labelled += labelled.sum(0)
        rows = np.flatnonzero(judged.found >= 0)
        true = judged.found[rows]
        distance = np.linalg.norm(keypoints[rows, :, :2] - truth.keypoints[true, :, :2], axis=-1)
        self._pixels.append(np.where(labelled[true], distance, np.nan))
        side = truth.boxes[true, 2:] - truth.boxes[true, :2]
        self._sizes.append(np.sqrt(side.prod(1)))

    def table(self) -> list[dict[str, Any]]:
        """A row per keypoint and one for all: how many are labelled and found, errors, PCK; None without any."""
        pixels = np.concatenate([np.zeros((0, len(self.names))), *self._pixels])
        relative = pixels / np.concatenate([np.zeros(0), *self._sizes])[:, None]
        columns = [(name, self._labelled[i], pixels[:, i], relative[:, i]) for i, name in enumerate(self.names)]
        return [_row(*column) for column in (("all", self._labelled.sum(), pixels, relative), *columns)]


def _row(name: str, labelled: int, pixels: Array, relative: Array) -> dict[str, Any]:
    """The figures of one keypoint; NaN entries do not count."""
    known = ~np.isnan(pixels)
    pixels, relative = pixels[known], relative[known]
    row: dict[str, Any] = {"keypoint": name, "labelled": int(labelled), "found": len(pixels)}
    for unit, values in (("px", pixels), ("relative", relative)):
        row |= {f"p{q}_{unit}": float(np.percentile(values, q)) if len(values) else None for q in (50, 90, 95)}
        row[f"mean_{unit}"] = float(values.mean()) if len(values) else None
    return row | {f"pck{near:g}": float((relative <= near).mean()) if len(values) else None for near in NEAR}
