"""Drawing with OpenCV alone: no window, no torch, no matplotlib."""

from yolopose.draw.instances import DrawStyle, draw_instances
from yolopose.draw.mosaic import SheetTile, mosaic

__all__ = ["DrawStyle", "SheetTile", "draw_instances", "mosaic"]
