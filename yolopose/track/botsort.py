"""BoT-SORT without appearance features: ByteTrack's stages, width and height in the filter, camera motion taken out.

Aharon, Orfaig and Bobrovsky, "BoT-SORT: Robust Associations Multi-Pedestrian Tracking", 2022, and its code (MIT).
"""

from __future__ import annotations

from yolopose.track.bytetrack import ByteTrack
from yolopose.track.camera import CameraMotion
from yolopose.track.kalman import BoxFilter
from yolopose.track.options import TrackerOptions
from yolopose.track.state import Array, Detections


class BotSort(ByteTrack):
    """The stages of ByteTrack with the motion of BoT-SORT."""

    motion = BoxFilter()

    def __init__(self, options: TrackerOptions) -> None:
        super().__init__(options)
        self.camera = CameraMotion() if options.gmc_method == "sparseOptFlow" else None

    def predict(self, tracks: Array, step: float, found: Detections, image: Array | None) -> None:
        """Move the tracks' boxes on by `step` frames and by the camera's motion, in place."""
        super().predict(tracks, step, found, image)
        if self.camera is None or image is None:
            return
        high = found.scores >= self.options.track_high_thresh
        matrix = self.camera.estimate(image, found.boxes[high])
        if matrix is not None:
            self.motion.transform(tracks["state"], matrix)
