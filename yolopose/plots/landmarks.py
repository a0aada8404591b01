"""The cumulative error curve of landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.plots.figure import COLORS, INK, MAIN, QUIET, figure, save

WIDEST = 0.2  # error at which the curve ends


def plot_cumulative(errors: Mapping[str, NDArray[Any]], notes: Mapping[str, str], path: Path) -> None:
    """Draw the share of faces whose error is at most x, by norm; (F,) errors, inf for faces that were not found."""
    made, ax = figure(7.2, 4.8)
    for (name, values), color in zip(errors.items(), (MAIN, COLORS[1]), strict=False):
        if len(values):
            near = np.sort(values[values <= WIDEST])
            x = np.concatenate([[0.0], near, [WIDEST]])
            y = np.concatenate([[0.0], np.arange(1, len(near) + 1), [len(near)]]) / len(values)
            ax.step(x, y, where="post", color=color, linewidth=2.2, label=notes[name])
    if any(len(values) for values in errors.values()):
        made.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=9, labelcolor=INK)
    else:
        ax.text(0.5, 0.5, "no labelled faces", ha="center", va="center", color=QUIET, transform=ax.transAxes)
    ax.set(xlim=(0, WIDEST), ylim=(0, 1.02))
    ax.set_xlabel("normalised mean error of a face", color=INK)
    ax.set_ylabel("share of all labelled faces", color=INK)
    ax.set_title("Landmarks: cumulative error", loc="left", color=INK, fontsize=12)
    save(made, path)
