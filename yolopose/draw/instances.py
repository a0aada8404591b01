"""Boxes, skeletons and labels of the instances in an image; colours, sizes and text. Images are (H, W, 3) BGR uint8.

Coordinates are continuous pixels: (0, 0) is the outer corner of the first pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError, UsageError, one_line, shown
from yolopose.geometry.boxes import area
from yolopose.geometry.keypoints import KeypointLayout
from yolopose.limits import MAX_NAME

Image: TypeAlias = NDArray[np.uint8]
Array: TypeAlias = NDArray[Any]
Color: TypeAlias = tuple[int, int, int]


def bgr(code: str) -> Color:
    """`rrggbb` → (b, g, r)."""
    r, g, b = bytes.fromhex(code)
    return b, g, r


# Neighbours in the row differ in hue and in lightness, so that few classes stay distinct also in grey.
PALETTE = tuple(map(bgr, (
    "2f9bff", "ff8a1f", "2fc46b", "f0449b", "8f6bff", "f2c510", "12c2c9", "e5484d", "a3d92b", "c04fe0", "1f6fd6",
    "ffb37a", "138a5e", "ff7fb8", "5a54d6", "b08a10",
)))  # fmt: skip
# Left limbs are cool, right limbs are warm, the middle is light: a swapped skeleton shows at a glance.
LEFT = {"arm": bgr("35c7ff"), "leg": bgr("4a7dff")}
RIGHT = {"arm": bgr("ffab2e"), "leg": bgr("ff5a4f")}
TORSO, HEAD = bgr("f3f1e6"), bgr("8df06a")
LANDMARKS = tuple(map(bgr, ("35c7ff", "ffab2e", "8df06a", "b58bff", "ff5a8a", "ffe14a", "2fe0b5", "f3f1e6")))
SHADE = (20, 20, 20)
BODY_PARTS = {"shoulder": "arm", "elbow": "arm", "wrist": "arm", "hip": "leg", "knee": "leg", "ankle": "leg"}
# A box narrower than its label has none when more others than this are within the label's width of it.
MOST_NEIGHBOURS = 2
# OpenCV's own small circles are diamonds.
DISC = np.array([(math.cos(t * math.pi / 12), math.sin(t * math.pi / 12)) for t in range(24)])


@dataclass(frozen=True)
class DrawStyle:
    """What to draw and how large; None sizes fit the image and the instance.

    Attributes:
        boxes: draw the boxes, and with `labels` their class names (in a crowd not on boxes narrower than theirs), and
            with `conf` the scores too.
        line_width: of boxes and skeletons, in pixels.
        font_size: height of a line of text, in pixels.
        font: a font file (.ttf, .otf); otherwise the one that OpenCV brings.
        kpt_radius: of the dots, in pixels; 0 draws none.
        kpt_line: draw the skeleton that the layout gives.
        kpt_conf: keypoints with a lower visibility score are not drawn.
        color_mode: "class" colours boxes by class and keypoints by body part, "track" boxes by track instead, and
            "instance" gives each instance one colour of its own.
    """

    boxes: bool = True
    labels: bool = True
    conf: bool = True
    line_width: float | None = None
    font_size: float | None = None
    font: str | None = None
    kpt_radius: float | None = None
    kpt_line: bool = True
    kpt_conf: float = 0.25
    color_mode: str = "class"

    def __post_init__(self) -> None:
        """Raise UsageError for an unknown colour mode."""
        if self.color_mode not in ("class", "instance", "track"):
            raise UsageError(f"color_mode must be 'class', 'instance' or 'track', got {shown(self.color_mode)}")


@dataclass(frozen=True)
class Font:
    """A typeface at one size (pixels per line); `face` is OpenCV's, None before OpenCV 5, which drew strokes only."""

    size: float
    face: Any = None

    @classmethod
    def load(cls, name: str | None, size: float) -> Font:
        """The font file, or OpenCV's own for None and for the bare name "Arial.ttf", the default of Ultralytics 8.3."""
        import cv2

        if not hasattr(cv2, "FontFace"):
            return cls(size)
        if name is None or name == "Arial.ttf":
            return cls(size, cv2.FontFace("sans"))
        face = cv2.FontFace(name)
        if not Path(name).is_file() or not face.getName():
            raise PoseError(f"{name}: no font file that OpenCV can read; leave font out for the built-in one")
        return cls(size, face)

    def width(self, text: str) -> int:
        """The width of the text in pixels."""
        import cv2

        if self.face is None:
            return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, self.size / 30, self._stroke)[0][0])
        return int(cv2.getTextSize((0, 0), text, (0, 0), self.face, round(self.size), 500)[2])

    def write(self, image: Image, text: str, left: int, baseline: int, color: Color) -> None:
        """Draw the text in place."""
        import cv2

        if self.face is None:
            face, scale = cv2.FONT_HERSHEY_SIMPLEX, self.size / 30
            cv2.putText(image, text, (left, baseline), face, scale, color, self._stroke, cv2.LINE_AA)
        else:
            cv2.putText(image, text, (left, baseline), color, self.face, round(self.size), 500)

    @property
    def _stroke(self) -> int:
        return max(round(self.size / 14), 1)


