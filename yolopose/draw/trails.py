"""Where tracks have been: a line for each that fades towards its older end."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import numpy as np

from yolopose.draw.instances import PALETTE, Array, Image

WIDTH = 0.0022  # of the mean side of the image


class Trails:
    """The last centres of the boxes of each track; tracks that are away for longer are forgotten.

    >>> trails = Trails(length=30)
    >>> picture = trails.draw(np.zeros((100, 100, 3), np.uint8), np.array([[10, 10, 30, 50, 7, 0.9, 0]]))
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._frame = 0
        self._paths: dict[int, deque[tuple[int, float, float]]] = {}  # by track: frame and centre

    def draw(self, image: Image, boxes: Array) -> Image:
        """A copy of (H, W, 3) with the trails up to the boxes (M, 7) x1 y1 x2 y2 id score class of this frame."""
        self._frame += 1
        for row in boxes[np.isfinite(boxes[:, :5]).all(1)]:
            path = self._paths.setdefault(int(row[4]), deque(maxlen=self.length + 1))
            path.append((self._frame, float(row[0] + row[2]) / 2, float(row[1] + row[3]) / 2))
        self._paths = {i: path for i, path in self._paths.items() if path[-1][0] > self._frame - self.length}
        canvas = np.ascontiguousarray(image).copy()
        self._blend(canvas)
        return canvas

    def _blend(self, canvas: Image) -> None:
        """Draw all trails in place: colours and shares of them in layers of their own, then both together."""
        import cv2

        h, w = canvas.shape[:2]
        line = max(round((h + w) / 2 * WIDTH), 1)
        layer, share = np.zeros_like(canvas), np.zeros((h, w), np.uint8)
        for track, path in sorted(self._paths.items()):
            for (_, *start), (frame, *end) in pairwise(path):
                opacity = 1 - (self._frame - frame) / self.length
                if opacity > 0:
                    a, b = (
                        np.round((np.clip(point, -1e5, 1e5) - 0.5) * 16).astype(int).tolist() for point in (start, end)
                    )
                    cv2.line(layer, a, b, PALETTE[track % len(PALETTE)], line + 2, cv2.LINE_8, 4)
                    cv2.line(share, a, b, round(230 * opacity), line, cv2.LINE_AA, 4)
        rows, columns = np.flatnonzero(share.any(1)), np.flatnonzero(share.any(0))
        if len(rows):
            part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            weight = share[part][..., None] / np.float32(255)
            canvas[part] = (canvas[part] * (1 - weight) + layer[part] * weight + 0.5).astype(np.uint8)
