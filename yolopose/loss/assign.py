"""Task-aligned assignment of anchors to ground-truth instances (TOOD, arXiv:2108.07755, section 3.2)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Up to this many (truth, anchor) pairs a GPU evaluates all of them, which is cheaper than waiting for a list of the
# pairs inside.
ALL_PAIRS = 1 << 22


class Truths(NamedTuple):
    """Ground-truth rows: image (G,) int64, classes (G,) int64, boxes (G, 4) xyxy in pixels."""

    image: Tensor
    classes: Tensor
    boxes: Tensor


class Assignment(NamedTuple):
    """The top-k anchors of every truth as S = G·k slots; no shape depends on values, so a GPU need not wait.

    `image` (S,) and `anchor` (S,) locate a slot, `truth` (S,) is the row assigned to it, `positive` (S,) bool whether
    it counts (no anchor counts twice), `target` (S,) its class target in 0..1, 0 unless positive.
    """

    image: Tensor
    anchor: Tensor
    truth: Tensor
    positive: Tensor
    target: Tensor


class Pairs(NamedTuple):
    """Candidate pairs of truth and anchor: row (P,), place (P,) = image · A + anchor, overlap (P,) CIoU ≥ 0."""

    row: Tensor
    place: Tensor
    overlap: Tensor


@torch.no_grad()
def assign(
    boxes: Tensor, logits: Tensor, centres: Tensor, truths: Truths, *, topk: int = 10, unaligned: bool = False
) -> Assignment:
    """(B, A, 4), (B, A, C), (A, 2), G truths → S slots.

    Candidates of a truth are the anchors whose centre lies strictly inside its box. Their alignment is
    score^0.5 · CIoU^6 (TOOD equation 6; CIoU not below 0), and the `topk` best are assigned to it. An anchor selected
    by several truths goes to the one with the largest CIoU of all whose box contains it. A target is the alignment,
    scaled per truth so that its largest value equals the largest CIoU.

    Args:
        boxes: predicted boxes, xyxy in pixels.
        logits: class scores before the sigmoid.
        centres: anchor centres in pixels.
        truths: the batch's ground truth.
        topk: anchors per truth.
        unaligned: also count anchors without alignment (CIoU ≤ 0) that the order of ties happens to select, as with
            the rule `unaligned_anchors`; by default they are background.
    """
    count = centres.shape[0]
    inside = contains(truths.boxes, centres)  # (G, A)
    row, column = candidates(inside)
    place = truths.image[row] * count + column  # (P,)
    overlap = ciou(truths.boxes[row], boxes.flatten(0, 1)[place]).clamp(min=0) * inside[row, column]
    pairs = Pairs(row, place, overlap)
    score = logits[truths.image[row], column, truths.classes[row]].sigmoid()
    overlap, quality = (pairs.overlap.new_zeros(inside.shape) for _ in range(2))  # (G, A)
    overlap[row, column] = pairs.overlap
    quality[row, column] = score.sqrt() * pairs.overlap**6

    best, anchor = quality.topk(min(topk, count), dim=1)  # (G, k)
    positive = inside.gather(1, anchor) if unaligned else best > 0
    own = torch.arange(len(inside), device=anchor.device)[:, None].expand_as(anchor).reshape(-1)  # (S,)
    image, anchor, positive = truths.image[own], anchor.reshape(-1), positive.reshape(-1)
    truth, positive = resolve_conflicts(
        pairs, truths.image, own, image * count + anchor, positive, boxes.shape[0] * count
    )
    quality, overlap = quality[truth, anchor] * positive, overlap[truth, anchor] * positive
    scale = largest(overlap, truth, len(inside)) / (largest(quality, truth, len(inside)) + 1e-9)  # (G,)
    return Assignment(image, anchor, truth, positive, quality * scale[truth])


def contains(boxes: Tensor, points: Tensor) -> Tensor:
    """(G, 4) xyxy, (A, 2) → (G, A) bool: the point lies strictly inside the box."""
    x, y = points.unbind(-1)
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)  # (G, 1) each
    return (x > x1) & (x < x2) & (y > y1) & (y < y2)


def candidates(inside: Tensor) -> tuple[Tensor, Tensor]:
    """(G, A) bool → rows (P,), columns (P,): the pairs inside, or all pairs (see ALL_PAIRS)."""
    if inside.is_cuda and inside.numel() <= ALL_PAIRS:
        index = torch.arange(inside.numel(), device=inside.device)
        return index // inside.shape[1], index % inside.shape[1]
    row, column = inside.nonzero(as_tuple=True)
    return row, column


def resolve_conflicts(
    pairs: Pairs, images: Tensor, own: Tensor, place: Tensor, positive: Tensor, places: int
) -> tuple[Tensor, Tensor]:
    """Truth (S,) and positive (S,) of the slots, so that none of the batch's `places` = B·A anchors counts twice.

    `own` (S,) is the truth that selected the slot's anchor, which is at `place` (S,); `images` (G,) are the truths'
    images. An anchor selected twice goes to the truth with the largest CIoU (the first of equals) among all pairs of
    this anchor, even to one that did not select it.
    """
    rows = torch.arange(len(images), device=place.device)
    slots = torch.arange(len(place), device=place.device)
    top = pairs.overlap.new_zeros(places).scatter_reduce(0, pairs.place, pairs.overlap, "amax")
    is_top = pairs.overlap == top[pairs.place]
    best = lowest(pairs.place, torch.where(is_top, pairs.row, len(rows)), places)[place]
    # Selected twice without any overlap (only with `unaligned`): the first truth of the image, as in Ultralytics 8.3.
    best = torch.where(top[place] > 0, best, lowest(images, rows, places)[images[own]])
    claims = place.new_zeros(places).index_add(0, place, positive.long())[place]
    first = lowest(place, torch.where(positive, slots, len(slots)), places)[place]
    return torch.where(claims > 1, best, own), positive & (first == slots)


def lowest(place: Tensor, values: Tensor, places: int) -> Tensor:
    """(N,) places, (N,) int64 values → (places,) the smallest value at each place."""
    return values.new_full((places,), torch.iinfo(torch.int64).max).scatter_reduce(0, place, values, "amin")


def largest(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """(S,) values ≥ 0, (S,) rows → (count,) the largest value of each row, 0 where there is none."""
    return values.new_zeros(count).scatter_reduce(0, rows, values, "amax")


def ciou(a: Tensor, b: Tensor, eps: float = 1e-7) -> Tensor:
    """(..., 4), (..., 4) xyxy → (...) complete IoU (Zheng et al. 2020, arXiv:1911.08287, equations 8 to 11).

    The weight of the aspect term gets no gradient. `eps` keeps the result finite for empty boxes.
    """
    ax1, ay1, ax2, ay2 = a.unbind(-1)
    bx1, by1, bx2, by2 = b.unbind(-1)
    aw, ah, bw, bh = ax2 - ax1, ay2 - ay1 + eps, bx2 - bx1, by2 - by1 + eps
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    intersection = width * height
    iou = intersection / (aw * ah + bw * bh - intersection + eps)
    hull_width = torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)
    hull_height = torch.maximum(ay2, by2) - torch.minimum(ay1, by1)
    distance = ((bx1 + bx2 - ax1 - ax2) ** 2 + (by1 + by2 - ay1 - ay2) ** 2) / 4
    aspect = 4 / math.pi**2 * (torch.atan(bw / bh) - torch.atan(aw / ah)) ** 2
    weight = (aspect / (aspect - iou + (1 + eps))).detach()
    return iou - distance / (hull_width**2 + hull_height**2 + eps) - weight * aspect
