"""Plots show the numbers they are given, and leave matplotlib's global state alone."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.text import Text

from yolopose.evaluate.metric_plots import plot_metrics
from yolopose.plots.benchmark import plot_formats
from yolopose.plots.confusion import plot_confusion
from yolopose.plots.curves import plot_cumulative, plot_curves
from yolopose.plots.training import METRICS, plot_labels, plot_results
from yolopose.train.reporting import COLUMNS


def legend(figure: Any) -> list[str]:
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("classes", [0, 1, 3, 40])
def test_curves_show_each_class_and_their_mean(tmp_path: Path, classes: int, figures: list[Any]) -> None:
    x = np.linspace(0, 1, 1000)
    y = np.linspace(0, 1, classes)[:, None] * x
    notes = [f"class{i} 0.5" for i in range(classes)]
    plot_curves(
        x, y, tmp_path / "curve.png", title="F1", labels=("confidence", "F1"), notes=notes, mean_note="all", mark=500
    )
    (figure,) = figures
    (ax,) = figure.axes
    assert cv2.imread(str(tmp_path / "curve.png")) is not None
    assert [p.name for p in tmp_path.iterdir()] == ["curve.png"]
    assert (ax.get_title("left"), ax.get_xlabel(), ax.get_ylabel()) == ("F1", "confidence", "F1")
    named = {0: [], 1: [], 3: notes, 40: ["each of 40 classes"]}[classes]
    assert legend(figure) == ([*named, "all"] if classes else [])
    assert texts(ax) == ([] if classes else ["no labelled instances"])
    if classes:
        *each, mean, dot = ax.lines
        assert np.array_equal(
            np.array([line.get_ydata() for line in each]).reshape(-1, 1000), y[1:] if classes == 1 else y
        )
        assert mean.get_ydata() == pytest.approx(y.mean(0))
        assert dot.get_xydata().tolist() == [[x[500], pytest.approx(y.mean(0)[500])]]


@pytest.mark.parametrize("classes", [1, 12, 45])
def test_confusion_matrices_show_their_counts(tmp_path: Path, classes: int, figures: list[Any]) -> None:
    matrix = np.eye(classes + 1) * 9
    matrix[-1, -1] = 0
    names = [f"name{i}" for i in range(classes)]
    plot_confusion(matrix, names, "confusion", tmp_path / "matrix.png")
    ax = figures[0].axes[0]
    (cells,) = ax.collections
    assert np.array_equal(cells.get_array(), matrix)
    assert ax.get_ylim() == (classes + 0.5, -0.5), "the first class is above"
    few = classes < 30
    numbers = [(text.get_text(), *text.get_position()) for text in ax.texts]
    assert numbers == ([("9", i, i) for i in range(classes)] if few else [])
    assert len(figures[0].axes) == (1 if few else 2), "a scale where cells have no numbers"
    if few:
        assert [label.get_text() for label in ax.get_xticklabels()] == [*names, "background"]
    picture = cv2.imread(str(tmp_path / "matrix.png"))
    assert picture is not None
    dark = (picture.astype(int)[..., 0] - picture[..., 2]) > 100
    assert dark.any()


def test_cumulative_errors_step_at_each_face(tmp_path: Path, figures: list[Any]) -> None:
    errors = {"interocular": np.array([0.05, 0.01, np.inf, 0.3]), "size": np.zeros(0)}
    plot_cumulative(errors, {"interocular": "eyes", "size": "size"}, tmp_path / "some.png")
    plot_cumulative({"size": np.zeros(0)}, {"size": "size"}, tmp_path / "none.png")
    some, none = figures
    (line,) = some.axes[0].lines
    assert line.get_xydata().tolist() == [[0, 0], [0.01, 0.25], [0.05, 0.5], [0.2, 0.5]]
    assert (line.get_drawstyle(), legend(some)) == ("steps-post", ["eyes"])
    assert (texts(none.axes[0]), legend(none)) == (["no labelled faces"], [])


def test_results_show_validation_only_where_there_was_one(tmp_path: Path, figures: list[Any]) -> None:
    columns = {name: [1.0 * i + row for row in range(3)] for i, name in enumerate(COLUMNS, 1)}
    columns |= {"epoch": [1.0, 2.0, 3.0], "val/box_loss": [0.0, 0.5, 0.25]}
    plot_results(columns, tmp_path / "results.png")
    axes = figures[0].axes
    titles = [ax.get_title("left") for ax in axes]
    assert titles == ["box loss", "pose loss", "kobj loss", "cls loss", "dfl loss", *METRICS, "learning rate"]
    train, val = axes[0].lines
    assert train.get_xydata().tolist() == [[i + 1, columns["train/box_loss"][i]] for i in range(3)]
    assert val.get_xydata().tolist() == [[2, 0.5], [3, 0.25]]
    for ax, name in zip(axes[5:9], METRICS, strict=True):
        drawn = [list(line.get_ydata()) for line in ax.lines]
        assert drawn == [columns[f"metrics/{name}({kind})"][1:] for kind in "BP"]


def test_formats_have_a_bar_where_they_were_measured(tmp_path: Path, figures: list[Any]) -> None:
    plot_formats([("PyTorch", 24.3, "24 ms, float32"), ("X", None, "not run")], tmp_path / "formats.png")
    (ax,) = figures[0].axes
    assert [(bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in ax.patches] == [(24.3, 0)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["PyTorch", "X"]
    assert texts(ax) == [" 24 ms, float32", " not run"]


def test_no_global_plotting_state_is_touched(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from yolopose.plots.confusion import plot_confusion\n"
        f"plot_confusion(np.eye(2), ['a'], 't', Path({str(tmp_path)!r}) / 'm.png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["a\x1b[31m\x00", "\ud800", "x" * 5000, "a\nb", ""], ids=repr)
def test_any_class_name_can_be_drawn(tmp_path: Path, name: str) -> None:
    plot_confusion(np.eye(3), [name, "dog"], "t", tmp_path / "matrix.png")
    plot_labels(
        tmp_path / "labels.png",
        classes=np.array([0, 1, 1]),
        boxes=np.full((3, 4), 0.5),
        labelled=np.ones((3, 2), bool),
        names=[name, "dog"],
        keypoint_names=["a", name],
    )
    half = np.full((1, 1000), 0.5)
    kind = SimpleNamespace(
        scores=SimpleNamespace(f1=half, precision=half, recall=half, envelope=half[:, :101], best=5),
        ap_class_index=[0],
        ap50=[0.5],
        map50=0.5,
        best_conf=0.5,
    )
    plot_metrics(SimpleNamespace(box=kind, pose=kind, names={0: name}, confusion_matrix=None), tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 10


def test_names_with_dollars_are_no_formulas(tmp_path: Path, figures: list[Any]) -> None:
    name = "a$x_$b"
    plot_confusion(np.eye(2), [name], name, tmp_path / "matrix.png")
    x = np.linspace(0, 1, 10)
    path = tmp_path / "curve.png"
    plot_curves(x, np.stack((x, x)), path, title=name, labels=(name, name), notes=[name] * 2, mean_note=name, mark=5)
    for figure, least in zip(figures, (2, 6), strict=True):  # title and label; title, both labels, three in the legend
        named = [text for text in figure.findobj(Text) if text.get_text() == name]
        assert len(named) >= least
        assert not any(text.get_parse_math() for text in named)
