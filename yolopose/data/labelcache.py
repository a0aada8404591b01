"""The label cache: what a scan found, by image, in one `.npz` file without any pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolopose.data.folders import cache_folders
from yolopose.data.rows import BadRow, Labels
from yolopose.files import beside

VERSION = 1  # raise when the checks or the layout of the file change


class Stat(NamedTuple):
    """Modification times (ns) and sizes (bytes) of an image and its label file; 0 where there is no file."""

    image_time: int
    image_size: int
    label_time: int
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


def key(kpt_shape: tuple[int, int], classes: int, compat: bool) -> str:
    """What a cache must have been made for to be of use."""
    return json.dumps([VERSION, *kpt_shape, classes, compat])


def load(root: Path, name: str, key: str) -> dict[str, Entry]:
    """The entries by image path; none when there is no cache, it is damaged, or made for another `key`."""
    for folder in cache_folders(root):
        try:
            with (folder / f"{name}.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                if str(arrays["key"]) == key:
                    return _unpacked(arrays)
        except Exception:  # whatever a damaged file makes the readers raise: then there is no cache
            continue
    return {}


def save(root: Path, name: str, key: str, entries: Mapping[str, Entry]) -> None:
    """Write the entries beside the data set, or into the user's cache folder; a full disk is no error."""
    for folder in cache_folders(root):
        file = folder / f"{name}.npz"
        try:
            with beside(file) as part:
                np.savez(part, allow_pickle=False, key=np.array(key), **_packed(entries))
            return
        except OSError:
            continue


def _stat(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


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
        "stats": np.array([e.stat for e in values], np.int64),
        "hw": np.array([e.hw for e in values], np.int32),
        "counts": np.array([len(rows) for rows in labels], np.int64),
        "classes": np.concatenate([rows.classes for rows in labels]),
        "boxes": np.concatenate([rows.boxes for rows in labels]),
        "keypoints": np.concatenate([rows.keypoints for rows in labels]),
        "notes": _text(notes),
    }


def _unpacked(file: Mapping[str, NDArray[Any]]) -> dict[str, Entry]:
    """The inverse of `_packed`; each image's labels are views of the arrays."""
    arrays = dict(file)  # reads each of them once
    notes = {i: (duplicates, rows) for i, duplicates, rows in json.loads(arrays["notes"].tobytes())}
    paths = json.loads(arrays["paths"].tobytes())
    ends = np.cumsum(arrays["counts"]).tolist()
    if not len(paths) == len(ends) == len(arrays["stats"]) == len(arrays["hw"]):
        raise ValueError("arrays of different lengths")
    entries = {}
    start = 0
    for i, (path, stat, hw, end) in enumerate(
        zip(paths, arrays["stats"].tolist(), arrays["hw"].tolist(), ends, strict=True)
    ):
        labels = Labels(*(arrays[name][start:end] for name in ("classes", "boxes", "keypoints")))
        duplicates, rows = notes.get(i, (0, []))
        entries[path] = Entry(Stat(*stat), (hw[0], hw[1]), labels, [BadRow(*row) for row in rows], duplicates)
        start = end
    return entries


def _text(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)
