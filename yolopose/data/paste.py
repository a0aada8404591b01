"""Copy-paste: instances of other images are drawn into a sample at other sizes, with their keypoints.

The idea is that of "Simple Copy-Paste" (Ghiasi et al., 2021), which needs outlines. Labels here are boxes: what is
pasted is the box with a margin, rounded at its corners and faded out at its edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from yolopose.data.batch import Sample
from yolopose.data.rows import Labels, no_ignored
from yolopose.geometry.boxes import PADDING, area, clip_boxes, cxcywh_to_xyxy, intersections

Image = NDArray[np.uint8]

MOST = 6  # instances pasted into a sample
AREA = 50.0  # square pixels per keypoint: a pasted box is at least as large, 16² for 5 keypoints, 29² for 17 …
LARGEST = 0.3  # … and the root of its area is at most this share of the canvas' short side
MAX_GAIN = 1.5  # an instance is not enlarged more than this
MIN_LABELLED = 0.5  # share of an instance's keypoints that are labelled
MARGIN = 0.1  # of the box's width and height, added on each side
ROUND = 4.0  # exponent of the patch's outline |x|^p + |y|^p = 1: 2 is an ellipse, large ones are nearly the rectangle
FADE = 0.15  # the outer part of the patch in which it fades out
MAX_HIDDEN = 0.4  # share of an instance that patches may cover, and of a patch that lies over one instance
MAX_FOREIGN = 0.1  # share of any other instance that a patch may show: it would be without a label
MAX_EMPTY = 0.3  # share of a patch that may lie on the grey around the images
TINY = 1e-9  # square pixels: a label at the edge may have no area after clipping
PLACES = 16  # random places that are tried for each patch


@dataclass(frozen=True, eq=False)
class Patch:
    """An instance cut out of its image, at the size at which it is pasted.

    image (h, w, 3) BGR uint8; opacity (h, w) float32 from 0 to 1; box (4,) xyxy and keypoints (K, 3) x y v in pixels of
    this image; `number` is its class. ignore (M, 5): the parts of boxes to ignore that the patch shows, and their
    scores, see `rows.Labels`.
    """

    image: Image
    opacity: NDArray[np.float32]
    box: NDArray[np.float64]
    keypoints: NDArray[np.float32]
    number: int
    ignore: NDArray[np.float32] = field(default_factory=no_ignored)


def cut(rng: np.random.Generator, image: Image, labels: Labels, canvas: tuple[int, int]) -> Patch | None:
    """A random instance of an image, scaled to a random size for a canvas of (H, W) pixels; None if none is suitable.

    Suitable is an instance that has at least half of its keypoints labelled and is large enough; whose box and margin
    lie within the image and show at most a tenth of any other instance. Sizes are drawn evenly on a logarithmic scale.
    """
    size = np.array([image.shape[1], image.shape[0]], np.float64)
    boxes = cxcywh_to_xyxy(labels.boxes.astype(np.float64)) * np.tile(size, 2)
    roots = np.sqrt(area(boxes))
    smallest, largest = math.sqrt(AREA * labels.keypoints.shape[1]), LARGEST * min(canvas)
    rows = _suitable(boxes, roots * MAX_GAIN > smallest, labels, size)
    if not len(rows) or largest < smallest:
        return None
    row = int(rows[rng.integers(len(rows))])
    low, high = math.log(smallest), math.log(min(largest, MAX_GAIN * roots[row]))
    patch = _patch(image, labels, row, math.exp(rng.uniform(low, high)) / roots[row])
    return patch if np.less_equal(patch.opacity.shape, canvas).all() else None


def _patch(image: Image, labels: Labels, row: int, gain: float) -> Patch:
    """One instance of an image with its margin, scaled by `gain`."""
    size = np.array([image.shape[1], image.shape[0]], np.float64)
    box = cxcywh_to_xyxy(labels.boxes[row].astype(np.float64)) * np.tile(size, 2)
    outer = _with_margin(box)
    left, top = np.floor(outer[:2]).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(outer[2:]), size).astype(int).tolist()
    w, h = max(round((right - left) * gain), 1), max(round((bottom - top) * gain), 1)
    scale, start = np.array([w / (right - left), h / (bottom - top)]), np.array([left, top])

    def moved(points: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray((points - start) * scale)

    opacity, keypoints, ignore = outline(h, w), labels.keypoints[row].copy(), labels.ignore.copy()
    keypoints[:, :2] = moved(keypoints[:, :2] * size)
    keypoints[~_visible(opacity, keypoints), 2] = 0
    regions = cxcywh_to_xyxy(ignore[:, :4]).reshape(-1, 2, 2) * size
    ignore[:, :4] = clip_boxes(moved(regions).reshape(-1, 4), (h, w))
    method = cv2.INTER_AREA if gain < 1 else cv2.INTER_LINEAR
    return Patch(
        image=np.asarray(cv2.resize(image[top:bottom, left:right], (w, h), interpolation=method), np.uint8),
        opacity=opacity,
        box=moved(box.reshape(2, 2)).ravel(),
        keypoints=keypoints,
        number=int(labels.classes[row]),
        ignore=ignore[area(ignore) > 0],
    )


def _with_margin(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(…, 4) xyxy, each side moved out by the margin."""
    margin = MARGIN * (boxes[..., 2:] - boxes[..., :2])
    return np.concatenate([boxes[..., :2] - margin, boxes[..., 2:] + margin], -1)


