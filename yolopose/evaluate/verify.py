"""Verification: do two models, in whatever formats, find the same on the same pixels?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolopose import __version__
from yolopose.config import VerifyConfig
from yolopose.console import log
from yolopose.data.spec import load_data
from yolopose.errors import PoseError, UsageError
from yolopose.files import write_text
from yolopose.formats.base import Array, Backend, Float, OpenOptions
from yolopose.formats.calibration import evenly, letterboxed, sample_photographs
from yolopose.formats.pytorch import TorchBackend
from yolopose.formats.table import format_of, open_backend
from yolopose.geometry.boxes import cxcywh_to_xyxy, iou_matrix, nms

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

CONF = 0.25  # detections of a lower score are compared only where there are fewer than FEWEST above it
IOU = 0.7
FEWEST = 20  # detections per photograph, so that there is something to compare whatever the model is for
SAME = 0.5  # IoU of two boxes that are one detection
SCORE = 0.1
MOST_IMAGES = 32
HALF_PIXELS = 2.0  # what 16-bit convolutions may differ by
INT8_PIXELS = 2.0  # and 8-bit ones, in the median: single points move further, which mAP judges better than a bound
INT8_UNMATCHED = 0.1  # share of detections


@dataclass(frozen=True)
class Comparison:
    """Differences over the detections of two models, each looked up in the output of the other.

    Coordinates in pixels of the network's input, scores from 0 to 1. `matched` detections have a counterpart of the
    same class that overlaps by at least half; `unmatched` have none, though they score further above the threshold than
    the scores of the matched ones differ.
    """

    images: int
    matched: int
    unmatched: int
    box_worst: float
    box_median: float
    keypoint_worst: float
    keypoint_median: float
    score_worst: float
    visibility_worst: float

    @property
    def worst(self) -> float:
        """The largest difference of a box corner or a keypoint, in pixels."""
        return max(self.box_worst, self.keypoint_worst)

    def facts(self) -> dict[str, Any]:
        """All numbers by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{self.images} photographs, {self.matched} detections matched, {self.unmatched} not",
            f"boxes: worst {self.box_worst:.2g} px, median {self.box_median:.2g} px; "
            f"keypoints: worst {self.keypoint_worst:.2g} px, median {self.keypoint_median:.2g} px",
            f"scores: worst {self.score_worst:.2g}; visibilities: worst {self.visibility_worst:.2g}",
        ]


def compare(reference: Backend, other: Backend, images: Sequence[Array]) -> Comparison:
    """Run two models on the same letterboxed (1, H, W, 3) BGR uint8 images and compare what they find.

    A detection of one is looked up among all candidates of the other, before suppression, so that two boxes of nearly
    equal score which suppress each other the other way round do not count as a difference.

    Raises:
        PoseError: the models have different classes or keypoints.
    """
    kinds = [(len(model.info.names), model.info.kpt_shape) for model in (reference, other)]
    if kinds[0] != kinds[1]:
        words = " and ".join(f"{classes} classes with kpt_shape {list(shape)}" for classes, shape in kinds)
        raise PoseError(f"these are models of different things: {words}")
    classes, (k, d) = kinds[0]
    lowest = max(_conf_within(model) for model in (reference, other))
    boxes, points, lonely = [], [], []
    for image in images:
        rows = reference.candidates(image, 0.0)[0]
        threshold = max(_threshold(rows[:, 4 : 4 + classes].max(1, initial=0.0)), lowest)
        sides = [
            _candidates(part, classes, threshold / 2) for part in (rows, other.candidates(image, threshold / 2)[0])
        ]
        for own, others in (sides, sides[::-1]):
            found, near, matched = _look_up(_suppressed(own, threshold), others)
            boxes.append(np.abs(found.boxes[matched] - others.boxes[near]))
            points.append(np.abs(found.points[matched] - others.points[near]))
            lonely.append(found.boxes[~matched, 4] - threshold)
    box, point = np.concatenate(boxes), np.concatenate(points).reshape(-1, k, d)
    noise = 2 * box[:, 4].max(initial=0.0) + 1e-4
    return Comparison(
        images=len(images),
        matched=len(box),
        unmatched=int((np.concatenate(lonely) > noise).sum()),
        box_worst=float(box[:, :4].max(initial=0.0)),
        box_median=float(np.median(box[:, :4].max(1))) if len(box) else 0.0,
        keypoint_worst=float(point[..., :2].max(initial=0.0)),
        keypoint_median=float(np.median(point[..., :2].max((1, 2)))) if len(box) else 0.0,
        score_worst=float(box[:, 4].max(initial=0.0)),
        visibility_worst=float(point[..., 2:].max(initial=0.0)),
    )


class Rows(NamedTuple):
    """`boxes` (M, 6) x1 y1 x2 y2 score class and `points` (M, K·D), pixels of the network's input."""

    boxes: Float
    points: Float


def _conf_within(model: Backend) -> float:
    """The confidence threshold of a file that contains non-maximum suppression."""
    return float(model.info.extra.get("conf", 0.0)) if model.info.extra.get("nms") else 0.0


def _threshold(scores: Float) -> float:
    """`CONF`, or what leaves `FEWEST` candidates of an image whose scores (A,) are all low."""
    best = np.sort(scores)[::-1][:FEWEST]
    return float(min(CONF, best[-1] * 0.999)) if len(best) else CONF