@dataclass(frozen=True)
class Pen:
    """The sizes of lines, dots and text in one image; those that the style leaves None fit the image and the box."""

    style: DrawStyle
    line: float
    font: Font

    @classmethod
    def fit(cls, style: DrawStyle, hw: tuple[int, int]) -> Pen:
        """The pen for an image of (H, W); its sizes grow with the image."""
        side = sum(hw) / 2
        size = max(side * 0.023, 10.0) if style.font_size is None else max(style.font_size, 4.0)
        return cls(style, style.line_width or side * 0.0026 + 0.6, Font.load(style.font, size))

    def line_on(self, box: Array) -> int:
        """Line width of the box."""
        return self._width(side_of(box) * 0.06, self.line)

    def limb_on(self, box: Array, fine: bool = False) -> int:
        """Line width of the box's skeleton; half of it when `fine`."""
        share = 0.5 if fine else 1.0
        return self._width(side_of(box) * 0.022 * share, self.line * 1.5 * share)

    def _width(self, wanted: float, most: float) -> int:
        if self.style.line_width is not None:
            return max(round(self.line), 1)
        return max(round(min(wanted, most)), 1)

    def dot_on(self, box: Array) -> float:
        """Radius of the box's keypoints."""
        if self.style.kpt_radius is not None:
            return self.style.kpt_radius
        return min(side_of(box) * 0.02, self.line * 1.6) + 0.6

    def font_on(self, box: Array) -> Font:
        """Font of the box's label."""
        if self.style.font_size is not None:
            return self.font
        share = min(max(side_of(box) / (5 * self.font.size), 0.7), 1.0)
        return replace(self.font, size=max(self.font.size * share, 9.0))


def side_of(box: Array) -> float:
    """Side of the square as large as the box, at least one pixel."""
    return float(np.sqrt(np.maximum(box[2:4] - box[:2], 1.0).prod()))


@dataclass(frozen=True)
class Skeleton:
    """Which keypoints are joined, and the colours of these edges and of the keypoints; a face's lines are `fine`."""

    edges: Sequence[tuple[int, int]]
    edge_colors: Sequence[Color]
    point_colors: Sequence[Color]
    fine: bool = False

    @classmethod
    def of(cls, layout: KeypointLayout) -> Skeleton:
        """Coloured by side and body part when the keypoints' names contain them, otherwise a colour per keypoint."""
        parts = [part_of(name) for name in layout.names]
        if any(part != "head" for _, part in parts):
            edges = [edge_color(parts[a], parts[b]) for a, b in layout.edges]
            return cls(layout.edges, edges, [part_color(*part) for part in parts])
        points = [LANDMARKS[i % len(LANDMARKS)] for i in range(len(parts))]
        return cls(layout.edges, [points[b] for _, b in layout.edges], points, fine=True)

    @classmethod
    def plain(cls, layout: KeypointLayout, color: Color) -> Skeleton:
        """All in one colour."""
        return cls(layout.edges, [color] * len(layout.edges), [color] * len(layout.names))


