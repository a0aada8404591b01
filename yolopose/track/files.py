"""Files of tracks: CSV, JSON, Parquet and MOTChallenge text, written frame by frame and complete after a failure.

Rows go to a file with a temporary name. It gets its own name when it is closed, after an error or Ctrl-C too: all rows
until then are in it. When the disk is full, text has the rows until then; Parquet cannot be read without its end, which
is then missing, and is deleted.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError, UsageError, did_you_mean, one_line
from yolopose.files import atomic_path, cell
from yolopose.track.table import TrackTable

GROUP = 20_000  # rows of a Parquet row group; as many wait in memory
TABLES = 500  # of single frames, before they are joined
COLUMNS = ("source", "frame", "time", "id", "class", "score", "x1", "y1", "x2", "y2")
PIXELS, SCORES, SECONDS = 3, 5, 6  # decimals in text


class TrackWriter(AbstractContextManager["TrackWriter"]):
    """Writes the tracks of a run into the file `path`; its suffix says how.

    MOTChallenge text has one file for every video or stream: from the second one on they are called name-2.txt and so
    on. All other formats have a column for the source.

    Attributes:
        paths: the files written so far.
        rows: the number of rows in them.

    Raises:
        UsageError: the suffix is not known.
        PoseError: Parquet without pyarrow, or the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.paths: list[Path] = []
        self.rows = 0
        self._format = format_of(self.path)
        _check(self.path)
        self._stack = ExitStack()  # closes all files, also when closing one of them fails
        self._files: dict[Hashable, TrackFile] = {}

    def write(self, table: TrackTable, sequence: Hashable = 0) -> None:
        """Append the rows of one frame of a sequence; all tables must have the same columns."""
        key = sequence if self._format.one_sequence else 0
        if key not in self._files:
            number = len(self.paths) + 1
            path = self.path.with_stem(f"{self.path.stem}-{number}") if number > 1 else self.path
            self._files[key] = self._stack.enter_context(self._format(path))
            self.paths.append(path)
        with _writing(self._files[key].path):
            self._files[key].write(table)
        self.rows += len(table)

    def end(self, sequence: Hashable) -> None:
        """Complete the file of a sequence that has ended, if it has one of its own."""
        if self._format.one_sequence and sequence in self._files:
            self._files.pop(sequence).close()

    def close(self) -> None:
        """Complete all files and give them their names."""
        self._stack.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def format_of(path: Path) -> type[TrackFile]:
    """The class that writes a file of this suffix.

    Raises:
        UsageError: the suffix is not known.
        PoseError: Parquet, and pyarrow is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        known = ", ".join(FORMATS)
        hint = did_you_mean(suffix, FORMATS) if suffix else ""
        raise UsageError(f"save_tracks={path}: the suffix says what to write, one of {known} (txt: MOTChallenge){hint}")
    if FORMATS[suffix] is ParquetFile:
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise PoseError(f"{path}: Parquet needs pyarrow: pip install 'yolopose[tracks]', or write .csv") from None
    return FORMATS[suffix]


def _check(path: Path) -> None:
    """Raise PoseError if no file can be made at `path`: at the start, not after hours of tracking."""
    with _writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file in it")
        os.makedirs(path.parent, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{'0' * 14}", suffix=path.name):
            pass


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn a failure to write into a line that names the file."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        reason = getattr(error, "strerror", None) or one_line(error)
        raise PoseError(f"{one_line(path)}: cannot be written: {reason}") from None


class TrackFile(AbstractContextManager["TrackFile"], ABC):
    """One file of tracks. It exists from the first frame on, so that a video without tracks gives an empty one."""

    one_sequence = False  # whether the format has no room for the source

    def __init__(self, path: Path) -> None:
        self.path = path
        self._naming = ExitStack()
        with _writing(path):
            self._part = self._naming.enter_context(atomic_path(path))
        self._open = True

    @abstractmethod
    def write(self, table: TrackTable) -> None:
        """Append rows; the first table, which may have none, decides which columns there are."""

    @abstractmethod
    def _finish(self) -> None:
        """Write the end of the file and close it."""

    def close(self) -> None:
        """Complete the file and give it its name."""
        if self._open:
            self._open = False
            with _writing(self.path), self._naming:
                self._finish()

    def __exit__(self, *_: object) -> None:
        self.close()


class TextFile(TrackFile):
    """A file of text; the system gets the rows of a frame at once, or none of them."""

    end = ""  # what stands after the rows; written with each frame, so that the file is complete at any time

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with _writing(path):
            self._file = self._part.open("wb", buffering=0)
        self._empty = True

    def write(self, table: TrackTable) -> None:
        """Append rows. If that fails, the file ends with the frame before."""
        text = io.StringIO(newline="")
        if self._empty:
            self._begin(table, text)
        self._rows(table, text)
        place = self._file.tell()
        try:
            self._put(text.getvalue())
        except OSError:
            self._file.seek(place)
            self._file.truncate()
            raise
        self._empty = False

    def _put(self, text: str) -> None:
        """Write all of `text`, and the end after it; the next text begins where the end does."""
        data = text.encode("utf-8", "backslashreplace")
        place = self._file.tell() + len(data)
        rest = memoryview(data + self.end.encode())
        while len(rest):
            rest = rest[self._file.write(rest) :]  # a nearly full disk takes a part
        self._file.seek(place)

    def _finish(self) -> None:
        with self._file:
            self._put("")

    def _begin(self, table: TrackTable, text: io.StringIO) -> None:
        """Write what stands before the rows."""

    @abstractmethod
    def _rows(self, table: TrackTable, text: io.StringIO) -> None:
        """Write the rows."""


class CsvFile(TextFile):
    """Comma-separated values with a header: a column for every number; an unknown time is an empty cell."""

    def _begin(self, table: TrackTable, text: io.StringIO) -> None:
        csv.writer(text, lineterminator="\n").writerow(map(cell, (*COLUMNS, *point_columns(table))))

    def _rows(self, table: TrackTable, text: io.StringIO) -> None:
        csv.writer(text, lineterminator="\n").writerows(
            (cell(row["source"]), *list(row.values())[1:-1], *row["box"], *points)
            for row, points in zip(plain_rows(table), point_rows(table), strict=True)
        )


class JsonFile(TextFile):
    """A JSON list with an object for every row; box and keypoints as `Results.summary` gives them."""

    end = "\n]\n"
    _rows_so_far = 0

    def _begin(self, table: TrackTable, text: io.StringIO) -> None:
        text.write("[")

    def _rows(self, table: TrackTable, text: io.StringIO) -> None:
        points = _axes(table.keypoints, ("x", "y", "visible"))
        raw = None if table.raw is None else _axes(table.raw, ("x", "y"))
        for i, row in enumerate(plain_rows(table)):
            row["box"] = dict(zip(COLUMNS[6:], row["box"], strict=True))
            row["keypoints"] = {name: values[i] for name, values in points.items()}
            if raw is not None:
                row["raw"] = {name: values[i] for name, values in raw.items()}
            if table.filled is not None:
                row["filled"] = table.filled[i].tolist()
            text.write(f"{',' if self._rows_so_far else ''}\n{json.dumps(row)}")
            self._rows_so_far += 1

    def _finish(self) -> None:
        with self._file:
            self._put("[" if self._empty else "")


class MotFile(TextFile):
    """MOTChallenge text: `frame,id,left,top,width,height,score,-1,-1,-1`, frames counted from 1."""

    one_sequence = True

    def _rows(self, table: TrackTable, text: io.StringIO) -> None:
        corner, size = table.box[:, :2], table.box[:, 2:] - table.box[:, :2]
        numbers = np.concatenate([rounded(corner, PIXELS), rounded(size, PIXELS)], 1).tolist()
        scores = rounded(table.score, SCORES).tolist()
        for frame, number, box, score in zip(table.frame.tolist(), table.id.tolist(), numbers, scores, strict=True):
            text.write(",".join(map(str, (frame + 1, number, *box, score, -1, -1, -1))) + "\n")


class ParquetFile(TrackFile):
    """Parquet with the columns of the CSV file, in row groups; an unknown time is null."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._writer: Any = None
        self._waiting: list[TrackTable] = []
        self._count = 0  # of their rows

    def write(self, table: TrackTable) -> None:
        """Append rows to those that wait for the next row group."""
        self._count += len(table)
        if len(table) or not self._waiting:
            self._waiting.append(table)
        if len(self._waiting) >= TABLES:  # many small arrays need far more memory than a few long ones
            self._waiting = [TrackTable.join(self._waiting)]
        if self._count >= GROUP:
            self._write_group()

    def _write_group(self) -> None:
        import pyarrow
        import pyarrow.parquet

        table = TrackTable.join(self._waiting)
        self._waiting, self._count = [], 0
        box = dict(zip(COLUMNS[6:], table.box.T, strict=True))
        source = pyarrow.array([table.sources[i] for i in table.sequence.tolist()], pyarrow.string())
        columns = {
            "source": source.dictionary_encode(), "frame": table.frame,
            "time": pyarrow.array(table.time, from_pandas=True), "id": table.id, "class": table.cls,
            "score": table.score, **box, **point_columns(table),
        }  # fmt: skip
        data = pyarrow.table({name: pyarrow.array(values) for name, values in columns.items()})
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(self._part, data.schema)
        self._writer.write_table(data)

    def _finish(self) -> None:
        if self._waiting:
            self._write_group()
        if self._writer is not None:
            self._writer.close()


