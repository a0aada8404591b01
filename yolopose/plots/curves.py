"""Curves: precision, recall and F1 over recall or confidence, and the cumulative error of landmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.plots.figure import COLORS, FAINT, INK, MAIN, QUIET, figure, finish

Array = NDArray[Any]
MAX_ERROR = 0.2  # at which the curve of cumulative errors ends


def plot_curves(
    x: Array,
    y: Array,
    path: Path,
    *,
    title: str,
    labels: tuple[str, str],
    notes: Sequence[str],
    mean_note: str,
    mark: int | None = None,
) -> None:
    """Draw one curve per class (C', X) over x (X,), 0 to 1, and their mean.

    `labels` are those of the axes; `notes` (C') and `mean_note` stand in the legend. Above ten classes only the mean
    has a colour and a note. `mark` is the index into x of a dot on the mean.
    """
    drawing, ax = figure(7.2, 4.8)
    count = len(y)
    if 1 < count <= len(COLORS):
        for curve, color, note in zip(y, COLORS, notes, strict=False):
            ax.plot(x, curve, color=color, linewidth=1.4, label=note)
    elif count > len(COLORS):
        for i, curve in enumerate(y):
            ax.plot(x, curve, color=FAINT, linewidth=0.8, label=f"each of {count} classes" if i == 0 else None)
    if count:
        mean, color = y.mean(0), MAIN if count == 1 else INK
        ax.plot(x, mean, color=color, linewidth=2.6, label=mean_note, zorder=3)
        if mark is not None:
            ax.plot([x[mark]], [mean[mark]], "o", color=color, markersize=8, zorder=4, clip_on=False)
    _label(drawing, ax, labels, "no labelled instances", columns=1 if count == 1 else 3)
    finish(drawing, path, title)


def plot_cumulative(errors: Mapping[str, Array], notes: Mapping[str, str], path: Path) -> None:
    """Draw the share of faces whose error is at most x, by norm; (F,) errors, inf for faces that were not found."""
    drawing, ax = figure(7.2, 4.8)
    for (name, values), color in zip(errors.items(), (MAIN, COLORS[1]), strict=False):
        if len(values):
            near = np.sort(values[values <= MAX_ERROR])
            x = np.concatenate([[0.0], near, [MAX_ERROR]])
            y = np.concatenate([[0.0], np.arange(1, len(near) + 1), [len(near)]]) / len(values)
            ax.step(x, y, where="post", color=color, linewidth=2.2, label=notes[name])
    labels = ("normalised mean error of a face", "share of all labelled faces")
    _label(drawing, ax, labels, "no labelled faces", x_max=MAX_ERROR)
    finish(drawing, path, "Landmarks: cumulative error")


def _label(drawing: Any, ax: Any, labels: tuple[str, str], nothing: str, *, x_max: float = 1, columns: int = 1) -> None:
    """Legend, or the text `nothing` where no curve is; limits and labels of the axes."""
    if ax.lines:
        drawing.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9, labelcolor=INK)
    else:
        ax.text(0.5, 0.5, nothing, ha="center", va="center", color=QUIET, transform=ax.transAxes)
    ax.set(xlim=(0, x_max), ylim=(0, 1.02))
    ax.set_xlabel(labels[0], color=INK)
    ax.set_ylabel(labels[1], color=INK)
