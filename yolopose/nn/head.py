"""The pose head: raw maps from the network's levels, and their decoding into boxes, scores and keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log
from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolopose.nn.layers import Conv
from yolopose.nn.sparse import Cells, branches_at, values_at

REG_MAX = 16


class Maps(NamedTuple):
    """Raw outputs: `levels`, one (B, 4*REG_MAX + C, H, W) per stride, and `keypoints` (B, K*D, A).

    A level's channels are the logits of REG_MAX distance bins for left, top, right, bottom, then the class logits.
    Anchors run level by level, row by row.
    """

    levels: list[Tensor]
    keypoints: Tensor


def anchors(levels: Sequence[Tensor], strides: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Maps (B, ·, H, W) → centres (A, 2) as x y in grid units, and stride per anchor (A, 1), float32.

    Not cached: 0.05 ms for 8400 anchors.
    """
    points, steps = [], []
    for level, stride in zip(levels, strides, strict=True):
        h, w = level.shape[2:]
        y = torch.arange(h, dtype=torch.float32, device=level.device) + 0.5
        x = torch.arange(w, dtype=torch.float32, device=level.device) + 0.5
        yy, xx = torch.meshgrid(y, x, indexing="ij")
        points.append(torch.stack((xx, yy), -1).view(-1, 2))
        steps.append(torch.full_like(points[-1][:, :1], float(stride)))
    return torch.cat(points), torch.cat(steps)


class Distances(nn.Module):
    """Expected distance under the softmax over bins: distribution focal loss's regression (Li et al. 2020, eq. 4)."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(bins, 1, 1, bias=False).requires_grad_(False)
        # Not torch.arange: on the meta device, where checkpoints are built, that imports a second's worth of compiler.
        self.conv.weight.data = torch.tensor(range(bins), dtype=torch.float32).view(1, bins, 1, 1)

    def forward(self, logits: Tensor) -> Tensor:
        """(B, 4*bins, A) float32 → (B, 4, A) left, top, right, bottom in grid units."""
        weight = self.conv.weight.to(logits.dtype).flatten()
        shares = logits.reshape(logits.shape[0], 4, weight.numel(), -1).softmax(2)
        return torch.einsum("bsna,n->bsa", shares, weight)


class PoseHead(nn.Module):
    """Three branches per level: boxes (`cv2`), classes (`cv3`) and keypoints (`cv4`)."""

    def __init__(self, channels: Sequence[int], classes: int, kpt_shape: tuple[int, int]) -> None:
        """`channels` of the levels; hidden widths follow the first of them."""
        super().__init__()
        self.classes = classes
        self.kpt_shape = kpt_shape
        self.strides: tuple[int, ...] = ()
        self.fixed_anchors: tuple[Tensor, Tensor] | None = None
        first, points = channels[0], kpt_shape[0] * kpt_shape[1]
        box, label, pose = max(16, first // 4, 4 * REG_MAX), max(first, min(classes, 100)), max(first // 4, points)
        self.cv2 = nn.ModuleList(_branch(c, box, 4 * REG_MAX) for c in channels)
        self.cv3 = nn.ModuleList(_branch(c, label, classes) for c in channels)
        self.dfl = Distances(REG_MAX)
        self.cv4 = nn.ModuleList(_branch(c, pose, points) for c in channels)

    def forward(self, features: list[Tensor]) -> Maps:
        """One (B, c, H, W) per level → raw maps."""
        levels = [torch.cat((box(x), label(x)), 1) for x, box, label in zip(features, self.cv2, self.cv3, strict=True)]
        keypoints = torch.cat([pose(x).flatten(2) for x, pose in zip(features, self.cv4, strict=True)], 2)
        return Maps(levels, keypoints)

    def decode(self, maps: Maps) -> Tensor:
        """Raw maps → (B, 4+C+K·D, A): cx cy w h in input pixels, scores, keypoints x y in pixels [v].

        Always float32: coordinates up to 640 would lose whole pixels in bfloat16.
        """
        points, steps = self.fixed_anchors or anchors(maps.levels, self.strides)
        flat = torch.cat([level.flatten(2) for level in maps.levels], 2)  # (B, 4*REG_MAX+C, A)
        return self._decode(flat[:, : 4 * REG_MAX], flat[:, 4 * REG_MAX :], maps.keypoints, points.T, steps.T)

    def candidates(self, features: list[Tensor], conf: float) -> list[Tensor]:
        """One (B, c, H, W) per level → per image the (M, 4+C+K·D) rows scoring above `conf`, in anchor order, float32.

        The rows of `decode`, cheaper: boxes and keypoints are computed only where a class scores above `conf`.
        """
        threshold = log(conf / (1 - conf)) - 1e-3 if 0 < conf < 1 else -inf  # with room for rounding; exact below
        images, parts = [], []
        for x, box, label, pose, stride in zip(features, self.cv2, self.cv3, self.cv4, self.strides, strict=True):
            logits = label(x)
            cells = Cells(*(logits.amax(1) > threshold).nonzero(as_tuple=True))  # image by image, row by row
            points = torch.stack((cells.x, cells.y), 1) + 0.5
            steps = torch.full_like(points[:, :1], float(stride))
            images.append(cells.image)
            parts.append((*branches_at((box, pose), x, cells), values_at(logits, cells), points, steps))
        bins, keypoints, logits, points, steps = (torch.cat(part).T for part in zip(*parts, strict=True))
        rows = self._decode(bins[None], logits[None], keypoints[None], points, steps)[0].T
        kept = rows[:, 4 : 4 + self.classes].amax(1) > conf
        rows, image = rows[kept].contiguous(), torch.cat(images)[kept]
        return [rows[image == i] for i in range(len(features[0]))] if len(features[0]) > 1 else [rows]

    def _decode(self, bins: Tensor, logits: Tensor, keypoints: Tensor, points: Tensor, steps: Tensor) -> Tensor:
        """(B, 4*REG_MAX, A), (B, C, A), (B, K*D, A), (2, A), (1, A) → (B, 4+C+K·D, A) in input pixels, float32.

        The same in NumPy is `formats.sparse.decode_cells`, and of boxes alone, with gradients, `loss.pose.decode`.
        """
        low, high = self.dfl(bins.float()).chunk(2, 1)  # (B, 2, A) each: left top, right bottom
        centre = (points + (high - low) / 2) * steps
        size = (low + high) * steps
        raw = keypoints.float().reshape(keypoints.shape[0], *self.kpt_shape, -1)  # (B, K, D, A)
        xyv = (raw[:, :, :2] * 2 + (points - 0.5)) * steps
        if self.kpt_shape[1] == 3:
            xyv = torch.cat((xyv, raw[:, :, 2:].sigmoid()), 2)
        return torch.cat((centre, size, logits.float().sigmoid(), xyv.flatten(1, 2)), 1)

    def init_biases(self) -> None:
        """Start with low scores, or the many empty anchors would dominate the first steps.

        Class biases are about the logit of 5 objects among the cells of an input of 640, log(5 / C / (640 / stride)²);
        box biases are 1. The idea: Lin et al. 2017, focal loss, section 4.1. All else keeps torch's defaults.
        """
        for box, label, stride in zip(self.cv2, self.cv3, self.strides, strict=True):
            nn.init.constant_(box.get_parameter("2.bias"), 1.0)
            nn.init.constant_(label.get_parameter("2.bias"), log(5 / self.classes / (640 / stride) ** 2))


def _branch(c1: int, hidden: int, c2: int) -> nn.Sequential:
    return nn.Sequential(Conv(c1, hidden, 3), Conv(hidden, hidden, 3), nn.Conv2d(hidden, c2, 1))
