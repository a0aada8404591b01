"""The speed of every export format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from yolopose.plots.figure import INK, MAIN, QUIET, figure, save


class Measured(Protocol):
    """What is drawn of a format."""

    @property
    def format(self) -> str: ...  # noqa: D102
    @property
    def precision(self) -> str: ...  # noqa: D102
    @property
    def latency_ms(self) -> float | None: ...  # noqa: D102
    @property
    def box_map(self) -> float | None: ...  # noqa: D102
    @property
    def failure(self) -> str: ...  # noqa: D102


def plot_formats(rows: Sequence[Measured], path: Path) -> None:
    """Draw one bar per format, its milliseconds per photograph; formats without a figure say so."""
    made, ax = figure(8, 0.42 * len(rows) + 1.2)
    for place, row in enumerate(rows):
        if row.latency_ms is None:
            ax.text(0, place, " not run" if row.failure else " not measured", va="center", color=QUIET, fontsize=9)
            continue
        accuracy = f", mAP {row.box_map:.3f}" if row.box_map is not None else ""
        ax.barh(place, row.latency_ms, color=MAIN, height=0.6)
        note = f" {row.latency_ms:.0f} ms, {row.precision}{accuracy}"
        ax.text(row.latency_ms, place, note, va="center", color=INK, fontsize=9)
    ax.set_yticks(range(len(rows)), [row.format for row in rows])
    ax.invert_yaxis()
    ax.margins(x=0.35)
    ax.set_xlim(left=0)
    ax.set_xlabel("milliseconds per photograph, whole prediction", color=INK)
    ax.set_title("Export formats", loc="left", color=INK, fontsize=12)
    save(made, path)
