"""The report of a validation: the printed lines, and report.json, which has all numbers and what they depend on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from yolopose.evaluate import keypoint_errors, widerface
from yolopose.evaluate.confusion import IOU as CONFUSION_IOU
from yolopose.evaluate.keypoint_errors import keypoint_lines
from yolopose.evaluate.metrics import KindMetrics, Metrics
from yolopose.geometry.keypoints import COCO_SIGMAS
from yolopose.tables import text_table
from yolopose.version import __version__

KEYS = ("precision", "recall", "mAP50", "mAP50-95")
HEAD = ("Class", "Images", "Instances", "Box(P", "R", "mAP50", "mAP50-95)", "Pose(P", "R", "mAP50", "mAP50-95)")
RULES = {
    "box": "per class and IoU threshold .50:.05:.95 each detection chooses the truth it overlaps most, each truth "
    "takes its most confident chooser; AP is the area under the monotone precision envelope at 101 recalls, closed at "
    "(1, 0); P and R at the confidence of the best smoothed mean F1",
    "pose": "as box, by object keypoint similarity with area = 0.53 x box area",
    "coco": "pycocotools' (COCO keypoint and detection evaluation), at most 20 (keypoints) and 100 (boxes) detections "
    "per image and class; crowds and areas as in the annotations that the data YAML names, else area = 0.53 x box area",
    "widerface": widerface.RULE,
    "landmarks": keypoint_errors.LANDMARK_RULE,
    "losses": "the training loss of the network's raw maps against the truths",
    "keypoints": keypoint_errors.KEYPOINT_RULE,
    "false_alarms": "detections above `confidence` on images that have neither an instance of a measured class nor "
    "a box to ignore",
}


def report(metrics: Metrics, protocol: dict[str, Any]) -> dict[str, Any]:
    """Every block of numbers with its rule and with `protocol`, all that the numbers depend on; in JSON types."""
    lists = {name: list(protocol[name]) for name in ("classes", "prefix", "sigmas") if protocol[name] is not None}
    protocol = protocol | lists
    blocks = {name: getattr(metrics, name) for name in RULES} | {"keypoints": {"table": metrics.keypoints}}
    blocks |= {kind: _kind(blocks[kind], metrics.names) for kind in ("box", "pose")}
    out: dict[str, Any] = {"yolopose": __version__, "fitness": metrics.fitness, "speed_ms_per_image": metrics.speed}
    for name, results in blocks.items():
        if results:
            out[name] = {"rule": RULES[name], "protocol": protocol, "results": results}
    confusion = metrics.confusion_matrix
    if confusion is not None:
        out["confusion"] = {
            "rule": f"rows predicted, columns true, last background; conf {confusion.conf}, IoU {CONFUSION_IOU}",
            "protocol": protocol | {"conf": confusion.conf},
            "results": {"matrix": confusion.matrix.astype(int).tolist()},
        }
    return out


def _kind(values: KindMetrics, names: dict[int, str]) -> dict[str, Any]:
    """The figures of boxes or poses, over all classes and by class."""
    out: dict[str, Any] = dict(zip(KEYS, values.mean_results(), strict=True))
    out |= {"mAP75": values.map75, "confidence_of_best_f1": values.best_conf}
    classes = enumerate(values.ap_class_index.tolist())
    return out | {"classes": {names[c]: dict(zip(KEYS, values.class_result(i), strict=True)) for i, c in classes}}


def report_lines(metrics: Metrics, *, brief: bool, keypoints: bool = False) -> Iterator[str]:
    """The metrics as printed: the usual table, and unless `brief` classes, COCO's figures, protocol and speed.

    With `keypoints` also the table of errors per keypoint.
    """
    rows = [("all", metrics.images, metrics.class_instances.sum(), *metrics.mean_results())]
    if not brief and len(metrics.names) > 1:
        for i, c in enumerate(metrics.ap_class_index.tolist()):
            counts = metrics.class_images[c], metrics.class_instances[c]
            rows.append((metrics.names[c], *counts, *metrics.class_result(i)))
    yield from text_table(HEAD, rows, form=".3g", first=22, width=11)
    if brief:
        return
    for kind, figures in metrics.coco.items():
        yield f"COCO {kind}: " + "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
    if metrics.false_alarms:
        yield _alarm_line(metrics.false_alarms)
    if keypoints:
        yield from keypoint_lines(metrics.keypoints)
    if metrics.report:
        yield _protocol_line(metrics.report["pose"]["protocol"])
    yield "Speed: " + ", ".join(f"{ms:.1f}ms {step}" for step, ms in metrics.speed.items()) + " per image"


def _alarm_line(facts: dict[str, Any]) -> str:
    """How often something is found where nothing is."""
    found, images = facts["detections"], facts["background_images"]
    plural = f"detection{'s' * (found != 1)}", f"background image{'s' * (images != 1)}"
    return (
        f"False alarms: {found} {plural[0]} above confidence {facts['confidence']:g} on {images} {plural[1]} "
        f"(per 100: {facts['per_100_images']:.1f})"
    )


def _protocol_line(facts: dict[str, Any]) -> str:
    """What the figures depend on, on one line."""
    arguments = ", ".join(f"{name} {facts[name]}" for name in ("conf", "iou", "max_det", "imgsz"))
    sigmas = tuple(facts["sigmas"])
    words = "COCO's" if sigmas == COCO_SIGMAS else f"{sigmas[0]:g}" if len(set(sigmas)) == 1 else "the data set's"
    blank = facts["instances_without_keypoints"]
    ignored = f"; {blank} of {facts['instances']} instances lack keypoints: {facts['unlabelled_instances']}"
    how = f"{facts['precision']}, {arguments}, {facts['resize']}"
    return f"Protocol: {how}; OKS sigmas {words}{ignored if blank else ''}"
