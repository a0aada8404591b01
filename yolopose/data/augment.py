"""Augmentation: images are drawn into one canvas, each resampled once; colour jitter and flips follow.

Coordinates are continuous pixels (the pixel in row i, column j covers [j, j+1) by [i, i+1)); matrices are 3x3 and
act on columns (x, y, 1). A mosaic is not assembled first: each image's place in it and the random affine are
multiplied into one matrix that maps its pixels to the canvas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from yolopose.data.batch import Sample
from yolopose.data.rows import Labels, no_ignored
from yolopose.geometry.boxes import PADDING, cxcywh_to_xyxy, fit
from yolopose.geometry.keypoints import KeypointLayout
from yolopose.rules import DEFAULT, Rules

Image = NDArray[np.uint8]
Matrix = NDArray[np.float64]

# A box is kept if enough of it is visible to be detected: both sides longer than MIN_SIDE pixels, more than MIN_VISIBLE
# of its area inside the canvas, and not thinner than 1 : MAX_ASPECT.
MIN_SIDE = 2.0
MIN_VISIBLE = 0.1
MAX_ASPECT = 100.0
MIN_GAIN = 0.05  # of the random zoom
MIXUP_BETA = 32.0  # mixup's blend is drawn from Beta(32, 32): close to half and half


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """Strengths and probabilities of the random changes; `docs/arguments.md` explains each."""

    hsv_h: float = 0.015
    hsv_s: float = 0.7
    hsv_v: float = 0.4
    degrees: float = 0.0
    translate: float = 0.1
    scale: float = 0.5
    shear: float = 0.0
    perspective: float = 0.0
    flipud: float = 0.0
    fliplr: float = 0.5
    bgr: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether `random_affine` returns anything but the identity."""
        return any((self.degrees, self.translate, self.scale, self.shear, self.perspective))


@dataclass(frozen=True, eq=False)
class Tile:
    """An image, its labels, and the matrix that maps its pixels to the canvas."""

    image: Image
    labels: Labels
    matrix: Matrix


def random_affine(rng: np.random.Generator, options: AugmentOptions, hw: tuple[int, int]) -> Matrix:
    """A random matrix that maps the plane to a canvas of (H, W) pixels, the origin near its centre."""
    turn, zoom, shear_x, shear_y, far_x, far_y, move_x, move_y = rng.uniform(-1, 1, 8).tolist()
    angle = math.radians(turn * options.degrees)
    gain = max(1 + zoom * options.scale, MIN_GAIN)
    cos, sin = gain * math.cos(angle), gain * math.sin(angle)
    # points up to 1.5 canvases away (a mosaic's corners) must keep a positive depth
    limit = 0.75 / (3 * max(hw))
    depth = [min(max(far * options.perspective, -limit), limit) for far in (far_x, far_y)]
    view = np.array([[cos, sin, 0], [-sin, cos, 0], [*depth, 1]])
    slant = [math.tan(math.radians(s * options.shear)) for s in (shear_x, shear_y)]
    shear = np.array([[1, slant[0], 0], [slant[1], 1, 0], [0, 0, 1]])
    shift = np.eye(3)
    shift[0, 2] = (0.5 + move_x * options.translate) * hw[1]
    shift[1, 2] = (0.5 + move_y * options.translate) * hw[0]
    return np.asarray(shift @ shear @ view)


def mosaic_places(rng: np.random.Generator, sizes: Sequence[tuple[int, int]], imgsz: int) -> list[Matrix]:
    """Matrices that place four images of the given (H, W) in a mosaic, scaled to a long side of `imgsz`.

    The plane is 2·imgsz wide and high with its origin in the centre; the images meet at a random point of its inner
    half.
    """
    meet_x, meet_y = rng.uniform(-imgsz / 2, imgsz / 2, 2).tolist()
    places = []
    for corner, (h, w) in enumerate(sizes):
        gain = imgsz / max(h, w)
        left, top = corner in (0, 2), corner in (0, 1)
        places.append(scaling(gain, meet_x - gain * w * left, meet_y - gain * h * top))
    return places


