"""The plots of a validation, under the file names that users know."""

from __future__ import annotations

from pathlib import Path

from yolopose.evaluate.metrics import KindMetrics, Metrics
from yolopose.evaluate.precision import CONFIDENCES, RECALLS
from yolopose.plots.curves import plot_curves
from yolopose.plots.figure import short_names


def plot_metrics(metrics: Metrics, folder: Path) -> None:
    """BoxPR_curve.png, BoxF1_curve.png, BoxP_curve.png, BoxR_curve.png, Pose…, confusion_matrix(_normalized).png."""
    for kind, overlap, values in (("Box", "IoU", metrics.box), ("Pose", "OKS", metrics.pose)):
        _plot_kind(kind, f"{overlap} 0.5", values, metrics.names, folder)
    confusion = metrics.confusion_matrix
    if confusion is not None:
        confusion.plot(False, folder)
        confusion.plot(True, folder)


def _plot_kind(kind: str, threshold: str, values: KindMetrics, names: dict[int, str], folder: Path) -> None:
    """PR, F1, P and R of boxes or poses, at threshold 0.5."""
    scores = values.scores
    classes = short_names(names[int(c)] for c in values.ap_class_index)
    mean_name = classes[0] if len(classes) == 1 else "all classes"
    plot_curves(
        RECALLS,
        scores.envelope,
        folder / f"{kind}PR_curve.png",
        title=f"{kind}: precision and recall at {threshold}",
        labels=("recall", "precision"),
        notes=[f"{name} {ap:.3f}" for name, ap in zip(classes, values.ap50, strict=True)],
        mean_note=f"{mean_name} {values.map50:.3f} mAP50",
    )
    curves = ("F1", "F1", scores.f1), ("P", "precision", scores.precision), ("R", "recall", scores.recall)
    for short, word, y in curves:
        at_best = y[:, scores.best]
        mean = at_best.mean() if len(classes) else 0.0
        plot_curves(
            CONFIDENCES,
            y,
            folder / f"{kind}{short}_curve.png",
            title=f"{kind}: {word} by confidence at {threshold}",
            labels=("confidence", word),
            notes=[f"{name} {value:.3f}" for name, value in zip(classes, at_best, strict=True)],
            mean_note=f"{mean_name} {mean:.3f} at confidence {values.best_conf:.3f}, the best F1",
            mark=scores.best,
        )
