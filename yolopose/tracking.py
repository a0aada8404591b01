"""Tracking: predict with ids that instances keep from frame to frame, files of tracks, steady keypoints."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator, Hashable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from yolopose.callbacks import Hooks
from yolopose.config import TrackConfig
from yolopose.console import log, progress
from yolopose.detect import Detections
from yolopose.draw.blur import Hidden, regions_of
from yolopose.errors import UsageError
from yolopose.formats.base import Backend
from yolopose.predict import Image, Predictor
from yolopose.results import Keypoints, Results
from yolopose.rules import RULES
from yolopose.sources import Frame
from yolopose.track.files import TrackWriter
from yolopose.track.options import read_tracker
from yolopose.track.sequence import FRAME_RATE, Sequence, SequenceOptions, TrackedFrame, TrackMemory
from yolopose.track.steady_table import steady_table
from yolopose.track.table import TrackTable

EMPTY = np.empty((0, 0), np.float32)


class TrackPredictor(Predictor):
    """A Predictor whose results have the ids of confirmed tracks, and nothing else in them (but see `untracked_shown`).

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
        self._tracks: Counter[str] = Counter()  # in the file of tracks, by sequence
        self._highest: Counter[str] = Counter()  # of their ids
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
                yield from self._passes()
        finally:
            if self._writer is not None and self._writer.paths and self.args.verbose:
                rows, paths = self._writer.rows, ", ".join(map(str, self._writer.paths))
                tracks = self._tracks.total()
                log.info(f"{tracks} track{'s' * (tracks != 1)}, {rows} row{'s' * (rows != 1)} saved to {paths}")

    def _passes(self) -> Generator[Results, None, None]:
        """Read the source, once or more often."""
        return super()._run()

    def _result(self, frame: Frame, image: Image, found: Detections) -> Results:
        """The result of one frame, with the instances of confirmed tracks."""
        start = time.perf_counter()
        name, sequence = self._sequence(frame)
        seconds = self._seconds(frame)
        tracked = sequence.update(found.boxes, found.keypoints, image, seconds)
        found.speed["postprocess"] += (time.perf_counter() - start) * 1e3
        untracked = self._tracking.rules.untracked_shown and not len(tracked.boxes)
        shown = found if untracked else replace(found, boxes=tracked.boxes, keypoints=tracked.keypoints)
        result = self._plain(frame, image, shown)
        hidden = self._hidden(frame, found, (tracked.boxes, tracked.keypoints), tracked.lost)
        if hidden is not None:
            result.hide(hidden)
        if tracked.raw is not None and not untracked:
            result.raw_keypoints = Keypoints(tracked.raw, result.orig_shape)
        if self._writer is not None:
            self._write(self._table(name, frame, seconds, tracked), name)
        return result

    def _table(self, name: str, frame: Frame, seconds: float | None, tracked: TrackedFrame) -> TrackTable:
        """The rows of a frame."""
        return TrackTable.of_frame(
            frame.index, seconds, tracked.boxes[:, 4], tracked.boxes[:, [0, 1, 2, 3, 5, 6]], tracked.keypoints,
            raw=tracked.raw, source=name, names=self._tracking.layout.names,
        )  # fmt: skip

    def _write(self, table: TrackTable, name: str) -> None:
        """Append rows of a sequence to the file of tracks, if there is one."""
        if self._writer is not None:
            self._writer.write(table, name)
            new = np.unique(table.id[table.id > self._highest[name]])  # ids rise: no set of all that ever were
            if len(new):
                self._tracks[name] += len(new)
                self._highest[name] = new.max()

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