def edge_color(a: tuple[str, str], b: tuple[str, str]) -> Color:
    """The colour of the line between two (side, part): the limb's, the head's, or the torso's between two limbs."""
    if "head" in (a[1], b[1]):
        return HEAD
    return part_color(*a) if a == b else TORSO


def part_of(name: str) -> tuple[str, str]:
    """The (side, part) of a keypoint: left, right or ""; arm, leg or head. Any other keypoint counts as head."""
    words = name.lower().split("_")
    side = next((word for word in words if word in ("left", "right")), "")
    return side, next((BODY_PARTS[word] for word in words if word in BODY_PARTS), "head")


def part_color(side: str, part: str) -> Color:
    """The colour of a limb."""
    return {"left": LEFT, "right": RIGHT}.get(side, {}).get(part, HEAD if part == "head" else TORSO)


def instance_color(row: Array, index: int, style: DrawStyle) -> Color:
    """The colour of an instance: by class, or with another color_mode by track number, else by position."""
    number = row[-1] if style.color_mode == "class" else row[4] if len(row) == 7 else index
    return PALETTE[int(number) % len(PALETTE)]


def draw_instances(
    image: Image,
    boxes: Array,
    keypoints: Array,
    layout: KeypointLayout,
    names: Mapping[int, str],
    style: DrawStyle | None = None,
) -> Image:
    """(H, W, 3), (N, 6 or 7) x1 y1 x2 y2 [id] conf cls, (N or 0, K, 2 or 3), all in pixels → a new image.

    Better scores are drawn over worse ones, labels over everything. Instances with coordinates that are no numbers are
    left out.
    """
    style = style or DrawStyle()
    canvas = np.ascontiguousarray(image).copy()
    pen = Pen.fit(style, canvas.shape[:2])
    order = [i for i in np.argsort(boxes[:, -2], kind="stable") if np.isfinite(boxes[i]).all()]
    colors = [instance_color(row, i, style) for i, row in enumerate(boxes)]
    if style.boxes:
        for i in order:
            draw_box(canvas, boxes[i], colors[i], pen.line_on(boxes[i]))
    if len(keypoints):
        by_part = Skeleton.of(layout)
        for i in order:
            skeleton = by_part if style.color_mode != "instance" else Skeleton.plain(layout, colors[i])
            draw_pose(canvas, keypoints[i], skeleton, style, pen.limb_on(boxes[i], skeleton.fine), pen.dot_on(boxes[i]))
    if style.boxes and style.labels:
        others = Obstacles(boxes[order])
        for i in reversed(order):
            draw_label(canvas, label_text(boxes[i], names, style), boxes[i], colors[i], pen, others)
    return canvas


def draw_box(canvas: Image, box: Array, color: Color, line: int) -> None:
    """The rectangle, its line whole inside the picture."""
    import cv2

    h, w = canvas.shape[:2]
    inset = line // 2
    most = (w - 1 - inset, h - 1 - inset)
    low = np.clip(np.round(box[:2]), inset, most).astype(int)
    high = np.clip(np.round(box[2:4]) - 1, low, most).astype(int)
    cv2.rectangle(canvas, low.tolist(), high.tolist(), color, line, cv2.LINE_8)


def draw_pose(canvas: Image, points: Array, skeleton: Skeleton, style: DrawStyle, line: int, radius: float) -> None:
    """(K, 2 or 3) keypoints and the edges between them, over a dark rim that sets them off from any background.

    Not drawn: scores below the style's, and (0, 0), which labels without visibility use for "not labelled".
    """
    import cv2

    seen = np.isfinite(points).all(1) & (points[:, :2] != 0).any(1)
    if points.shape[1] == 3:
        seen &= points[:, 2] >= style.kpt_conf
    # OpenCV takes 1/16 pixels as whole numbers, and its (0, 0) is the centre of the first pixel.
    near = np.where(seen[:, None], points[:, :2], 0).clip(-1e5, 1e5)
    at = np.round((near - 0.5) * 16).astype(int)
    edges = zip(skeleton.edges, skeleton.edge_colors, strict=True) if style.kpt_line else ()
    shown = [(at[a].tolist(), at[b].tolist(), color) for (a, b), color in edges if seen[a] and seen[b]]
    rim = round(line * 0.3)
    for width, shade in ((line + 2 * rim, SHADE), (line, None)):
        for start, end, color in shown:
            cv2.line(canvas, start, end, shade or color, width, cv2.LINE_AA, 4)
    for i in np.flatnonzero(seen).tolist() if radius > 0 else ():
        for r, color in ((radius + max(rim, 0.6), SHADE), (radius, skeleton.point_colors[i])):
            cv2.fillConvexPoly(canvas, np.round(at[i] + DISC * r * 16).astype(int), color, cv2.LINE_AA, 4)


