"""How things are drawn: colours, sizes and text. Images are (H, W, 3) BGR uint8."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError, UsageError, shown

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
PARTS = {"shoulder": "arm", "elbow": "arm", "wrist": "arm", "hip": "leg", "knee": "leg", "ankle": "leg"}


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
        color_mode: "class" colours boxes by class and keypoints by body part, "instance" gives each instance its own.
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
        if self.color_mode not in ("class", "instance"):
            raise UsageError(f"color_mode must be 'class' or 'instance', got {shown(self.color_mode)}")


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
        """Of the text, in pixels."""
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
    """A style's sizes for one image: what the style leaves open grows with the image and is smaller on small boxes."""

    style: DrawStyle
    line: float
    font: Font

    @classmethod
    def fit(cls, style: DrawStyle, hw: tuple[int, int]) -> Pen:
        """For an image of (H, W): pictures look alike at every resolution."""
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
