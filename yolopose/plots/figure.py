"""Colours, figures and files of all plots. No pyplot: nothing global changes, and no display is needed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolopose.console import log
from yolopose.errors import one_line
from yolopose.files import atomic_path
from yolopose.limits import MAX_NAME

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160
INK, QUIET, FAINT, GRID = "#1f2933", "#7b8794", "#c3cbd4", "#e9ecef"
MAIN = "#1f6fd6"
# Distinct also in grey and to the colour-blind (after Okabe and Ito 2008).
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6d31", "#6a51a3", "#b5cf6b", "#525252")


def can_plot() -> bool:
    """Whether matplotlib is installed; warns when it is not."""
    installed = find_spec("matplotlib") is not None
    if not installed:
        log.warning("no plots, matplotlib is not installed: pip install 'yolopose[train]', or plots=False")
    return installed


def figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """A figure of so many inches and its axes: one, or an array (rows, columns); pale frame and grid, dark text."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = drawing.subplots(rows, columns)
    for ax in drawing.axes:
        ax.set_axisbelow(True)
        ax.grid(color=GRID, linewidth=0.8)
        ax.tick_params(colors=INK, length=0, labelsize=9, pad=6)
        for side, spine in ax.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(QUIET)
    return drawing, axes


def short_names(names: Iterable[str]) -> list[str]:
    """Names from files as short printable lines, which every font and layout can show."""
    return [one_line(name, MAX_NAME) for name in names]


def finish(drawing: Figure, path: Path, title: str | None = None) -> None:
    """Put a title above the only axes and write the picture; names are text: `$` starts no formula."""
    from matplotlib.text import Text

    if title is not None:
        drawing.axes[0].set_title(title, loc="left", color=INK, fontsize=12)
    for text in drawing.findobj(Text):
        text.set_parse_math(False)
    with atomic_path(path) as part:
        drawing.savefig(part, dpi=DPI)