FORMATS: dict[str, type[TrackFile]] = {".csv": CsvFile, ".json": JsonFile, ".parquet": ParquetFile, ".txt": MotFile}


def plain_rows(table: TrackTable) -> Iterator[dict[str, Any]]:
    """The rows as dicts of Python values: source, frame, time (None when unknown), id, class, score, box."""
    columns = (
        table.frame.tolist(),
        known(rounded(table.time, SECONDS).tolist()),
        table.id.tolist(),
        table.cls.tolist(),
        rounded(table.score, SCORES).tolist(),
        rounded(table.box, PIXELS).tolist(),
    )
    for number, *values in zip(table.sequence.tolist(), *columns, strict=True):
        yield dict(zip((*COLUMNS[:6], "box"), (table.sources[number], *values), strict=True))


def point_columns(table: TrackTable) -> dict[str, NDArray[Any]]:
    """The numbers of the keypoints by column: `<name>_x`, `_y`, `_score`, if there are any `_raw_x`, `_filled`."""
    columns: dict[str, NDArray[Any]] = {}
    for k, name in enumerate(table.names):
        found = zip(("x", "y", "score"), table.keypoints[:, k].T, strict=False)
        raw = () if table.raw is None else zip(("raw_x", "raw_y"), table.raw[:, k].T, strict=False)
        columns |= {f"{name}_{ending}": values for ending, values in (*found, *raw)}
        if table.filled is not None:
            columns[f"{name}_filled"] = table.filled[:, k]
    return columns


