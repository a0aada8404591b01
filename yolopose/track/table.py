"""The table of tracks: one row for every tracked instance in every frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackTable:
    """R rows in the order of the frames; boxes and keypoints are in pixels of the frame.

    Attributes:
        frame: (R,) int, the frame's number within its video or stream, from 0.
        time: (R,) seconds since the first frame; nan where it is unknown, as with photographs.
        id: (R,) int, the track's number, unique within a sequence.
        cls: (R,) int, the class.
        score: (R,) the detection's score.
        box: (R, 4) left, top, right, bottom.
        keypoints: (R, K, D) x, y and, when D is 3, a visibility score.
        raw: (R, K, D) the keypoints as they were detected, when `keypoints` are smoothed; otherwise None.
        filled: (R, K) bool, the keypoints that were not detected but filled in; None where nothing was filled in.
        sequence: (R,) int, which video, stream or row of photographs the frame belongs to: an index of `sources`.
        sources: the names of the sequences.
        names: the names of the K keypoints.
    """

    frame: Array
    time: Array
    id: Array
    cls: Array
    score: Array
    box: Array
    keypoints: Array
    sequence: Array
    raw: Array | None = None
    filled: Array | None = None
    sources: tuple[str, ...] = ("",)
    names: tuple[str, ...] = ()

    @classmethod
    def of_frame(
        cls,
        frame: int,
        time: float | None,
        ids: Array,
        boxes: Array,
        keypoints: Array,
        *,
        raw: Array | None = None,
        filled: Array | None = None,
        source: str = "",
        names: Sequence[str] = (),
    ) -> Self:
        """The rows of one frame: ids (M,), boxes (M, 6) x1 y1 x2 y2 score class, keypoints (M, K, D)."""
        count = len(ids)
        return cls(
            frame=np.full(count, frame, np.int64), time=np.full(count, np.nan if time is None else time),
            id=np.asarray(ids, np.int64), cls=boxes[:, 5].astype(np.int64), score=boxes[:, 4], box=boxes[:, :4],
            keypoints=keypoints, sequence=np.zeros(count, np.int64), raw=raw, filled=filled, sources=(source,),
            names=tuple(names) or tuple(f"kpt_{i}" for i in range(keypoints.shape[1])),
        )  # fmt: skip

    @classmethod
    def join(cls, tables: Sequence[Self]) -> Self:
        """The rows of several tables with the same columns, one after the other; equal sources become one."""
        sources = tuple(dict.fromkeys(name for table in tables for name in table.sources))
        number = {name: i for i, name in enumerate(sources)}
        columns = {
            name: None if values is None else np.concatenate([getattr(table, name) for table in tables])
            for name, values in tables[0]._columns()
        }
        moved = [np.array([number[name] for name in table.sources], np.int64)[table.sequence] for table in tables]
        columns["sequence"] = np.concatenate(moved)
        return replace(tables[0], **columns, sources=sources)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.id)

    def __getitem__(self, rows: Array | slice) -> Self:
        """The rows chosen by a slice, a mask or indices."""
        columns = {name: None if values is None else values[rows] for name, values in self._columns()}
        return replace(self, **columns)  # type: ignore[arg-type]

    def _columns(self) -> Iterator[tuple[str, Array | None]]:
        """The names and values of the columns."""
        return ((field.name, getattr(self, field.name)) for field in fields(self) if field.name not in NO_COLUMNS)


NO_COLUMNS = ("sources", "names")
