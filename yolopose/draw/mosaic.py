"""Many annotated images in one: the train_batch and val_batch pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from yolopose.draw.instances import SHADE, Array, DrawStyle, Font, Image, draw_instances, draw_plate
from yolopose.errors import one_line
from yolopose.geometry.keypoints import KeypointLayout

GAP = 4  # white pixels between tiles


@dataclass(frozen=True)
class SheetTile:
    """One image of a mosaic, and the boxes and keypoints to draw on it, in its pixels (see `draw_instances`)."""

    image: Image
    boxes: Array = field(default_factory=lambda: np.empty((0, 6), np.float32))
    keypoints: Array = field(default_factory=lambda: np.empty((0, 1, 3), np.float32))
    caption: str = ""


def mosaic(
    tiles: Sequence[SheetTile],
    layout: KeypointLayout,
    names: Mapping[int, str],
    style: DrawStyle | None = None,
    *,
    limit: int = 16,
    max_side: int = 1920,
) -> Image:
    """The first `limit` tiles in a grid, shrunk together until no side exceeds `max_side`, never enlarged.

    Instances and captions are drawn after shrinking and so stay sharp.
    """
    tiles = tiles[:limit]
    columns = max(math.ceil(math.sqrt(len(tiles))), 1)
    lines = max(math.ceil(len(tiles) / columns), 1)
    tallest, widest = np.max([(1, 1), *(tile.image.shape[:2] for tile in tiles)], axis=0).tolist()
    gain = min(1.0, ((max_side + GAP) / lines - GAP) / tallest, ((max_side + GAP) / columns - GAP) / widest)
    cell_h, cell_w = max(int(tallest * gain), 1) + GAP, max(int(widest * gain), 1) + GAP
    grid = np.full((lines * cell_h - GAP, columns * cell_w - GAP, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        small = shrunk(tile, gain)
        picture = draw_instances(small.image, small.boxes, small.keypoints, layout, names, style)
        if tile.caption:
            draw_caption(picture, tile.caption)
        top, left = i // columns * cell_h, i % columns * cell_w
        grid[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return grid


def shrunk(tile: SheetTile, gain: float) -> SheetTile:
    """The tile with its image, boxes and keypoints scaled by `gain` ≤ 1."""
    import cv2

    h, w = tile.image.shape[:2]
    size = (max(int(w * gain), 1), max(int(h * gain), 1))
    if size == (w, h):
        return tile
    scale = np.array(size, np.float32) / (w, h)
    boxes, keypoints = tile.boxes.copy(), tile.keypoints.copy()
    boxes[:, :4] *= np.tile(scale, 2)
    keypoints[..., :2] *= scale
    return SheetTile(cv2.resize(tile.image, size, interpolation=cv2.INTER_AREA), boxes, keypoints, tile.caption)


def draw_caption(canvas: Image, text: str) -> None:
    """Write white text on dark along the lower edge; a text that is too long is cut at its end."""
    (h, w), text = canvas.shape[:2], one_line(text)
    font = Font.load(None, min(max((h + w) / 2 * 0.028, 10.0), 20.0))
    room = w - round(font.size * 0.6)
    while text and font.width(text) > room:
        text = text[:-2].rstrip("…") + "…" if len(text) > 2 else ""
    high = round(font.size * 1.35)
    if text and high <= h:
        draw_plate(canvas, np.array([0, h - high, font.width(text) + w - room, h]), text, font, SHADE)