def label_text(row: Array, names: Mapping[int, str], style: DrawStyle) -> str:
    """`id:3 person 0.87`, as far as known and wanted; a class name as one short printable line."""
    words = [f"id:{int(row[4])}"] if len(row) == 7 else []
    words.append(one_line(names.get(int(row[-1]), int(row[-1])), MAX_NAME))
    if style.conf:
        words.append(f"{row[-2]:.2f}")
    return " ".join(words)


def draw_label(canvas: Image, text: str, box: Array, color: Color, pen: Pen, others: Obstacles) -> None:
    """The text on a plate at the box; left out where it would only hide other labels or instances, and in a crowd."""
    font = pen.font_on(box)
    size = (font.width(text) + round(font.size * 0.6), round(font.size * 1.35))
    if size[0] > box[2] - box[0] and others.crowd(box, size[0]):
        return
    spots = label_spots(box, size, pen.line_on(box), canvas.shape[:2])
    cost = others.hidden_by(spots)
    chosen = int(np.argmax(cost < 0.1)) if (cost < 0.1).any() else int(np.argmin(cost))
    if cost[chosen] < 0.5:
        others.labels.append(spots[chosen])
        draw_plate(canvas, spots[chosen], text, font, color)


def label_spots(box: Array, size: tuple[int, int], line: int, hw: tuple[int, int]) -> Array:
    """(8, 4) places for a plate of `size` (w, h) at the box, pushed into the picture: above, inside, below, inside."""
    (w, h), out = size, line // 2
    x1, y1 = (np.floor(box[:2]) - out).tolist()
    x2, y2 = (np.ceil(box[2:4]) + out).tolist()
    lefts = (x1, x2 - w)
    corners = [(left, top) for top in (y1 - h, y1, y2, y2 - h) for left in lefts]
    low = np.clip(np.array(corners), 0, (max(hw[1] - w, 0), max(hw[0] - h, 0))).astype(int)
    return np.concatenate([low, low + size], 1)


@dataclass
class Obstacles:
    """What a label should not hide: every instance's box, and four times more the labels that are there already."""

    boxes: Array
    labels: list[Array] = field(default_factory=list)

    def crowd(self, box: Array, reach: int) -> bool:
        """Whether several others are within `reach` pixels of the box."""
        low, high = box[:2] - reach, box[2:4] + reach
        near = (self.boxes[:, :2] < high).all(1) & (self.boxes[:, 2:4] > low).all(1)
        return bool(near.sum() > MOST_NEIGHBOURS + 1)  # it finds itself too

    def hidden_by(self, plates: Array) -> Array:
        """(P, 4) → (P,) how much each plate would hide: the summed shares of the obstacles' areas."""
        rects = np.concatenate([self.boxes[:, :4], np.reshape(self.labels, (-1, 4))])
        shared = np.minimum(plates[:, None, 2:], rects[:, 2:]) - np.maximum(plates[:, None, :2], rects[:, :2])
        shares = np.maximum(shared, 0).prod(-1) / np.maximum(area(rects), 1)
        return np.asarray(shares[:, : len(self.boxes)].sum(1) + 4 * shares[:, len(self.boxes) :].sum(1))


def draw_plate(canvas: Image, plate: Array, text: str, font: Font, color: Color) -> None:
    """Text on a filled rectangle (left, top, right, bottom), dark on light colours and white on dark ones."""
    left, top, right, bottom = plate.tolist()
    canvas[top:bottom, left:right] = color
    luminance = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2]
    ink = SHADE if luminance > 140 else (255, 255, 255)
    font.write(canvas, text, left + round(font.size * 0.3), top + round(font.size * 1.03), ink)
