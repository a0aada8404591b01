"""Anonymise pictures: the heads or the whole boxes of what was found become unrecognisable.

Only what was found is hidden: a person that the model misses stays visible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import UsageError, shown
from yolopose.geometry.keypoints import KeypointLayout

Image: TypeAlias = NDArray[np.uint8]
Array: TypeAlias = NDArray[Any]

REGIONS = ("head", "box")
STYLES = ("pixelate", "gaussian", "fill")
CELLS = 6  # squares along the longer side of a pixelated region
DEVIATION = 1 / 7  # of the Gaussian blur, as a share of the longer side
SMALL = 24  # pixels of the longer side at which the Gaussian is computed: nothing finer remains anyway
COLOR = (60, 60, 60)
MARGIN = 0.1  # by which a region grows on every side, as a share of its size
LOST_MARGIN = 0.35  # the same for tracks that are not found at the moment
NEWEST = 0.3  # share of the newest step in the speed of a track
MOST_FRAMES = 30  # after which a lost track is not expected still farther on
WHOLE = np.array([0.0, 0.0, 1.0, 1.0])
SURE = 0.25  # keypoints with lower scores are not relied on
# Distances on a head and its radius (from between the eyes to crown and chin, 13 cm) over them, rounded up: 15 cm from
# ear to ear, 6 between the eyes, 12 from nose to ear, 5 from nose to eye, 30 between the shoulder joints.
RADII = (("ear", "ear", 1.0), ("eye", "eye", 2.3), ("nose", "ear", 1.2), ("nose", "eye", 2.7),
         ("shoulder", "shoulder", 0.5))  # fmt: skip
LEAST_RADIUS = 0.1  # of the square root of the box's area


@dataclass(frozen=True)
class Blur:
    """What is hidden, one of `REGIONS`, and how, one of `STYLES`.

    Raises:
        UsageError: another name.
    """

    region: str = "head"
    style: str = "pixelate"

    def __post_init__(self) -> None:
        """Check the names."""
        for name, value, known in (("blur", self.region, REGIONS), ("blur_style", self.style, STYLES)):
            if value not in known:
                raise UsageError(f"{name} must be {' or '.join(known)}, got {shown(value)}")


@dataclass(frozen=True)
class Hidden:
    """Regions (N, 4) xyxy of an image, in pixels, and the style in which they are hidden."""

    regions: Array
    style: str

    def apply(self, image: Image) -> Image:
        """A copy of (H, W, 3) in which the regions are hidden."""
        picture = np.ascontiguousarray(image).copy()
        h, w = picture.shape[:2]
        finite = self.regions[np.isfinite(self.regions).all(1)]
        low = np.floor(np.clip(finite[:, :2], 0, (w, h))).astype(int)
        high = np.ceil(np.clip(finite[:, 2:], 0, (w, h))).astype(int)
        for (left, top), (right, bottom) in zip(low, high, strict=True):
            if right > left and bottom > top:
                picture[top:bottom, left:right] = hidden_part(picture[top:bottom, left:right], self.style)
        return picture


@dataclass
class Place:
    """Where the head of a track was: as (4,) shares of its `box` (4,); `speed` (2,) of the box, pixels per frame."""

    shares: Array
    box: Array
    speed: Array
    missing: int = 0  # frames since the track was found

    def moved(self, shares: Array, box: Array) -> Place:
        """The place after the track was found again."""
        step = (box - self.box).reshape(2, 2).mean(0) / (self.missing + 1)
        return Place(shares, box, self.speed + NEWEST * (step - self.speed))

    def region(self) -> Array:
        """Where the head of a lost track may be (4,): where it was last, and on to where it has gone at its speed."""
        region = np.tile(self.box[:2], 2) + self.shares * np.tile(self.box[2:] - self.box[:2], 2)
        moved = region + np.tile(self.speed * min(self.missing, MOST_FRAMES), 2)
        return np.concatenate([np.minimum(region, moved)[:2], np.maximum(region, moved)[2:]])


class Blurrer:
    """Finds the regions to hide in the frames of one video; remembers where the head of a track was within its box."""

    def __init__(self, blur: Blur, layout: KeypointLayout) -> None:
        self.blur, self._layout = blur, layout
        self._places: dict[int, Place] = {}  # by track

    def __call__(
        self, boxes: Array, keypoints: Array, ids: Array | None = None, lost: Mapping[int, Array] | None = None
    ) -> Hidden:
        """The regions of one frame.

        Args:
            boxes: (N, ≥4) xyxy pixels of all detections.
            keypoints: (N or 0, K, D) pixels.
            ids: (N,) the tracks of the detections, -1 for none; None when nothing is tracked.
            lost: the last box (4,) of each track that the tracker remembers and does not see. Its region is larger and
                reaches to where the track would be at its last speed.
        """
        corners = np.asarray(boxes, np.float64)[:, :4]
        found = regions_of(corners, np.asarray(keypoints, np.float64), self._layout, self.blur.region)
        places: dict[int, Place] = {}
        for track, box, region in zip(ids if ids is not None else (), corners, found, strict=ids is not None):
            shares = (region - np.tile(box[:2], 2)) / np.tile(np.maximum(box[2:] - box[:2], 1.0), 2)
            before = self._places.get(int(track), Place(shares, box, np.zeros(2)))
            if track >= 0:
                places[int(track)] = before.moved(shares, box)
        kept = []
        for track, box in (lost or {}).items():
            last = np.asarray(box, np.float64)
            place = places[track] = self._places.get(track, Place(WHOLE, last, np.zeros(2)))
            place.missing += 1
            kept.append(place.region())
        self._places = places
        return Hidden(np.concatenate([found, grown(np.reshape(kept, (-1, 4)), LOST_MARGIN)]), self.blur.style)


class Blurring:
    """The `Blurrer` of each stream; every video has one of its own."""

    def __init__(self, blur: Blur, layout: KeypointLayout) -> None:
        self._blur, self._layout = blur, layout
        self._blurrers: dict[int, tuple[int, Blurrer]] = {}  # by stream: the video, and its blurrer

    def blurrer(self, stream: int, video: int) -> Blurrer:
        """The blurrer of a video of a stream; the one of the video before is forgotten."""
        known = self._blurrers.get(stream)
        if known is None or known[0] != video:
            known = self._blurrers[stream] = video, Blurrer(self._blur, self._layout)
        return known[1]


def regions_of(boxes: Array, keypoints: Array, layout: KeypointLayout, region: str) -> Array:
    """(N, 4) xyxy, (N or 0, K, D) → (N, 4) the regions to hide, with a margin.

    "box" is the whole box. "head" of a body is a square around nose, eyes and ears, as large as a head; where none of
    them is sure, the part of the box in which the head must be. Layouts without shoulders and hips are those of heads
    and faces, or unknown: the whole box.
    """
    parts = [_part(name) for name in layout.names]
    heads = {"nose", "eye", "ear"} & set(parts)
    if region == "box" or not heads or "shoulder" not in parts or len(keypoints) != len(boxes):
        return grown(boxes, MARGIN)
    found = [head_of(box, points, parts) for box, points in zip(boxes, keypoints, strict=True)]
    return grown(np.reshape(found, (-1, 4)), MARGIN)


def _part(name: str) -> str:
    """The part of the body that a keypoint's name tells: nose, eye, ear, shoulder, hip, or ""."""
    words = "".join(c if c.isalpha() else " " for c in name.lower()).split()
    return next((part for part in ("nose", "eye", "ear", "shoulder", "hip") if part in words), "")


