"""Files of tracks → TrackTable: CSV, JSON and Parquet as `track.files` writes them, and MOTChallenge text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError, did_you_mean, one_line, shown
from yolopose.files import read_text
from yolopose.limits import MAX_TRACKS
from yolopose.track.files import COLUMNS
from yolopose.track.table import TrackTable

LARGEST = 2.0**53  # of a whole number in float64
MOT_COLUMNS = 6  # that a row of MOTChallenge text must have: frame, id, left, top, width, height


def read_tracks(path: str | Path) -> TrackTable:
    """The rows of a file of tracks, in its order.

    In MOTChallenge text frames count from 1, in the table from 0. A row without score has the score 1, one without
    class the class 0; the class is that of the benchmark's own files. There are no keypoints in it. Numbers stay in
    float64, as written.

    Raises:
        PoseError: it cannot be read, or is no file of tracks; the line names the row.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in READERS:
        hint = did_you_mean(suffix, READERS) if suffix else ""
        raise PoseError(f"{path}: files of tracks are {', '.join(READERS)} (txt: MOTChallenge){hint}")
    return READERS[suffix](path)


def _read_mot(path: Path) -> TrackTable:
    """MOTChallenge text: `frame,id,left,top,width,height[,score[,class,…]]`."""
    rows = []
    for number, line in enumerate(read_text(path, MAX_TRACKS).splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words:
            continue
        try:
            values = [float(word) for word in words[:8]]
        except ValueError:
            raise PoseError(f"{path}: row {number}: expected numbers, got {shown(line)}") from None
        if (
            len(values) < MOT_COLUMNS
            or not (np.abs(values) < LARGEST).all()
            or values[0] < 1
            or values[0] % 1
            or values[1] % 1
        ):
            raise PoseError(
                f"{path}: row {number}: expected frame (from 1),id,left,top,width,height, got {shown(line)}"
            )
        rows.append([*values, *(1.0, -1.0)[len(values) - 8 :]] if len(values) < 8 else values)
    table = np.array(rows, np.float64).reshape(-1, 8)
    columns = {
        "frame": table[:, 0] - 1, "time": np.full(len(table), np.nan), "id": table[:, 1],
        "class": table[:, 7].clip(0), "score": table[:, 6],
    }  # fmt: skip
    box = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], 1)
    return _table(columns, box, np.empty((len(table), 0, 3)), sources=[""] * len(table), names=())


def _read_csv(path: Path) -> TrackTable:
    """A CSV file with a header."""
    text = read_text(path, MAX_TRACKS)
    try:
        head, *rows = csv.reader(io.StringIO(text))
    except (ValueError, csv.Error) as error:
        raise PoseError(f"{path}: not a CSV file of tracks: {one_line(error)}") from None
    names = [name.removeprefix("'") for name in head]
    for number, row in enumerate(rows, 2):
        if len(row) != len(names):
            raise PoseError(f"{path}: row {number}: {len(row)} cells under {len(names)} columns")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {name: () for name in names}
    return _from_columns(path, columns, lambda cells: np.array([cell or "nan" for cell in cells], np.float64))


