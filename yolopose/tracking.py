"""Tracking: predict with ids that instances keep from frame to frame, files of tracks, steady keypoints."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator, Hashable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from yolopose.callbacks import Hooks
from yolopose.config import TrackConfig
from yolopose.console import log
from yolopose.detect import Detections
from yolopose.errors import UsageError
from yolopose.formats.base import Backend
from yolopose.predict import Image, Predictor
from yolopose.results import Keypoints, Results
from yolopose.rules import RULES
from yolopose.sources import Frame
from yolopose.track.files import TrackWriter
from yolopose.track.options import read_tracker
from yolopose.track.sequence import FRAME_RATE, Sequence, SequenceOptions, TrackedFrame, TrackMemory
from yolopose.track.table import TrackTable


class TrackPredictor(Predictor):
    """A Predictor whose results have the ids of confirmed tracks, and nothing else in them.

    Each video is a sequence of its own, in which ids start at 1; so is each live stream. All photographs and arrays of
    the source are one sequence. With `persist` videos, streams and photographs continue those of the calls before.

    Raises:
        UsageError: arguments that do not fit the source or one another.
        PoseError: see Predictor; the tracker's file is wrong, or pyarrow is missing.
    """

    mode = "track"

    def __init__(
        self,
        backend: Backend,
        source: Any,
        config: TrackConfig,
        hooks: Hooks | None = None,
        memory: TrackMemory | None = None,
    ) -> None:
        self._config = config
        self._writer = TrackWriter(config.save_tracks) if config.save_tracks else None
        self._memory = memory or TrackMemory()
        self._sequences: dict[Hashable, tuple[int, str, Sequence]] = {}  # by key: item, its name, sequence
        self._names: Counter[str] = Counter()  # of sequences so far
        self._tracks: set[tuple[str, int]] = set()  # in the file of tracks
        self._start = time.monotonic()
        rules = RULES[config.compat]
        self._tracking = SequenceOptions(
            tracker=read_tracker(config.tracker or ("botsort" if config.compat else "pose")),
            layout=backend.info.layout,
            rules=rules,
            smooth=config.smooth is True,
        )
        check_source(source, config)
        super().__init__(backend, source, config, hooks)

    @property
    def trackers(self) -> list[Sequence]:
        """The sequences under way; `reset()` of one starts its ids anew."""
        return [sequence for _, _, sequence in self._sequences.values()]

    def _run(self) -> Generator[Results, None, None]:
        """All batches; the files of tracks are complete afterwards, also after an error."""
        try:
            with self._writer or nullcontext():
                yield from super()._run()
        finally:
            if self._writer is not None and self._writer.paths and self.args.verbose:
                rows, paths = self._writer.rows, ", ".join(map(str, self._writer.paths))
                log.info(f"{len(self._tracks)} tracks, {rows} rows saved to {paths}")

    def _result(self, frame: Frame, image: Image, found: Detections) -> Results:
        """The result of one frame, with the instances of confirmed tracks."""
        start = time.perf_counter()
        name, sequence = self._sequence(frame)
        seconds = self._seconds(frame)
        tracked = sequence.update(found.boxes, found.keypoints, image, seconds)
        found.speed["postprocess"] += (time.perf_counter() - start) * 1e3
        found = replace(found, boxes=tracked.boxes, keypoints=tracked.keypoints)
        result = super()._result(frame, image, found)
        if tracked.raw is not None:
            result.raw_keypoints = Keypoints(tracked.raw, result.orig_shape)
        if self._writer is not None:
            self._write(self._writer, name, frame, seconds, tracked)
        return result

    def _write(
        self, writer: TrackWriter, name: str, frame: Frame, seconds: float | None, tracked: TrackedFrame
    ) -> None:
        """Append a frame's rows to the file of tracks."""
        ids, boxes = tracked.boxes[:, 4].astype(int), tracked.boxes[:, [0, 1, 2, 3, 5, 6]]
        rows = TrackTable.of_frame(
            frame.index, seconds, ids, boxes, tracked.keypoints, raw=tracked.raw, source=name,
            names=self._tracking.layout.names,
        )  # fmt: skip
        self._tracks.update((name, number) for number in ids.tolist())
        writer.write(rows, name)

    def _sequence(self, frame: Frame) -> tuple[str, Sequence]:
        """The sequence of a frame, and its name in files of tracks."""
        key = (frame.kind, frame.stream)
        item = frame.item if frame.kind == "video" else 0
        known = self._sequences.get(key)
        if known is None or known[0] != item:
            if known is not None and self._writer is not None:
                self._writer.end(known[1])
            rate = frame.fps or FRAME_RATE
            sequence = self._memory.open(key, self._tracking, rate, persist=self._config.persist)
            known = self._sequences[key] = (item, self._name(frame), sequence)
        return known[1:]

    def _name(self, frame: Frame) -> str:
        """A name for the sequence that begins with a frame: path or address; the folder of photographs."""
        name = frame.path
        if frame.kind == "image":
            name = os.path.dirname(name) or "images"
        count = self._names[name] = self._names[name] + 1
        return f"{name} ({count})" if count > 1 else name

    def _seconds(self, frame: Frame) -> float | None:
        """The time of a frame since the first one of its video or stream; None for photographs and arrays."""
        if frame.kind == "image":
            return None
        if frame.fps:
            return frame.index / (frame.fps * self.args.vid_stride)
        return time.monotonic() - self._start


def check_source(source: Any, config: TrackConfig) -> None:
    """Raise UsageError for a file of tracks that every call with another frame would replace."""
    members = source if isinstance(source, list | tuple) else [source]
    if config.persist and config.save_tracks and not all(isinstance(m, str | os.PathLike | int) for m in members):
        raise UsageError(
            "save_tracks with persist=True and frames in memory: every call would replace the file; give the video "
            "itself as source, or collect the results"
        )
