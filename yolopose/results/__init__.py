"""What a prediction returns: arrays under the names that scripts know, and the ways to draw and write them."""

from yolopose.results.arrays import Boxes, Keypoints
from yolopose.results.host import HostArray
from yolopose.results.results import Results

__all__ = ["Boxes", "HostArray", "Keypoints", "Results"]
