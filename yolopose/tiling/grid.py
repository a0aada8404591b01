"""Where the tiles of a picture lie, and the pictures that they are cut from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import UsageError
from yolopose.limits import MAX_TILES

Image = NDArray[np.uint8]
Region = tuple[int, int, int, int]  # x1 y1 x2 y2 in pixels, x2 and y2 not included


class Picture(Protocol):
    """A picture that gives parts of itself, so that it need not be in memory as a whole.

    Regions are asked for in the sequence of `order`, and `reduced` once, afterwards.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, 3)."""
        ...

    def order(self, regions: Sequence[Region]) -> Sequence[int]:
        """The positions of regions in the sequence in which they are read fastest."""
        ...

    def region(self, x1: int, y1: int, x2: int, y2: int) -> Image:
        """The pixels (y2 - y1, x2 - x1, 3) BGR."""
        ...

    def reduced(self, long_side: int) -> Image:
        """The whole picture (h, w, 3) BGR: scaled down to a long side of `long_side`, or at its own size."""
        ...


class ArrayPicture:
    """An (H, W, 3) array as a `Picture`."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.shape: tuple[int, ...] = image.shape

    def order(self, regions: Sequence[Region]) -> Sequence[int]:
        """Any sequence is as fast."""
        return range(len(regions))

    def region(self, x1: int, y1: int, x2: int, y2: int) -> Image:
        """A view of the pixels."""
        return self.image[y1:y2, x1:x2]

    def reduced(self, long_side: int) -> Image:
        """The array itself: the letterbox resizes it."""
        return self.image


def as_picture(image: Any) -> Picture:
    """An array or a `Picture` as a `Picture`."""
    picture: Picture = ArrayPicture(image) if isinstance(image, np.ndarray) else image
    return picture


def starts(side: int, tile: int, overlap: float) -> list[int]:
    """The first pixels of the tiles along a side of `side` pixels; the last tile ends where the side does.

    Neighbours share at least the part `overlap` of a tile.
    """
    step = max(int(tile * (1 - overlap) + 1e-6), 1)
    return [*range(0, max(side - tile, 0), step), max(side - tile, 0)]


def tiles(hw: tuple[int, int], tile: int, overlap: float) -> list[Region]:
    """The tiles of a picture (H, W), row by row; they are cut off where the picture is smaller than a tile.

    Raises:
        UsageError: more than MAX_TILES.
    """
    h, w = hw
    rows, columns = starts(h, tile, overlap), starts(w, tile, overlap)
    if len(rows) * len(columns) > MAX_TILES:
        raise UsageError(
            f"tile={tile} with overlap={overlap:g}: {len(rows) * len(columns)} tiles of a picture of {w}x{h} pixels, "
            f"at most {MAX_TILES} are run; choose larger tiles"
        )
    return [(x, y, min(x + tile, w), min(y + tile, h)) for y in rows for x in columns]
