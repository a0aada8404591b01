"""Confusion matrices as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.plots.figure import INK, figure, finish, short_names

READABLE = 30  # classes up to which cells carry numbers and axes carry names


def plot_confusion(matrix: NDArray[Any], names: Sequence[str], title: str, path: Path) -> None:
    """Draw a matrix (C + 1, C + 1), rows predicted, columns true, background last; whole numbers or shares."""
    labels = [*short_names(names), "background"]
    n, top = len(labels), max(float(matrix.max()), 1e-9)
    side = min(3.0 + 0.55 * n, 16.0)
    drawing, ax = figure(side + 0.6, side)
    ax.grid(visible=False)
    edges = np.arange(n + 1) - 0.5
    cells = ax.pcolormesh(edges, edges, matrix, cmap="Blues", vmin=0, vmax=top * 1.15, edgecolors="white", linewidth=2)
    ax.invert_yaxis()
    ax.set_aspect("equal")
    if n <= READABLE + 1:
        write = "{:.0f}" if (matrix == matrix.round()).all() and top > 1 else "{:.2f}"
        for (row, column), value in np.ndenumerate(matrix):
            if value:
                color, size = "white" if value > 0.6 * top else INK, 10 if n < 15 else 6
                ax.text(column, row, write.format(value), ha="center", va="center", color=color, fontsize=size)
        steep = max(map(len, labels)) * n > 60
        ax.set_xticks(range(n), labels, rotation=45 if steep else 0, ha="right" if steep else "center")
        ax.set_yticks(range(n), labels)
    else:
        bar = drawing.colorbar(cells, ax=ax, shrink=0.75, pad=0.02)
        bar.ax.tick_params(colors=INK, length=0, labelsize=9)
    ax.set_xlabel("true", color=INK)
    ax.set_ylabel("predicted", color=INK)
    for spine in ax.spines.values():
        spine.set_visible(False)
    finish(drawing, path, title)
