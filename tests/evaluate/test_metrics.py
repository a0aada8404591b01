"""Metrics as scripts read them: curves, tables, one line in a notebook, pickles."""

import csv
import io
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers.builders import FakeBackend, make_photo

from yolopose.config import ValConfig
from yolopose.data.spec import load_data
from yolopose.evaluate.confusion import ConfusionMatrix
from yolopose.evaluate.metrics import Metrics
from yolopose.evaluate.validate import validate


class TwoClasses(FakeBackend):
    """Says of each rectangle that it is of the first class."""

    def infer(self, images: Any) -> Any:
        return np.insert(super().infer(images), 5, 0, axis=1)


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Metrics:
    """Of four photographs with a rectangle each, one of which is labelled elsewhere; nothing is of the second class."""
    root = tmp_path_factory.mktemp("data")
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for i in range(4):
        cv2.imwrite(str(root / "images" / f"{i}.png"), make_photo((64, 64), (16, 16, 48, 48)))
        x = 0.5 if i else 0.2
        corners = [f"{x + dx} {0.5 + dy} 2" for dy in (-0.25, 0.25) for dx in (-0.25, 0.25)]
        (root / "labels" / f"{i}.txt").write_text(f"0 {x} 0.5 0.5 0.5 {' '.join(corners)}\n".replace("-0.05", "0"))
    (root / "data.yaml").write_text("train: images\nval: images\nkpt_shape: [4, 3]\nnames: [thing, other]\n")
    backend = TwoClasses(4)
    backend.info = replace(backend.info, names={0: "thing", 1: "other"})
    config = ValConfig(imgsz=64, plots=False, verbose=False)
    return validate(backend, load_data(str(root / "data.yaml")), config)


def test_curves_have_names_axes_and_the_shapes_of_the_classes(metrics: Metrics) -> None:
    assert metrics.curves[0] == "Precision-Recall(B)"
    assert metrics.curves[-1] == "Recall-Confidence(P)"
    assert len(metrics.curves) == len(metrics.curves_results) == 8
    for x, y, *_ in metrics.curves_results:
        assert x.shape == (1000,)
        assert y.shape == (1, 1000)
    assert [curve[2:] for curve in metrics.box.curves_results] == [
        ["Recall", "Precision"], ["Confidence", "F1"], ["Confidence", "Precision"], ["Confidence", "Recall"],
    ]  # fmt: skip
    best = np.abs(metrics.box.px - metrics.box.best_conf).argmin()
    assert metrics.box.p_curve[0, best] == metrics.box.p[0]
    assert metrics.box.r_curve[0, best] == metrics.box.r[0]
    assert metrics.box.f1_curve[0, best] == metrics.box.f1[0]
    area = ((metrics.box.prec_values[0, 1:] + metrics.box.prec_values[0, :-1]) / 2).mean()
    assert area == pytest.approx(metrics.box.map50, abs=2e-3)
    assert (metrics.nc, metrics.box.nc) == (2, 2)


def test_a_row_per_class_in_every_form(metrics: Metrics) -> None:
    (row,) = metrics.summary(decimals=3)
    assert list(row) == [
        "Class", "Images", "Instances", "Box-P", "Box-R", "Box-F1", "mAP50", "mAP50-95",
        "Pose-P", "Pose-R", "Pose-F1", "Pose-mAP50", "Pose-mAP50-95",
    ]  # fmt: skip
    assert (row["Class"], row["Images"], row["Instances"]) == ("thing", 4, 4)
    assert row["mAP50"] == round(metrics.box.map50, 3)
    assert json.loads(metrics.to_json(decimals=3)) == [row]
    assert metrics.to_csv().splitlines()[0] == ",".join(row)
    pd.testing.assert_frame_equal(metrics.to_df(decimals=3), pd.DataFrame([row]))


def test_a_class_name_is_no_formula_of_a_spreadsheet() -> None:
    header, *rows = csv.reader(io.StringIO(ConfusionMatrix({0: "=1+1", 1: "b"}).to_csv()))
    assert header == ["Predicted", "'=1+1", "b", "background"]
    assert [row[0] for row in rows] == ["'=1+1", "b", "background"]


def test_a_confusion_matrix_in_every_form(metrics: Metrics, tmp_path: Path) -> None:
    confusion = metrics.confusion_matrix
    rows = confusion.summary()
    assert [row["Predicted"] for row in rows] == ["thing", "other", "background"]
    np.testing.assert_array_equal(
        [[row[k] for k in ("thing", "other", "background")] for row in rows], confusion.matrix
    )
    assert confusion.to_df().shape == (3, 4)
    assert sum(row["thing"] for row in confusion.summary(normalize=True)) == pytest.approx(1, abs=1e-4)
    assert confusion.plot(save_dir=tmp_path) == tmp_path / "confusion_matrix_normalized.png"
    assert confusion.plot(normalize=False, save_dir=tmp_path, names={0: "a", 1: "b"}).is_file()


def test_repr_is_one_short_line(metrics: Metrics) -> None:
    for thing in (metrics, metrics.box, metrics.confusion_matrix):
        assert len(repr(thing)) < 120
        assert "\n" not in repr(thing)
    assert repr(metrics).startswith("Metrics(4 images: box mAP50 ")


def test_metrics_can_be_pickled(metrics: Metrics) -> None:
    again = pickle.loads(pickle.dumps(metrics))
    assert again.results_dict == metrics.results_dict
    np.testing.assert_array_equal(again.confusion_matrix.matrix, metrics.confusion_matrix.matrix)
    assert again.report == metrics.report
