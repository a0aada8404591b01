"""The results of a training run by epoch, and the labels of its data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from yolopose.plots.figure import COLORS, INK, MAIN, QUIET, figure, finish, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[Any]
LOSSES = ("box_loss", "pose_loss", "kobj_loss", "cls_loss", "dfl_loss")
METRICS = ("precision", "recall", "mAP50", "mAP50-95")
MAX_DOTS = 40  # epochs up to which each one gets a dot
MAX_NAMED_BARS = 30


def plot_results(columns: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw results.csv: five losses of training and validation, four metrics of boxes and poses, the learning rate."""
    drawing, axes = figure(15, 6, 2, 5)
    epochs = columns["epoch"]
    validated = [row for row, value in enumerate(columns["val/box_loss"]) if value]
    for ax, name in zip(axes[0], LOSSES, strict=True):
        _line(ax, epochs, columns[f"train/{name}"], MAIN, "train")
        _line(ax, [epochs[i] for i in validated], [columns[f"val/{name}"][i] for i in validated], COLORS[1], "val")
        _title(ax, name.replace("_", " "))
    for ax, name in zip(axes[1], METRICS, strict=False):
        for kind, color, label in (("B", MAIN, "box"), ("P", COLORS[1], "pose")):
            values = columns[f"metrics/{name}({kind})"]
            _line(ax, [epochs[i] for i in validated], [values[i] for i in validated], color, label)
        ax.set_ylim(0, 1.02)
        _title(ax, name)
    for group, color, label in ((0, COLORS[1], "biases"), (1, MAIN, "weights")):
        _line(axes[1, 4], epochs, columns[f"lr/pg{group}"], color, label)
    _title(axes[1, 4], "learning rate")
    axes[1, 4].yaxis.set_major_formatter("{x:.2g}")
    for ax in (axes[0, 0], axes[1, 0], axes[1, 4]):
        ax.legend(frameon=False, fontsize=9, labelcolor=INK)
    for ax in axes.flat:
        ax.set_xlim(axes[0, 0].get_xlim())
        ax.xaxis.get_major_locator().set_params(integer=True)
    drawing.supxlabel("epoch", color=QUIET, fontsize=10)
    finish(drawing, path)


def plot_labels(
    path: Path, *, classes: Array, boxes: Array, labelled: Array, names: Sequence[str], keypoint_names: Sequence[str]
) -> None:
    """Draw how many instances each class has, where they are, how large, and which keypoints are labelled.

    Of all instances: classes (N,), boxes (N, 4) cxcywh normalised, labelled (N, K) bool.
    """
    drawing, axes = figure(11, 9, 2, 2)
    _bars(axes[0, 0], names, np.bincount(classes, minlength=len(names)), "instances per class")
    share = labelled.mean(0) if len(labelled) else np.zeros(len(keypoint_names))
    _bars(axes[0, 1], keypoint_names, share, "share of instances with this keypoint labelled")
    axes[0, 1].set_ylim(0, 1.02)
    x, y, w, h = boxes.T
    _density(axes[1, 0], x, y, ("centre of the box: x", "y"))
    axes[1, 0].invert_yaxis()
    _density(axes[1, 1], w, h, ("width of the box", "height"))
    finish(drawing, path)


def _line(ax: Axes, x: Sequence[float], y: Sequence[float], color: str, label: str) -> None:
    ax.plot(x, y, color=color, linewidth=1.8, label=label, marker="o" if len(x) <= MAX_DOTS else None, markersize=3.5)


def _title(ax: Axes, text: str) -> None:
    ax.set_title(text, loc="left", color=INK, fontsize=11)


def _bars(ax: Axes, names: Sequence[str], values: Array, title: str) -> None:
    """A bar per name, with its value if there are few."""
    bars = ax.bar(range(len(values)), values, color=MAIN, width=0.7)
    ax.grid(visible=False, axis="x")
    n = len(values)
    ax.set_xlim(min(-0.6, (n - 6) / 2), max(n - 0.4, (n + 4) / 2))  # a single bar would fill the plot
    if n <= MAX_NAMED_BARS:
        slanted = sum(map(len, names)) > 40
        rotation, align = (60, "right") if slanted else (0, "center")
        ax.set_xticks(range(n), short_names(names), rotation=rotation, ha=align)
        whole = bool((np.asarray(values) == np.round(values)).all())
        ax.bar_label(bars, fmt="{:.0f}" if whole else "{:.2f}", fontsize=7, color=INK, padding=2)
    ax.margins(y=0.1)
    _title(ax, title)


def _density(ax: Axes, x: Array, y: Array, names: tuple[str, str]) -> None:
    """A 2D histogram of values from 0 to 1, logarithmic."""
    bins = np.linspace(0, 1, 51)
    counts = np.histogram2d(x.clip(0, 1), y.clip(0, 1), bins=[bins, bins])[0].T
    ax.grid(visible=False)
    ax.pcolormesh(bins, bins, np.log1p(counts), cmap="Blues")
    ax.set_aspect("equal")
    ax.set_xlabel(names[0], color=INK)
    ax.set_ylabel(names[1], color=INK)
    _title(ax, f"{len(x)} instances, shares of the image")
