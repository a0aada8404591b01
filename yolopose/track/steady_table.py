"""Steady keypoints of all tracks of recorded videos: a table of tracks in, a repaired and smoothed one out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from yolopose.track.offline import OfflineOptions, SteadyTrack, steady_track
from yolopose.track.table import TrackTable


@dataclass(frozen=True)
class SteadyTable:
    """A table after the repair, and what was done to it.

    Attributes:
        table: keypoints are smoothed; `raw` has those that were detected, nan in added rows; `filled` tells which
            keypoints were filled in. Rows of frames in which a track had been missing for a short time are added.
        swaps: how often a pair of points was swapped back, in frames.
        outliers: how many points were left out because they were far off.
        added: how many rows were added.
    """

    table: TrackTable
    swaps: int
    outliers: int
    added: int

    def __str__(self) -> str:
        filled = 0 if self.table.filled is None else int(self.table.filled.sum())
        return (
            f"{self.swaps} swapped pairs put right, {self.outliers} points far off left out, "
            f"{filled} points filled in, {self.added} of the rows added"
        )


def steady_table(
    table: TrackTable, flip: Sequence[int] | None = None, *, step: int = 1, options: OfflineOptions | None = None
) -> SteadyTable:
    """Repair, smooth and fill every track of a table, see `offline.steady_track`.

    `flip` are the layout's flip indices, `step` is the distance of successive frames: `vid_stride`.
    """
    if not len(table):
        return SteadyTable(
            replace(table, raw=table.keypoints, filled=np.zeros(table.keypoints.shape[:2], bool)), 0, 0, 0
        )
    keys = np.stack([table.sequence, table.id])
    order = np.lexsort((table.frame, *keys[::-1]))
    starts = np.flatnonzero(np.diff(keys[:, order]).any(0)) + 1
    parts, swaps, outliers, added = [], 0, 0, 0
    for rows in np.split(order, starts):
        track = table[rows]
        steady = steady_track(track.frame // step, track.box, track.keypoints, flip, options)
        parts.append(_rows(track, steady, step))
        swaps, outliers, added = swaps + steady.swaps, outliers + steady.outliers, added + int(steady.added.sum())
    whole = TrackTable.join(parts)
    whole = whole[np.lexsort((whole.id, whole.frame, whole.sequence))]
    return SteadyTable(whole, swaps, outliers, added)


def _rows(track: TrackTable, steady: SteadyTrack, step: int) -> TrackTable:
    """The rows of a repaired track; added rows have the time between, and the lower score of, their neighbours."""
    before = np.searchsorted(track.frame // step, steady.frames, "right") - 1
    after = np.minimum(before + 1, len(track) - 1)
    raw = np.where(steady.added[:, None, None], np.nan, track.keypoints[before])
    frames = np.where(steady.added, steady.frames * step + track.frame[0] % step, track.frame[before])
    kind = track.keypoints.dtype
    return replace(
        track[before],
        frame=frames,
        time=np.where(steady.added, np.interp(frames, track.frame, track.time), track.time[before]),
        score=np.where(steady.added, np.minimum(track.score[before], track.score[after]), track.score[before]),
        box=steady.boxes.astype(track.box.dtype),
        keypoints=steady.keypoints.astype(kind),
        raw=raw.astype(kind),
        filled=steady.filled,
    )
