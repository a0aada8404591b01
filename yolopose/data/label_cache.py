"""The label cache: the results of a scan by image, in one `.npz` file without pickle, in the user's cache folder.

A file that contains anything a scan does not write is ignored as a whole.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.data.cache_files import cache_folder, write_owner
from yolopose.data.rows import ROUNDING, BadRow, Labels, no_ignored
from yolopose.errors import PoseError
from yolopose.files import atomic_path, open_regular
from yolopose.limits import MAX_PIXELS
from yolopose.rules import Rules

# The arrays of the file with their types; the last four hold the labels of all images.
ARRAYS = {"stats": np.int64, "hw": np.int32, "counts": np.int64, "ignored": np.int64,
          "classes": np.int64, "boxes": np.float32, "keypoints": np.float32, "ignore": np.float32}  # fmt: skip
FILES = 3  # of an image: the image, its labels, its boxes to ignore
VERSION = 3  # raise when the checks or the layout of the file change


@dataclass(frozen=True, eq=False)
class Entry:
    """The result of a scan for one image; `hw` is (0, 0) if it cannot be used.

    `stats` are the `file_stats` of the image, its label file and its boxes to ignore.
    """

    stats: tuple[int, ...]
    hw: tuple[int, int]
    labels: Labels
    bad: list[BadRow]
    duplicates: int = 0


def cache_key(kpt_shape: tuple[int, int], classes: int, rules: Rules, max_pixels: int = MAX_PIXELS) -> str:
    """The settings of a scan as text: a cache is used only for the same ones."""
    return json.dumps([VERSION, *kpt_shape, classes, dataclasses.astuple(rules), max_pixels])


def load_entries(root: Path, name: str, key: str) -> dict[str, Entry]:
    """The entries by image path; none if there is no cache, or it is damaged or has another `key`."""
    try:
        with open_regular(cache_folder(root) / f"{name}.npz") as file, np.load(file, allow_pickle=False) as arrays:
            _, keypoints, _, classes, *_ = json.loads(key)
            return _unpack(dict(arrays), keypoints, classes) if str(arrays["key"]) == key else {}
    except Exception:  # readers raise many kinds for a damaged file, which counts as none
        return {}


def save_entries(root: Path, name: str, key: str, entries: Mapping[str, Entry]) -> None:
    """Write the entries, except those of files that could not be read; a failure is ignored."""
    kept = {path: entry for path, entry in entries.items() if not any(row.unreadable for row in entry.bad)}
    try:
        folder = cache_folder(root)
        with atomic_path(folder / f"{name}.npz") as part:
            np.savez(part, allow_pickle=False, key=np.array(key), **_pack(kept))
        write_owner(folder, root)
    except (OSError, PoseError):  # a full disk, or no home folder
        pass


def _pack(entries: Mapping[str, Entry]) -> dict[str, NDArray[Any]]:
    """Entries → arrays: the labels of all images concatenated, texts as UTF-8 JSON."""
    values = list(entries.values())
    notes = [
        [i, e.duplicates, [[row.file, row.line, row.reason, row.kept] for row in e.bad]]
        for i, e in enumerate(values)
        if e.bad or e.duplicates
    ]
    labels = [e.labels for e in values]
    return {
        "paths": np.frombuffer(json.dumps(list(entries)).encode(), np.uint8),
        "notes": np.frombuffer(json.dumps(notes).encode(), np.uint8),
        "stats": np.array([e.stats for e in values], np.int64).reshape(-1, 3 * FILES),
        "hw": np.array([e.hw for e in values], np.int32).reshape(-1, 2),
        "counts": np.array([len(rows) for rows in labels], np.int64),
        "ignored": np.array([len(rows.ignore) for rows in labels], np.int64),
        "classes": np.concatenate([np.empty(0, np.int64), *(rows.classes for rows in labels)]),
        "boxes": np.concatenate([np.empty((0, 4), np.float32), *(rows.boxes for rows in labels)]),
        "keypoints": np.concatenate([rows.keypoints for rows in labels] or [np.empty((0, 0, 3), np.float32)]),
        "ignore": np.concatenate([no_ignored(), *(rows.ignore for rows in labels)]),
    }


def _unpack(arrays: Mapping[str, NDArray[Any]], keypoints: int, classes: int) -> dict[str, Entry]:
    """The inverse of `_pack`; each image's labels are views of the arrays. Raises for what a scan does not write."""
    paths, notes = (json.loads(arrays[name].tobytes()) for name in ("paths", "notes"))
    _check(arrays, paths, notes, keypoints, classes)
    stats, hw, counts, ignored, cls, boxes, points, ignore = (arrays[name] for name in ARRAYS)
    known = {i: (duplicates, [BadRow(*row) for row in rows]) for i, duplicates, rows in notes}
    entries = {}
    spans = zip(_spans(counts), _spans(ignored), strict=True)
    for i, (path, stat, (h, w), (rows, more)) in enumerate(zip(paths, stats.tolist(), hw.tolist(), spans, strict=True)):
        duplicates, bad = known.get(i, (0, []))
        labels = Labels(cls[rows], boxes[rows], points[rows], ignore[more])
        entries[path] = Entry(tuple(stat), (h, w), labels, bad, duplicates)
    return entries


def _spans(counts: NDArray[np.int64]) -> Iterator[slice]:
    """The rows of each image, where all follow each other."""
    ends = np.cumsum(counts)
    return map(slice, (ends - counts).tolist(), ends.tolist())


def _check(arrays: Mapping[str, NDArray[Any]], paths: list[Any], notes: list[Any], k: int, classes: int) -> None:
    """Raise ValueError for types, shapes or values that a scan does not write."""
    n, total, more = len(paths), len(arrays["classes"]), len(arrays["ignore"])
    shapes = ((n, 3 * FILES), (n, 2), (n,), (n,),
              (total,), (total, 4), (total, k, 3) if n else (0, 0, 3), (more, 5))  # fmt: skip
    _, hw, counts, ignored, cls, boxes, points, ignore = (arrays[name] for name in ARRAYS)
    checks = [
        *(
            arrays[a].dtype == kind and arrays[a].shape == s
            for (a, kind), s in zip(ARRAYS.items(), shapes, strict=True)
        ),
        (counts >= 0).all() and counts.sum() == total and len(set(paths)) == n,
        (ignored >= 0).all() and ignored.sum() == more and ((ignore >= 0) & (ignore <= 1)).all(),
        ((boxes >= -ROUNDING) & (boxes <= 1 + ROUNDING)).all() and np.isfinite(points).all(),
        (hw >= 0).all() and ((cls >= 0) & (cls < classes)).all(),
        all(type(path) is str for path in paths),
        all(type(i) is type(count) is int for i, count, _ in notes),
        all([type(value) for value in row] == [str, int, str, bool] for _, _, rows in notes for row in rows),
    ]
    if not all(checks):
        raise ValueError("values that a scan does not write")