def centred(size: tuple[int, int], canvas: tuple[int, int]) -> Matrix:
    """The matrix that fits an image of (H, W) into a canvas of (H, W) whose centre is the origin."""
    gain = min(canvas[0] / size[0], canvas[1] / size[1])
    return scaling(gain, -gain * size[1] / 2, -gain * size[0] / 2)


def random_square(
    rng: np.random.Generator, hw: tuple[int, int], limits: tuple[float, float]
) -> tuple[float, float, float]:
    """The left edge, top edge and side of a random square over an image of (H, W) pixels.

    The side is the image's short side times a number between the two limits, each equally likely. Along each axis the
    square lies within the image, or, where it is longer, the image lies within the square; all such places are equally
    likely. The crops of RetinaFace (Deng et al., 2019) and SCRFD (Guo et al., 2021) are such squares.
    """
    share, right, down = rng.random(3).tolist()
    side = min(hw) * (limits[0] + (limits[1] - limits[0]) * share)
    return right * (hw[1] - side), down * (hw[0] - side), side


def square_place(
    square: tuple[float, float, float], hw: tuple[int, int], size: tuple[int, int], canvas: tuple[int, int]
) -> Matrix:
    """The matrix that fits a square of an image into a canvas of (H, W) whose centre is the origin.

    `square` is left, top and side in an image of `hw` pixels, which was read with `size` pixels, both (H, W).
    """
    left, top, side = square
    gain = min(canvas) / side
    place = scaling(gain, -gain * (left + side / 2), -gain * (top + side / 2))
    return np.asarray(place * (hw[1] / size[1], hw[0] / size[0], 1))


def scaling(gain: float, x: float, y: float) -> Matrix:
    """Scale by `gain`, then shift by x and y."""
    return np.array([[gain, 0, x], [0, gain, y], [0, 0, 1]])


def compose(tiles: Sequence[Tile], hw: tuple[int, int], path: str = "") -> Sample:
    """Draw tiles into a grey canvas of (H, W) pixels and transform their labels to it."""
    canvas = np.full((*hw, 3), PADDING, np.uint8)
    matrices = [draw(tile.image, tile.matrix, canvas) for tile in tiles]
    return _labelled(canvas, tiles, matrices, path)


def letterboxed(image: Image, labels: Labels, hw: tuple[int, int], path: str = "", rules: Rules = DEFAULT) -> Sample:
    """One image without any random change, scaled into a canvas of (H, W) pixels and centred."""
    box = fit((image.shape[0], image.shape[1]), hw, rect=False, rules=rules)
    (x, y) = box.size[1] / box.source[1], box.size[0] / box.source[0]
    matrix = np.array([[x, 0, box.left], [0, y, box.top], [0, 0, 1]])
    return _labelled(box.image(image), [Tile(image, labels, matrix)], [matrix], path)


def draw(image: Image, matrix: Matrix, canvas: Image) -> Matrix:
    """Draw an image into the canvas at the place given by `matrix`; returns the matrix that was really used.

    Without rotation, shear and perspective this is a resize of the visible part between whole pixels, so the returned
    matrix differs from `matrix` by up to half a pixel at the edges. Otherwise they are equal.
    """
    upright = not (matrix[0, 1] or matrix[1, 0] or matrix[2, 0] or matrix[2, 1])
    return _draw_upright(image, matrix, canvas) if upright else _draw_warped(image, matrix, canvas)


def _draw_upright(image: Image, matrix: Matrix, canvas: Image) -> Matrix:
    x = _span(matrix[0, 0], matrix[0, 2], image.shape[1], canvas.shape[1])
    y = _span(matrix[1, 1], matrix[1, 2], image.shape[0], canvas.shape[0])
    if x is None or y is None:
        return matrix
    part = image[y[2] : y[3], x[2] : x[3]]
    place = canvas[y[0] : y[1], x[0] : x[1]]
    if part.shape == place.shape:
        place[:] = part
    else:
        cv2.resize(part, (x[1] - x[0], y[1] - y[0]), dst=place, interpolation=cv2.INTER_LINEAR)
    (sx, tx), (sy, ty) = ((s := (d1 - d0) / (s1 - s0), d0 - s * s0) for d0, d1, s0, s1 in (x, y))
    return np.array([[sx, 0, tx], [0, sy, ty], [0, 0, 1]])


