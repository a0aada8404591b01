"""The network as every export sees it: one module with the input and output of the exported file."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet


class ExportNetwork(nn.Module):
    """A fused copy of a network, evaluating: (B, 3, H, W) RGB from 0 to 1 → decoded (B, 4+C+K·D, A), both float32.

    With `half` the convolutions compute in 16 bit and the decoding stays in float32: boxes and points in pixels need
    more digits than 16 bits hold.
    """

    def __init__(self, network: PoseNet, *, half: bool = False) -> None:
        super().__init__()
        fused = copy.deepcopy(network).cpu().float().eval().requires_grad_(False).fuse()
        self.network = fused.half() if half else fused
        self.half_precision = half

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, 4+C+K·D, A), pixels."""
        maps = self.network.maps(images.half() if self.half_precision else images)
        return self.network.decode(maps)
