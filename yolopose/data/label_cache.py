"""The label cache: what a scan found, by image, in one `.npz` file without any pickle.

It lies in the user's cache folder and is worth no more than the files it describes: one with anything in it that a scan
could not have written is dropped as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from yolopose.data.cache_files import cache_folder, tell_owner
from yolopose.data.rows import ROUNDING, BadRow, Labels
from yolopose.errors import PoseError
from yolopose.files import atomic_path, open_regular
from yolopose.limits import MAX_PIXELS
from yolopose.rules import Rules

T = TypeVar("T")

VERSION = 2  # raise when the checks or the layout of the file change


class Stat(NamedTuple):
    """Times of modification and of change (ns) and sizes (bytes) of an image and its label; 0 where there is no file.

    The time of change also moves when a file is replaced by one of the same size and date, or may be read again.
    """

    image_time: int
    image_change: int
    image_size: int
    label_time: int
    label_change: int
    label_size: int

    @classmethod
    def of(cls, image: Path, label: Path) -> Stat:
        """The present state of both files."""
        return cls(*_stat(image), *_stat(label))


@dataclass(frozen=True, eq=False)
class Entry:
    """What is known of an image; `hw` is (0, 0) when it cannot be used."""

    stat: Stat
    hw: tuple[int, int]
    labels: Labels
    bad: list[BadRow]
    duplicates: int = 0

    @property
    def passing(self) -> bool:
        """Whether a file could not be read, which may be well the next time."""
        return any(row.passing for row in self.bad)


def key(kpt_shape: tuple[int, int], classes: int, rules: Rules, max_pixels: int = MAX_PIXELS) -> str:
    """What a cache must have been made for to be of use."""
    return json.dumps([VERSION, *kpt_shape, classes, rules.whole_rows, rules.zero_is_labelled, max_pixels])


def load(root: Path, name: str, key: str) -> dict[str, Entry]:
    """The entries by image path; none when there is no cache, it is damaged, or made for another `key`."""
    try:
        with open_regular(_file(root, name)) as file, np.load(file, allow_pickle=False) as arrays:
            known = str(arrays["key"]) == key
            return _unpacked(dict(arrays), json.loads(key)) if known else {}
    except Exception:  # whatever a damaged file makes the readers raise: then there is no cache
        return {}


def save(root: Path, name: str, key: str, entries: Mapping[str, Entry]) -> None:
    """Write the entries to the user's cache folder, but those of files that could not be read; failing is no error."""
    kept = {path: entry for path, entry in entries.items() if not entry.passing}
    try:
        file = _file(root, name)
        with atomic_path(file) as part:
            np.savez(part, allow_pickle=False, key=np.array(key), **_packed(kept))
        tell_owner(file.parent, root)
    except (OSError, PoseError):  # a full disk, or no home folder
        pass


def _file(root: Path, name: str) -> Path:
    return cache_folder(root) / f"{name}.npz"


def _stat(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _packed(entries: Mapping[str, Entry]) -> dict[str, NDArray[Any]]:
    """Entries → arrays: the labels of all images one after the other, texts as UTF-8 JSON."""
    values = list(entries.values())
    notes = [
        [i, e.duplicates, [[row.file, row.line, row.reason, row.kept] for row in e.bad]]
        for i, e in enumerate(values)
        if e.bad or e.duplicates
    ]
    labels = [e.labels for e in values]
    return {
        "paths": _text(list(entries)),
        "stats": np.array([e.stat for e in values], np.int64).reshape(-1, len(Stat._fields)),
        "hw": np.array([e.hw for e in values], np.int32).reshape(-1, 2),
        "counts": np.array([len(rows) for rows in labels], np.int64),
        "classes": np.concatenate([rows.classes for rows in labels]) if labels else np.empty(0, np.int64),
        "boxes": np.concatenate([rows.boxes for rows in labels]) if labels else np.empty((0, 4), np.float32),
        "keypoints": np.concatenate([rows.keypoints for rows in labels]) if labels else np.empty((0, 0, 3), np.float32),
        "notes": _text(notes),
    }


def _unpacked(arrays: Mapping[str, NDArray[Any]], made_for: Sequence[int]) -> dict[str, Entry]:
    """The inverse of `_packed`; each image's labels are views of the arrays. Raises for what a scan did not write."""
    notes = {_as(int, i): (_as(int, n), [_bad_row(row) for row in rows]) for i, n, rows in _json(arrays["notes"])}
    paths = [_as(str, path) for path in _json(arrays["paths"])]
    n, total = len(paths), len(arrays["classes"])
    counts = _checked(arrays["counts"], np.int64, (n,))
    if (counts < 0).any() or counts.sum() != total or len(set(paths)) != n:
        raise ValueError("counts do not fit")
    classes = _checked(arrays["classes"], np.int64, (total,))
    boxes = _checked(arrays["boxes"], np.float32, (total, 4))
    points = _checked(arrays["keypoints"], np.float32, (total, made_for[1], 3) if n else (0, 0, 3))
    hw = _checked(arrays["hw"], np.int32, (n, 2))
    inside = ((boxes >= -ROUNDING) & (boxes <= 1 + ROUNDING)).all() and np.isfinite(points).all()
    if not inside or (hw < 0).any() or ((classes < 0) | (classes >= made_for[3])).any():
        raise ValueError("values that a scan does not write")
    stats = _checked(arrays["stats"], np.int64, (n, len(Stat._fields)))
    entries = {}
    ends = np.cumsum(counts).tolist()
    for i, (path, stat, size, end) in enumerate(zip(paths, stats.tolist(), hw.tolist(), ends, strict=True)):
        rows = slice(end - int(counts[i]), end)
        duplicates, bad = notes.get(i, (0, []))
        labels = Labels(classes[rows], boxes[rows], points[rows])
        entries[path] = Entry(Stat(*stat), (size[0], size[1]), labels, bad, duplicates)
    return entries


def _checked(array: NDArray[Any], kind: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    if array.dtype != kind or array.shape != shape:
        raise ValueError(f"{array.dtype} {array.shape} instead of {kind} {shape}")
    return array


def _as(kind: type[T], value: Any) -> T:
    if type(value) is not kind:
        raise ValueError(f"{type(value)} instead of {kind}")
    return value


def _bad_row(row: Any) -> BadRow:
    file, line, reason, kept = row
    return BadRow(_as(str, file), _as(int, line), _as(str, reason), _as(bool, kept))


def _json(array: NDArray[Any]) -> Any:
    return json.loads(array.tobytes())


def _text(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)
