"""Files or folders of true and of found tracks → pairs of sequences, checked and without rows that do not count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.console import log
from yolopose.errors import PoseError
from yolopose.track.reading import READERS, read_tracks
from yolopose.track.table import TrackTable

Array = NDArray[Any]
MOT = ".txt"  # MOTChallenge text
CLASSES = 13  # of MOTChallenge; 1 is a pedestrian, 0 and below: none given
BENCHMARK = Path("gt", "gt.txt")  # a sequence's truth in the folders of MOTChallenge


@dataclass(frozen=True, eq=False)
class Tracks:
    """One sequence: its name, the file it is from, and its rows."""

    name: str
    file: Path
    rows: TrackTable

    @property
    def is_mot(self) -> bool:
        """Whether the file is MOTChallenge text, with its classes and ignored rows."""
        return self.file.suffix.lower() == MOT

    def frame_in_file(self, frame: int) -> int:
        """How the file itself numbers a frame of the table: MOTChallenge counts from 1."""
        return frame + self.is_mot


def read_pairs(pred: str | Path, gt: str | Path) -> list[tuple[Tracks, Tracks]]:
    """(truth, found) of every sequence of the truth, in the order of their names.

    A single sequence on each side is compared whatever the names are; otherwise the names must be the same.

    Raises:
        PoseError: a file cannot be read or holds what cannot be compared, or a sequence has no predictions.
    """
    truths, found = _sequences(gt, "gt"), _sequences(pred, "pred")
    if len(truths) == len(found) == 1:
        pairs = [(truths.popitem()[1], found.popitem()[1])]
    else:
        missing = sorted(truths.keys() - found.keys())
        if missing:
            raise PoseError(
                f"pred={pred}: no tracks of {missing[0]}, as for {len(missing)} of {len(truths)} sequences of the "
                f"truth; it has {_few(found)}"
            )
        extra = sorted(found.keys() - truths.keys())
        if extra:
            log.warning(f"pred={pred}: {_few(extra)}: no truth, left out")
        pairs = [(truths[name], found[name]) for name in sorted(truths)]
    _check_keypoints(pairs)
    for _, rows in pairs:
        _check_classes(rows)
    return pairs


def _few(names: Iterable[str]) -> str:
    """At most three names, and how many more there are."""
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _sequences(place: str | Path, key: str) -> dict[str, Tracks]:
    """The sequences of a file, or of the files of a folder, by name."""
    path = Path(place)
    if (path / BENCHMARK).is_file():
        files = {path / BENCHMARK: path.resolve().name}
    elif path.is_dir():
        files = {file: file.stem for file in sorted(path.iterdir()) if file.suffix.lower() in READERS}
        files |= {
            folder / BENCHMARK: folder.name for folder in sorted(path.iterdir()) if (folder / BENCHMARK).is_file()
        }
    elif path.is_file():
        files = {path: path.stem}
    else:
        raise PoseError(f"{key}={place}: no such file or folder")
    if not files:
        raise PoseError(f"{key}={place}: no files of tracks ({', '.join(READERS)}) and no folders NAME/{BENCHMARK}")
    sequences: dict[str, Tracks] = {}
    for file, name in files.items():
        for tracks in _split(file, name):
            if tracks.name in sequences:
                raise PoseError(f"{key}={place}: {tracks.name} is in {sequences[tracks.name].file} and in {file}")
            _check(tracks)
            sequences[tracks.name] = tracks
    return sequences


def _split(file: Path, name: str) -> list[Tracks]:
    """The sequences of a file; those of a table with several sources are named after these."""
    rows = read_tracks(file)
    if len(rows.sources) == 1:
        return [Tracks(name, file, rows)]
    return [
        Tracks(Path(source).stem or source, file, rows[rows.sequence == i]) for i, source in enumerate(rows.sources)
    ]


def _check(tracks: Tracks) -> None:
    """Raise PoseError for what the measures are not defined for."""
    rows = tracks.rows

    def refuse(row: int, what: str) -> None:
        raise PoseError(f"{tracks.file}: frame {tracks.frame_in_file(int(rows.frame[row]))}: {what}")

    order = np.lexsort((rows.id, rows.frame))
    twice = np.flatnonzero((np.diff(rows.frame[order]) == 0) & (np.diff(rows.id[order]) == 0))
    if len(twice):
        row = order[twice[0]]
        hint = "; -1 is for detections without tracks" if rows.id[row] == -1 else ""
        refuse(row, f"id {rows.id[row]} is there twice{hint}")
    if len(rows) and rows.frame.min() < 0:
        refuse(int(rows.frame.argmin()), "frames count from 0")
    turned = (rows.box[:, 2:] < rows.box[:, :2]).any(1)
    if turned.any():
        refuse(int(turned.argmax()), f"the box of id {rows.id[turned.argmax()]} has a width or height below 0")
    unknown = ~np.isfinite(rows.keypoints).all((1, 2))
    if unknown.any():
        refuse(int(unknown.argmax()), f"a keypoint of id {rows.id[unknown.argmax()]} is not a number")
    if tracks.is_mot and len(rows) and rows.cls.max() > CLASSES:
        row = int(rows.cls.argmax())
        refuse(row, f"class {rows.cls[row]} is none of MOTChallenge's 1 to {CLASSES} (or -1: none)")


def _check_keypoints(pairs: Sequence[tuple[Tracks, Tracks]]) -> None:
    """Raise PoseError when two files have different numbers of keypoints."""
    having = [tracks for pair in pairs for tracks in pair if tracks.rows.keypoints.shape[1]]
    for tracks in having:
        k, first = tracks.rows.keypoints.shape[1], having[0].rows.keypoints.shape[1]
        if k != first:
            raise PoseError(f"{tracks.file}: {k} keypoints, {having[0].file} has {first}")


def _check_classes(found: Tracks) -> None:
    """Raise PoseError when MOTChallenge text has predictions of other classes than pedestrians."""
    rows = found.rows
    if found.is_mot and len(rows) and rows.cls.max() > 1:
        row = int(rows.cls.argmax())
        raise PoseError(
            f"{found.file}: frame {found.frame_in_file(int(rows.frame[row]))}: class {rows.cls[row]}; "
            "only pedestrians (class 1, or -1) are compared, leave out the others"
        )
