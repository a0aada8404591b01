"""Size and cost of a network, and the table of its layers."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from yolopose.errors import printable
from yolopose.nn.head import Distances
from yolopose.nn.network import PoseNet


class NetworkSize(NamedTuple):
    """The numbers of a summary line; `gradients` are the parameters that training changes."""

    layers: int
    parameters: int
    gradients: int
    gflops: float


def network_size(model: PoseNet, imgsz: int | tuple[int, int] = 640) -> NetworkSize:
    """Modules, parameters and GFLOPs for one input of `imgsz`, a side or (H, W), in pixels.

    The activation counts as one layer, however often it is applied.
    """
    parameters = list(model.parameters())
    return NetworkSize(
        layers=len(list(model.modules())) + 1,
        parameters=sum(p.numel() for p in parameters),
        gradients=sum(p.numel() for p in parameters if p.requires_grad),
        gflops=count_flops(model, imgsz) / 1e9,
    )


@torch.no_grad()
def count_flops(model: PoseNet, imgsz: int | tuple[int, int] = 640) -> float:
    """Floating-point operations of a forward pass by the convention of the tool `thop`.

    Two per multiply-accumulate of a convolution, its bias free; eight per output of a batch normalisation; everything
    else free. Measured on one cell of the largest stride and scaled to `imgsz`, fractions of a cell included.
    """
    height, width = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    side = model.info.stride
    total = 0

    def add(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += 2 * output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.BatchNorm2d):
            total += 8 * output.numel()
        elif isinstance(module, Distances):
            total += 2 * output.numel() * module.conv.weight.numel()

    modes = [(module, module.training) for module in model.modules()]
    hooks = [module.register_forward_hook(add) for module, _ in modes]
    try:
        like = next(model.parameters())
        model.eval()(torch.zeros(1, model.channels, side, side, device=like.device, dtype=like.dtype))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
    return total * (height / side) * (width / side)


def summary(model: PoseNet, imgsz: int | tuple[int, int] = 640, *, table: bool = True) -> str:
    """The layer table (row, from, n, params, module, arguments), then the line of totals."""
    name = str(model.spec["yaml_file"]).rpartition("/")[2].rpartition(".")[0].replace("yolo", "YOLO")
    size = network_size(model, imgsz)
    fused = not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    totals = (
        f"{printable(name)} summary{' (fused)' * fused}: {size.layers} layers, {size.parameters:,} parameters, "
        f"{size.gradients:,} gradients, {size.gflops:.1f} GFLOPs"
    )
    if not table:
        return totals
    lines = [f"{'':>3}{'from':>20}{'n':>3}{'params':>10}  {'module':<12}arguments"]
    for part, module in zip(model.parts, model.model, strict=True):
        row = part.row
        source = row.given[0] if len(row.given) == 1 else list(row.given)
        params = sum(p.numel() for p in module.parameters())
        lines.append(f"{row.index:>3}{source!s:>20}{row.repeats:>3}{params:>10}  {row.module:<12}{list(part.args)}")
    return "\n".join([*lines, totals])
