"""What a prediction returns: plain arrays with the names that scripts know, and the ways to draw and write them."""

from yolopose.results.arrays import Boxes, HostArray, Keypoints
from yolopose.results.results import Results

__all__ = ["Boxes", "HostArray", "Keypoints", "Results"]