def _candidates(rows: Float, classes: int, conf: float) -> Rows:
    """Candidates (M, 4+C+K·D) with a score above `conf`."""
    best = rows[:, 4 : 4 + classes].max(1, initial=0.0)
    rows, best = rows[best > conf], best[best > conf, None]
    label = rows[:, 4 : 4 + classes].argmax(1)[:, None] if len(rows) else best
    return Rows(np.concatenate([cxcywh_to_xyxy(rows[:, :4]), best, label], 1), rows[:, 4 + classes :])


def _suppressed(rows: Rows, conf: float) -> Rows:
    """What is left of candidates above `conf` after suppression within each class."""
    apart = rows.boxes[:, :4] + rows.boxes[:, 5:] * 1e5
    above = np.flatnonzero(rows.boxes[:, 4] > conf)
    kept = above[nms(apart[above].astype(np.float64), rows.boxes[above, 4], IOU)]
    return Rows(rows.boxes[kept], rows.points[kept])


def _look_up(found: Rows, others: Rows) -> tuple[Rows, NDArray[np.intp], NDArray[np.bool_]]:
    """`found`, the index of the nearest of `others` for those that have one of their class, and which those are.

    Nearest in corners and score, `SCORE` of which counts as a pixel: neighbouring cells may have the same box to a
    pixel, and far lower scores.
    """
    if not len(found.boxes) or not len(others.boxes):
        return found, np.empty(0, np.intp), np.zeros(len(found.boxes), bool)
    apart = np.abs(found.boxes[:, None] - others.boxes[None])
    far = apart[..., :4].max(2) + apart[..., 4] / SCORE
    far[apart[..., 5] > 0] = np.inf
    near, each = far.argmin(1), np.arange(len(found.boxes))
    overlap = iou_matrix(found.boxes[:, :4], others.boxes[:, :4])[each, near]
    matched = (overlap >= SAME) & np.isfinite(far[each, near])
    return found, near[matched], matched


def fault(result: Comparison, precision: str, tolerance: float) -> str | None:
    """What is wrong with a file that computes in `precision`, in a few words; None when nothing is.

    `tolerance` is in pixels, for float32.
    """
    allowed = INT8_UNMATCHED * (result.matched + result.unmatched) if precision == "int8" else 0
    if result.unmatched > allowed:
        return f"{result.unmatched} of {result.matched + result.unmatched} detections have no counterpart"
    if not result.matched:
        return "nothing was found that could be compared"
    if precision == "int8":
        median = max(result.box_median, result.keypoint_median)
        return f"{median:.2g} px off in the median, {INT8_PIXELS:g} allowed" if median > INT8_PIXELS else None
    allowed = tolerance if precision == "float32" else HALF_PIXELS
    return f"{result.worst:.2g} px off at worst, {allowed:g} allowed" if result.worst > allowed else None


def check_export(network: PoseNet, made: Path, target: Path, device: str | None = None) -> None:
    """Open the file `made`, which is about to be called `target`, compare it and write the report beside it.

    It runs on `device`; an engine was built for that one.

    Raises:
        PoseError: the difference from `network` is larger than the format's tolerance.
    """
    reference = TorchBackend(network, OpenOptions(device="cpu"))
    row = format_of(made)
    other = open_backend(made, OpenOptions(device=device))
    result = compare(reference, other, [letterboxed(path, other.info) for path in sample_photographs()])
    wrong = fault(result, other.precision, row.tolerance)
    if wrong:
        raise PoseError(f"{target}: differs from the model it was made from: {wrong}; verify=False keeps it anyway")
    for line in (f"verified {target.name}, {other.precision} on {other.device}:", *result.lines()):
        log.info(line)
    facts = {"file": target.name, "sha256": digest(made), "precision": other.precision, "tolerance_px": row.tolerance}
    write_report(target.with_name(f"{target.name}.verify.json"), facts, result)


def write_report(path: Path, facts: dict[str, Any], result: Comparison) -> None:
    """A comparison as JSON: `facts` on the files, then the numbers."""
    whole = facts | {"yolopose": __version__} | result.facts()
    write_text(path, json.dumps(whole, indent=2) + "\n")


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files in the order of their names."""
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            total.update(file.read_bytes())
    return total.hexdigest()


def run(config: VerifyConfig) -> int:
    """`yolo verify a b`: print how two model files differ. Returns 1 when by more than the second one's tolerance.

    Raises:
        UsageError: fewer than two files.
        PoseError: a file or the data cannot be read, or the models do not belong together.
    """
    if config.a is None or config.b is None:
        raise UsageError("verify compares two model files: yolo verify model.pt model.onnx")
    reference, other = (open_backend(path, OpenOptions(device=config.device)) for path in (config.a, config.b))
    shape = other if other.fixed_shape else reference
    photographs = load_data(config.data).split(config.split) if config.data else sample_photographs()
    images = [letterboxed(path, shape.info) for path in evenly(photographs, MOST_IMAGES)]
    result = compare(reference, other, images)
    log.info(f"{config.a} ({reference.precision}) and {config.b} ({other.precision}):")
    for line in result.lines():
        log.info(line)
    wrong = fault(result, other.precision, format_of(config.b).tolerance)
    if config.out:
        sums = {"a_sha256": digest(Path(config.a)), "b_sha256": digest(Path(config.b))}
        write_report(Path(config.out), {"a": config.a, "b": config.b, "passed": wrong is None} | sums, result)
    log.info(f"not the same: {wrong}" if wrong else "the same within the tolerance of the format")
    return int(wrong is not None)
