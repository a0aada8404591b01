"""Boxes in NumPy: conversions, overlap and non-maximum suppression. Coordinates are pixels unless said otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    return np.clip(boxes, 0, np.array([w, h, w, h], boxes.dtype))


def area(boxes: Array) -> Array:
    """(..., 4) xyxy → (...); a box turned inside out has area 0."""
    side = np.maximum(boxes[..., 2:4] - boxes[..., :2], 0)
    return np.asarray(side[..., 0] * side[..., 1])


def iou_matrix(a: Array, b: Array) -> Array:
    """(M, 4), (N, 4) xyxy → (M, N) intersection over union; 0 where both boxes are empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    side = np.maximum(high - low, 0)
    inter = side[..., 0] * side[..., 1]
    union = area(a)[:, None] + area(b)[None, :] - inter
    return np.asarray(np.divide(inter, union, out=np.zeros_like(inter), where=union > 0))


def nms(boxes: Array, scores: Array, iou: float, limit: int | None = None) -> NDArray[np.intp]:
    """(N, 4) xyxy, (N,) → indices of the boxes that stay, best first, at most `limit`.

    Greedy: a box goes when it overlaps a better box that stays by more than `iou`. Among equal scores the lower index
    is the better one.
    """
    order = np.argsort(-scores, kind="stable")
    x1, y1, x2, y2 = (np.ascontiguousarray(boxes[order, i]) for i in range(4))
    size = np.maximum(x2 - x1, 0) * np.maximum(y2 - y1, 0)
    alive = np.arange(len(order))
    keep: list[int] = []
    limit = len(order) if limit is None else limit
    while alive.size and len(keep) < limit:
        best, rest = alive[0], alive[1:]
        keep.append(int(best))
        w = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest])
        h = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest])
        inter = np.maximum(w, 0) * np.maximum(h, 0)
        alive = rest[inter <= iou * (size[best] + size[rest] - inter)]
    return np.asarray(order[keep], np.intp)
