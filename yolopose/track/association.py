"""Similarity of tracks and detections, and the best pairs of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

FLICKER = 0.7  # overlap from which another class is taken for a mistake of the detector
OTHER_CLASS = 0.7  # factor of the similarity then


def assign(cost: Floats, limit: float) -> tuple[Ints, Ints]:
    """(M, N) costs of pairing row and column → rows (P,) and columns (P,) of the chosen pairs, rows ascending.

    Each row and column is in one pair at most, and only pairs cheaper than `limit` are made. Of all such choices it is
    the one with the largest sum of `limit - cost`: leaving a row out is worth 0. This is the linear assignment problem,
    solved by `lap` (Jonker and Volgenant, Computing 38, 1987).
    """
    saved = np.minimum(cost - limit, 0.0)
    if not saved.any():
        none = np.empty(0, np.intp)
        return none, none
    import lap

    columns = np.asarray(lap.lapjv(np.ascontiguousarray(saved), extend_cost=True, return_cost=False)[0], np.intp)
    rows = np.flatnonzero(columns >= 0)
    columns = columns[rows]
    good = saved[rows, columns] < 0
    return rows[good], columns[good]


def fuse(similarity: Floats, scores: NDArray[Any]) -> Floats:
    """(M, N) similarity and (N,) scores of the detections → (M, N) their product (ByteTrack's code, `fuse_score`)."""
    return np.asarray(similarity * scores, np.float64)


def separate_classes(similarity: Floats, overlap: Floats, tracks: NDArray[Any], found: NDArray[Any]) -> Floats:
    """(M, N) similarity, 0 where the classes (M,) of the tracks and (N,) of the detections differ.

    A class may flicker from frame to frame: where the boxes overlap by more than FLICKER, the similarity is only
    lowered, so that a pair of the same class wins.
    """
    other = tracks[:, None] != found
    if not other.any():
        return similarity
    return np.where(other, np.where(overlap > FLICKER, similarity * OTHER_CLASS, 0.0), similarity)


class Pairs:
    """Pairs of tracks and detections, made stage after stage.

    `rows` and `columns` (P,) are the pairs made so far; `free_rows` (M,) and `free_columns` (N,) tell what is in none.
    """

    def __init__(self, tracks: int, found: int) -> None:
        self.free_rows, self.free_columns = np.ones(tracks, bool), np.ones(found, bool)
        self.rows = self.columns = np.empty(0, np.intp)

    def add(self, cost: Floats, rows: NDArray[np.bool_], columns: NDArray[np.bool_], limit: float) -> None:
        """Make the best pairs of those `rows` and `columns` of the (M, N) costs that are still free."""
        m, n = np.flatnonzero(rows & self.free_rows), np.flatnonzero(columns & self.free_columns)
        if not len(m) or not len(n):
            return
        a, b = assign(cost[np.ix_(m, n)], limit)
        a, b = m[a], n[b]
        self.free_rows[a] = self.free_columns[b] = False
        self.rows, self.columns = np.concatenate((self.rows, a)), np.concatenate((self.columns, b))