def _suitable(
    boxes: NDArray[np.float64], large: NDArray[np.bool_], labels: Labels, size: NDArray[np.float64]
) -> NDArray[np.intp]:
    """The rows of those `large` (N,) instances that may be pasted; see `cut`."""
    outer = _with_margin(boxes)
    labelled = (labels.keypoints[..., 2] > 0).mean(1) >= MIN_LABELLED
    inside = (outer[:, :2] >= 0).all(1) & (outer[:, 2:] <= size).all(1)
    rows = np.flatnonzero(labelled & inside & large)
    shown = intersections(outer[rows], boxes)[0] / area(boxes).clip(TINY)
    shown[np.arange(len(rows)), rows] = 0
    return np.asarray(rows[(shown <= MAX_FOREIGN).all(1)])


def outline(h: int, w: int) -> NDArray[np.float32]:
    """(h, w) the opacity of a patch: 1 inside, falling to 0 at the edge."""
    x, y = (np.abs((np.arange(n) + 0.5) / n * 2 - 1) ** ROUND for n in (w, h))
    return ((1 - (y[:, None] + x) ** (1 / ROUND)) / FADE).clip(0, 1).astype(np.float32)


def _visible(opacity: NDArray[np.float32], points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(K, 2 or more) points in a patch's pixels → (K,) mask of those where the patch is more than half opaque."""
    column, row = np.floor(points[:, :2]).astype(int).T
    inside = (column >= 0) & (row >= 0) & (row < opacity.shape[0]) & (column < opacity.shape[1])
    inside[inside] = opacity[row[inside], column[inside]] > 0.5
    return np.asarray(inside)


def paste(rng: np.random.Generator, sample: Sample, patches: Sequence[Patch]) -> Sample:
    """Draw patches into a sample at random places, over its instances; overwrites `sample.image`.

    A patch lies within the canvas, at least 70 % of it on images. All patches together hide up to 40 % of an instance,
    and each overlaps an instance with up to 40 % of its own box; one that finds no such place is left out. Keypoints
    under a patch become hidden (v = 1).
    """
    boxes, keypoints = sample.boxes.astype(np.float64), sample.keypoints.copy()
    classes, ignore, hidden = sample.classes, [sample.ignore], np.zeros(len(boxes))
    for patch in patches:
        place = _place(rng, patch, boxes, hidden, sample.image)
        if place is None:
            continue
        (left, top), (h, w) = place, patch.opacity.shape
        below = sample.image[top : top + h, left : left + w]
        mixed = below + (patch.image.astype(np.float32) - below) * patch.opacity[..., None]
        below[:] = np.round(mixed).astype(np.uint8)
        flat = keypoints.reshape(-1, 3)  # a view
        covered = _visible(patch.opacity, flat - np.array([left, top, 0], np.float32))
        flat[covered & (flat[:, 2] > 1), 2] = 1
        shared = intersections(np.array([[left, top, left + w, top + h]]), boxes)[0][0]
        hidden = np.append(hidden + shared / area(boxes).clip(TINY), 0)
        classes = np.append(classes, patch.number)
        boxes = np.concatenate([boxes, patch.box[None] + (left, top, left, top)])
        keypoints = np.concatenate([keypoints, (patch.keypoints + np.array([left, top, 0], np.float32))[None]])
        ignore.append(patch.ignore + np.array([left, top, left, top, 0], np.float32))
    boxes32, regions = boxes.astype(np.float32), np.concatenate(ignore)
    return replace(sample, classes=classes, boxes=boxes32, keypoints=keypoints, ignore=regions)


def _place(
    rng: np.random.Generator, patch: Patch, boxes: NDArray[np.float64], hidden: NDArray[np.float64], canvas: Image
) -> tuple[int, int] | None:
    """The left and top edge of the first of some random places where a patch may lie, None if there is none.

    (N, 4) boxes are the instances in the canvas, `hidden` (N,) the shares of them that are covered already.
    """
    (h, w), (most_y, most_x) = patch.opacity.shape, np.subtract(canvas.shape[:2], patch.opacity.shape)
    lefts, tops = rng.integers(0, most_x + 1, PLACES), rng.integers(0, most_y + 1, PLACES)
    shared = intersections(np.stack([lefts, tops, lefts + w, tops + h], 1), boxes)[0]
    allowed = np.minimum((MAX_HIDDEN - hidden) * area(boxes), MAX_HIDDEN * area(patch.box[None]))
    for i in np.flatnonzero((shared <= allowed).all(1)):
        left, top = int(lefts[i]), int(tops[i])
        empty = (canvas[top : top + h, left : left + w] == PADDING).all(-1)
        if empty.mean() <= MAX_EMPTY:
            return left, top
    return None
