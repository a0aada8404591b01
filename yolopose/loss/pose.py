"""The pose loss: CIoU boxes, distribution focal loss, class BCE, OKS keypoints, keypoint visibility BCE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from yolopose.loss.assign import Truths, assign, ciou
from yolopose.loss.ignore import class_mask
from yolopose.metadata import ModelInfo
from yolopose.nn.head import REG_MAX, Maps, anchors
from yolopose.rules import DEFAULT, Rules

if TYPE_CHECKING:
    from yolopose.data.batch import Batch

LOSS_PARTS = ("box", "pose", "kobj", "cls", "dfl")
SIDES = 4 * REG_MAX  # the channels of a level before its class logits


@dataclass(frozen=True)
class Gains:
    """Weights of the five parts."""

    box: float = 7.5
    cls: float = 0.5
    dfl: float = 1.5
    pose: float = 12.0
    kobj: float = 1.0


class PoseLoss:
    """Raw maps and a batch's ground truth → the total loss for the backward pass, and its five parts.

    With the slots of `assign`, their targets t, T = max(Σ t, 1), and P the positive slots whose truth has a labelled
    keypoint:

    - box = Σ t · (1 − CIoU) / T
    - dfl = Σ t · `dfl_loss` / T
    - cls = Σ over anchors and classes of BCE / T, without those that `ignore.class_mask` leaves out
    - pose = mean over P of `oks_loss`
    - kobj = mean over P and K of the BCE of visibility against "is labelled"; 0 for models with D = 2

    each times its gain; total = Σ parts · B. Computed in float32 even when the maps are half precision.

    With the rule `unlabelled_count` P is every positive slot: a truth without labelled keypoints then pulls its
    visibilities towards 0 and lowers the mean of `pose`. With `no_gradient` a batch without positive slots gives the
    keypoint maps no gradient at all, so that the optimizer skips their layers, with momentum and weight decay;
    otherwise the gradient is zero.

    Several ranks: `reduce` sums a vector over the ranks, so that Σ t, |P| and B are those of all ranks together. Each
    rank's total is its share of that common loss times the number of ranks, because DDP *averages* gradients: the
    optimizer sees the gradient of one process that takes every rank's images as one batch (with separate batch
    statistics). The ranks' parts add up to the common parts. Every rank must call once per step, also without truths.
    """

    def __init__(
        self,
        info: ModelInfo,
        strides: Sequence[float],
        gains: Gains,
        sigmas: Sequence[float],
        rules: Rules = DEFAULT,
        reduce: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """`strides` of the levels in pixels, `sigmas` (K,) the OKS constants of the keypoints."""
        self.kpt_shape = info.kpt_shape
        self.strides = tuple(float(s) for s in strides)
        self.rules = rules
        self.reduce = reduce
        self.gains = torch.tensor([getattr(gains, part) for part in LOSS_PARTS])
        self.sigmas = torch.tensor([float(s) for s in sigmas])

    def __call__(self, maps: Maps, batch: Batch) -> tuple[Tensor, Tensor]:
        """Maps of B images → total (), parts (5,) detached, after gains, in the order of LOSS_PARTS."""
        sums, counts = self.sums(maps, batch)
        if self.reduce is not None:
            counts = self.reduce(counts)
        _, _, images, ranks = counts.unbind()
        parts = sums / divisors(counts).clamp(min=1)
        return parts.sum() * images * ranks, parts.detach()

    def sums(self, maps: Maps, batch: Batch) -> tuple[Tensor, Tensor]:
        """The parts (5,) after gains, before division by `divisors`; and what `reduce` adds up: Σ t, |P|, B, 1 rank."""
        device = maps.keypoints.device
        self.gains, self.sigmas = self.gains.to(device), self.sigmas.to(device)
        with torch.autocast(device.type, enabled=False):
            sums, counts = self._sums(maps, batch)
            return self.gains * sums, counts

    def _sums(self, maps: Maps, batch: Batch) -> tuple[Tensor, Tensor]:
        """`sums` before gains."""
        # Anchors before channels: no copy of channels_last maps, the fast layout on CPUs.
        rows = torch.cat([level.permute(0, 2, 3, 1).flatten(1, 2) for level in maps.levels], 1)  # (B, A, 4R+C)
        bins, labels = torch.split(rows, [SIDES, rows.shape[2] - SIDES], 2)
        logits = as_float32(labels)
        points, steps = (x.to(logits) for x in anchors(maps.levels, self.strides))  # (A, 2) grid, (A, 1)
        height, width = (side * self.strides[0] for side in maps.levels[0].shape[2:])
        truths, keypoints = in_pixels(batch, height, width, logits.dtype)
        ignore = batch.ignore
        if ignore is not None:
            ignore = ignore.to(logits) * ignore.new_tensor([1, width, height, width, height, 1])
        with torch.no_grad():
            predicted = decode(as_float32(bins), points) * steps  # (B, A, 4) pixels
        slots = assign(predicted, logits, points * steps, truths, unaligned=self.rules.unaligned_anchors)
        point, step = points[slots.anchor], steps[slots.anchor]  # (S, 2) grid, (S, 1)

        chosen = as_float32(bins[slots.image, slots.anchor])  # (S, 4R)
        goal = truths.boxes[slots.truth] / step  # (S, 4) grid
        box = 1 - ciou(decode(chosen, point), goal)
        dfl = dfl_loss(chosen, torch.cat((point - goal[:, :2], goal[:, 2:] - point), 1))
        hit = logits[slots.image, slots.anchor, truths.classes[slots.truth]]  # (S,)
        negative = F.softplus(logits)
        if ignore is not None:
            negative = negative * class_mask(logits, points * steps, truths, slots, ignore)
        cls = negative.sum() - (hit * slots.target).sum()  # BCE; every target but the slots' is 0

        keypoint_maps = maps.keypoints
        if self.rules.no_gradient and not slots.positive.any():
            keypoint_maps = keypoint_maps.detach()
        raw = as_float32(keypoint_maps[slots.image, :, slots.anchor]).reshape(len(point), *self.kpt_shape)  # (S, K, D)
        truth = keypoints[slots.truth]  # (S, K, 3) pixels
        labelled = (truth[..., 2] != 0).to(logits)
        offset = raw[..., :2] * 2 + (point - 0.5)[:, None] - truth[..., :2] / step[:, None]  # (S, K, 2) grid
        pose = oks_loss(offset, labelled, (goal[:, 2:] - goal[:, :2]).prod(1), self.sigmas.to(logits))
        kobj = torch.zeros_like(pose)
        if raw.shape[2] == 3:
            kobj = F.binary_cross_entropy_with_logits(raw[..., 2], labelled, reduction="none").mean(1)

        counted = (slots.positive if self.rules.unlabelled_count else slots.positive & (labelled.sum(1) > 0)).to(logits)
        by_slot = torch.stack((box * slots.target, pose * counted, kobj * counted, dfl * slots.target), 1).sum(0)
        sums = torch.cat((by_slot[:3], cls[None], by_slot[3:]))
        images = counted.new_full((), float(len(logits)))
        return sums, torch.stack((slots.target.sum(), counted.sum(), images, torch.ones_like(images)))


def divisors(counts: Tensor) -> Tensor:
    """Counts (4,) that begin with Σ t and |P| → (5,) the divisors of the parts; values below 1 count as 1."""
    targets, positives = counts[:2].unbind()
    return torch.stack((targets, positives, positives, targets, targets))


def as_float32(x: Tensor) -> Tensor:
    """Half precision to float32; other types unchanged (float64 for gradient checks)."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def in_pixels(batch: Batch, height: float, width: float, dtype: torch.dtype) -> tuple[Truths, Tensor]:
    """The normalised cxcywh boxes as xyxy and the keypoints (G, K, 3), both in pixels of the input."""
    x, y, w, h = batch.boxes.to(dtype).unbind(1)
    x, y, w, h = x * width, y * height, w * width, h * height
    boxes = torch.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2), 1)
    px, py, v = batch.keypoints.to(dtype).unbind(2)
    return Truths(batch.image_index, batch.classes, boxes), torch.stack((px * width, py * height, v), 2)


