"""Drawing with OpenCV alone: no window, no torch, no matplotlib."""

from yolopose.draw.instances import draw_instances
from yolopose.draw.mosaic import Tile, mosaic
from yolopose.draw.style import DrawStyle

__all__ = ["DrawStyle", "Tile", "draw_instances", "mosaic"]
