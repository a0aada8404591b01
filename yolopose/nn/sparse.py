"""Run the head's branches at a few cells of a map instead of all: the same numbers for a fraction of the work.

A branch is two 3 x 3 convolutions and one 1 x 1, so its output at a cell depends on the 5 x 5 cells around it. At few
cells, convolutions are matrix products of those neighbourhoods. `formats.sparse` is the same algorithm in NumPy, for
runtimes without torch: a change here belongs there, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolopose.nn.layers import Conv

MIN_CELLS_PER_HIT = 20  # a cell costs 5 times as much here as in the whole map, and small matrix products are slower


class Cells(NamedTuple):
    """M cells of a batch of maps: (M,) int64 each."""

    image: Tensor
    y: Tensor
    x: Tensor


def values_at(values: Tensor, cells: Cells) -> Tensor:
    """(B, c, H, W) → (M, c), the values at the cells."""
    return values.permute(0, 2, 3, 1)[cells.image, cells.y, cells.x]


def branches_at(branches: Sequence[nn.Module], x: Tensor, cells: Cells) -> list[Tensor]:
    """(B, c, H, W) → per branch its output (M, c_out) at the cells; whole maps are computed where cells are many."""
    b, _, h, w = x.shape
    if len(cells.x) * MIN_CELLS_PER_HIT > b * h * w or not all(map(is_simple, branches)):
        return [values_at(branch(x), cells) for branch in branches]
    squares, inside = neighbourhoods(x, cells)
    return [run_branch(branch, squares, inside) for branch in branches]


def is_simple(branch: Any) -> bool:
    """Whether `run_branch` can run it: fused, and of the shape that the pose head builds."""
    return all(isinstance(layer, Conv) and layer.bn is None for layer in branch[:2])


def neighbourhoods(x: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
    """(B, c, H, W) → (M, 5, 5, c) around cells, 0 outside the map, and (M, 9, 1): which of the inner 3 x 3 exist."""
    h, w = x.shape[2:]
    around = torch.arange(-2, 3, device=x.device)
    y, x_ = cells.y[:, None] + around, cells.x[:, None] + around  # (M, 5)
    inside = ((y >= 0) & (y < h))[:, :, None] & ((x_ >= 0) & (x_ < w))[:, None, :]  # (M, 5, 5)
    rows, columns = y.clamp(0, h - 1)[:, :, None], x_.clamp(0, w - 1)[:, None, :]
    squares = x.permute(0, 2, 3, 1)[cells.image[:, None, None], rows, columns] * inside[..., None]
    return squares, inside[:, 1:4, 1:4].reshape(-1, 9, 1)


def run_branch(branch: Any, squares: Tensor, inside: Tensor) -> Tensor:
    """(M, 5, 5, c), (M, 9, 1) → (M, c_out). The hidden map, too, is 0 outside, as padding makes it in whole maps."""
    first, second, last = branch
    hidden = F.silu(convolve(squares, first.conv), inplace=True).flatten(1, 2) * inside  # (M, 9, hidden)
    hidden = F.silu(convolve(hidden.view(-1, 3, 3, hidden.shape[2]), second.conv), inplace=True)  # (M, 1, 1, hidden)
    return convolve(hidden, last).flatten(1)


def convolve(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """(M, h, w, c) → (M, h-k+1, w-k+1, c_out), without padding: a k x k convolution of stride 1 as a matrix product."""
    k, _ = conv.kernel_size
    windows = x.unfold(1, k, 1).unfold(2, k, 1).permute(0, 1, 2, 4, 5, 3)  # (M, h', w', k, k, c)
    return F.linear(windows.flatten(3), conv.weight.permute(0, 2, 3, 1).flatten(1), conv.bias)
