"""Boxes in NumPy: conversions, overlap and non-maximum suppression. Coordinates are pixels unless stated otherwise."""

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
    return np.asarray(boxes.clip(0, np.array([w, h, w, h], boxes.dtype)))


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
    limit = len(order) if limit is None else limit
    kept = np.empty(0, np.intp)  # ranks
    for start in range(0, len(order), _BLOCK):
        if len(kept) >= limit:
            break
        ranks = np.arange(start, min(start + _BLOCK, len(order)))
        if len(kept):
            ranks = ranks[~_overlaps(ranked[kept], ranked[ranks], iou).any(0)]
        kept = np.concatenate([kept, ranks[_greedy(_overlaps(ranked[ranks], ranked[ranks], iou))]])
    return order[kept[:limit]]


_BLOCK = 128  # boxes settled at a time: large enough for NumPy, small enough that few overlaps are computed in vain


def _overlaps(a: Array, b: Array, iou: float) -> NDArray[np.bool_]:
    """(M, 4), (N, 4) xyxy → (M, N), whether the overlap exceeds `iou`; without the division of `iou_matrix`."""
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
    union *= iou
    return np.asarray(inter > union)


def _greedy(over: NDArray[np.bool_]) -> list[int]:
    """(N, N) overlaps of boxes in order of falling score → those that no better one that stays overlaps."""
    alive = np.ones(len(over), bool)
    stay = []
    for i, strikes in enumerate(over):
        if alive[i]:
            stay.append(i)
            alive &= ~strikes
    return stay