def point_rows(table: TrackTable) -> list[list[Any]]:
    """The numbers of the keypoints by row, in the order of `point_columns`, as Python values with few decimals."""
    found = table.keypoints
    parts = [rounded(found[..., :2], PIXELS), rounded(found[..., 2:], SCORES)]
    parts += [] if table.raw is None else [rounded(table.raw[..., :2], PIXELS)]
    numbers = np.concatenate(parts, -1)
    unknown = np.isnan(numbers)
    if unknown.any() or table.filled is not None:
        numbers = np.where(unknown, None, numbers.astype(object))  # type: ignore[call-overload]
    if table.filled is not None:
        numbers = np.concatenate([numbers, table.filled[..., None].astype(int).astype(object)], -1)
    return [[value for point in row for value in point] for row in numbers.tolist()]


def _axes(keypoints: NDArray[Any], names: Sequence[str]) -> dict[str, list[list[float | None]]]:
    """(R, K, D) keypoints as lists of R lists of K numbers, by the name of the axis."""
    places = (PIXELS, PIXELS, SCORES)
    axes = enumerate(names[: keypoints.shape[2]])
    return {name: [known(row) for row in rounded(keypoints[..., axis], places[axis]).tolist()] for axis, name in axes}


def known(values: list[float]) -> list[float | None]:
    """The values, None in place of nan: that is an empty cell in CSV and null in JSON."""
    return [None if value != value else value for value in values]


def rounded(values: NDArray[Any], decimals: int) -> NDArray[np.float64]:
    """Numbers with at most so many decimals, as float64 so that text shows no more of them."""
    return np.asarray(np.round(np.asarray(values, np.float64), decimals), np.float64)
