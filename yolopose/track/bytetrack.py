"""ByteTrack: pairs by the overlap of boxes, detections of low score in a second stage.

Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022, and its code (MIT).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.geometry.boxes import iou_matrix
from yolopose.track.association import Ints, Pairs, fuse, separate_classes
from yolopose.track.kalman import BoxFilter
from yolopose.track.options import TrackerOptions
from yolopose.track.state import Array, Detections

SECOND_LIMIT = 0.5  # largest cost with a detection of low score
NEW_LIMIT = 0.7  # largest cost of a track's second detection
DUPLICATE = 0.85  # overlap above which a lost and an active track are the same object


class ByteTrack:
    """The stages of ByteTrack; `tracks` is the array of `state.no_tracks`."""

    motion = BoxFilter(aspect=True)
    uses_time = False  # one step for every frame, as published

    def __init__(self, options: TrackerOptions) -> None:
        self.options = options

    def predict(self, tracks: Array, step: float, found: Detections, image: Array | None) -> None:
        """Move the tracks' boxes on by `step` frames, in place."""
        self.motion.stop_growing(tracks["state"], tracks["misses"] > 0)
        self.motion.predict(tracks["state"], step)

    def match(self, tracks: Array, found: Detections) -> Pairs:
        """The pairs of tracks and detections."""
        return pairs_in_stages(tracks, found, self.similarity(tracks, found), self.options)

    def similarity(self, tracks: Array, found: Detections) -> NDArray[np.float64]:
        """(T, N) overlap (IoU) of the predicted boxes and the detections."""
        overlap = iou_matrix(self.motion.boxes(tracks["state"]), found.boxes)
        return separate_classes(overlap, overlap, tracks["class"], found.classes)

    def returning(self, tracks: Array, new: Ints) -> tuple[Ints, Ints]:
        """None: ByteTrack does not look for lost tracks where their boxes do not overlap."""
        none = np.empty(0, np.intp)
        return none, none

    def duplicates(self, tracks: Array) -> Ints:
        """Rows of tracks to remove: of a lost and an active track at one place the one that was seen for less long."""
        active, lost = np.flatnonzero(tracks["misses"] == 0), np.flatnonzero(tracks["misses"] > 0)
        if not len(active) or not len(lost):
            return lost[:0]
        boxes = self.motion.boxes(tracks["state"])
        a, b = np.nonzero(iou_matrix(boxes[active], boxes[lost]) > DUPLICATE)
        a, b = active[a], lost[b]
        duration: NDArray[Any] = tracks["seen"] - tracks["born"]
        return np.unique(np.where(duration[a] > duration[b], b, a))


def pairs_in_stages(
    tracks: Array,
    found: Detections,
    similarity: NDArray[np.float64],
    options: TrackerOptions,
    left_out: Ints | None = None,
) -> Pairs:
    """The pairs of tracks and detections by their (T, N) similarity; detections `left_out` are in none.

    1. Confirmed tracks, lost ones too, with detections of high score. 2. Tracks that were active in the previous frame
    with detections of low score. 3. Tracks seen once with the rest of the detections of high score.
    """
    fused = fuse(similarity, found.scores) if options.fuse_score else similarity
    high = found.scores >= options.track_high_thresh
    low = ~high & (found.scores >= options.track_low_thresh)
    confirmed = tracks["id"] > 0
    pairs = Pairs(len(tracks), len(found))
    if left_out is not None:
        pairs.free_columns[left_out] = False
    pairs.add(1 - fused, confirmed, high, options.match_thresh)
    pairs.add(1 - similarity, confirmed & (tracks["misses"] == 0), low, SECOND_LIMIT)
    pairs.add(1 - fused, ~confirmed, high, NEW_LIMIT)
    return pairs