def _span(scale: float, shift: float, length: int, limit: int) -> tuple[int, int, int, int] | None:
    """Along one axis: the canvas pixels [d0, d1) that an image covers, and its own pixels [s0, s1) drawn there."""
    d0, d1 = max(round(shift), 0), min(round(shift + scale * length), limit)
    if d0 >= d1:
        return None
    s0 = min(max(round((d0 - shift) / scale), 0), length - 1)
    s1 = max(min(round((d1 - shift) / scale), length), s0 + 1)
    return d0, d1, s0, s1


def _draw_warped(image: Image, matrix: Matrix, canvas: Image) -> Matrix:
    """Warp the image into the part of the canvas that it covers, with a mask of its outline."""
    h, w = image.shape[:2]
    outline = transform(np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float64), matrix)
    low = np.clip(np.floor(outline.min(0)), 0, (canvas.shape[1], canvas.shape[0])).astype(int)
    high = np.clip(np.ceil(outline.max(0)), 0, (canvas.shape[1], canvas.shape[0])).astype(int)
    if (low >= high).any():
        return matrix
    place = canvas[low[1] : high[1], low[0] : high[0]]
    # in OpenCV pixel centres are at integers, here at integers + 0.5
    local = scaling(1, -low[0] - 0.5, -low[1] - 0.5) @ matrix @ scaling(1, 0.5, 0.5)
    warped = cv2.warpPerspective(
        image, local, (place.shape[1], place.shape[0]), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    mask = np.zeros(place.shape[:2], np.uint8)
    corners = np.round((outline - low - 0.5) * 16).astype(np.int32)
    cv2.fillConvexPoly(mask, corners, 255, shift=4)
    cv2.copyTo(warped, mask, place)
    return matrix


def transform(points: NDArray[Any], matrix: NDArray[Any]) -> NDArray[Any]:
    """(..., P, 2) points through (3, 3) or (..., 3, 3) matrices."""
    turned = np.swapaxes(matrix, -1, -2)
    out = points @ turned[..., :2, :2] + turned[..., 2:, :2]
    if matrix[..., 2, :2].any():
        out = out / (points @ turned[..., :2, 2:] + turned[..., 2:, 2:])
    return np.asarray(out)


def _labelled(canvas: Image, tiles: Sequence[Tile], matrices: Sequence[Matrix], path: str) -> Sample:
    """The canvas as a sample: boxes clipped or dropped at its edges, points outside unlabelled."""
    counts = [len(tile.labels) for tile in tiles]
    # labels are normalised by the image's size, so the matrix includes it
    full = [m * (t.image.shape[1], t.image.shape[0], 1) for m, t in zip(matrices, tiles, strict=True)]
    matrix = np.repeat(np.stack(full), counts, axis=0)  # (N, 3, 3)
    boxes = cxcywh_to_xyxy(np.concatenate([tile.labels.boxes for tile in tiles]).astype(np.float64))
    corners = transform(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2), matrix)
    limit = np.array([canvas.shape[1], canvas.shape[0]])
    low, high = corners.min(1), corners.max(1)
    low_seen, high_seen = np.clip(low, 0, limit), np.clip(high, 0, limit)
    keypoints = np.concatenate([tile.labels.keypoints for tile in tiles])
    xy = transform(keypoints[..., :2].astype(np.float64), matrix)
    keypoints[..., :2] = xy
    keypoints[((xy < 0) | (xy > limit)).any(-1), 2] = 0
    keep = _is_detectable(high - low, high_seen - low_seen)
    return Sample(
        image=canvas,
        classes=np.concatenate([tile.labels.classes for tile in tiles])[keep],
        boxes=np.concatenate([low_seen, high_seen], axis=1).astype(np.float32)[keep],
        keypoints=keypoints[keep],
        path=path,
        ignore=_ignored(tiles, full, limit),
    )


