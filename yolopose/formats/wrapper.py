"""The module that is exported: the network with the input and output of the exported file."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from yolopose.formats.base import Suppression

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

POOL = 1024  # best candidates that non-maximum suppression inside a file considers
CHAIN = 16  # longest chain of overlapping boxes that it resolves exactly


class ExportNetwork(nn.Module):
    """A fused copy of a network in eval mode: (B, 3, H, W) RGB from 0 to 1 → decoded (B, 4+C+K·D, A), both float32.

    With `half` the convolutions compute in 16 bits and the decoding stays in float32: 16 bits cannot represent boxes
    and points in pixels. `baked` (H, W) makes the anchors of one input size constants, for exporters that
    cannot compute shapes. With `suppression` the output is (B, max_det, 6+K·D): x1 y1 x2 y2 score class keypoints,
    best first, rows of zeros at the end.
    """

    def __init__(
        self,
        network: PoseNet,
        *,
        half: bool = False,
        baked: tuple[int, int] | None = None,
        suppression: Suppression | None = None,
    ) -> None:
        super().__init__()
        fused = copy.deepcopy(network).cpu().float().eval().requires_grad_(False).fuse()
        self.network = (fused.half() if half else fused).fix_anchors(baked)
        self.half_precision = half
        self.suppression = suppression

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, 4+C+K·D, A), or (B, max_det, 6+K·D) with suppression; pixels."""
        maps = self.network.maps(images.half() if self.half_precision else images)
        output = self.network.decode(maps)
        return suppress(output, self.network.head.classes, self.suppression) if self.suppression else output


def suppress(output: Tensor, classes: int, how: Suppression) -> Tensor:
    """Decoded (B, 4+C+K·D, A) → (B, max_det, 6+K·D) x1 y1 x2 y2 score class keypoints, rows of zeros at the end.

    Greedy suppression without a loop over boxes, with operators that every runtime has: a box is kept unless a kept
    box of a higher score overlaps it. Applying this rule `CHAIN` times, starting from all boxes, resolves all chains up
    to that length, longer than any seen on photographs. Source: Cluster-NMS (Zheng et al. 2020, algorithm 2).
    """
    pool = max(POOL, how.max_det)
    rows = nn.functional.pad(output.transpose(1, 2), (0, 0, 0, pool))  # small inputs have fewer anchors than the pool
    scores = rows[..., 4 : 4 + classes]
    best = scores.amax(2)
    places = torch.arange(classes, 0, -1, dtype=rows.dtype)  # instead of argmax, which LiteRT cannot convert
    label = classes - ((scores == best[..., None]).to(rows.dtype) * places).amax(2)
    score, index = best.topk(pool)  # (B, pool), best first
    rows = rows.gather(1, index[..., None].expand(-1, -1, rows.shape[2]))
    label = label.gather(1, index)
    half_size = rows[..., 2:4] / 2
    low, high = rows[..., :2] - half_size, rows[..., :2] + half_size

    width, height = (_shared(low[..., axis], high[..., axis]) for axis in (0, 1))
    overlap = width * height  # (B, pool, pool)
    area = rows[..., 2] * rows[..., 3]
    touching = overlap > how.iou * (area[:, :, None] + area[:, None] - overlap)
    if classes > 1 and not how.agnostic_nms:
        touching = touching & (label[:, :, None] == label[:, None])
    above = torch.ones(pool, pool).triu(1)  # row i scores above column j
    rivals = touching.to(rows.dtype) * above

    wanted = (score > how.conf).to(rows.dtype)
    kept = wanted
    for _ in range(CHAIN):
        kept = wanted * (1 - (kept[:, :, None] * rivals).amax(1))
    final, order = (kept * score).topk(how.max_det)
    found = torch.cat((low, high, score[..., None], label[..., None], rows[..., 4 + classes :]), 2)
    found = found.gather(1, order[..., None].expand(-1, -1, found.shape[2]))
    return found * (final > 0).to(rows.dtype)[..., None]


def _shared(low: Tensor, high: Tensor) -> Tensor:
    """(B, N) starts and ends of intervals on one axis → (B, N, N) lengths of their intersections."""
    return (torch.minimum(high[:, :, None], high[:, None]) - torch.maximum(low[:, :, None], low[:, None])).clamp(min=0)