class OfflineTrackPredictor(TrackPredictor):
    """A TrackPredictor with smooth="offline": it reads the source twice and keeps the table of its tracks in memory.

    The first pass detects and tracks; then the tracks are repaired, smoothed and filled, and written to the file of
    tracks, also those until an error. The second pass reads the images again for results, pictures and callbacks.

    Raises:
        UsageError: the source cannot be read twice.
    """

    def __init__(
        self,
        backend: Backend,
        source: Any,
        config: TrackConfig,
        hooks: Hooks | None = None,
        memory: TrackMemory | None = None,
    ) -> None:
        super().__init__(backend, source, config, hooks, memory)
        self._source = source
        self._found: dict[str, list[TrackTable]] = {}  # by sequence
        self._steady: dict[str, TrackTable] = {}
        self._seen: dict[tuple[int, int], tuple[str, Detections]] = {}  # by item and index: the sequence, the speed
        self._blurred: dict[tuple[int, int], Hidden | None] = {}  # by item and index: what the first pass hides
        if self.dataset.streams or source == "-":
            self.dataset.close()
            raise UsageError(
                "smooth=offline reads the source twice, and a stream passes once; use smooth=True, or record it first"
            )

    def _passes(self) -> Generator[Results, None, None]:
        try:
            with self.dataset as source, progress(self.args.verbose, "tracking") as bar:
                for frames in self._batches(source):
                    self._track([frame for frame in frames if frame.error is None])
                    last = frames[-1]
                    bar(last.index + 1, last.total)
        finally:
            self._smooth()
        self.failed = 0
        self.dataset = self._open(self._source)
        yield from super()._passes()

    def _track(self, frames: list[Frame]) -> None:
        """The first pass of a batch."""
        images = [frame.image for frame in frames if frame.image is not None]
        for frame, image, found in zip(frames, images, super()._detect(frames, images), strict=True):
            name, sequence = self._sequence(frame)
            seconds = self._seconds(frame)
            tracked = sequence.update(found.boxes, found.keypoints, image, seconds)
            self._blurred[frame.item, frame.index] = self._hidden(
                frame, found, (tracked.boxes, tracked.keypoints), tracked.lost
            )
            table = self._table(name, frame, seconds, tracked)
            tables = self._found.setdefault(name, [table])
            if len(table) and tables[0] is not table:
                tables.append(table)
            self._seen[frame.item, frame.index] = name, replace(found, boxes=EMPTY, keypoints=EMPTY)

    def _smooth(self) -> None:
        """Repair, smooth and fill the tracks of all sequences, and write them."""
        for name, tables in self._found.items():
            table = TrackTable.join(tables)
            photographs = bool(np.isnan(table.time).all())
            steady = steady_table(table, self._tracking.layout.flip, step=1 if photographs else self.args.vid_stride)
            seen = [index for (_, index), (sequence, _) in self._seen.items() if sequence == name]
            table = steady.table[np.isin(steady.table.frame, seen)]  # numbers between photographs may be videos
            self._steady[name] = table
            self._write(table, name)
            if self.args.verbose:
                log.info(f"{name}: {steady}")

    def _detect(self, frames: list[Frame], images: list[Image]) -> list[Detections]:
        """Nothing is detected in the second pass: what is known of each frame."""
        nothing = Detections(EMPTY, EMPTY, dict.fromkeys(("preprocess", "inference", "postprocess"), 0.0), (1, 3, 0, 0))
        return [self._seen.get((frame.item, frame.index), ("", nothing))[1] for frame in frames]

    def _result(self, frame: Frame, image: Image, found: Detections) -> Results:
        """The result of one frame, from the table."""
        name = self._seen.get((frame.item, frame.index), ("", None))[0]
        table = self._steady[name] if name else next(iter(self._steady.values()))[:0]
        first, end = np.searchsorted(table.frame, [frame.index, frame.index + 1])
        rows = table[first:end]
        columns = (rows.box, rows.id[:, None], rows.score[:, None], rows.cls[:, None])
        found = replace(found, boxes=np.concatenate(columns, 1, dtype=np.float32), keypoints=rows.keypoints)
        result = self._plain(frame, image, found)
        self._blur_again(result, frame)
        if rows.raw is not None:
            result.raw_keypoints = Keypoints(rows.raw, result.orig_shape)
        result.filled = rows.filled
        return result

    def _blur_again(self, result: Results, frame: Frame) -> None:
        """Hide what the first pass found, and the instances of the table, which may be filled in."""
        first = self._blurred.get((frame.item, frame.index))
        if self._blur is not None and first is not None:
            boxes, keypoints = result.boxes.table[:, :4], result.keypoints.table
            more = regions_of(boxes, keypoints, result.layout, self._blur.region)
            result.hide(Hidden(np.concatenate([first.regions, more]), first.style))


def check_source(source: Any, config: TrackConfig) -> None:
    """Raise UsageError for a file of tracks that would replace the source, or that every call with a frame would."""
    members = source if isinstance(source, list | tuple) else [source]
    if config.save_tracks and any(_is_file(member, config.save_tracks) for member in members):
        raise UsageError(f"save_tracks={config.save_tracks} would replace the source; give it another name")
    if config.persist and config.save_tracks and not all(isinstance(m, str | os.PathLike | int) for m in members):
        raise UsageError(
            "save_tracks with persist=True and frames in memory: every call would replace the file; give the video "
            "itself as source, or collect the results"
        )


def _is_file(member: Any, path: str) -> bool:
    """Whether a member of a source is the file `path`."""
    try:
        return isinstance(member, str | os.PathLike) and os.path.samefile(member, path)
    except (OSError, ValueError):  # one of them does not exist, or is no name of a file
        return False
