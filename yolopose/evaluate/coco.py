"""Average precision and recall by COCO's rule, equal to pycocotools, for boxes and keypoints; in NumPy.

Source: the COCO detection and keypoint evaluation (cocodataset.org), as pycocotools 2.0 (BSD licence) computes it.
Unlike in `evaluate.precision` a detection may take its second-best truth, crowds and instances without
labelled keypoints are ignored, and there are figures by instance size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError
from yolopose.geometry.keypoints import COCO_SIGMAS, oks

Array = NDArray[Any]
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
REACHED = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]  # so that a perfect match counts in spite of rounding
SIZES = {"": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}  # square pixels


class Kind(NamedTuple):
    """What is reported of boxes or keypoints: for which sizes (keys of SIZES) and numbers of detections per image."""

    sizes: tuple[str, ...]
    max_dets: tuple[int, ...]


KINDS = {"keypoints": Kind(("", "m", "l"), (20,)), "bbox": Kind(("", "s", "m", "l"), (1, 10, 100))}


@dataclass(frozen=True)
class Instances:
    """N truths or detections of a whole data set, in the order of their file; coordinates in image pixels."""

    image: Array  # (N,) image ids
    category: Array  # (N,)
    boxes: Array  # (N, 4) left, top, width, height
    area: Array  # (N,) square pixels
    keypoints: Array  # (N, K, 3) x y v; K = 0 where only boxes are evaluated
    labelled: Array  # (N,) how many keypoints of a truth are labelled
    score: Array  # (N,) detections
    crowd: Array  # (N,) bool, truths
    zero_id: Array  # (N,) bool, truths with the id 0: pycocotools treats a match with one as no match

    @classmethod
    def of(
        cls, image: Array, category: Array, boxes: Array, area: Array, keypoints: Array, **known: Array
    ) -> Instances:
        """Instances with score 1, keypoints with v > 0 labelled, no crowd, no id 0; `known` replaces any of these."""
        no = np.zeros(len(image), bool)
        known = {"labelled": (keypoints[..., 2] > 0).sum(1), "score": np.ones(len(image))} | known
        return cls(image, category, boxes, area, keypoints, **({"crowd": no, "zero_id": no} | known))

    def __len__(self) -> int:
        """N."""
        return len(self.image)

    def __getitem__(self, rows: Any) -> Instances:
        """The instances in `rows`."""
        return Instances(**{name: values[rows] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Outcomes:
    """Whether each detection is right by size S and threshold T, and the truths there are to find."""

    category: Array  # (N,)
    score: Array  # (N,)
    rank: Array  # (N,) place by score in its image and category
    hit: Array  # (N, S, T)
    skip: Array  # (N, S, T) neither right nor wrong
    truth_category: Array  # (G,)
    ignored: Array  # (G, S) truths that do not count


def evaluate(
    truths: Instances, detections: Instances, kind: str, sigmas: Sequence[float] = COCO_SIGMAS
) -> dict[str, float]:
    """AP, AP50, AP75, APm, APl, AR, … for `kind` "keypoints" or "bbox"; -1 where there is no truth of that size.

    Raises:
        PoseError: `sigmas`, truths and detections differ in their number of keypoints.
    """
    if kind == "keypoints":
        for name, k in (("truths", truths.keypoints.shape[1]), ("detections", detections.keypoints.shape[1])):
            if k != len(sigmas):
                raise PoseError(f"the {name} have {k} keypoints, but there are {len(sigmas)} sigmas")
    detections = detections[np.isin(detections.category, truths.category)]
    return _figures(_outcomes(truths, detections, kind, sigmas), KINDS[kind])


def _outcomes(truths: Instances, detections: Instances, kind: str, sigmas: Sequence[float]) -> Outcomes:
    """Match the detections of every image and category."""
    truths, detections, cells = _by_cell(truths, detections)
    sizes = np.array([SIZES[name] for name in KINDS[kind].sizes])
    uncounted = truths.crowd | ((truths.labelled == 0) if kind == "keypoints" else False)
    ignored = _outside(truths.area, sizes) | uncounted[:, None]
    skip = np.repeat(_outside(detections.area, sizes)[:, :, None], len(THRESHOLDS), axis=2)
    hit, rank, most = np.zeros(skip.shape, bool), np.zeros(len(detections), int), KINDS[kind].max_dets[-1]
    for found, true in cells:
        rank[found] = np.arange(found.stop - found.start)
        if true.start == true.stop:
            continue
        found = slice(found.start, min(found.stop, found.start + most))
        pair = detections[found], truths[true]
        overlap = box_overlap(*pair) if kind == "bbox" else keypoint_overlap(*pair, sigmas)
        chosen = _match(overlap, ignored[true].T, truths.crowd[true])  # (D, S, T)
        matched, row = chosen >= 0, true.start + np.maximum(chosen, 0)
        hit[found] = matched & ~truths.zero_id[row]
        skip[found] = (matched & ignored[row, np.arange(len(sizes))[:, None]]) | (skip[found] & ~hit[found])
    return Outcomes(detections.category, detections.score, rank, hit, skip, truths.category, ignored)


def _outside(area: Array, sizes: Array) -> Array:
    """(N,), (S, 2) → (N, S) whether the area is not of that size."""
    return np.asarray((area[:, None] < sizes[:, 0]) | (area[:, None] > sizes[:, 1]))


def _by_cell(truths: Instances, detections: Instances) -> tuple[Instances, Instances, list[tuple[slice, slice]]]:
    """Both sorted by category and image, detections then by score; the rows of detections and truths of each cell."""
    _, image = np.unique(np.concatenate([truths.image, detections.image]), return_inverse=True)
    _, category = np.unique(np.concatenate([truths.category, detections.category]), return_inverse=True)
    cell = category * (len(image) + 1) + image
    true, found = cell[: len(truths)], cell[len(truths) :]
    by_true, by_found = np.argsort(true, kind="stable"), np.lexsort((-detections.score, found))
    starts = np.unique(found)
    rows = [
        map(slice, np.searchsorted(side, starts).tolist(), np.searchsorted(side, starts, "right").tolist())
        for side in (found[by_found], true[by_true])
    ]
    return truths[by_true], detections[by_found], list(zip(*rows, strict=True))


def box_overlap(detections: Instances, truths: Instances) -> Array:
    """(D, G) intersection over union; over the detection's area alone where the truth is a crowd."""
    d, g = detections.boxes[:, None], truths.boxes[None]
    side = np.minimum(d[..., :2] + d[..., 2:], g[..., :2] + g[..., 2:]) - np.maximum(d[..., :2], g[..., :2])
    inter = np.where((side > 0).all(-1), side[..., 0] * side[..., 1], 0.0)
    size_d, size_g = d[..., 2] * d[..., 3], g[..., 2] * g[..., 3]
    union = np.where(truths.crowd, size_d, size_d + size_g - inter)
    return np.divide(inter, union, out=np.zeros_like(inter), where=inter > 0)


