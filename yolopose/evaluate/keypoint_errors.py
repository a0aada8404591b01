"""Distances of keypoints from their truths: percentiles and PCK per keypoint, and the errors of facial landmarks.

Normalised mean error (NME): the mean distance over a face's labelled landmarks, divided by the distance of its two
labelled eye points (interocular) or by √(w·h) of its labelled box. A face without a detection has no error; it is a
failure, its landmarks count as wrong, and the detection rate is printed with every mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError
from yolopose.evaluate.precision import Matches, Truth
from yolopose.evaluate.sample import Measure, ValidatedImage
from yolopose.geometry.boxes import iou_matrix
from yolopose.geometry.keypoints import KeypointLayout
from yolopose.tables import text_table

Array = NDArray[Any]
NEAR = (0.05, 0.1)  # PCK: within this share of the norm
CONF, IOU = 0.25, 0.5  # of a detection that finds a face
LIMITS = {"interocular": 0.1, "size": 0.05}  # NME of a failure; 0.1 is usual, and eyes are about 0.4 √(w·h) apart
EDGES = (0.0, 32.0, 64.0, 128.0, 256.0, float("inf"))  # face sizes √(w·h), pixels of the image
KEYPOINT_RULE = (
    "distance from each labelled keypoint of a truth to that of the most confident detection that finds the truth by "
    "box (IoU 0.5); relative: over the square root of the box's area; PCK: share within so much of that root; "
    "truths that are not found are left out, see `found`"
)
LANDMARK_RULE = (
    "every face with a labelled landmark, of its labelled landmarks only; of the detections with confidence >= 0.25 "
    "and box IoU >= 0.5 the one with the largest IoU counts, a face without one is a failure; NME over the faces that "
    "were found: mean distance / distance of the labelled eyes (interocular) or / square root of the labelled box's "
    "area (size); failure: not found, or NME above 0.1 (interocular) or 0.05 (size); auc: area under the cumulative "
    "curve up to that limit, divided by it; PCK over all labelled landmarks, those of faces not found being wrong"
)


@dataclass(frozen=True, eq=False)
class Distances:
    """M truths: `pixels` (M, K) from their keypoints to the detected ones, inf where a truth was not found.

    NaN where a keypoint is not labelled. Norms (M,): `size` is √(w·h) of the labelled box, `interocular` the distance
    of the labelled eyes, NaN where that is not known.
    """

    pixels: Array
    size: Array
    interocular: Array

    @classmethod
    def measure(cls, truth: Truth, rows: Array, keypoints: Array, eyes: Sequence[int] = ()) -> Distances:
        """Those of an image: `rows` (G,) the detection of each truth or -1; detected `keypoints` (N, K, D), pixels."""
        points, labelled, found = truth.keypoints[..., :2], truth.keypoints[..., 2] != 0, rows >= 0
        pixels = np.full(labelled.shape, np.inf)
        pixels[found] = np.linalg.norm(keypoints[rows[found], :, :2] - points[found], axis=-1)
        pixels[~labelled] = np.nan
        interocular = np.full(len(points), np.nan)
        if eyes:
            apart = np.linalg.norm(points[:, eyes[0]] - points[:, eyes[1]], axis=-1)
            known = labelled[:, eyes].all(1) & (apart > 0)
            interocular[known] = apart[known]
        return cls(pixels, np.sqrt((truth.boxes[:, 2:] - truth.boxes[:, :2]).prod(1)), interocular)

    @classmethod
    def joined(cls, parts: Sequence[Distances], k: int) -> Distances:
        """The truths of all images."""
        parts = [cls(np.zeros((0, k)), np.zeros(0), np.zeros(0)), *parts]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))

    def __getitem__(self, rows: Any) -> Distances:
        return Distances(self.pixels[rows], self.size[rows], self.interocular[rows])

    @property
    def found(self) -> Array:
        """(M,) whether a detection counts for the truth."""
        return np.asarray(~np.isinf(self.pixels).any(1))

    def errors(self, norm: str) -> Array:
        """(M', K) distances by "interocular" or "size", of the truths for which that is known."""
        divisor = getattr(self, norm)
        known = ~np.isnan(divisor)
        return np.asarray(self.pixels[known] / divisor[known, None])

    def nme(self, norm: str) -> Array:
        """(M',) the mean over the labelled points of each truth, inf where it was not found."""
        return np.asarray(np.nanmean(self.errors(norm), axis=1))


class KeypointErrors:
    """The table of errors per keypoint."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._parts: list[Distances] = []

    def add(self, keypoints: Array, truth: Truth, matches: Matches) -> None:
        """(N, K, D) detected keypoints of one image, in its pixels."""
        rows = np.full(len(truth.classes), -1)
        hits = np.flatnonzero(matches.found >= 0)
        rows[matches.found[hits]] = hits
        self._parts.append(Distances.measure(truth, rows, keypoints))

    def table(self) -> list[dict[str, Any]]:
        """A row per keypoint and one for all: how many are labelled and found, errors, PCK; None without any."""
        distances = Distances.joined(self._parts, len(self.names))
        columns: list[tuple[str, Any]] = [("all", slice(None)), *((name, i) for i, name in enumerate(self.names))]
        table = []
        for name, i in columns:
            pixels, relative = distances.pixels[:, i], distances.errors("size")[:, i]
            found = np.isfinite(pixels)
            labelled = int((~np.isnan(pixels)).sum())
            row: dict[str, Any] = {"keypoint": name, "labelled": labelled, "found": int(found.sum())}
            for unit, values in (("px", pixels[found]), ("relative", relative[found])):
                row |= {f"p{q}_{unit}": float(np.percentile(values, q)) if len(values) else None for q in (50, 90, 95)}
                row[f"mean_{unit}"] = _mean(values)
            table.append(row | {f"pck{near:g}": _mean(relative[found] <= near) for near in NEAR})
        return table


def keypoint_lines(table: Sequence[dict[str, Any]]) -> Iterator[str]:
    """`KeypointErrors.table` as printed; nothing when no keypoint was found."""
    if any(row["found"] for row in table):
        head = ("Keypoint", "Labelled", "Found", "median px", "90% px", "median rel", "90% rel", "PCK.05", "PCK.1")
        errors = ("p50_px", "p90_px", "p50_relative", "p90_relative", "pck0.05", "pck0.1")
        rows = ([row[key] for key in ("keypoint", "labelled", "found", *errors)] for row in table)
        yield from text_table(head, rows, form=".3g", first=22, width=11)


class LandmarkErrors(Measure):
    """Landmark errors of all labelled faces."""

    name = "landmarks"

    def __init__(self, layout: KeypointLayout) -> None:
        """Raises PoseError when the layout does not name the eyes."""
        self.names = layout.names
        try:
            self.eyes = [layout.names.index("left_eye"), layout.names.index("right_eye")]
        except ValueError:
            raise PoseError(
                "metric=landmarks needs kpt_names with left_eye and right_eye in the data YAML, "
                f"it has {', '.join(layout.names)}"
            ) from None
        self._parts: list[Distances] = []

    def add(self, sample: ValidatedImage) -> None:
        """Measure the faces of one image: for each the detection with the largest overlap counts."""
        truth, boxes = sample.truth, sample.found.boxes
        rows, sure = np.full(len(truth.boxes), -1), np.flatnonzero(boxes[:, 4] >= CONF)
        if len(sure):
            overlap = iou_matrix(truth.boxes.astype(np.float64), boxes[sure, :4].astype(np.float64))
            rows = np.where(overlap.max(1) >= IOU, sure[overlap.argmax(1)], -1)
        self._parts.append(Distances.measure(truth, rows, sample.found.keypoints, self.eyes)[truth.posed])

    def faces(self) -> Distances:
        """All faces with a labelled landmark so far."""
        return Distances.joined(self._parts, len(self.names))

    def finish(self) -> None:
        """Raise PoseError when no face has a labelled landmark."""
        if not len(self.faces().size):
            raise PoseError("metric=landmarks: no face of these images has a labelled landmark")

    def figures(self) -> dict[str, Any]:
        """Over all faces, by norm, by landmark and by face size; a figure of no faces is None."""
        faces = self.faces()
        return {
            "faces": len(faces.size),
            "found": int(faces.found.sum()),
            "detection_rate": _mean(faces.found),
            **{norm: _figures_by(faces, norm) for norm in LIMITS},
            "landmarks": [_landmark(faces, i, name) for i, name in enumerate(self.names)],
            "sizes": [_of_size(faces, low, high) for low, high in pairwise(EDGES)],
        }

    def lines(self) -> list[str]:
        """Tables of means, by norm, by landmark and by face size."""
        all_faces = self.figures()
        spans = [f"{low:g}-{high:g}" if high < np.inf else f"{low:g}+" for low, high in pairwise(EDGES)]
        by_norm = ("nme", "median", "failure_rate", "auc", "pck0.05", "pck0.1", "detection_rate")
        by_landmark = ("landmark", "labelled", "nme_interocular", "nme_size", "pck0.1_interocular")
        by_size = ("faces", "detection_rate", "nme_interocular", "nme_size", "failure_rate_interocular")
        found = f"{all_faces['found']} found (confidence {CONF}, IoU {IOU})"
        return [
            f"Landmarks: {all_faces['faces']} labelled faces, {found}",
            *text_table(
                ("norm", "NME", "median", "failures", "AUC", "PCK.05", "PCK.1", "found"),
                ([norm, *((all_faces | all_faces[norm])[key] for key in by_norm)] for norm in LIMITS),
            ),
            *text_table(
                ("landmark", "labelled", "NME eyes", "NME size", "PCK.1"),
                ([row[key] for key in by_landmark] for row in all_faces["landmarks"]),
            ),
            *text_table(
                ("face size px", "faces", "found", "NME eyes", "NME size", "failures"),
                ([span, *(row[key] for key in by_size)] for span, row in zip(spans, all_faces["sizes"], strict=True)),
            ),
        ]

    def plot(self, folder: Path) -> None:
        """landmarks_curve.png."""
        from yolopose.plots.curves import plot_cumulative

        faces, figures, notes = self.faces(), self.figures(), {}
        for norm, words in (("interocular", "by interocular distance"), ("size", "by √(w·h) of the box")):
            nme = figures[norm]["nme"]
            mean = "-" if nme is None else f"{nme:.4f}"
            notes[norm] = f"{words}: mean {mean} of the faces found, {figures['detection_rate']:.1%} found"
        plot_cumulative({norm: faces.nme(norm) for norm in notes}, notes, folder / "landmarks_curve.png")


def _figures_by(faces: Distances, norm: str) -> dict[str, Any]:
    """The figures by one norm."""
    nme, errors, limit = faces.nme(norm), faces.errors(norm), LIMITS[norm]
    known = ~np.isnan(errors)
    finite = nme[np.isfinite(nme)]
    return {
        "faces": len(nme),
        "nme": _mean(finite),
        "median": float(np.median(finite)) if len(finite) else None,
        "failure_limit": limit,
        "failure_rate": _mean(~(nme <= limit)),
        "auc": _mean(np.maximum(1 - nme / limit, 0)),
        **{f"pck{near:g}": _mean(errors[known] <= near) for near in NEAR},
    }


def _of_size(faces: Distances, low: float, high: float) -> dict[str, Any]:
    """The figures of the faces of one range of sizes."""
    group = faces[(faces.size >= low) & (faces.size < high)]
    row: dict[str, Any] = {"from": low, "to": high if high < np.inf else None, "faces": len(group.size)}
    row["detection_rate"] = _mean(group.found)
    for norm in LIMITS:
        by_norm = _figures_by(group, norm)
        row |= {f"nme_{norm}": by_norm["nme"], f"failure_rate_{norm}": by_norm["failure_rate"]}
    return row


def _landmark(faces: Distances, i: int, name: str) -> dict[str, Any]:
    """The figures of one landmark."""
    row: dict[str, Any] = {"landmark": name, "labelled": int((~np.isnan(faces.pixels[:, i])).sum())}
    for norm in LIMITS:
        errors = faces.errors(norm)[:, i]
        errors = errors[~np.isnan(errors)]
        row[f"nme_{norm}"] = _mean(errors[np.isfinite(errors)])
        row[f"pck0.1_{norm}"] = _mean(errors <= 0.1)
    return row


def _mean(values: Array) -> float | None:
    return float(np.mean(values)) if len(values) else None
