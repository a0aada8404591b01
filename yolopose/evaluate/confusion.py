"""The confusion matrix of classes, by box."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.geometry.boxes import iou_matrix
from yolopose.tables import Rows

Array = NDArray[Any]
IOU = 0.45  # boxes that overlap by more than this match
CONFIDENCE = 0.25  # lowest of the detections that count, unless the user set another
DEFAULT_CONF = 0.001  # val's default confidence, too low for counting detections


class FalseAlarms:
    """Detections on background images, which have neither an instance of the measured classes nor a box to ignore.

    Every one of them is wrong, whatever its box; average precision hardly shows them where objects are frequent.
    """

    def __init__(self, confusion: ConfusionMatrix) -> None:
        self._confidence = confusion.conf
        self._counts: list[int] = []  # of each background image

    def add(self, boxes: Array) -> None:
        """Count one background image: (N, 6) xyxy conf cls."""
        self._counts.append(int((boxes[:, 4] > self._confidence).sum()))

    def figures(self) -> dict[str, Any]:
        """The counts, and detections per 100 background images; nothing without background images."""
        images, found = len(self._counts), sum(self._counts)
        if not images:
            return {}
        wrong = sum(count > 0 for count in self._counts)
        return {
            "background_images": images,
            "detections": found,
            "images_with_detections": wrong,
            "per_100_images": round(100 * found / images, 2),
            "confidence": self._confidence,
        }


class ConfusionMatrix(Rows):
    """`matrix` (C + 1, C + 1): rows the predicted class, columns the true one; the last of each is background.

    Every detection chooses the truth it overlaps most, of any class, and every truth keeps the detection that overlaps
    it most among those. Other detections count as background that was detected, other truths as missed.

    `summary`, `to_df`, `to_csv` and `to_json` have a row per predicted class.
    """

    def __init__(self, names: dict[int, str], conf: float = DEFAULT_CONF) -> None:
        self.names = list(names.values())
        self.conf = CONFIDENCE if conf == DEFAULT_CONF else conf
        self.matrix = np.zeros((len(names) + 1, len(names) + 1))

    def add(self, boxes: Array, truth_boxes: Array, truth_classes: Array) -> None:
        """Count one image: (N, 6) xyxy conf cls, most confident first, against (G, 4) xyxy and (G,)."""
        boxes = boxes[boxes[:, 4] > self.conf]
        predicted, true = boxes[:, 5].astype(int), np.asarray(truth_classes).astype(int)
        size = len(self.matrix)
        found = np.full(len(true), -1)
        if len(boxes) and len(true):
            overlap = iou_matrix(truth_boxes, boxes[:, :4])  # (G, N)
            chosen = overlap.argmax(0)[None] == np.arange(len(true))[:, None]
            overlap = np.where(chosen & (overlap > IOU), overlap, 0)
            found = np.where(overlap.max(1) > 0, overlap.argmax(1), -1)
        hit = found >= 0
        spare = np.setdiff1d(np.arange(len(boxes)), found[hit])
        np.add.at(self.matrix, (predicted[found[hit]], true[hit]), 1)
        self.matrix[-1] += np.bincount(true[~hit], minlength=size)
        self.matrix[:, -1] += np.bincount(predicted[spare], minlength=size)

    def __repr__(self) -> str:
        counted = int(self.matrix.sum())
        return f"ConfusionMatrix({len(self.names)} classes, {counted} counted from confidence {self.conf:g})"

    def summary(self, normalize: bool = False, decimals: int = 5) -> list[dict[str, Any]]:
        """A row per predicted class, background last: `Predicted`, then the count for each true class.

        With `normalize` shares of the true class instead of counts.
        """
        values = self.normalized() if normalize else self.matrix
        labels = [*self.names, "background"]
        return [
            {"Predicted": label, **dict(zip(labels, [round(value, decimals) for value in row], strict=True))}
            for label, row in zip(labels, values.tolist(), strict=True)
        ]

    def plot(self, normalize: bool = True, save_dir: str | Path = "", names: Any = ()) -> Path:
        """Draw confusion_matrix(_normalized).png into a folder, by default the working folder; → the file."""
        from yolopose.plots.confusion import plot_confusion

        path = Path(save_dir) / f"confusion_matrix{'_normalized' if normalize else ''}.png"
        values = self.normalized() if normalize else self.matrix
        title = "Shares of each true class" if normalize else f"Confusion matrix (confidence {self.conf:g})"
        shown = list(names.values() if isinstance(names, dict) else names) or self.names
        plot_confusion(values, shown, title, path)
        return path

    def normalized(self) -> Array:
        """(C + 1, C + 1) each column divided by its sum: which share of a true class was predicted as which class."""
        return np.asarray(self.matrix / np.maximum(self.matrix.sum(0, keepdims=True), 1e-9))