def keypoint_overlap(detections: Instances, truths: Instances, sigmas: Sequence[float]) -> Array:
    """(D, G) keypoint similarity; to a truth without labelled keypoints from the distances to its box, doubled."""
    out = oks(truths.keypoints, detections.keypoints, truths.area, sigmas).T
    blank = np.flatnonzero((truths.keypoints[..., 2] <= 0).all(1))
    if len(blank):
        low = truths.boxes[blank, :2] - truths.boxes[blank, 2:]
        high = truths.boxes[blank, :2] + 2 * truths.boxes[blank, 2:]
        points = detections.keypoints[:, None, :, :2]  # (D, 1, K, 2)
        off = np.maximum(low[:, None] - points, 0) + np.maximum(points - high[:, None], 0)
        variance = (2.0 * np.asarray(sigmas)) ** 2
        area = truths.area[blank, None] + np.spacing(1.0)
        out[:, blank] = np.exp(-(off**2).sum(-1) / variance / area / 2).mean(-1)
    return out


def _match(overlap: Array, ignored: Array, crowd: Array) -> Array:
    """(D, G) best score first, (S, G), (G,) → (D, S, T) the truth that each detection takes, -1 for none.

    Each takes the free truth it overlaps most, the later one among equals; an ignored one only where no other is within
    reach. Crowds are never used up.
    """
    chosen = np.full((len(overlap), len(ignored), len(THRESHOLDS)), -1)
    free = np.ones((*chosen.shape[1:], overlap.shape[1]), bool)  # (S, T, G)
    last = overlap.shape[1] - 1
    for d in np.flatnonzero((overlap >= REACHED[0]).any(1)):
        able = free & (overlap[d] >= REACHED)
        counted = able & ~ignored[:, None]
        pool = np.where(counted.any(-1, keepdims=True), counted, able)
        s, t = np.nonzero(pool.any(-1))
        best = last - np.where(pool[s, t], overlap[d], -1.0)[:, ::-1].argmax(-1)
        chosen[d, s, t] = best
        free[s, t, best] = crowd[best]
    return chosen