def decode(bins: Tensor, points: Tensor) -> Tensor:
    """(..., 4R), (..., 2) → (..., 4) xyxy in grid units: expected distances to the four sides (GFL equation 4)."""
    shares = bins.reshape(*bins.shape[:-1], 4, REG_MAX).softmax(-1)
    distances = shares @ torch.arange(REG_MAX, dtype=bins.dtype, device=bins.device)  # (..., 4)
    return torch.cat((points - distances[..., :2], points + distances[..., 2:]), -1)


def dfl_loss(bins: Tensor, distances: Tensor) -> Tensor:
    """(S, 4R), (S, 4) grid units → (S,) distribution focal loss (GFL, arXiv:2006.04388, equation 6), mean of 4 sides.

    Larger distances than the bins can represent are clamped to a hundredth below the last bin.
    """
    distances = distances.clamp(0, REG_MAX - 1 - 0.01)
    left = distances.floor()
    weight = distances - left  # of the bin above
    log_shares = bins.reshape(*bins.shape[:-1], 4, REG_MAX).log_softmax(-1)
    index = left.long()[..., None]
    low, high = log_shares.gather(-1, index)[..., 0], log_shares.gather(-1, index + 1)[..., 0]
    return -(low * (1 - weight) + high * weight).mean(-1)


def oks_loss(offset: Tensor, labelled: Tensor, area: Tensor, sigmas: Tensor) -> Tensor:
    """(S, K, 2), (S, K), (S,), (K,) → (S,) 1 − OKS: mean over labelled keypoints of 1 − exp(−d² / (2 · (2σ)² · area)).

    `offset` from truth to prediction, `area` = w·h of the truth's box, in the same units; 0 without labelled keypoints.
    Source: COCO keypoint evaluation; as a loss Maji et al. 2022 (arXiv:2204.06806, equation 2).
    """
    exponent = (offset**2).sum(-1) / (2 * (2 * sigmas) ** 2 * (area[:, None] + 1e-9))
    return ((1 - torch.exp(-exponent)) * labelled).sum(1) / (labelled.sum(1) + 1e-9)
