"""Precision, recall and F1 as curves over recall or confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from yolopose.plots.figure import COLORS, FAINT, INK, MAIN, QUIET, figure, save

Array = NDArray[Any]


@dataclass(frozen=True)
class Curves:
    """One curve per class (C', X) over x (X,) and what to write beside them.

    `notes` (C') are the legend's words for the classes, `note` those for their mean. `mark` is an index into x where
    the mean deserves a dot.
    """

    title: str
    x_label: str
    y_label: str
    x: Array
    y: Array
    notes: Sequence[str]
    note: str
    mark: int | None = None


def plot_curves(curves: Curves, path: Path) -> None:
    """Draw all classes and their mean; beyond ten classes only the mean has a colour and a name."""
    made, ax = figure(7.2, 4.8)
    count = len(curves.y)
    if 1 < count <= len(COLORS):
        for y, color, note in zip(curves.y, COLORS, curves.notes, strict=False):
            ax.plot(curves.x, y, color=color, linewidth=1.4, label=note)
    elif count > len(COLORS):
        for i, y in enumerate(curves.y):
            ax.plot(curves.x, y, color=FAINT, linewidth=0.8, label=f"each of {count} classes" if i == 0 else None)
    if count:
        mean = curves.y.mean(0)
        color = MAIN if count == 1 else INK
        ax.plot(curves.x, mean, color=color, linewidth=2.6, label=curves.note, zorder=3)
        if curves.mark is not None:
            at = [curves.x[curves.mark]], [mean[curves.mark]]
            ax.plot(*at, "o", color=color, markersize=8, zorder=4, clip_on=False)
        columns = 1 if count == 1 else 3
        made.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9, labelcolor=INK)
    else:
        ax.text(0.5, 0.5, "no labelled instances", ha="center", va="center", color=QUIET, transform=ax.transAxes)
    ax.set(xlim=(0, 1), ylim=(0, 1.02))
    ax.set_xlabel(curves.x_label, color=INK)
    ax.set_ylabel(curves.y_label, color=INK)
    ax.set_title(curves.title, loc="left", color=INK, fontsize=12)
    save(made, path)
