"""The tracker: takes the detections of frame after frame and says which track each of them belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from yolopose.geometry.keypoints import KeypointLayout
from yolopose.rules import Rules
from yolopose.track.association import Ints, Pairs
from yolopose.track.botsort import BotSort
from yolopose.track.bytetrack import ByteTrack
from yolopose.track.kalman import BoxFilter
from yolopose.track.options import TrackerOptions
from yolopose.track.pose import PoseTracking
from yolopose.track.state import Array, Detections, no_tracks

MAX_LOST = 1000  # lost tracks remembered at once; the longest lost are forgotten first


@dataclass(frozen=True)
class Tracked:
    """Which detections of a frame belong to confirmed tracks.

    `index` (M,) are positions in the arrays given to `update`, ascending, `ids` (M,) the tracks' ids, `filtered` (M, 4)
    xyxy their boxes in the state of the filter.
    """

    index: NDArray[np.intp]
    ids: NDArray[np.int64]
    filtered: NDArray[np.float64]


@dataclass(frozen=True)
class Lost:
    """Confirmed tracks without a detection in the last frame: `ids` (L,) and `boxes` (L, 4) xyxy as last detected."""

    ids: NDArray[np.int64]
    boxes: NDArray[np.float64]


class Method(Protocol):
    """What one algorithm decides: the motion of tracks, and their pairs with detections."""

    motion: BoxFilter
    uses_time: bool  # whether steps are as long as the time between frames; else one frame each

    def predict(self, tracks: Array, step: float, found: Detections, image: Array | None) -> None:
        """Move the tracks on by `step` frames, in place."""

    def match(self, tracks: Array, found: Detections) -> Pairs:
        """The pairs of tracks and detections."""

    def returning(self, tracks: Array, new: Ints) -> tuple[Ints, Ints]:
        """Rows of lost tracks, and the rows among `new`, just confirmed, that are the same persons."""

    def duplicates(self, tracks: Array) -> Ints:
        """Rows of tracks that stand for an object that another one stands for, too."""


class Tracker:
    """Ids for the detections of one video or stream; `open_tracker` makes one.

    Ids start at 1, rise in the order of confirmation, and are never given twice, unless `reset` starts a new video.
    A track is confirmed by its second detection in a row; in the first frame by its first.
    """

    def __init__(
        self,
        method: Method,
        options: TrackerOptions,
        keypoints: int,
        *,
        frame_rate: float,
        buffer: float,
        numbers_by_start: bool = False,
    ):
        self._method = method
        self._numbers_by_start = numbers_by_start
        self._options = options
        self._keypoints = keypoints
        self._frame_rate = frame_rate
        self._buffer = buffer  # frames
        self.reset()

    def reset(self) -> None:
        """Forget all tracks; ids start at 1 again."""
        self._tracks = no_tracks(self._keypoints)
        self._next_id = 1
        self._clock = 0.0  # frames
        self._time: float | None = None
        self._first = True

    @property
    def lost(self) -> Lost:
        """The lost tracks that are still remembered."""
        lost = self._tracks[(self._tracks["misses"] > 0) & (self._tracks["id"] > 0)]
        return Lost(lost["id"].copy(), lost["box"].copy())

    def update(
        self, boxes: Array, keypoints: Array, image: NDArray[np.uint8] | None = None, time: float | None = None
    ) -> Tracked:
        """Take the detections of the next frame, also if there are none.

        Args:
            boxes: (N, 6) xyxy in pixels, score, class.
            keypoints: (N, K, D) x y in pixels, and the score for D = 3; D = 2 counts as sure.
            image: (H, W, 3) BGR; for the camera's motion, if the tracker looks for it.
            time: of the frame, in seconds; None for one frame after the other at the frame rate.
        """
        found = Detections.of(boxes, keypoints)
        step = self._step(time)
        self._clock += step
        self._keep(self._clock - self._tracks["seen"] <= self._buffer + 1)  # after a long pause of the stream
        self._method.predict(self._tracks, step, found, image)
        pairs = self._method.match(self._tracks, found)
        self._correct(pairs, found)
        self._start(pairs, found)
        self._first = False
        return self._forget(found)

    def _step(self, time: float | None) -> float:
        """The frames since the last update; 1 without times, or if the time has not moved on."""
        before, self._time = self._time, time
        if not self._method.uses_time or time is None or before is None or not time > before:
            return 1.0
        return (time - before) * self._frame_rate

    def _correct(self, pairs: Pairs, found: Detections) -> None:
        """Give the tracks of `pairs` their detections; confirm those seen for the second time in a row."""
        tracks, rows, columns = self._tracks, pairs.rows, pairs.columns
        tracks["misses"] += 1
        tracks["misses"][rows] = 0
        tracks["seen"][rows] = self._clock
        tracks["state"][rows] = self._method.motion.update(tracks["state"][rows], found.boxes[columns])
        self._observe(tracks, rows, found, columns)
        self._confirm(np.sort(rows[tracks["id"][rows] == 0]))

    def _confirm(self, new: Ints) -> None:
        """Give the tracks in rows `new` their ids: new ones, or those of the lost tracks that they go on with."""
        if not len(new):
            return
        tracks = self._tracks
        old, again = self._method.returning(tracks, new)
        for name in ("id", "born"):
            tracks[name][again] = tracks[name][old]
        tracks["id"][old] = 0  # no longer confirmed, so that it is forgotten
        new = new[tracks["id"][new] == 0]
        tracks["id"][new] = tracks["number"][new] if self._numbers_by_start else self._ids(len(new))

    def _start(self, pairs: Pairs, found: Detections) -> None:
        """Start tracks at detections of high score that are in no pair."""
        least = max(self._options.new_track_thresh, self._options.track_high_thresh)
        new = np.flatnonzero(pairs.free_columns & (found.scores >= least))
        if not len(new):
            return
        tracks = np.zeros(len(new), self._tracks.dtype)
        tracks["born"] = tracks["seen"] = self._clock
        tracks["state"] = self._method.motion.start(found.boxes[new])
        tracks["number"] = self._ids(len(new)) if self._first or self._numbers_by_start else 0
        tracks["id"] = tracks["number"] if self._first else 0
        self._observe(tracks, np.arange(len(new)), found, new)
        self._tracks = np.concatenate((self._tracks, tracks))

    def _observe(self, tracks: Array, rows: Ints, found: Detections, columns: Ints) -> None:
        """Copy what was detected in `columns` to `rows` of `tracks`."""
        tracks["class"][rows] = found.classes[columns]
        tracks["box"][rows] = found.boxes[columns]
        tracks["points"][rows] = found.points[columns]
        tracks["detection"][rows] = found.index[columns]

    def _forget(self, found: Detections) -> Tracked:
        """Remove tracks that are lost for too long, seen once, or double; then the detections of confirmed tracks."""
        tracks = self._tracks
        late = self._clock - tracks["seen"]
        keep = (tracks["misses"] == 0) | ((tracks["id"] > 0) & (late <= self._buffer))
        lost = np.flatnonzero(keep & (tracks["misses"] > 0))
        if len(lost) > MAX_LOST:
            keep[lost[np.argsort(late[lost], kind="stable")[MAX_LOST:]]] = False
        self._keep(keep)
        double = self._method.duplicates(self._tracks)
        if len(double):
            self._tracks = np.delete(self._tracks, double)
        shown = self._tracks[(self._tracks["misses"] == 0) & (self._tracks["id"] > 0)]
        shown = shown[np.argsort(shown["detection"])]
        return Tracked(shown["detection"], shown["id"], self._method.motion.boxes(shown["state"]))

    def _keep(self, keep: NDArray[np.bool_]) -> None:
        if not keep.all():
            self._tracks = self._tracks[keep]

    def _ids(self, count: int) -> NDArray[np.int64]:
        """The next `count` ids."""
        first, self._next_id = self._next_id, self._next_id + count
        return np.arange(first, self._next_id)


def open_tracker(options: TrackerOptions, *, layout: KeypointLayout, rules: Rules, frame_rate: float = 30.0) -> Tracker:
    """A tracker for one video or stream.

    Args:
        options: from `read_tracker`.
        layout: the model's keypoints.
        rules: of `compat`; `frames_buffer` decides what `track_buffer` counts, `numbers_by_start` which ids there are.
        frame_rate: frames per second that reach the tracker: the video's rate divided by `vid_stride`.
    """
    scale = 1.0 if rules.frames_buffer else frame_rate / 30
    method: Method
    if options.tracker_type == "pose":
        method = PoseTracking(options, layout)
    else:
        method = {"bytetrack": ByteTrack, "botsort": BotSort}[options.tracker_type](options)
    buffer = int(options.track_buffer * scale)
    return Tracker(
        method, options, layout.shape[0], frame_rate=frame_rate, buffer=buffer, numbers_by_start=rules.numbers_by_start
    )
