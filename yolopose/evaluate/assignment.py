"""The best one-to-one assignment of truths to tracks, for the evaluation.

Source: Crouse, "On implementing 2D rectangular assignment algorithms", IEEE TAES 2016 (shortest augmenting paths).
Where several assignments are equally good the figures of tracking can depend on the choice. This one chooses as SciPy's
`linear_sum_assignment` does, because the usual programs call that. The trackers have a faster one (`track`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def assign(score: Array) -> tuple[Array, Array]:
    """(G, N) scores ≥ 0 → rows and columns of the pairs with the largest total; pairs with score 0 are left out."""
    pairs = _clear_winners(score)
    if pairs is None:
        pairs = _shortest_paths(-score) if score.shape[0] <= score.shape[1] else _shortest_paths(-score.T)[::-1]
    rows, columns = pairs
    counts = score[rows, columns] > 0
    return rows[counts], columns[counts]


def _clear_winners(score: Array) -> tuple[Array, Array] | None:
    """The best column of every row, if it is better than the row's others and no two rows want the same; else None.

    This is nearly every frame, and then the best assignment is the only one.
    """
    rows = np.flatnonzero(score.any(1))
    columns = score[rows].argmax(1) if len(rows) else rows
    best = score[rows, columns]
    if len(set(columns.tolist())) < len(rows) or ((score[rows] == best[:, None]).sum(1) > 1).any():
        return None
    return rows, columns


def _shortest_paths(cost: Array) -> tuple[Array, Array]:
    """(G, N) costs with G <= N → rows 0..G-1 and their columns, of the least total cost."""
    rows, columns = cost.shape
    u, v = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)
    column_of = np.full(rows, -1)
    for start in range(rows):
        direct = cost[start] - v
        column = int(direct.argmin())
        if row_of[column] < 0 and np.count_nonzero(direct == direct[column]) == 1:  # the path has one step
            u[start], row_of[column], column_of[start] = direct[column], start, column
            continue
        came_from, reached, visited, column, total = _path(cost, start, u, v, row_of)
        u[start] += total
        others = np.array([row_of[c] for c in visited[:-1]], int)  # the last one visited is free
        u[others] += total - reached[visited[:-1]]
        v[visited] -= total - reached[visited]
        row = -1
        while row != start:
            row = came_from[column]
            row_of[column] = row
            column_of[row], column = column, column_of[row]
    return np.arange(rows), column_of


def _path(cost: Array, start: int, u: Array, v: Array, row_of: Array) -> tuple[Array, Array, list[int], int, float]:
    """The cheapest path from row `start` to a free column, by reduced costs.

    Returns the row from which each column was reached (N,), at which cost (N,), the columns visited in order, the free
    column at the end, and the cost of the path.
    """
    came_from, reached = np.full(len(v), -1), np.full(len(v), np.inf)
    left = np.arange(len(v))[::-1].copy()  # from the last: then equal costs give the identity
    visited: list[int] = []
    row, total, count = start, 0.0, len(v)
    while True:
        open_ = left[:count]
        costs = total + cost[row, open_] - u[row] - v[open_]
        better = costs < reached[open_]
        reached[open_[better]] = costs[better]
        came_from[open_[better]] = row
        total = reached[open_].min()
        equal = np.flatnonzero(reached[open_] == total)
        free = equal[row_of[open_[equal]] < 0]
        place = free[-1] if len(free) else equal[0]  # SciPy's choice among equal columns
        column = int(open_[place])
        visited.append(column)
        if row_of[column] < 0:
            return came_from, reached, visited, column, float(total)
        row = row_of[column]
        count -= 1
        left[place] = left[count]
