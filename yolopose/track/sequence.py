"""Tracking of one sequence of frames, and the memory that continues it in later calls."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.console import log
from yolopose.geometry.keypoints import KeypointLayout
from yolopose.rules import DEFAULT, Rules
from yolopose.track.options import TrackerOptions
from yolopose.track.smoothing import OneEuro
from yolopose.track.tracker import open_tracker

Array = NDArray[Any]

FRAME_RATE = 30.0  # of frames whose source does not state one: photographs, arrays


@dataclass(frozen=True, kw_only=True)
class SequenceOptions:
    """How a sequence is tracked; `smooth` filters the keypoints without look-ahead."""

    tracker: TrackerOptions
    layout: KeypointLayout
    rules: Rules = DEFAULT
    smooth: bool = False


@dataclass(frozen=True)
class TrackedFrame:
    """The instances of one frame that belong to confirmed tracks, in the order of the detections.

    Attributes:
        boxes: (M, 7) x1 y1 x2 y2 id score class, as detected; with the rule `filtered_boxes` as filtered.
        keypoints: (M, K, D), smoothed where that was asked for.
        raw: (M, K, D) as detected, None when `keypoints` are that.
        lost: the last boxes (4,) of confirmed tracks that are remembered but not in this frame, by id.
    """

    boxes: Array
    keypoints: Array
    raw: Array | None = None
    lost: Mapping[int, Array] = field(default_factory=dict)


class Sequence:
    """The tracker of a video, a stream or a row of photographs. Threads may share one; they take turns.

    Ids start at 1 and are never used twice. When the frames change their size, the tracks start anew, since their
    positions mean nothing any more; the ids go on.
    """

    def __init__(self, options: SequenceOptions, frame_rate: float = FRAME_RATE) -> None:
        self.options = options
        self._frame_rate = frame_rate
        self._lock = threading.Lock()
        self._tracker = open_tracker(options.tracker, layout=options.layout, rules=options.rules, frame_rate=frame_rate)
        self._smoother = OneEuro() if options.smooth else None
        self._size: tuple[int, int] | None = None
        self._warned = False
        self._time: float | None = None
        self._clock = 0.0  # seconds; `time` starts anew with every call
        self._offset = self._highest = 0  # of the ids

    def update(
        self, boxes: Array, keypoints: Array, image: NDArray[np.uint8], time: float | None = None
    ) -> TrackedFrame:
        """Take the detections (N, 6) and (N, K, D) of the next frame (H, W, 3).

        `time` is in seconds since the video's first frame; None is one step at the frame rate.
        """
        with self._lock:
            step = self._step(time)
            self._clock += step
            self._check_size(image.shape[0], image.shape[1])
            tracked = self._tracker.update(boxes, keypoints, image, self._clock)
            ids, boxes, raw = tracked.ids + self._offset, boxes[tracked.index], keypoints[tracked.index]
            self._highest = max([self._highest, *ids.tolist()])
            places = tracked.filtered if self.options.rules.filtered_boxes else boxes[:, :4]
            rows = np.concatenate([places, ids[:, None], boxes[:, 4:]], 1, dtype=np.float32)
            gone = self._tracker.lost
            lost = dict(zip((gone.ids + self._offset).tolist(), gone.boxes, strict=True))
            if self._smoother is None:
                return TrackedFrame(rows, raw, lost=lost)
            smooth = self._smoother.update(ids, boxes, raw, step)
            return TrackedFrame(rows, smooth.astype(np.float32), raw, lost)

    def reset(self) -> None:
        """Forget all tracks; ids start at 1 again."""
        with self._lock:
            self._forget()
            self._offset = self._highest = 0

    def _forget(self) -> None:
        self._tracker.reset()
        if self._smoother is not None:
            self._smoother.reset()

    def _step(self, time: float | None) -> float:
        """The seconds since the frame before; one step at the frame rate where that is not known."""
        before, self._time = self._time, time
        if time is None or before is None or time <= before:
            return 1 / self._frame_rate
        return time - before

    def _check_size(self, height: int, width: int) -> None:
        """Start anew when frames have another size than before, with one warning."""
        before, self._size = self._size, (height, width)
        if before in (None, self._size):
            return
        if not self._warned and before is not None:
            self._warned = True
            log.warning(
                f"frames change from {before[1]}x{before[0]} to {width}x{height} pixels: tracks start anew, ids go on"
            )
        self._forget()
        self._offset = self._highest


class TrackMemory:
    """The sequences of the latest calls, which `persist=True` continues; safe for several threads.

    Copies and pickles of it are empty.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sequences: dict[Hashable, Sequence] = {}

    def __reduce__(self) -> tuple[type[TrackMemory], tuple[()]]:
        return TrackMemory, ()

    def open(self, key: Hashable, options: SequenceOptions, frame_rate: float, *, persist: bool) -> Sequence:
        """A new sequence, or with `persist` the one that the calls before had under this key."""
        with self._lock:
            kept = self._sequences.get(key) if persist else None
            if kept is not None and kept.options != options:
                log.warning("persist=True, but model, tracker or smooth is another one than before: tracks start anew")
                kept = None
            kept = self._sequences[key] = kept or Sequence(options, frame_rate)
            return kept
