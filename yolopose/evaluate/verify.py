"""Comparison of two model files: do they find the same detections in the same images?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from yolopose.console import log
from yolopose.data.spec import load_data
from yolopose.errors import PoseError
from yolopose.files import digest, write_text
from yolopose.formats.base import Array, Backend, Float, OpenOptions
from yolopose.formats.calibration import evenly, letterboxed, sample_photographs
from yolopose.formats.pytorch import TorchBackend
from yolopose.formats.table import format_of, open_backend
from yolopose.geometry.boxes import cxcywh_to_xyxy, fit, iou_matrix, nms
from yolopose.images import read_image
from yolopose.tiling import TileOptions
from yolopose.tiling.grid import tiles
from yolopose.version import __version__

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

CONF = 0.25  # detections of a lower score are compared only where there are fewer than FEWEST above it
IOU = 0.7  # of non-maximum suppression
FEWEST = 20  # detections per image, so that there is something to compare for models of any subject
SAME = 0.5  # IoU of two boxes that are one detection
SCORE = 0.1  # difference of scores that counts as much as a pixel when the nearest detection is looked up
MOST_IMAGES = 32
MOST_TILES = 4  # of each image
HALF_PIXELS = 2.0  # tolerance of 16-bit convolutions
INT8_PIXELS = 2.0  # tolerance of 8-bit ones, for the median: single points move further, which mAP measures better
INT8_UNMATCHED = 0.1  # share of detections


@dataclass(frozen=True)
class Comparison:
    """Differences between the detections of two models, each looked up in the output of the other.

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

    def lines(self) -> list[str]:
        """The comparison as printed."""
        return [
            f"{self.images} images, {self.matched} detections matched, {self.unmatched} not",
            f"boxes: worst {self.box_worst:.2g} px, median {self.box_median:.2g} px; "
            f"keypoints: worst {self.keypoint_worst:.2g} px, median {self.keypoint_median:.2g} px",
            f"scores: worst {self.score_worst:.2g}; visibilities: worst {self.visibility_worst:.2g}",
        ]


def compare(reference: Backend, other: Backend, images: Sequence[Array]) -> Comparison:
    """Run two models on the same letterboxed (1, H, W, 3) BGR uint8 images and compare their detections.

    A detection of one is looked up among all candidates of the other, before suppression, so that two boxes of nearly
    equal score of which one model keeps the first and the other the second do not count as a difference.

    Raises:
        PoseError: the models have different classes or keypoints.
    """
    kinds = [(len(model.info.names), model.info.kpt_shape) for model in (reference, other)]
    if kinds[0] != kinds[1]:
        words = " and ".join(f"{classes} classes with kpt_shape {list(shape)}" for classes, shape in kinds)
        raise PoseError(f"these are models of different things: {words}")
    classes, (k, d) = kinds[0]
    facts = [model.info.extra for model in (reference, other)]
    lowest = max(float(extra.get("conf", 0.0)) if extra.get("nms") else 0.0 for extra in facts)  # of NMS in the file
    differences, unmatched = [], []
    for image in images:
        rows = reference.candidates(image, 0.0)[0]
        threshold = max(_threshold(rows[:, 4 : 4 + classes].max(1, initial=0.0)), lowest)
        parts = rows, other.candidates(image, threshold / 2)[0]
        sides = [_candidates(part, classes, threshold / 2) for part in parts]
        for own, others in (sides, sides[::-1]):
            above = own[own[:, 4] > threshold]
            found = above[nms(above[:, :4], above[:, 4], IOU, classes=above[:, 5])]
            nearest, matched = _nearest(found, others)
            differences.append(np.abs(found[matched] - others[nearest]))
            unmatched.append(found[~matched, 4] - threshold)
    all_differences = np.concatenate(differences)
    box, point = all_differences[:, :5], all_differences[:, 6:].reshape(-1, k, d)
    noise = 2 * box[:, 4].max(initial=0.0) + 1e-4
    return Comparison(
        images=len(images),
        matched=len(box),
        unmatched=int((np.concatenate(unmatched) > noise).sum()),
        box_worst=float(box[:, :4].max(initial=0.0)),
        box_median=float(np.median(box[:, :4].max(1))) if len(box) else 0.0,
        keypoint_worst=float(point[..., :2].max(initial=0.0)),
        keypoint_median=float(np.median(point[..., :2].max((1, 2)))) if len(box) else 0.0,
        score_worst=float(box[:, 4].max(initial=0.0)),
        visibility_worst=float(point[..., 2:].max(initial=0.0)),
    )


