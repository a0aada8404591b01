"""Trails: where the tracked instances of a video were in the frames before."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.draw.instances import PALETTE, SHADE, Image

LENGTH = 40  # frames


class TrailHistory:
    """The latest positions of each track of a video: the middles of its boxes, in pixels.

    Tracks that were not there for `length` frames are forgotten.
    """

    def __init__(self, length: int = LENGTH) -> None:
        self.length = length
        self._positions: dict[int, deque[tuple[float, float]]] = {}
        self._seen: dict[int, int] = {}
        self._frame = 0

    def add(self, boxes: NDArray[Any]) -> dict[int, Sequence[tuple[float, float]]]:
        """Take the boxes (M, 7) of the next frame; returns the positions of its tracks, the oldest first."""
        self._frame += 1
        middles = ((boxes[:, :2] + boxes[:, 2:4]) / 2).tolist()
        for number, (x, y) in zip(boxes[:, 4].astype(int).tolist(), middles, strict=True):
            self._positions.setdefault(number, deque(maxlen=self.length)).append((x, y))
            self._seen[number] = self._frame
        for number in [number for number, frame in self._seen.items() if self._frame - frame > self.length]:
            del self._seen[number], self._positions[number]
        return {n: positions for n, positions in self._positions.items() if self._seen[n] == self._frame}


def draw_trails(
    image: Image, history: Mapping[int, Sequence[tuple[float, float]]], *, line_width: float | None = None
) -> Image:
    """(H, W, 3) and the positions x y of each track in pixels, the oldest first → a new image.

    A trail has the colour of its track's box and becomes thinner towards its end; `line_width` None fits the image.
    """
    import cv2

    canvas = np.ascontiguousarray(image).copy()
    widest = line_width or sum(canvas.shape[:2]) / 2 * 0.0035 + 0.6
    for number, positions in history.items():
        at = np.round((np.array(positions, np.float64).reshape(-1, 2) - 0.5).clip(-1e5, 1e5) * 16).astype(int).tolist()
        for rim, color in ((2, SHADE), (0, PALETTE[number % len(PALETTE)])):
            for i in range(1, len(at)):
                width = max(round(widest * (0.3 + 0.7 * i / len(at))), 1)
                cv2.line(canvas, at[i - 1], at[i], color, width + rim, cv2.LINE_AA, 4)
    return canvas
