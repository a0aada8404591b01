"""The speed of every export format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yolopose.plots.figure import INK, MAIN, QUIET, figure, finish


def plot_formats(bars: Sequence[tuple[str, float | None, str]], path: Path) -> None:
    """Draw one bar per format (name, milliseconds per photograph or None, note) with its note."""
    drawing, ax = figure(8, 0.42 * len(bars) + 1.2)
    for place, (_, latency, note) in enumerate(bars):
        if latency is not None:
            ax.barh(place, latency, color=MAIN, height=0.6)
        ax.text(latency or 0, place, f" {note}", va="center", color=QUIET if latency is None else INK, fontsize=9)
    ax.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    ax.invert_yaxis()
    ax.margins(x=0.35)
    ax.set_xlim(left=0)
    ax.set_xlabel("milliseconds per photograph, whole prediction", color=INK)
    finish(drawing, path, "Export formats")
