"""The convolutional blocks of YOLOv8; attribute names are those of existing checkpoints' state dicts.

Maps are (B, channels, H, W). Constructor arguments follow the rows of model YAML files: `c1` channels in, `c2` channels
out, then what the row gives. Blocks that are repeated inside (`C2f`, `C2`, `C3`) take `n` after `c2`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BN_EPS = 1e-3
BN_MOMENTUM = 0.03


class Conv(nn.Module):
    """Convolution, batch normalisation and SiLU; `act=False` leaves the SiLU out."""

    __call__: Callable[..., Tensor]  # torch declares Any

    def __init__(
        self, c1: int, c2: int, k: int = 1, s: int = 1, p: int | None = None, g: int = 1, d: int = 1, act: bool = True
    ) -> None:
        """`p=None` pads so that stride 1 keeps the size."""
        super().__init__()
        padding = d * (k - 1) // 2 if p is None else p
        self.conv = nn.Conv2d(c1, c2, k, s, padding, groups=g, dilation=d, bias=False)
        self.bn: nn.BatchNorm2d | None = nn.BatchNorm2d(c2, eps=BN_EPS, momentum=BN_MOMENTUM)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) → (B, c2, H/s, W/s)."""
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        return F.silu(x, inplace=not self.training) if self.act else x  # training would have to copy it

    @torch.no_grad()
    def fuse(self) -> None:
        """Fold the running statistics into the convolution, which gets a bias; computed in float64."""
        if self.bn is None:
            return
        bn, conv = self.bn, self.conv
        assert bn.running_var is not None
        assert bn.running_mean is not None
        tensors = (conv.weight, bn.weight, bn.bias, bn.running_mean, bn.running_var)
        place = "cpu" if conv.weight.device.type == "mps" else conv.weight.device  # MPS has no float64
        weight, gain, shift, mean, variance = (tensor.to(place, torch.float64) for tensor in tensors)
        scale = gain / (variance + bn.eps).sqrt()
        bias = shift - mean * scale
        weight = weight * scale[:, None, None, None]
        conv.weight = nn.Parameter(weight.to(conv.weight), requires_grad=False)
        conv.bias = nn.Parameter(bias.to(conv.weight), requires_grad=False)
        self.bn = None

    def extra_repr(self) -> str:
        """Whether a SiLU follows."""
        return f"act={self.act}"


class DWConv(Conv):
    """Convolution with as many groups as the channel counts share."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, d: int = 1, act: bool = True) -> None:
        super().__init__(c1, c2, k, s, g=gcd(c1, c2), d=d, act=act)


class Focus(nn.Module):
    """The four pixels of every 2 x 2 square side by side as channels, then a convolution."""

    def __init__(
        self, c1: int, c2: int, k: int = 1, s: int = 1, p: int | None = None, g: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = Conv(4 * c1, c2, k, s, p, g, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) → (B, c2, H/2/s, W/2/s)."""
        corners = (x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2])
        return self.conv(torch.cat(corners, 1))


class Bottleneck(nn.Module):
    """Two convolutions, added to the input when `shortcut` and the channels agree (He et al. 2016)."""

    def __init__(
        self, c1: int, c2: int, shortcut: bool = True, g: int = 1, k: tuple[int, int] = (3, 3), e: float = 0.5
    ) -> None:
        """`e` is the share of `c2` between the two convolutions."""
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, k[0])
        self.cv2 = Conv(hidden, c2, k[1], g=g)
        self.add = shortcut and c1 == c2

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) → (B, c2, H, W)."""
        out = self.cv2(self.cv1(x))
        return x + out if self.add else out


class C2f(nn.Module):
    """Two halves; a chain of bottlenecks on the second, whose outputs all go into the last convolution."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = False, g: int = 1, e: float = 0.5) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, 2 * hidden)
        self.cv2 = Conv((2 + n) * hidden, c2)
        self.m = nn.ModuleList(Bottleneck(hidden, hidden, shortcut, g, e=1.0) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) → (B, c2, H, W)."""
        parts = list(self.cv1(x).chunk(2, 1))
        for block in self.m:
            parts.append(block(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


class C2(nn.Module):
    """Two halves; the first goes through bottlenecks, then both are joined (Wang et al. 2020, CSPNet)."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, 2 * hidden)
        self.cv2 = Conv(2 * hidden, c2)
        self.m = nn.Sequential(*(Bottleneck(hidden, hidden, shortcut, g, e=1.0) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) → (B, c2, H, W)."""
        deep, flat = self.cv1(x).chunk(2, 1)
        return self.cv2(torch.cat((self.m(deep), flat), 1))


class C3(nn.Module):
    """`C2` with two separate first convolutions and bottlenecks of 1 x 1 and 3 x 3, as in YOLOv5."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5) -> None:
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden)
        self.cv2 = Conv(c1, hidden)
        self.cv3 = Conv(2 * hidden, c2)
        self.m = nn.Sequential(*(Bottleneck(hidden, hidden, shortcut, g, (1, 3), 1.0) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) → (B, c2, H, W)."""
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPP(nn.Module):
    """Max pools of several sizes side by side (He et al. 2015, spatial pyramid pooling)."""

    def __init__(self, c1: int, c2: int, k: Sequence[int] = (5, 9, 13)) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c1 // 2)
        self.cv2 = Conv(c1 // 2 * (len(k) + 1), c2)
        self.m = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in k)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) → (B, c2, H, W)."""
        x = self.cv1(x)
        return self.cv2(torch.cat([x, *(pool(x) for pool in self.m)], 1))


class SPPF(nn.Module):
    """`SPP` with one small pool applied three times: 5, 9 and 13 for `k=5`."""

    def __init__(self, c1: int, c2: int, k: int = 5) -> None:
        super().__init__()
        self.cv1 = Conv(c1, c1 // 2)
        self.cv2 = Conv(c1 // 2 * 4, c2)
        self.m = nn.MaxPool2d(k, 1, k // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) → (B, c2, H, W)."""
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(self.m(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


class Concat(nn.Module):
    """Several maps joined along `dim`."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, xs: list[Tensor]) -> Tensor:
        """The joined map."""
        return torch.cat(xs, self.dim)
