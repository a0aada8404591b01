"""Which class predictions count in the loss of images that have boxes to ignore (`data.rows.Labels`)."""

from __future__ import annotations

import torch
from torch import Tensor

from yolopose.loss.assign import Assignment, Truths, contains


@torch.no_grad()
def class_mask(logits: Tensor, centres: Tensor, truths: Truths, slots: Assignment, ignore: Tensor) -> Tensor:
    """(B, A, C) logits, (A, 2) centres, (M, 6) boxes to ignore → (B, A, C) 1 where a prediction counts, else 0.

    A prediction does not count if its anchor is assigned to no truth, the anchor's centre lies in a box to ignore, and
    its score is above that of the box. In boxes with a score above 0 (partly labelled images) anchors with their centre
    inside a truth count always: what is there is labelled, and they learn which of them fits it best.

    Masking only confident predictions follows the background recalibration loss (Zhang et al. 2020, arXiv:2002.05274),
    which takes confident negatives of partly labelled images for missed instances, while all others still teach what
    background looks like.

    `ignore` has image, xyxy in pixels and score; centres and truths are in pixels too.
    """
    images, anchors = logits.shape[:2]
    limit = ignore[:, 5:6].where(contains(ignore[:, 1:5], centres), torch.inf)  # (M, A)
    limits = _by_image(limit, ignore[:, 0].long(), images, torch.inf, "amin")  # (B, A)
    inside = _by_image(contains(truths.boxes, centres).to(logits), truths.image, images, 0.0, "amax") > 0
    assigned = logits.new_zeros(images * anchors).index_add(
        0, slots.image * anchors + slots.anchor, slots.positive.to(logits)
    )
    free = (assigned.view(images, anchors) == 0) & ((limits <= 0) | ~inside)
    return (~(free[..., None] & (logits.sigmoid() > limits[..., None]))).to(logits)


def _by_image(values: Tensor, image: Tensor, images: int, empty: float, how: str) -> Tensor:
    """(N, A) values of boxes, (N,) their images → (B, A) the smallest or largest of each image, `empty` without any."""
    out = values.new_full((images, values.shape[1]), empty)
    return out.scatter_reduce(0, image[:, None].expand_as(values), values, how)
