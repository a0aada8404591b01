"""How far facial landmarks lie from where they should: NME, failures, PCK and the cumulative curve.

Normalised mean error: the mean distance over a face's labelled landmarks, divided by the distance of its two labelled
eye points (interocular) or by √(w·h) of its labelled box. A face that was not found has no error; it is a failure, its
landmarks count as wrong, and the detection rate stands beside every mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError
from yolopose.evaluate.precision import Truth
from yolopose.geometry.boxes import iou_matrix
from yolopose.geometry.keypoints import KeypointLayout

Array = NDArray[Any]
CONF, IOU = 0.25, 0.5  # what counts as having found a face
LIMITS = {"interocular": 0.1, "size": 0.05}  # failures; 0.1 is customary, and eyes are about 0.4 √(w·h) apart
NEAR = (0.05, 0.1)  # PCK: within this share of the norm
EDGES = (0.0, 32.0, 64.0, 128.0, 256.0, float("inf"))  # face sizes √(w·h), pixels of the image
RULE = (
    "every face with a labelled landmark, of its labelled landmarks only; of the detections with confidence >= 0.25 "
    "and box IoU >= 0.5 the one with the largest IoU counts, a face without one is a failure; NME over the faces that "
    "were found: mean distance / distance of the labelled eyes (interocular) or / square root of the labelled box's "
    "area (size); failure: not found, or NME above 0.1 (interocular) or 0.05 (size); auc: area under the cumulative "
    "curve up to that limit, divided by it; PCK over all labelled landmarks, those of faces not found being wrong"
)


@dataclass(frozen=True, eq=False)
class Faces:
    """F faces: distances (F, K) in pixels, inf where not found, NaN where not labelled; norms (F,), NaN if unknown."""

    distance: Array
    interocular: Array
    size: Array

    @property
    def found(self) -> Array:
        """(F,) whether a detection counts for the face."""
        return np.asarray(~np.isinf(self.distance).any(1))

    def errors(self, norm: str) -> Array:
        """(F', K) distances by "interocular" or "size", of the faces for which that is known."""
        divisor = getattr(self, norm)
        known = ~np.isnan(divisor)
        return np.asarray(self.distance[known] / divisor[known, None])

    def nme(self, norm: str) -> Array:
        """(F',) the mean of each face's labelled landmarks, inf where it was not found."""
        return np.asarray(np.nanmean(self.errors(norm), axis=1))

    def __getitem__(self, index: Any) -> Faces:
        return Faces(self.distance[index], self.interocular[index], self.size[index])


class LandmarkErrors:
    """Collects the faces of a data set image by image."""

    def __init__(self, layout: KeypointLayout) -> None:
        """Raises PoseError when the layout does not say which points are the eyes."""
        self.names = layout.names
        self.eyes = eyes(layout)
        self._parts: list[Faces] = []

    def add(self, truth: Truth, boxes: Array, keypoints: Array) -> None:
        """Detections (N, 6) x1 y1 x2 y2 score class and (N, K, D) of one image, in its pixels."""
        points, labelled = truth.keypoints[..., :2], truth.keypoints[..., 2] != 0
        rows = labelled.any(1)
        points, labelled, owned = points[rows], labelled[rows], truth.boxes[rows]
        sure = boxes[:, 4] >= CONF
        best, found = _matches(owned, boxes[sure, :4].astype(np.float64))
        distance = np.full(labelled.shape, np.inf)
        distance[found] = np.linalg.norm(keypoints[sure][best[found], :, :2] - points[found], axis=-1)
        distance[~labelled] = np.nan
        eye = np.linalg.norm(points[:, self.eyes[0]] - points[:, self.eyes[1]], axis=-1)
        eye[~labelled[:, self.eyes].all(1) | (eye == 0)] = np.nan
        self._parts.append(Faces(distance, eye, np.sqrt((owned[:, 2:] - owned[:, :2]).prod(1))))

    def faces(self) -> Faces:
        """All faces so far."""
        none = Faces(np.zeros((0, len(self.names))), np.zeros(0), np.zeros(0))
        parts = [none, *self._parts]
        return Faces(*(np.concatenate([getattr(p, name) for p in parts]) for name in vars(none)))


def eyes(layout: KeypointLayout) -> list[int]:
    """The indices of the two eye points, by name. Raises PoseError when there are none."""
    try:
        return [layout.names.index("left_eye"), layout.names.index("right_eye")]
    except ValueError:
        raise PoseError(
            "metric=landmarks needs kpt_names with left_eye and right_eye in the data YAML, "
            f"it has {', '.join(layout.names)}"
        ) from None


def _matches(truths: Array, found: Array) -> tuple[Array, Array]:
    """(F, 4), (N, 4) xyxy → (F,) the detection that overlaps each truth most, and whether it does so enough."""
    if not len(found):
        return np.zeros(len(truths), int), np.zeros(len(truths), bool)
    overlap = iou_matrix(truths.astype(np.float64), found)
    best = overlap.argmax(1)
    return best, overlap[np.arange(len(best)), best] >= IOU


def summarise(faces: Faces, names: Sequence[str]) -> dict[str, Any]:
    """Every figure in JSON types; a figure of no faces is None."""
    return {
        "faces": len(faces.size),
        "found": int(faces.found.sum()),
        "detection_rate": _mean(faces.found),
        **{norm: _norm(faces, norm) for norm in LIMITS},
        "landmarks": [_landmark(faces, i, name) for i, name in enumerate(names)],
        "sizes": [
            {"from": low, "to": high if np.isfinite(high) else None, **_group(faces[_within(faces.size, low, high)])}
            for low, high in pairwise(EDGES)
        ],
    }


def _norm(faces: Faces, norm: str) -> dict[str, Any]:
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


def _landmark(faces: Faces, i: int, name: str) -> dict[str, Any]:
    """The figures of one landmark."""
    row: dict[str, Any] = {"landmark": name, "labelled": int((~np.isnan(faces.distance[:, i])).sum())}
    for norm in LIMITS:
        errors = faces.errors(norm)[:, i]
        errors = errors[~np.isnan(errors)]
        row[f"nme_{norm}"] = _mean(errors[np.isfinite(errors)])
        row[f"pck0.1_{norm}"] = _mean(errors <= 0.1)
    return row


def _group(faces: Faces) -> dict[str, Any]:
    """The figures of faces of like size."""
    row: dict[str, Any] = {"faces": len(faces.size), "detection_rate": _mean(faces.found)}
    for norm, limit in LIMITS.items():
        nme = faces.nme(norm)
        row |= {f"nme_{norm}": _mean(nme[np.isfinite(nme)]), f"failure_rate_{norm}": _mean(~(nme <= limit))}
    return row


def _within(size: Array, low: float, high: float) -> Array:
    return np.asarray((size >= low) & (size < high))


def _mean(values: Array) -> float | None:
    return float(np.mean(values)) if len(values) else None


def lines(summary: dict[str, Any]) -> Iterator[str]:
    """The summary as printed."""
    rate = _text(summary["detection_rate"], ".4f")
    yield f"Landmarks: {summary['faces']} labelled faces, {summary['found']} found (confidence {CONF}, IoU {IOU})"
    yield f"{'norm':>14}{'NME':>10}{'median':>10}{'failures':>10}{'AUC':>10}{'PCK.05':>10}{'PCK.1':>10}{'found':>10}"
    for norm in LIMITS:
        row = summary[norm]
        keys = ("nme", "median", "failure_rate", "auc", "pck0.05", "pck0.1")
        yield f"{norm:>14}" + "".join(f"{_text(row[key], '.4f'):>10}" for key in keys) + f"{rate:>10}"
    yield f"{'landmark':>14}{'labelled':>10}{'NME eyes':>10}{'NME size':>10}{'PCK.1':>10}"
    for row in summary["landmarks"]:
        cells = [_text(row[key], ".4f") for key in ("nme_interocular", "nme_size", "pck0.1_interocular")]
        yield f"{row['landmark']:>14}{row['labelled']:>10}" + "".join(f"{cell:>10}" for cell in cells)
    yield f"{'face size px':>14}{'faces':>10}{'found':>10}{'NME eyes':>10}{'NME size':>10}{'failures':>10}"
    for row in summary["sizes"]:
        span = f"{row['from']:g}-{row['to']:g}" if row["to"] else f"{row['from']:g}+"
        figures = ("detection_rate", "nme_interocular", "nme_size", "failure_rate_interocular")
        yield f"{span:>14}{row['faces']:>10}" + "".join(f"{_text(row[key], '.4f'):>10}" for key in figures)


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
