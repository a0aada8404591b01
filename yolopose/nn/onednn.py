"""A fused network's convolutions by oneDNN, for the CPU: weights in its kernels' order, SiLU inside the convolution.

torch.compile uses the same operators (`torch.ops.mkldnn`), but takes half a minute to compile. They are not part of
torch's public interface: without them the network stays as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolopose.nn.layers import Conv
from yolopose.nn.network import PoseNet


def use_onednn(network: PoseNet) -> PoseNet:
    """Prepare a fused float32 or bfloat16 network in place; it then runs on the CPU only, in channels-last order.

    The head's box and keypoint branches stay as they are: they run at a few cells (see `sparse`).
    """
    if has_onednn():
        _replace_convolutions(network, (network.head.cv2, network.head.cv4, network.head.dfl))
    return network


def has_onednn() -> bool:
    """Whether this torch has the operators."""
    names = ("_convolution_pointwise", "_reorder_convolution_weight")
    built_in = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return built_in and all(hasattr(torch.ops.mkldnn, name) for name in names)


class OnednnConv(nn.Module):
    """A convolution with bias, then SiLU when `act`."""

    def __init__(self, conv: nn.Conv2d, act: bool) -> None:
        super().__init__()
        self.geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(conv.weight.detach(), *self.geometry)
        self.bias = conv.bias
        self.act = "swish" if act else "none"

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) → (B, c2, H', W')."""
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, *self.geometry, self.act, [], ""
        )
        return out


def _replace_convolutions(module: nn.Module, untouched: tuple[nn.Module, ...]) -> None:
    for name, child in module.named_children():
        if child in untouched:
            continue
        if isinstance(child, Conv):
            setattr(module, name, OnednnConv(child.conv, child.act))
        elif isinstance(child, nn.Conv2d):
            setattr(module, name, OnednnConv(child, act=False))
        else:
            _replace_convolutions(child, untouched)
