"""The metrics of a validation under the names that scripts use: `metrics.box.map`, `metrics.pose.map50` and so on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.evaluate.confusion import ConfusionMatrix, FalseAlarms
from yolopose.evaluate.keypoint_errors import KeypointErrors
from yolopose.evaluate.precision import CONFIDENCES, RECALLS, Matches, Scores, compute_scores, match_image
from yolopose.evaluate.sample import Output, ValidatedImage
from yolopose.metadata import ModelInfo
from yolopose.rules import Rules
from yolopose.tables import Rows

Array = NDArray[Any]
CURVES = ("Precision-Recall", "F1-Confidence", "Precision-Confidence", "Recall-Confidence")
STEPS = ("preprocess", "inference", "loss", "postprocess")
KEYS = tuple(f"metrics/{column}({kind})" for kind in "BP" for column in ("precision", "recall", "mAP50", "mAP50-95"))


class KindMetrics:
    """Precision, recall and average precision of boxes or of poses.

    Arrays of length C' have an entry per class that has truths, those of length C one per class of the model.

    Attributes:
        scores: what all figures are computed from.
        nc: number of classes of the model, C.
        ap_class_index: (C',) the class of each entry.
        all_ap: (C', 10) average precision by threshold .50:.05:.95.
        ap: (C',) its mean over the thresholds; `ap50` (C',) that at .50.
        p: (C',) precision at `best_conf`; `r` and `f1` (C',) recall and F1 there.
        maps: (C,) `ap` of every class; the mean where a class has no truths.
        map: mean of `ap` over the classes; `map50` and `map75` at one threshold.
        mp: mean precision; `mr` mean recall.
        best_conf: the confidence of the best mean F1.
        px: (1000,) the confidences, or recalls, at which the curves are read.
        p_curve: (C', 1000) precision by confidence, at threshold 0.5; `r_curve` and `f1_curve` recall and F1.
        prec_values: (C', 1000) precision by recall, at threshold 0.5.
    """

    def __init__(self, scores: Scores, class_count: int) -> None:
        ap, best = scores.ap, scores.best
        self.scores, self.nc = scores, class_count
        self.ap_class_index, self.all_ap, self.ap, self.ap50 = scores.classes, ap, ap.mean(1), ap[:, 0]
        self.px, self.p_curve, self.r_curve, self.f1_curve = CONFIDENCES, scores.precision, scores.recall, scores.f1
        self.p, self.r, self.f1 = self.p_curve[:, best], self.r_curve[:, best], self.f1_curve[:, best]
        self.map, self.map50, self.map75 = mean(ap), mean(ap[:, 0]), mean(ap[:, 5])
        self.mp, self.mr, self.best_conf = mean(self.p), mean(self.r), float(CONFIDENCES[best])
        self.maps = np.full(class_count, self.map)
        self.maps[scores.classes] = self.ap
        by_recall = [np.interp(self.px, RECALLS, row) for row in scores.envelope]
        self.prec_values = np.array(by_recall).reshape(-1, len(self.px))

    def __repr__(self) -> str:
        p, r, map50, average = self.mean_results()
        return f"KindMetrics(P {p:.3g}, R {r:.3g}, mAP50 {map50:.3g}, mAP50-95 {average:.3g})"

    @property
    def curves_results(self) -> list[list[Any]]:
        """Each curve as [x (1000,), y (C', 1000), name of x, name of y], in the order of `CURVES`."""
        by_confidence = {"F1": self.f1_curve, "Precision": self.p_curve, "Recall": self.r_curve}
        curves = [[self.px, curve, "Confidence", name] for name, curve in by_confidence.items()]
        return [[self.px, self.prec_values, "Recall", "Precision"], *curves]

    def mean_results(self) -> list[float]:
        """P, R, mAP50, mAP50-95 over the classes."""
        return [self.mp, self.mr, self.map50, self.map]

    def class_result(self, i: int) -> tuple[float, float, float, float]:
        """P, R, AP50, AP50-95 of the i-th class in `ap_class_index`."""
        return float(self.p[i]), float(self.r[i]), float(self.ap50[i]), float(self.ap[i])

    def fitness(self) -> float:
        """0.1 mAP50 + 0.9 mAP50-95."""
        return 0.1 * self.map50 + 0.9 * self.map


@dataclass(frozen=True, repr=False)
class Metrics(Rows):
    """The result of a validation; `summary`, `to_df`, `to_csv` and `to_json` have a row per class.

    `speed` is in milliseconds per image; `losses` are filled in when a criterion was given; `coco`, `widerface` and
    `landmarks` with the `metric` of that name; `keypoints` is the table of errors per keypoint, `false_alarms` counts
    detections on images without instances, `report` has all figures with the protocol of their measurement.
    """

    box: KindMetrics
    pose: KindMetrics
    names: dict[int, str]
    images: int
    class_images: Array  # (C,) images that have an instance of the class
    class_instances: Array  # (C,)
    confusion_matrix: ConfusionMatrix | None = None
    speed: dict[str, float] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    coco: dict[str, dict[str, float]] = field(default_factory=dict)
    widerface: dict[str, Any] = field(default_factory=dict)
    landmarks: dict[str, Any] = field(default_factory=dict)
    keypoints: list[dict[str, Any]] = field(default_factory=list)
    false_alarms: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict, repr=False)
    save_dir: Path | None = None
    task: str = "pose"

    def __repr__(self) -> str:
        box, pose = (f"mAP50 {kind.map50:.3g} mAP50-95 {kind.map:.3g}" for kind in (self.box, self.pose))
        return f"Metrics({self.images} images: box {box}, pose {pose})"

    @property
    def nc(self) -> int:
        """Number of classes of the model."""
        return len(self.names)

    @property
    def curves(self) -> list[str]:
        """The names of `curves_results`."""
        return [f"{name}({kind})" for kind in "BP" for name in CURVES]

    @property
    def curves_results(self) -> list[list[Any]]:
        """The curves of the boxes, then of the poses; see `KindMetrics.curves_results`."""
        return self.box.curves_results + self.pose.curves_results

    def summary(self, normalize: bool = False, decimals: int = 5) -> list[dict[str, Any]]:
        """A row per class that has truths: counts, P, R, F1 and average precision of boxes and poses.

        `normalize` changes nothing: all figures are shares.
        """
        rows = []
        for i, c in enumerate(self.ap_class_index.tolist()):
            row: dict[str, Any] = {"Class": self.names[c], "Images": int(self.class_images[c])}
            row["Instances"] = int(self.class_instances[c])
            figures = self.class_result(i)
            for kind, (p, r, ap50, ap) in (("Box", figures[:4]), ("Pose", figures[4:])):
                average = "" if kind == "Box" else "Pose-"  # the boxes' have no prefix, as in Ultralytics 8.3
                values = {f"{kind}-P": p, f"{kind}-R": r, f"{kind}-F1": 2 * p * r / max(p + r, 1e-16)}
                values |= {f"{average}mAP50": ap50, f"{average}mAP50-95": ap}
                row |= {key: round(value, decimals) for key, value in values.items()}
            rows.append(row)
        return rows

    @property
    def keys(self) -> list[str]:
        """The names of `mean_results`."""
        return list(KEYS)

    def mean_results(self) -> list[float]:
        """P, R, mAP50, mAP50-95 of the boxes, then of the poses."""
        return self.box.mean_results() + self.pose.mean_results()

    def class_result(self, i: int) -> tuple[float, ...]:
        """The same for the i-th class in `ap_class_index`; zeros for poses where no truth of the class counts."""
        where = np.flatnonzero(self.pose.ap_class_index == self.ap_class_index[i])
        return self.box.class_result(i) + (self.pose.class_result(int(where[0])) if len(where) else (0.0,) * 4)

    @property
    def ap_class_index(self) -> Array:
        """(C',) the classes that have truths."""
        return self.box.ap_class_index

    @property
    def maps(self) -> Array:
        """(C,) AP50-95 of boxes plus poses, by class."""
        return np.asarray(self.box.maps + self.pose.maps)

    @property
    def fitness(self) -> float:
        """The value that training maximises: the boxes' fitness plus the poses'."""
        return self.box.fitness() + self.pose.fitness()

    @property
    def results_dict(self) -> dict[str, float]:
        """The means by name, `fitness` last."""
        return dict(zip((*KEYS, "fitness"), (*self.mean_results(), self.fitness), strict=True))


def mean(values: Array) -> float:
    """The mean, 0 for no values."""
    return float(values.mean()) if values.size else 0.0


class Evaluator(Output):
    """Makes `Metrics` from all images; their order does not matter.

    Args:
        info: classes and keypoints of the model.
        sigmas: those of OKS.
        conf: the lowest confidence of the detections.
        rules: the switch `unlabelled_count` is used.
    """

    def __init__(self, info: ModelInfo, sigmas: Sequence[float], conf: float, rules: Rules) -> None:
        self.info, self.sigmas, self.rules = info, sigmas, rules
        self.unlabelled = 0  # instances without labelled keypoints
        self._matches: dict[int, Matches] = {}
        self._confusion = ConfusionMatrix(info.names, conf)
        self._alarms = FalseAlarms(self._confusion)
        self._errors = KeypointErrors(info.layout.names)
        self._speed = dict.fromkeys(STEPS, 0.0)

    def add(self, sample: ValidatedImage) -> None:
        """Match the detections of one image with its truths."""
        found, truth = sample.found, sample.truth
        ignore = not self.rules.unlabelled_count
        matches = match_image(found.boxes, found.keypoints, truth, self.sigmas, ignore_unlabelled=ignore)
        self._matches[sample.position] = matches
        self._confusion.add(found.boxes, truth.boxes, truth.classes)
        if not len(truth.boxes) and not len(sample.item.labels.ignore):
            self._alarms.add(found.boxes)
        self._errors.add(found.keypoints, truth, matches)
        for step, ms in found.speed.items():
            self._speed[step] += ms
        self.unlabelled += int((~truth.posed).sum())

    def metrics(self, losses: dict[str, float], loss_seconds: float) -> Metrics:
        """The metrics of all images; the time of the losses was measured within that of the inference."""
        matches = [self._matches[i] for i in sorted(self._matches)]  # equal scores rank by image: a fixed order
        count = len(self.info.names)
        box, pose = (KindMetrics(compute_scores(matches, kind), count) for kind in ("box", "pose"))
        per_image = np.array([np.bincount(m.truth_classes, minlength=count) for m in matches]).reshape(-1, count)
        speed = self._speed | {"loss": loss_seconds * 1e3, "inference": self._speed["inference"] - loss_seconds * 1e3}
        return Metrics(
            box, pose, self.info.names, len(matches), (per_image > 0).sum(0), per_image.sum(0), self._confusion,
            speed={step: ms / max(len(matches), 1) for step, ms in speed.items()},
            losses=losses,
            keypoints=self._errors.table(),
            false_alarms=self._alarms.figures(),
        )  # fmt: skip