def _read_parquet(path: Path) -> TrackTable:
    """A Parquet file; pyarrow is imported only for it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise PoseError(f"{path}: Parquet needs pyarrow: pip install 'yolopose[tracks]'") from None
    try:
        data = pyarrow.parquet.read_table(path)
        columns = {name: data.column(name).to_pylist() for name in data.column_names}
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise PoseError(f"{path}: cannot be read as Parquet: {one_line(error)}") from None
    return _from_columns(path, columns, lambda cells: np.array(cells, np.float64))


def _from_columns(
    path: Path, columns: Mapping[str, Sequence[Any]], numbers: Callable[[Sequence[Any]], NDArray[np.float64]]
) -> TrackTable:
    """The table from the columns of a CSV or Parquet file; `numbers` converts one."""
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise PoseError(f"{path}: not a file of tracks: no column {', '.join(missing)}")
    names = [name.removesuffix("_x") for name in columns if name.endswith("_x") and not name.endswith("_raw_x")]
    values: dict[str, NDArray[np.float64]] = {}
    for name, cells in columns.items():
        if name == "source":
            continue
        try:
            values[name] = numbers(cells)
        except (ValueError, TypeError) as error:
            raise PoseError(f"{path}: column {shown(name)}: {one_line(error)}") from None
    _check(path, values)
    count = len(columns["source"])

    def points(*endings: str) -> NDArray[np.float64] | None:
        """(R, K, D) of the columns `<name>_<ending>`, None where they are not there."""
        kept = [ending for ending in endings if all(f"{name}_{ending}" in values for name in names)]
        if not names or not kept:
            return None
        return np.stack([np.stack([values[f"{n}_{e}"] for e in kept], -1) for n in names], 1)

    found, raw, filled = points("x", "y", "score"), points("raw_x", "raw_y"), points("filled")
    box = np.stack([values[name] for name in COLUMNS[6:]], 1)
    if raw is not None and found is not None:
        raw = np.concatenate([raw, found[..., 2:]], -1)
    return _table(
        values, box, np.empty((count, 0, 3)) if found is None else found, sources=columns["source"], names=names,
        raw=raw, filled=None if filled is None else filled[..., 0] != 0,
    )  # fmt: skip


def _check(path: Path, values: Mapping[str, NDArray[np.float64]]) -> None:
    """Raise PoseError unless frames, ids and classes are whole numbers and boxes are finite."""
    for name in COLUMNS[1:]:
        column = values[name]
        bad = ~np.isfinite(column) if name != "time" else np.zeros(len(column), bool)
        if name in ("frame", "id", "class"):
            bad |= (column % 1 != 0) | (np.abs(column) >= LARGEST)
        if bad.any():
            row = int(bad.argmax())
            raise PoseError(f"{path}: row {row + 2}: {name} is {column[row]:g}")


def _read_json(path: Path) -> TrackTable:
    """A JSON list of rows."""
    try:
        rows = json.loads(read_text(path, MAX_TRACKS))
    except (ValueError, RecursionError) as error:
        raise PoseError(f"{path}: not JSON: {one_line(error)}") from None
    if not isinstance(rows, list):
        raise PoseError(f"{path}: expected a list of rows, got {shown(rows)}")
    columns: dict[str, list[Any]] = {}
    for number, row in enumerate(rows, 1):
        try:
            flat = _flat(row)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise PoseError(f"{path}: row {number}: not a row of tracks: {one_line(error)}") from None
        if columns and columns.keys() != flat.keys():
            raise PoseError(f"{path}: row {number}: other entries than in row 1")
        for name, value in flat.items():
            columns.setdefault(name, []).append(value)
    return _from_columns(path, columns or {name: [] for name in COLUMNS}, lambda cells: np.array(cells, np.float64))


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of JSON with the columns of the CSV file; keypoints get numbers for names."""
    flat = {name: row[name] for name in COLUMNS[:6]} | {name: row["box"][name] for name in COLUMNS[6:]}
    groups = (("keypoints", "x", "x"), ("keypoints", "y", "y"), ("keypoints", "visible", "score"),
              ("raw", "x", "raw_x"), ("raw", "y", "raw_y"))  # fmt: skip
    for group, axis, ending in groups:
        for k, value in enumerate(row.get(group, {}).get(axis, ())):
            flat[f"kpt_{k}_{ending}"] = value
    for k, value in enumerate(row.get("filled", ())):
        flat[f"kpt_{k}_filled"] = value
    return flat


def _table(
    columns: Mapping[str, NDArray[Any]], box: NDArray[Any], keypoints: NDArray[Any], *, sources: Sequence[Any],
    names: Sequence[str], raw: NDArray[Any] | None = None, filled: NDArray[Any] | None = None,
) -> TrackTable:  # fmt: skip
    """The table from its columns, with each source once."""
    known = tuple(dict.fromkeys(map(str, sources))) or ("",)
    number = {name: i for i, name in enumerate(known)}
    return TrackTable(
        frame=columns["frame"].astype(np.int64), time=columns["time"], id=columns["id"].astype(np.int64),
        cls=columns["class"].astype(np.int64), score=columns["score"],
        box=box, keypoints=keypoints,
        sequence=np.array([number[str(name)] for name in sources], np.int64), sources=known, names=tuple(names),
        raw=raw, filled=filled,
    )  # fmt: skip


READERS: dict[str, Callable[[Path], TrackTable]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".txt": _read_mot,
}
