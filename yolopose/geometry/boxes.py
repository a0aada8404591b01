"""Boxes in NumPy (conversions, overlap, non-maximum suppression), and the letterbox: an image scaled into a canvas.

The letterbox is the only resize geometry of the project; it also maps boxes and points back to the image. Coordinates
are continuous pixels unless stated otherwise: the pixel in row i and column j covers [j, j+1) by [i, i+1), so its
centre lies at (j + 0.5, i + 0.5). Rounding the scaled size to whole pixels makes the two axes'
ratios differ a little; the inverse is exact, because it uses each axis's own ratio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.rules import DEFAULT, Rules

PADDING = 114  # the grey that YOLO networks are trained with
_BLOCK = 128  # boxes processed at a time: large enough for NumPy, small enough to compute few unused overlaps
Array = NDArray[Any]


def cxcywh_to_xyxy(boxes: Array) -> Array:
    """(..., 4) centre x y, width, height → (..., 4) left, top, right, bottom; a new array of the same dtype."""
    out = np.empty_like(boxes)
    half = boxes[..., 2:4] / 2
    np.subtract(boxes[..., :2], half, out=out[..., :2])
    np.add(boxes[..., :2], half, out=out[..., 2:4])
    return out


def xyxy_to_cxcywh(boxes: Array) -> Array:
    """(..., 4) left, top, right, bottom → (..., 4) centre x y, width, height; a new array of the same dtype."""
    out = np.empty_like(boxes)
    out[..., :2] = (boxes[..., :2] + boxes[..., 2:4]) / 2
    out[..., 2:4] = boxes[..., 2:4] - boxes[..., :2]
    return out


def clip_boxes(boxes: Array, hw: tuple[int, int]) -> Array:
    """(..., 4) xyxy clipped to an image of (H, W) pixels; a new array."""
    h, w = hw
    return np.asarray(boxes.clip(0, np.array([w, h, w, h], boxes.dtype)))


def area(boxes: Array) -> Array:
    """(..., 4) xyxy → (...) areas; 0 where right < left or bottom < top."""
    side = np.maximum(boxes[..., 2:4] - boxes[..., :2], 0)
    return np.asarray(side[..., 0] * side[..., 1])


def iou_matrix(a: Array, b: Array) -> Array:
    """(M, 4), (N, 4) xyxy → (M, N) intersection over union; 0 where both boxes are empty."""
    inter, union = intersections(a, b)
    return np.asarray(np.divide(inter, union, out=np.zeros_like(inter), where=union > 0))


def nms(
    boxes: Array, scores: Array, iou: float, limit: int | None = None, classes: Array | None = None
) -> NDArray[np.intp]:
    """(N, 4) xyxy, (N,) → indices of the boxes that stay, best first, at most `limit`.

    Greedy: a box is dropped when it overlaps a better box that stays by more than `iou`. Among equal scores the lower
    index is the better one. With `classes` (N,) boxes of different classes do not suppress one another.
    """
    if len(scores) < 2:
        return np.arange(len(scores))[:limit]
    if classes is not None and classes.any():  # shift each class to another region; float64 loses no digit that matters
        boxes = boxes.astype(np.float64) + classes.astype(np.float64)[:, None] * (np.abs(boxes).max() * 2.0 + 1)
    order = np.argsort(-scores, kind="stable")
    ranked = boxes[order]
    if len(order) <= _BLOCK:
        return order[_greedy(_overlaps(ranked, ranked, iou))[:limit]]
    kept = np.empty(0, np.intp)  # ranks
    for start in range(0, len(order), _BLOCK):
        if limit is not None and len(kept) >= limit:
            break
        ranks = np.arange(start, min(start + _BLOCK, len(order)))
        if len(kept):
            ranks = ranks[~_overlaps(ranked[kept], ranked[ranks], iou).any(0)]
        kept = np.concatenate([kept, ranks[_greedy(_overlaps(ranked[ranks], ranked[ranks], iou))]])
    return order[kept[:limit]]


def intersections(a: Array, b: Array) -> tuple[Array, Array]:
    """(M, 4), (N, 4) xyxy → areas of intersection (M, N) and of union (M, N)."""
    columns = np.ascontiguousarray(b.T)
    w = np.minimum(a[:, 2, None], columns[2])
    w -= np.maximum(a[:, 0, None], columns[0])
    h = np.minimum(a[:, 3, None], columns[3])
    h -= np.maximum(a[:, 1, None], columns[1])
    inter = np.maximum(w, 0, out=w)
    inter *= np.maximum(h, 0, out=h)
    size = area(b)
    union = (size if a is b else area(a))[:, None] + size
    union -= inter
    return inter, union


def _overlaps(a: Array, b: Array, iou: float) -> NDArray[np.bool_]:
    """(M, 4), (N, 4) xyxy → (M, N), whether the overlap exceeds `iou`; without the division of `iou_matrix`."""
    inter, union = intersections(a, b)
    union *= iou
    return np.asarray(inter > union)


def _greedy(over: NDArray[np.bool_]) -> list[int]:
    """(N, N) overlaps of boxes, best score first → the indices of the boxes that greedy suppression keeps."""
    alive = np.ones(len(over), bool)
    stay = []
    for i, strikes in enumerate(over):
        if alive[i]:
            stay.append(i)
            alive &= ~strikes
    return stay


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

    @property
    def bounds(self) -> tuple[int, int]:
        """(H, W) of the image within which coordinates mapped back lie."""
        return self.source

    def of_part(self, corner: tuple[int, int], whole: tuple[int, int]) -> PartLetterbox:
        """The same for a source that is a part, from (x, y) `corner`, of an image of `whole` (H, W) pixels."""
        fields = (self.source, self.size, self.canvas, self.top, self.left, self.nominal_gain)
        return PartLetterbox(*fields, corner, whole)

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

    def points_to_source(self, points: Array) -> Array:
        """(..., 2+) x y [and more columns, kept] from canvas to source pixels; a new array, not clipped."""
        return self._to_source(points, self.point_offset)

    def boxes_to_source(self, boxes: Array) -> Array:
        """(..., 4) xyxy from canvas to source pixels; a new array, not clipped."""
        return self._to_source(boxes.reshape(*boxes.shape[:-1], 2, 2), self.offset).reshape(boxes.shape)

    def _to_source(self, points: Array, offset: tuple[float, float]) -> Array:
        out = points.copy()
        out[..., :2] -= np.asarray(offset, out.dtype)
        out[..., :2] /= np.asarray(self.scale, out.dtype)
        return out


@dataclass(frozen=True)
class PartLetterbox(Letterbox):
    """The letterbox of a part of an image; it maps back to pixels of that image of `whole` (H, W).

    `corner` (x, y) is the part's first pixel.
    """

    corner: tuple[int, int] = (0, 0)
    whole: tuple[int, int] = (0, 0)

    @property
    def bounds(self) -> tuple[int, int]:
        """(H, W) of the image."""
        return self.whole

    def _to_source(self, points: Array, offset: tuple[float, float]) -> Array:
        out = super()._to_source(points, offset)
        out[..., :2] += np.asarray(self.corner, out.dtype)
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
    gain = min(imgsz[0] / source[0], imgsz[1] / source[1], math.inf if scaleup else 1.0)
    size = (max(round(source[0] * gain), 1), max(round(source[1] * gain), 1))
    pad = [imgsz[0] - size[0], imgsz[1] - size[1]]
    if rect:
        pad = [p % stride for p in pad]
    canvas = (size[0] + pad[0], size[1] + pad[1])
    return Letterbox(
        source, size, canvas, top=round(pad[0] / 2 - 0.1), left=round(pad[1] / 2 - 0.1), nominal_gain=rules.nominal_gain
    )
