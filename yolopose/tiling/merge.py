"""Detections of overlapping tiles and of the whole picture → each instance once.

1. A box within EDGE of an inner edge of its tile may be cut off there, so it counts with PIECE times its score. It
   gives way to a box of another tile, or of the whole picture, that is not cut off, covers at least SAME_PART of it and
   has at least RELIABLE times its score. Where there is none, it stays.
2. Two detections of different tiles are one instance when the intersection of their boxes over the smaller box is at
   least SAME_PART, or the similarity (OKS) of their keypoints is at least SAME_POINTS. The most alike are joined first.
   Two of the same tile are never one instance: suppression has kept both there.
3. Of what was joined, the detection furthest from the inner edges of its tile stands for the instance, with its box and
   all its keypoints; nothing is averaged. The whole picture, which shows the instance smallest, comes last. Detections
   that score less than RELIABLE times the best one, are cut off where others are not, or are of another size than the
   best, do not stand for it.
4. Non-maximum suppression and `max_det`, as for any picture.

The result does not depend on the order of the tiles. PIECE and RELIABLE are measured on photographs of WIDER FACE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolopose.detect import Float, NmsOptions
from yolopose.geometry.boxes import area, intersections, nms
from yolopose.geometry.keypoints import BODY_AREA, oks_of_pairs
from yolopose.tiling.grid import Region

EDGE = 4.0  # pixels of the network's input, half a cell of its finest grid: a box so near to an edge may be cut off
EDGE_PART = 0.05  # of the side of a box: large boxes are less exact
SAME_PART = 0.7  # intersection over the smaller box
SAME_SIZE = 0.5  # intersection over union from which two boxes are of one size
SAME_POINTS = 0.7  # OKS
VISIBLE = 0.5  # score of a keypoint that OKS takes into account
RELIABLE = 0.8  # share of a score: boxes do not give way to less certain ones
PIECE = 0.5  # factor of the score of what may be cut off: pieces look like something else
Index = NDArray[np.intp]


@dataclass(frozen=True)
class View:
    """What was found in a tile, `region` of the picture, or in the whole picture (None); pixels of the picture.

    `boxes` (N, 6) x1 y1 x2 y2 score class, `keypoints` (N, K, D), `scale` input pixels per pixel of the picture.
    """

    region: Region | None
    scale: float
    boxes: Float
    keypoints: Float

    def room(self, hw: tuple[int, int]) -> NDArray[np.float64]:
        """(N, 4) distances of the sides of each box from the inner edges of the tile; infinite where there is none.

        An edge of the tile that is one of the picture (H, W) too cuts nothing off.
        """
        if self.region is None:
            return np.full((len(self.boxes), 4), np.inf)
        (x1, y1, x2, y2), (h, w) = self.region, hw
        distance = (self.boxes[:, :4] - np.array(self.region, np.float64)) * np.array([1, 1, -1, -1])
        distance[:, [x1 <= 0, y1 <= 0, x2 >= w, y2 >= h]] = np.inf
        return np.asarray(distance)

    def cut(self, hw: tuple[int, int]) -> NDArray[np.bool_]:
        """(N,) which boxes may be cut off by an inner edge."""
        sides = self.boxes[:, 2:4] - self.boxes[:, :2]
        margin = np.maximum(EDGE / max(self.scale, 1e-9), EDGE_PART * np.tile(sides, 2))
        return np.asarray((self.room(hw) <= margin).any(1))


@dataclass(frozen=True)
class Pool:
    """The detections of all views in one order, which does not depend on that of the views: best score first."""

    boxes: NDArray[np.float64]  # (N, 6)
    keypoints: Float  # (N, K, D)
    view: Index  # (N,); that of the whole picture is the last
    whole: NDArray[np.bool_]  # (N,) found in the whole picture
    cut: NDArray[np.bool_]  # (N,)
    room: NDArray[np.float64]  # (N,) from the nearest inner edge

    def __getitem__(self, rows: Index | NDArray[np.bool_]) -> Pool:
        return Pool(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Pairs:
    """Detections `a` and `b` (P,) of different views whose boxes overlap, and how alike they are."""

    a: Index
    b: Index
    part_a: NDArray[np.float64]  # intersection over the box of a
    part_b: NDArray[np.float64]
    iou: NDArray[np.float64]


def merge(
    views: Sequence[View], hw: tuple[int, int], options: NmsOptions, sigmas: Sequence[float]
) -> tuple[Float, Float]:
    """Detections of the views of a picture (H, W) → boxes (N, 6) and keypoints (N, K, D), best first."""
    pool = _pool(views, hw)
    pool = pool[pool.boxes[:, 4] > options.conf]
    pairs = _pairs(pool, views, agnostic=options.agnostic_nms)
    stays = np.ones(len(pool.boxes), bool)
    stays[_covered(pool, pairs)] = False
    kept, scores = _joined(pool, pairs, stays, sigmas)
    boxes = pool.boxes[kept]
    boxes[:, 4] = scores
    chosen = nms(boxes[:, :4], scores, options.iou, options.max_det, None if options.agnostic_nms else boxes[:, 5])
    return boxes[chosen].astype(np.float32), pool.keypoints[kept][chosen]


def _pool(views: Sequence[View], hw: tuple[int, int]) -> Pool:
    counts = [len(view.boxes) for view in views]
    boxes = np.concatenate([view.boxes for view in views]).astype(np.float64)
    cut = np.concatenate([view.cut(hw) for view in views])
    boxes[cut, 4] *= PIECE
    number = np.repeat(np.arange(len(views)), counts)
    pool = Pool(
        boxes,
        np.concatenate([view.keypoints for view in views]),
        number,
        np.repeat([view.region is None for view in views], counts),
        cut,
        np.concatenate([view.room(hw).min(1, initial=np.inf) for view in views]),
    )
    return pool[np.lexsort((-pool.room, *boxes[:, [5, 3, 2, 1, 0]].T, pool.whole, -boxes[:, 4]))]


def _pairs(pool: Pool, views: Sequence[View], *, agnostic: bool) -> Pairs:
    """All pairs of detections of different views and, unless `agnostic`, one class, whose boxes overlap."""
    boxes, labels = pool.boxes[:, :4], pool.boxes[:, 5]
    found: list[tuple[Index, Index, NDArray[np.float64]]] = []
    order = np.argsort(pool.view, kind="stable")
    for own in np.split(order, np.flatnonzero(np.diff(pool.view[order])) + 1):
        if not len(own) or pool.whole[own[0]]:
            continue  # each pair once: the whole picture is met from the tiles
        low, high = boxes[own, :2].min(0), boxes[own, 2:].max(0)
        later = (pool.view > pool.view[own[0]]) | pool.whole
        near = np.flatnonzero(later & (boxes[:, :2] < high).all(1) & (boxes[:, 2:] > low).all(1))
        shared, _ = intersections(boxes[own], boxes[near])
        if not agnostic:
            shared *= labels[own, None] == labels[near]
        i, j = np.nonzero(shared)
        found.append((own[i], near[j], shared[i, j]))
    if not found:
        nothing = np.empty(0, np.intp)
        return Pairs(nothing, nothing, *(np.empty(0),) * 3)
    first, second, inter = (np.concatenate(column) for column in zip(*found, strict=True))
    a, b = np.minimum(first, second), np.maximum(first, second)
    sizes = area(boxes)
    return Pairs(a, b, inter / sizes[a], inter / sizes[b], inter / (sizes[a] + sizes[b] - inter))


def _covered(pool: Pool, pairs: Pairs) -> Index:
    """The cut detections that give way to whole ones."""
    score, out = pool.boxes[:, 4], []
    for cut, whole, part in ((pairs.a, pairs.b, pairs.part_a), (pairs.b, pairs.a, pairs.part_b)):
        gives_way = pool.cut[cut] & ~pool.cut[whole] & (part >= SAME_PART) & (score[whole] >= RELIABLE * score[cut])
        out.append(cut[gives_way])
    return np.concatenate(out)


def _joined(
    pool: Pool, pairs: Pairs, stays: NDArray[np.bool_], sigmas: Sequence[float]
) -> tuple[Index, NDArray[np.float64]]:
    """The detections that stand for the instances among those that stay, and their scores."""
    groups = _groups(pool, pairs, stays, sigmas)
    alone = stays.copy()
    stand_for: list[int] = []
    scores: list[float] = []
    for group in groups:
        alone[group] = False
        best, score = _best(pool, np.sort(group))
        stand_for.append(best)
        scores.append(score)
    single = np.flatnonzero(alone)
    return np.array([*single, *stand_for], np.intp), np.array([*pool.boxes[single, 4], *scores])


def _groups(pool: Pool, pairs: Pairs, stays: NDArray[np.bool_], sigmas: Sequence[float]) -> list[list[int]]:
    """The detections that are one instance, two or more each; at most one of each view, the most alike first."""
    part = np.maximum(pairs.part_a, pairs.part_b)
    among = np.flatnonzero(stays[pairs.a] & stays[pairs.b])
    points = np.zeros(len(part))
    points[among] = _oks(pool, pairs.a[among], pairs.b[among], sigmas)
    alike = np.maximum(np.where(pairs.iou >= SAME_SIZE, pairs.iou, 0), np.where(points >= SAME_POINTS, points, 0))
    among = among[(alike[among] > 0) | (part[among] >= SAME_PART)]
    order = among[np.lexsort((pairs.b[among], pairs.a[among], -part[among], -alike[among]))]
    group_of: dict[int, list[int]] = {}
    for a, b in zip(pairs.a[order].tolist(), pairs.b[order].tolist(), strict=True):
        first, second = group_of.setdefault(a, [a]), group_of.setdefault(b, [b])
        if first is second or {int(pool.view[i]) for i in first} & {int(pool.view[i]) for i in second}:
            continue
        first += second
        group_of.update(dict.fromkeys(second, first))
    return [group for member, group in group_of.items() if len(group) > 1 and group[0] == member]


def _oks(pool: Pool, a: Index, b: Index, sigmas: Sequence[float]) -> NDArray[np.float64]:
    """(P,) OKS of pairs over the keypoints that both see, by the area of the smaller box."""
    points = pool.keypoints[a][..., :2]
    seen = np.ones(points.shape[:2], bool)
    if pool.keypoints.shape[2] == 3:
        seen = (pool.keypoints[a][..., 2] >= VISIBLE) & (pool.keypoints[b][..., 2] >= VISIBLE)
    sizes = np.minimum(area(pool.boxes[a, :4]), area(pool.boxes[b, :4]))
    truth = np.concatenate([points, seen[..., None]], -1)
    return oks_of_pairs(truth, pool.keypoints[b], BODY_AREA * sizes, sigmas)


def _best(pool: Pool, group: Index) -> tuple[int, float]:
    """The member that stands for an instance, and the score of the best like it; `group` is best score first."""
    scores = pool.boxes[:, 4]
    group = group[scores[group] >= RELIABLE * scores[group[0]]]
    if not pool.cut[group].all():
        group = group[~pool.cut[group]]
        best = group[0]
    else:  # pieces of something that no view shows whole: the largest
        best = group[area(pool.boxes[group, :4]).argmax()]
    inter, union = intersections(pool.boxes[[best], :4], pool.boxes[group, :4])
    like = group[inter[0] >= SAME_SIZE * union[0]]
    chosen = like[np.lexsort((-pool.room[like], pool.whole[like]))[0]]
    return int(chosen), float(scores[like].max())
