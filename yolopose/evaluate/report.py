"""A validation in words: the lines that are printed, and the JSON in which every number carries its protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolopose import __version__
from yolopose.config import ValConfig
from yolopose.evaluate import keypoint_errors, landmarks, scales, widerface
from yolopose.evaluate.metrics import Metrics
from yolopose.files import write_text
from yolopose.formats.base import Backend
from yolopose.geometry.keypoints import COCO_SIGMAS

HEADER = f"{'Class':>22}{'Images':>11}{'Instances':>11}" + "".join(
    f"{kind + '(P':>11}{'R':>11}{'mAP50':>11}{'mAP50-95)':>11}" for kind in ("Box", "Pose")
)
RULES = {
    "box": "per class and IoU threshold .50:.05:.95 each detection chooses the truth it overlaps most, each truth "
    "takes its most confident chooser; AP is the area under the monotone precision envelope at 101 recalls, closed at "
    "(1, 0); P and R at the confidence of the best smoothed mean F1",
    "pose": "as box, by object keypoint similarity with area = 0.53 x box area",
    "coco": "pycocotools' (COCO keypoint and detection evaluation), at most 20 (keypoints) and 100 (boxes) detections "
    "per image and class; crowds and areas as in the annotations that the data YAML names, else area = 0.53 x box area",
    "widerface": widerface.RULE,
    "landmarks": landmarks.RULE,
    "keypoints": keypoint_errors.RULE,
    "losses": "the training loss of the network's raw maps against the truths",
}


@dataclass(frozen=True)
class Protocol:
    """How a validation was made; see `facts`."""

    backend: Backend
    config: ValConfig
    data: str
    metrics: Metrics
    unlabelled: int  # instances without labelled keypoints
    sigmas: tuple[float, ...]

    def facts(self) -> dict[str, Any]:
        """Everything that the numbers depend on, in JSON types."""
        config = self.config
        facts = {
            name: getattr(config, name) for name in ("conf", "iou", "max_det", "imgsz", "agnostic_nms", "single_cls")
        }
        return facts | {
            "classes": list(config.classes) if config.classes is not None else None,
            "resize": self.resize(),
            "images": self.metrics.images,
            "instances": int(self.metrics.class_instances.sum()),
            "instances_without_keypoints": self.unlabelled,
            "unlabelled_instances": "missed poses" if config.compat else "ignored for pose",
            "sigmas": list(self.sigmas),
            "precision": self.backend.precision,
            "compat": config.compat,
            "data": self.data,
            "split": config.split,
            "prefix": list(config.prefix) if config.prefix is not None else None,
            "model": config.model,
        }

    def resize(self) -> str:
        """How an image becomes the network's input, in words."""
        config, fixed, stride = self.config, self.backend.fixed_shape, self.backend.info.stride
        if fixed is not None:
            return f"letterbox to {fixed[1]}x{fixed[2]} (height x width), the size of the exported file"
        if config.compat and config.rect:
            return f"batches of {config.batch} by aspect ratio, letterboxed to one multiple of {stride} and half more"
        if config.resize == "original":
            return f"each image at its own size, padded to a multiple of {stride}"
        if config.resize == "multi":
            factors = ", ".join(f"{f:g}" for f in scales.FACTORS)
            return f"letterbox, long side to {factors} times imgsz, detections merged by non-maximum suppression"
        if config.rect:
            return f"letterbox, long side to imgsz, each image to its own multiple of {stride}"
        return "letterbox to a square of imgsz"


def report(metrics: Metrics, protocol: Protocol) -> dict[str, Any]:
    """Every block of numbers with its rule and protocol, in JSON types."""
    facts = protocol.facts()
    blocks: dict[str, dict[str, Any]] = {kind: _kind(metrics, kind) for kind in ("box", "pose")}
    blocks |= {"coco": metrics.coco, "widerface": metrics.widerface, "landmarks": metrics.landmarks}
    blocks |= {"losses": metrics.losses, "keypoints": {"table": metrics.keypoints}}
    told = {
        name: {"rule": RULES[name], "protocol": facts, "results": results}
        for name, results in blocks.items()
        if results
    }
    confusion = metrics.confusion_matrix
    if confusion is not None:
        told["confusion"] = {
            "rule": f"rows predicted, columns true, last background; conf {confusion.conf}, IoU 0.45",
            "protocol": facts | {"conf": confusion.conf},
            "results": {"matrix": confusion.matrix.astype(int).tolist()},
        }
    return {"yolopose": __version__, "fitness": metrics.fitness, "speed_ms_per_image": metrics.speed} | told


