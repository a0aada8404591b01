"""Check that `flip_idx` agrees with the labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.data.rows import Labels
from yolopose.geometry.keypoints import KeypointLayout

MIN_COUNT = 40  # instances needed for a check
MIN_AGREEMENT = 0.5  # share of instances: a pair that points like the others in fewer is reported as swapped
FAR = 0.15  # of the box: a mirrored mean position this far from its partner is suspicious …
NEARER = 0.5  # … if another keypoint is nearer by this factor
ODD = 0.15, 0.35  # shares of mirrored instances that are reported; near one half the shape has no handedness
FLAT = 0.01  # of the box's area (or, for lengths, its side): too small to tell left from right


def audit_flip(labels: Iterable[Labels], layout: KeypointLayout) -> list[str]:
    """The problems of `layout.flip`, one sentence each; none if it fits the labels, or there are too few of them."""
    stacked = [rows for rows in labels if len(rows)]
    if layout.flip is None or not stacked:
        return []
    boxes = np.concatenate([rows.boxes for rows in stacked]).astype(np.float64)
    points = np.concatenate([rows.keypoints for rows in stacked]).astype(np.float64)
    usable = (boxes[:, 2:] > 0).all(1)
    boxes, points = boxes[usable], points[usable]
    xy = (points[..., :2] - boxes[:, None, :2]) / boxes[:, None, 2:]  # relative to the box, its centre is 0 0
    there = points[..., 2] > 0
    return [*_positions(xy, there, layout), *_directions(xy, there, layout), *_chirality(xy, there, layout)]


def _pairs(layout: KeypointLayout) -> list[tuple[int, int]]:
    return [(i, j) for i, j in enumerate(layout.flip or ()) if i < j]


def _positions(xy: NDArray[Any], there: NDArray[Any], layout: KeypointLayout) -> list[str]:
    """(N, K, 2), (N, K): in the mirrored mean shape every keypoint must be near the one it is exchanged with."""
    count = there.sum(0)
    known = np.flatnonzero(count >= MIN_COUNT)
    if not len(known):
        return []
    mean = (xy * there[..., None]).sum(0) / np.maximum(count, 1)[:, None]
    gap = np.linalg.norm((mean * (-1, 1))[:, None] - mean[None], axis=-1)  # (K, K), rows mirrored
    flip = np.array(layout.flip)
    found = []
    for i in known:
        best = known[np.argmin(gap[i, known])]
        far, near = gap[i, flip[i]], gap[i, best]
        if flip[i] >= i and flip[i] in known and far > FAR and near < NEARER * far:
            one, other, partner = (layout.names[k] for k in (i, best, flip[i]))
            found.append(f"{one} near {other} ({near:.0%} of the box away), not near {partner} ({far:.0%})")
    return [f"flip_idx does not fit: mirrored, {'; '.join(found)}"] if found else []


def _directions(xy: NDArray[Any], there: NDArray[Any], layout: KeypointLayout) -> list[str]:
    """(N, K, 2), (N, K): the vectors from left to right of all pairs of an instance must have about one direction."""
    pairs = _pairs(layout)
    if len(pairs) < 2:
        return []
    left, right = np.array(pairs).T
    way = xy[:, right] - xy[:, left]  # (N, P, 2)
    length = np.linalg.norm(way, axis=-1)
    known = there[:, left] & there[:, right] & (length > FLAT)
    way = np.where(known[..., None], way / np.maximum(length, FLAT)[..., None], 0)
    others = way.sum(1, keepdims=True) - way
    found = []
    for p, (i, j) in enumerate(pairs):
        compared = known[:, p] & (np.linalg.norm(others[:, p], axis=-1) > 0.5)
        agree = ((way[:, p] * others[:, p]).sum(-1) > 0)[compared]
        if len(agree) >= MIN_COUNT and (share := float(agree.mean())) < MIN_AGREEMENT:
            found.append(
                f"{layout.names[i]} and {layout.names[j]} look swapped: they have the direction of the other "
                f"pairs in only {share:.0%} of {len(agree)} instances"
            )
    return found


def _chirality(xy: NDArray[Any], there: NDArray[Any], layout: KeypointLayout) -> list[str]:
    """(N, K, 2), (N, K): left, right and middle must have the same orientation in every instance seen from the front.

    Its sign does not change with a rotation of the image, but with a reflection.
    """
    pairs, middle = _pairs(layout), [k for k, j in enumerate(layout.flip or ()) if k == j]
    if not pairs or not middle:
        return []
    shares = []
    for i, j in pairs:
        side, up = xy[:, j] - xy[:, i], xy[:, middle[0]] - (xy[:, i] + xy[:, j]) / 2
        turn = side[:, 0] * up[:, 1] - side[:, 1] * up[:, 0]
        known = there[:, [i, j, middle[0]]].all(1) & (abs(turn) > FLAT)
        if known.sum() >= MIN_COUNT:
            share = float((turn[known] < 0).mean())
            shares.append((min(share, 1 - share), int(known.sum())))
    share, count = min(shares, default=(0.0, 0))  # the pair with the clearest orientation
    if not ODD[0] <= share <= ODD[1]:
        return []
    return [f"left and right look swapped in {share:.0%} of {count} instances, compared with the rest"]