def _ignored(tiles: Sequence[Tile], matrices: Sequence[Matrix], limit: NDArray[np.int64]) -> NDArray[np.float32]:
    """The boxes to ignore of all tiles as (M, 5) xyxy in canvas pixels and score, clipped to the canvas (W, H)."""
    found = [no_ignored()]
    for tile, matrix in zip(tiles, matrices, strict=True):
        if len(rows := tile.labels.ignore):
            corners = transform(cxcywh_to_xyxy(rows[:, :4])[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2), matrix)
            low, high = np.clip(corners.min(1), 0, limit), np.clip(corners.max(1), 0, limit)
            boxes = np.concatenate([low, high, rows[:, 4:]], 1).astype(np.float32)
            found.append(boxes[(high > low).all(1)])
    return np.concatenate(found)


def _is_detectable(whole: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N, 2) sides of boxes, and of their visible parts → (N,) mask of the boxes to keep."""
    visible = seen.prod(1) > MIN_VISIBLE * whole.prod(1)
    thin = seen.max(1) >= MAX_ASPECT * seen.min(1)
    return np.asarray((seen > MIN_SIDE).all(1) & visible & ~thin)


def mixup(rng: np.random.Generator, first: Sample, second: Sample) -> Sample:
    """Blend two samples of one size, with the instances of both (Zhang et al., 2018); overwrites `first.image`."""
    share = float(rng.beta(MIXUP_BETA, MIXUP_BETA))
    cv2.addWeighted(first.image, share, second.image, 1 - share, 0, dst=first.image)
    return Sample(
        first.image,
        np.concatenate([first.classes, second.classes]),
        np.concatenate([first.boxes, second.boxes]),
        np.concatenate([first.keypoints, second.keypoints]),
        first.path,
        np.concatenate([first.ignore, second.ignore]),
    )


def finish(rng: np.random.Generator, sample: Sample, options: AugmentOptions, layout: KeypointLayout) -> Sample:
    """Apply colour jitter, channel swap and flips, in place where possible."""
    strength = rng.uniform(-1, 1, 3) * (options.hsv_h, options.hsv_s, options.hsv_v)
    swap, up_down, left_right = rng.random(3) < (options.bgr, options.flipud, options.fliplr)
    if strength.any():
        jitter(sample.image, *strength.tolist())
    if swap:
        cv2.cvtColor(sample.image, cv2.COLOR_BGR2RGB, dst=sample.image)
    if left_right:
        sample = flip(sample, layout, axis=0)
    if up_down:
        sample = flip(sample, layout, axis=1)
    return sample


def jitter(image: Image, hue: float, saturation: float, value: float) -> None:
    """Multiply hue, saturation and value by 1 + the given shares, in place."""
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    if hue > 0.4:  # hues above 255 (180 is the full circle) would not fit into a byte
        table = np.tile(np.arange(256, dtype=np.uint8), (3, 1)).T[None].copy()
        table[0, :, 0] = np.round(np.arange(256) * (1 + hue)) % 180
        cv2.LUT(hsv, table, dst=hsv)
        hue = 0.0
    # one saturating multiplication, several times as fast as a table; the conversion back takes hues modulo 180
    cv2.transform(hsv, np.diag(np.array([1 + hue, 1 + saturation, 1 + value], np.float32)), dst=hsv)
    cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR, dst=image)


def flip(sample: Sample, layout: KeypointLayout, axis: int) -> Sample:
    """Mirror along x (axis 0) or y (axis 1); keypoints are exchanged by `layout.flip`.

    An up-down flip exchanges left and right too: it is a left-right flip rotated by 180 degrees.
    """
    if layout.flip is None:
        raise ValueError("a layout without flip_idx cannot be mirrored")
    size = sample.image.shape[1 - axis]
    boxes = sample.boxes.copy()
    boxes[:, [axis, axis + 2]] = size - sample.boxes[:, [axis + 2, axis]]
    keypoints = sample.keypoints[:, list(layout.flip)]
    keypoints[..., axis] = size - keypoints[..., axis]
    image = cv2.flip(sample.image, 1 - axis)
    ignore = sample.ignore.copy()
    ignore[:, [axis, axis + 2]] = size - sample.ignore[:, [axis + 2, axis]]
    return replace(sample, image=image, boxes=boxes, keypoints=keypoints, ignore=ignore)