def _kind(metrics: Metrics, kind: str) -> dict[str, Any]:
    """The figures of boxes or poses, over all classes and by class."""
    values = getattr(metrics, kind)
    keys = ("precision", "recall", "mAP50", "mAP50-95")
    classes = {
        metrics.names[int(c)]: dict(zip(keys, values.class_result(i), strict=True))
        for i, c in enumerate(values.ap_class_index)
    }
    out: dict[str, Any] = dict(zip(keys, values.mean_results(), strict=True))
    return out | {"mAP75": values.map75, "confidence_of_best_f1": values.best_conf, "classes": classes}


def write_report(metrics: Metrics, path: Path) -> None:
    """The report as JSON."""
    write_text(path, json.dumps(metrics.report, indent=1) + "\n")


def lines(metrics: Metrics, *, brief: bool, keypoints: bool = False) -> Iterator[str]:
    """What is printed: the table that users know, and unless `brief` classes, COCO's figures, protocol and speed.

    With `keypoints` also the table of errors per keypoint.
    """
    yield HEADER
    yield _line("all", metrics.images, int(metrics.class_instances.sum()), metrics.mean_results())
    if brief:
        return
    if len(metrics.names) > 1:
        for i, c in enumerate(metrics.ap_class_index):
            counts = int(metrics.class_images[c]), int(metrics.class_instances[c])
            yield _line(metrics.names[int(c)], *counts, metrics.class_result(i))
    for kind, figures in metrics.coco.items():
        yield f"COCO {kind}: " + "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
    if keypoints:
        yield from _keypoint_lines(metrics)
    if metrics.report:
        yield _protocol_line(metrics.report["pose"]["protocol"])
    speed = ", ".join(f"{ms:.1f}ms {step}" for step, ms in metrics.speed.items())
    yield f"Speed: {speed} per image"


def _protocol_line(facts: dict[str, Any]) -> str:
    """What the figures above depend on."""
    arguments = ", ".join(f"{name} {facts[name]}" for name in ("conf", "iou", "max_det", "imgsz"))
    sigmas = tuple(facts["sigmas"])
    words = "COCO's" if sigmas == COCO_SIGMAS else f"{sigmas[0]:g}" if len(set(sigmas)) == 1 else "the data set's"
    blank = facts["instances_without_keypoints"]
    ignored = f"; {blank} of {facts['instances']} instances lack keypoints: {facts['unlabelled_instances']}"
    how = f"{facts['precision']}, {arguments}, {facts['resize']}"
    return f"Protocol: {how}; OKS sigmas {words}{ignored if blank else ''}"


def _line(name: str, images: int, instances: int, values: Any) -> str:
    return f"{name:>22}{images:>11}{instances:>11}" + "".join(f"{value:>11.3g}" for value in values)


def _keypoint_lines(metrics: Metrics) -> Iterator[str]:
    """The table of keypoint errors."""
    if not any(row["found"] for row in metrics.keypoints):
        return
    yield (
        f"{'Keypoint':>22}{'Labelled':>11}{'Found':>11}{'median px':>11}{'90% px':>11}{'median rel':>11}{'90% rel':>11}"
        f"{'PCK.05':>11}{'PCK.1':>11}"
    )
    columns = ("p50_px", "p90_px", "p50_relative", "p90_relative", "pck0.05", "pck0.1")
    for row in metrics.keypoints:
        values = "".join(f"{'-' if row[c] is None else format(row[c], '.3g'):>11}" for c in columns)
        yield f"{row['keypoint']:>22}{row['labelled']:>11}{row['found']:>11}{values}"
