"""The only resize geometry of the project: an image scaled into a canvas, and boxes and points taken there and back.

Coordinates are continuous pixels: the pixel in row i and column j covers [j, j+1) by [i, i+1), so its centre lies at
(j + 0.5, i + 0.5). Rounding the scaled size to whole pixels makes the two axes' ratios differ a little; the inverse
uses each axis's own ratio, hence it is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.rules import DEFAULT, Rules

PADDING = 114  # the grey that YOLO networks are trained with


@dataclass(frozen=True)
class Letterbox:
    """Where an image of `source` (H, W) lies: scaled to `size` (H, W), at (`top`, `left`) of a `canvas` (H, W).

    `nominal_gain` maps back with the one nominal `gain` for both axes instead of the exact ratios (see `rules`).
    """

    source: tuple[int, int]
    size: tuple[int, int]
    canvas: tuple[int, int]
    top: int
    left: int
    nominal_gain: bool = False

    @property
    def scale(self) -> tuple[float, float]:
        """(x, y) canvas pixels per source pixel."""
        if self.nominal_gain:
            gain = min(self.canvas[0] / self.source[0], self.canvas[1] / self.source[1])
            return gain, gain
        return self.size[1] / self.source[1], self.size[0] / self.source[0]

    @property
    def offset(self) -> tuple[float, float]:
        """(x, y) of the image's corner in the canvas; for boxes by the nominal gain, rounded."""
        if not self.nominal_gain:
            return self.left, self.top
        x, y = self.point_offset
        return round(x - 0.1), round(y - 0.1)

    @property
    def point_offset(self) -> tuple[float, float]:
        """(x, y) of the corner for points: `offset`, with the nominal gain not rounded."""
        if not self.nominal_gain:
            return self.left, self.top
        gain, _ = self.scale
        return (self.canvas[1] - self.source[1] * gain) / 2, (self.canvas[0] - self.source[0] * gain) / 2

    def image(self, image: NDArray[np.uint8], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """(H, W, 3) → the canvas (H', W', 3), written into `out` when given; the channel order stays."""
        import cv2

        if image.shape[:2] != self.source:
            raise ValueError(f"letterbox made for {self.source}, image is {image.shape[:2]}")
        h, w = self.size
        if out is None:
            out = np.empty((*self.canvas, image.shape[2]), np.uint8)
        bottom, right = self.top + h, self.left + w
        out[: self.top] = PADDING
        out[bottom:] = PADDING
        out[self.top : bottom, : self.left] = PADDING
        out[self.top : bottom, right:] = PADDING
        inside = out[self.top : bottom, self.left : right]
        if self.size == self.source:
            inside[:] = image
        else:
            cv2.resize(image, (w, h), dst=inside, interpolation=cv2.INTER_LINEAR)
        return out

    def points_to_source(self, points: NDArray[Any]) -> NDArray[Any]:
        """(..., 2+) x y [and more columns, kept] from canvas to source pixels; a new array, not clipped."""
        return self._to_source(points, self.point_offset)

    def points_to_canvas(self, points: NDArray[Any]) -> NDArray[Any]:
        """(..., 2+) x y [and more columns, kept] from source to canvas pixels; a new array."""
        return self._to_canvas(points, self.point_offset)

    def boxes_to_source(self, boxes: NDArray[Any]) -> NDArray[Any]:
        """(..., 4) xyxy from canvas to source pixels; a new array, not clipped."""
        return self._to_source(boxes.reshape(*boxes.shape[:-1], 2, 2), self.offset).reshape(boxes.shape)

    def boxes_to_canvas(self, boxes: NDArray[Any]) -> NDArray[Any]:
        """(..., 4) xyxy from source to canvas pixels; a new array."""
        return self._to_canvas(boxes.reshape(*boxes.shape[:-1], 2, 2), self.offset).reshape(boxes.shape)

    def _to_source(self, points: NDArray[Any], offset: tuple[float, float]) -> NDArray[Any]:
        out = points.copy()
        out[..., :2] -= np.asarray(offset, out.dtype)
        out[..., :2] /= np.asarray(self.scale, out.dtype)
        return out

    def _to_canvas(self, points: NDArray[Any], offset: tuple[float, float]) -> NDArray[Any]:
        out = points.copy()
        out[..., :2] *= np.asarray(self.scale, out.dtype)
        out[..., :2] += np.asarray(offset, out.dtype)
        return out


def fit(
    source: tuple[int, int],
    imgsz: tuple[int, int],
    *,
    stride: int = 32,
    rect: bool = True,
    scaleup: bool = True,
    rules: Rules = DEFAULT,
) -> Letterbox:
    """The letterbox of an image of `source` (H, W) pixels into `imgsz` (H, W).

    With `rect` the canvas is the smallest multiple of `stride` that holds the scaled image, otherwise `imgsz` itself.
    Without `scaleup` a smaller image keeps its size. Padding is split evenly, an odd pixel going below or to the right.
    """
    gain = min(imgsz[0] / source[0], imgsz[1] / source[1])
    if not scaleup:
        gain = min(gain, 1.0)
    size = (max(round(source[0] * gain), 1), max(round(source[1] * gain), 1))
    pad = [imgsz[0] - size[0], imgsz[1] - size[1]]
    if rect:
        pad = [p % stride for p in pad]
    canvas = (size[0] + pad[0], size[1] + pad[1])
    return Letterbox(
        source, size, canvas, top=round(pad[0] / 2 - 0.1), left=round(pad[1] / 2 - 0.1), nominal_gain=rules.nominal_gain
    )