def _figures(outcomes: Outcomes, kind: Kind) -> dict[str, float]:
    """The averages over categories, thresholds and recalls, by name."""
    ap, ar = {}, {}
    for s, name in enumerate(kind.sizes):
        ap[name], ar[name] = _curves(outcomes, s, kind.max_dets[-1])
    out = {"AP": _mean(ap[""]), "AP50": _mean(ap[""][:, 0]), "AP75": _mean(ap[""][:, 5])}
    out |= {f"AP{name}": _mean(values) for name, values in ap.items() if name}
    if len(kind.max_dets) == 1:
        out |= {"AR": _mean(ar[""]), "AR50": _mean(ar[""][:, 0]), "AR75": _mean(ar[""][:, 5])}
    else:
        out |= {f"AR{most}": _mean(_curves(outcomes, 0, most)[1]) for most in kind.max_dets}
    return out | {f"AR{name}": _mean(values) for name, values in ar.items() if name}


def _curves(outcomes: Outcomes, size: int, most: int) -> tuple[Array, Array]:
    """(C', T, 101) precision at RECALLS and (C', T) final recall of the categories that have truths of that size."""
    precision, recall = [np.zeros((0, len(THRESHOLDS), len(RECALLS)))], [np.zeros((0, len(THRESHOLDS)))]
    for category in np.unique(outcomes.truth_category):
        total = np.count_nonzero(~outcomes.ignored[outcomes.truth_category == category, size])
        if not total:
            continue
        rows = np.flatnonzero((outcomes.category == category) & (outcomes.rank < most))
        rows = rows[np.argsort(-outcomes.score[rows], kind="stable")]
        hit, skip = outcomes.hit[rows, size].T, outcomes.skip[rows, size].T  # (T, N)
        right, wrong = np.cumsum(hit & ~skip, 1), np.cumsum(~hit & ~skip, 1)
        p = right / (right + wrong + np.spacing(1.0))
        p = np.maximum.accumulate(p[:, ::-1], 1)[:, ::-1]
        p = np.pad(p, ((0, 0), (0, 1)))  # recalls that are never reached have precision 0
        reached = [np.searchsorted(r, RECALLS) for r in right / total]
        precision.append(np.take_along_axis(p, np.stack(reached), 1)[None])
        recall.append((right[:, -1] if len(rows) else np.zeros(len(THRESHOLDS)))[None] / total)
    return np.concatenate(precision), np.concatenate(recall)


def _mean(values: Array) -> float:
    """The mean, -1 for no values."""
    return float(values.mean()) if values.size else -1.0
