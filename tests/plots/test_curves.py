"""Plots exist, have ink, and leave matplotlib's global state alone."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from yolopose.evaluate.metric_plots import plot_metrics
from yolopose.plots.confusion import plot_confusion
from yolopose.plots.curves import plot_curves
from yolopose.plots.training import plot_labels


@pytest.mark.parametrize("classes", [0, 1, 3, 40])
def test_curves_of_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    x = np.linspace(0, 1, 1000)
    y = np.linspace(0, 1, classes)[:, None] * x
    notes = [f"class{i} 0.5" for i in range(classes)]
    plot_curves(
        x, y, tmp_path / "curve.png", title="F1", labels=("confidence", "F1"), notes=notes, mean_note="all", mark=500
    )
    picture = cv2.imread(str(tmp_path / "curve.png"))
    assert picture is not None
    assert (picture == 255).all(2).mean() > 0.5
    colored = np.ptp(picture.astype(int), axis=2) > 60
    assert colored.any() == (0 < classes <= 10)
    assert [p.name for p in tmp_path.iterdir()] == ["curve.png"]


@pytest.mark.parametrize("classes", [1, 12, 45])
def test_confusion_matrices_darken_where_the_counts_are(tmp_path: Path, classes: int) -> None:
    matrix = np.eye(classes + 1) * 9
    matrix[-1, -1] = 0
    plot_confusion(matrix, [f"name{i}" for i in range(classes)], "confusion", tmp_path / "matrix.png")
    picture = cv2.imread(str(tmp_path / "matrix.png"))
    assert picture is not None
    dark = (picture.astype(int)[..., 0] - picture[..., 2]) > 100
    assert dark.any()


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


def test_names_with_dollars_are_text(tmp_path: Path) -> None:
    name = "a$x_$b"  # no formula that could be drawn
    plot_confusion(np.eye(2), [name], name, tmp_path / "matrix.png")
    x = np.linspace(0, 1, 10)
    path = tmp_path / "curve.png"
    plot_curves(x, np.stack((x, x)), path, title=name, labels=(name, name), notes=[name] * 2, mean_note=name, mark=5)
    assert (tmp_path / "matrix.png").exists()
    assert (tmp_path / "curve.png").exists()