def head_of(box: Array, points: Array, parts: list[str]) -> Array:
    """The head (4,) of a body with box (4,) and points (K, D) that are `parts` of the body."""
    sure = np.isfinite(points).all(1) & (points[:, :2] != 0).any(1)
    if points.shape[1] == 3:
        sure &= points[:, 2] >= SURE
    places = {part: points[[i for i, p in enumerate(parts) if p == part and sure[i]], :2] for part in set(parts)}
    head = np.concatenate([places.get(part, np.empty((0, 2))) for part in ("nose", "eye", "ear")])
    if not len(head):
        return head_without_points(box, places.get("shoulder", np.empty((0, 2))), places.get("hip", np.empty((0, 2))))
    radius = LEAST_RADIUS * float(np.sqrt(np.maximum(box[2:4] - box[:2], 1.0).prod()))
    for a, b, factor in RADII:
        if a in places and b in places and len(places[a]) and len(places[b]):
            apart = np.linalg.norm(places[a][:, None] - places[b], axis=-1)
            radius = max(radius, factor * float(apart.max()))
    radius = min(radius, float((box[2:4] - box[:2]).max()) / 2)  # wild keypoints must not hide the whole picture
    centre = (head.min(0) + head.max(0)) / 2
    low = np.minimum(centre - radius, head.min(0) - radius / 3)
    return np.concatenate([low, np.maximum(centre + radius, head.max(0) + radius / 3)])


def head_without_points(box: Array, shoulders: Array, hips: Array) -> Array:
    """Where the head must be (4,): beyond the shoulders as seen from the hips; else the top of an upright box.

    Boxes that are not upright are those of people who lie or sit, or that the image's edge cuts: the whole box.
    """
    low, high = box[:2], box[2:4]
    if len(shoulders) and len(hips):
        neck, trunk = shoulders.mean(0), shoulders.mean(0) - hips.mean(0)
        radius = 0.5 * max(float(np.linalg.norm(trunk)), float(np.ptp(shoulders, axis=0).max()))
        centre = neck + 0.4 * trunk
        return np.concatenate([np.minimum(centre, neck) - radius, np.maximum(centre, neck) + radius])
    wide, tall = high - low
    if tall < 1.3 * wide:
        return np.concatenate([low, high])
    return np.array([low[0], low[1], high[0], low[1] + max(0.35 * tall, 0.6 * wide)])


def grown(boxes: Array, share: float) -> Array:
    """(N, 4) xyxy, larger by a share of the size on every side."""
    margin = share * (boxes[:, 2:4] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:4] + margin], 1)


def hidden_part(part: Image, style: str) -> Image:
    """(h, w, 3) → the same size, unrecognisable."""
    import cv2

    h, w = part.shape[:2]
    if style == "fill":
        return np.full_like(part, COLOR)
    longer = max(h, w)
    if style == "pixelate":
        cells = (max(round(w * CELLS / longer), 1), max(round(h * CELLS / longer), 1))
        small = cv2.resize(part, cells, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (w, h), interpolation=cv2.INTER_NEAREST), np.uint8)
    scale = min(SMALL / longer, 1.0)
    size = (max(round(w * scale), 1), max(round(h * scale), 1))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(max(size) * DEVIATION, 1.0), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)
