"""Drawing with OpenCV alone: no window, no torch, no matplotlib."""

from yolopose.draw.instances import DrawStyle, draw_instances
from yolopose.draw.mosaic import Tile, mosaic

__all__ = ["DrawStyle", "Tile", "draw_instances", "mosaic"]
