"""One validated image, and the base classes of all that receives every image: files and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from yolopose.data.labels import ImageItem
from yolopose.evaluate.precision import Truth

if TYPE_CHECKING:
    from yolopose.detect import Detections


@dataclass(frozen=True)
class ValidatedImage:
    """One validated image: its position in the data set, its truths and its detections."""

    position: int
    item: ImageItem
    image: NDArray[np.uint8]
    truth: Truth
    found: Detections


class Output:
    """Something made from all images: `add` gets each once, in no particular order, then `finish` is called."""

    def add(self, sample: ValidatedImage) -> None:
        """Take one image."""
        raise NotImplementedError

    def finish(self) -> None:
        """Complete the output after the last image."""


class Measure(Output):
    """An output that computes metrics; `name` is the field of `Metrics` that holds them."""

    name: str

    def figures(self) -> dict[str, Any]:
        """Everything measured, in JSON types."""
        raise NotImplementedError

    def lines(self) -> list[str]:
        """The printed lines."""
        return []

    def plot(self, folder: Path) -> None:
        """Write the plots."""