def _threshold(scores: Float) -> float:
    """`CONF`, or what leaves `FEWEST` candidates of an image whose scores (A,) are all low."""
    best = np.sort(scores)[::-1][:FEWEST]
    return float(min(CONF, best[-1] * 0.999)) if len(best) else CONF


def _candidates(rows: Float, classes: int, conf: float) -> NDArray[np.float64]:
    """(M, 4+C+K·D) → (N, 6+K·D) x1 y1 x2 y2 score class keypoints, of the candidates with a score above `conf`."""
    scores = rows[:, 4 : 4 + classes]
    best, label = scores.max(1, keepdims=True), scores.argmax(1)[:, None]
    table = np.concatenate([cxcywh_to_xyxy(rows[:, :4]), best, label, rows[:, 4 + classes :]], 1, dtype=np.float64)
    return table[table[:, 4] > conf]


def _nearest(found: Array, others: Array) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The index of the nearest of `others` for each of `found` (N, 6+K·D) that has one of its class; which have one.

    Nearest in corners and score, `SCORE` of which counts as a pixel: neighbouring cells may have the same box to a
    pixel, and far lower scores.
    """
    if not len(found) or not len(others):
        return np.empty(0, np.intp), np.zeros(len(found), bool)
    difference = np.abs(found[:, None, :6] - others[None, :, :6])
    distance = difference[..., :4].max(2) + difference[..., 4] / SCORE
    distance[difference[..., 5] > 0] = np.inf
    nearest, each = distance.argmin(1), np.arange(len(found))
    overlap = iou_matrix(found[:, :4], others[:, :4])[each, nearest]
    matched = (overlap >= SAME) & np.isfinite(distance[each, nearest])
    return nearest[matched], matched


def fault(result: Comparison, precision: str, tolerance: float) -> str | None:
    """How a file that computes in `precision` differs by more than is allowed; None when it does not.

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
    """Open the file `made`, which will be renamed to `target`, compare it with `network` and write the report.

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
    _write_report(target.with_name(f"{target.name}.verify.json"), facts, result)


def compare_files(
    a: str,
    b: str,
    *,
    data: str | None = None,
    split: str = "val",
    tiling: TileOptions | None = None,
    device: str | None = None,
    out: str | None = None,
) -> bool:
    """Print how the detections of two model files differ; → whether by no more than the tolerance of `b`'s format.

    Args:
        a: the reference.
        b: the file to check.
        data: a data set whose images of `split` are compared; None takes the bundled photographs.
        split: train, val or test.
        tiling: the images are compared, and tiles of them.
        device: where both run.
        out: a .json file for the report.

    Raises:
        PoseError: a file or the data cannot be read, or the models have different classes or keypoints.
        UsageError: the tiles do not go with the models.
    """
    reference, other = (open_backend(path, OpenOptions(device=device)) for path in (a, b))
    sized = other if other.fixed_shape else reference
    photographs = load_data(data).split(split) if data else sample_photographs()
    chosen = evenly(photographs, MOST_IMAGES)
    images = [letterboxed(path, sized.info) for path in chosen]
    if tiling is not None and tiling.tile is not None:
        tiling.check(sized, frozenset())
        images += [tile for path in chosen for tile in _tiles(path, sized, tiling)]
    result = compare(reference, other, images)
    for line in (f"{a} ({reference.precision}) and {b} ({other.precision}):", *result.lines()):
        log.info(line)
    wrong = fault(result, other.precision, format_of(b).tolerance)
    if out:
        facts = {"a": a, "b": b, "passed": wrong is None, "a_sha256": digest(Path(a)), "b_sha256": digest(Path(b))}
        _write_report(Path(out), facts, result)
    log.info(f"not the same: {wrong}" if wrong else "the same within the tolerance of the format")
    return wrong is None


def _tiles(path: Path, backend: Backend, options: TileOptions) -> list[Array]:
    """At most MOST_TILES tiles of a photograph, (1, H, W, 3) each, at the size at which predict runs them."""
    image, side = read_image(path), options.tile or 0
    h, w = backend.fixed_shape[1:] if backend.fixed_shape else backend.info.input_size(side)
    regions = evenly(tiles((image.shape[0], image.shape[1]), side, options.overlap), MOST_TILES)
    parts = [image[y1:y2, x1:x2] for x1, y1, x2, y2 in regions]
    return [fit((len(part), part.shape[1]), (h, w), rect=False).image(part)[None] for part in parts]


def _write_report(path: Path, facts: dict[str, Any], result: Comparison) -> None:
    """A comparison as JSON: `facts` about the files, then the numbers."""
    write_text(path, json.dumps(facts | {"yolopose": __version__} | asdict(result), indent=2) + "\n")
