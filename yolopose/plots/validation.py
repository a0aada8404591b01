"""The plots of a validation, under the names that users know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from yolopose.evaluate.metrics import KindMetrics, Metrics
from yolopose.evaluate.precision import CONFIDENCES, RECALLS
from yolopose.plots.curves import Curves, plot_curves
from yolopose.plots.figure import printed


def plot_metrics(metrics: Metrics, folder: Path) -> None:
    """BoxPR_curve.png, BoxF1_curve.png, BoxP_curve.png, BoxR_curve.png, Pose…, confusion_matrix(_normalized).png."""
    for title, kind in (("Box", metrics.box), ("Pose", metrics.pose)):
        for name, curves in _curves(title, kind, metrics.names):
            plot_curves(curves, folder / f"{title}{name}_curve.png")
    confusion = metrics.confusion_matrix
    if confusion is not None:
        confusion.plot(False, folder)
        confusion.plot(True, folder)


def _curves(title: str, kind: KindMetrics, names: dict[int, str]) -> Iterator[tuple[str, Curves]]:
    """PR, F1, P and R of boxes or poses, at threshold 0.5."""
    scores = kind.scores
    classes = printed(names[int(c)] for c in kind.ap_class_index)
    threshold = "IoU 0.5" if title == "Box" else "OKS 0.5"
    notes = [f"{name} {ap:.3f}" for name, ap in zip(classes, kind.ap50, strict=True)]
    yield "PR", Curves(
        f"{title}: precision and recall at {threshold}", "recall", "precision", RECALLS, scores.envelope, notes,
        f"{_all(classes)} {kind.map50:.3f} mAP50",
    )  # fmt: skip
    for name, word, y in (
        ("F1", "F1", scores.f1),
        ("P", "precision", scores.precision),
        ("R", "recall", scores.recall),
    ):
        at_best = y[:, scores.best]
        mean = at_best.mean() if len(classes) else 0.0
        yield name, Curves(
            f"{title}: {word} by confidence at {threshold}", "confidence", word, CONFIDENCES, y,
            [f"{name} {value:.3f}" for name, value in zip(classes, at_best, strict=True)],
            f"{_all(classes)} {mean:.3f} at confidence {kind.best_conf:.3f}, the best F1", scores.best,
        )  # fmt: skip


def _all(classes: list[str]) -> str:
    """What the mean curve is called."""
    return classes[0] if len(classes) == 1 else "all classes"
