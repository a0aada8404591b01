"""Optimizers, learning rate schedules and averaged weights."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from yolopose.errors import PoseError, UsageError
from yolopose.rules import DEFAULT, Rules

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "SGD": torch.optim.SGD,
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
    "Adamax": torch.optim.Adamax,
    "NAdam": torch.optim.NAdam,
    "RAdam": torch.optim.RAdam,
    "RMSProp": torch.optim.RMSprop,
}
FUSED = ("SGD", "Adam", "AdamW")  # these have a fused kernel, three to four times as fast on a CPU
LONG_RUN = 10_000  # optimizer steps from which `auto` prefers SGD
BETA2 = 0.999


@dataclass(frozen=True)
class OptimOptions:
    """The arguments that decide the optimizer and its schedule; `given` names those that the user gave."""

    optimizer: str
    lr0: float
    lrf: float
    momentum: float
    weight_decay: float
    cos_lr: bool
    epochs: int
    nbs: int
    warmup_epochs: float
    warmup_momentum: float
    warmup_bias_lr: float
    given: frozenset[str]


@dataclass(frozen=True)
class Recipe:
    """An optimizer's settings with `auto` resolved; `weight_decay` is already scaled to the batch.

    A resumed run keeps its recipe, also with another number of epochs.
    """

    name: str
    lr0: float
    momentum: float
    weight_decay: float
    warmup_bias_lr: float


def resolve(options: OptimOptions, *, images: int, batch: int, classes: int, rules: Rules = DEFAULT) -> Recipe:
    """The recipe for a run over `images` images in batches of `batch` (all ranks together).

    `auto` is SGD with rate 0.01 when the run has more than LONG_RUN optimizer steps, ceil(images / max(batch, nbs))
    per epoch, and AdamW with rate 0.002 · 5 / (4 + classes) otherwise; momentum 0.9 and `warmup_bias_lr` 0 in either
    case. An lr0, momentum or warmup_bias_lr that the user gave is used instead, except with the rule
    `auto_ignores_given`. Weight decay is scaled by batch · accumulation / nbs.
    """
    decay = options.weight_decay * batch * accumulation(batch, options.nbs) / options.nbs
    if options.optimizer != "auto":
        return Recipe(options.optimizer, options.lr0, options.momentum, decay, options.warmup_bias_lr)
    steps = math.ceil(images / max(batch, options.nbs)) * options.epochs
    name, rate = ("SGD", 0.01) if steps > LONG_RUN else ("AdamW", round(0.002 * 5 / (4 + classes), 6))
    settings = {"lr0": rate, "momentum": 0.9, "warmup_bias_lr": 0.0}
    if not rules.auto_ignores_given:
        settings |= {key: getattr(options, key) for key in settings if key in options.given}
    return Recipe(name=name, weight_decay=decay, **settings)


def accumulation(batch: int, nbs: int) -> int:
    """Batches whose gradients make one optimizer step after the warm-up."""
    return max(round(nbs / batch), 1)


def parameter_groups(model: nn.Module) -> tuple[list[nn.Parameter], ...]:
    """Trainable parameters as biases, decayed weights, and undecayed weights (the scales of norms)."""
    groups: tuple[list[nn.Parameter], ...] = ([], [], [])
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[0 if name.endswith("bias") else 2 if parameter.ndim < 2 else 1].append(parameter)
    return groups


def build_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """The optimizer over `parameter_groups`, in that order.

    SGD uses Nesterov's momentum; in the Adam family `momentum` is beta1.

    Raises:
        PoseError: nothing is left to train.
        UsageError: the optimizer cannot take these settings.
    """
    groups = [{"params": parameters, "weight_decay": 0.0} for parameters in parameter_groups(model)]
    groups[1]["weight_decay"] = recipe.weight_decay
    devices = {parameter.device.type for group in groups for parameter in group["params"]}  # type: ignore[attr-defined]
    if not devices:
        raise PoseError("every layer is frozen, nothing is left to train: lower freeze")
    options: dict[str, Any] = {"lr": recipe.lr0}
    if recipe.name in FUSED and devices <= {"cpu", "cuda"}:
        options["fused"] = True
    if recipe.name == "SGD":
        options |= {"momentum": recipe.momentum, "nesterov": recipe.momentum > 0}
    elif recipe.name == "RMSProp":
        options["momentum"] = recipe.momentum
    else:
        options["betas"] = (recipe.momentum, BETA2)
    try:
        return OPTIMIZERS[recipe.name](groups, **options)
    except ValueError as e:
        raise UsageError(f"optimizer={recipe.name} cannot take momentum={recipe.momentum}: {e}") from None


class Rates(NamedTuple):
    """The settings of one iteration: learning rate per parameter group, momentum, batches per optimizer step."""

    lr: tuple[float, float, float]
    momentum: float
    accumulate: int


class Schedule:
    """Rates as a pure function of (iteration, epoch), both from 0, so that there is no state to restore.

    Rates follow lr0 · factor(epoch), a linear or cosine factor from 1 to `lrf`. During the first `warmup` iterations
    each group's rate goes linearly from 0 (that of the biases from `warmup_bias_lr`) to that value, momentum from
    `warmup_momentum` to `momentum`, and the batches per optimizer step from 1 to `accumulate`, rounded. `epochs` may
    change during a run.
    """

    def __init__(
        self, options: OptimOptions, recipe: Recipe, *, batch: int, batches: int, rules: Rules = DEFAULT
    ) -> None:
        """For `batches` batches of `batch` images (all ranks together) per epoch.

        The warm-up takes at least 100 iterations. With the rule `auto_ignores_given`, `auto` warms momentum up to
        `options.momentum`, which then stays.
        """
        self.epochs, self.lr0, self.lrf, self.cosine = options.epochs, recipe.lr0, options.lrf, options.cos_lr
        self.warmup = max(round(options.warmup_epochs * batches), 100) if options.warmup_epochs > 0 else 0
        self.warmup_bias_lr, self.warmup_momentum = recipe.warmup_bias_lr, options.warmup_momentum
        self.momentum = options.momentum if rules.auto_ignores_given and self.warmup else recipe.momentum
        self.accumulate = options.nbs / batch

    def factor(self, epoch: int) -> float:
        """Share of lr0 in `epoch`: 1 in the first, towards lrf after the last."""
        done = epoch / self.epochs
        if self.cosine:
            return (1 - math.cos(math.pi * done)) / 2 * (self.lrf - 1) + 1
        return max(1 - done, 0.0) * (1 - self.lrf) + self.lrf

    def at(self, iteration: int, epoch: int) -> Rates:
        """The rates of the `iteration`-th batch since the start of training, which belongs to `epoch`."""
        lr = self.lr0 * self.factor(epoch)
        bias, weight = self._warm(iteration, self.warmup_bias_lr, lr), self._warm(iteration, 0.0, lr)
        return Rates(
            lr=(bias, weight, weight),
            momentum=self._warm(iteration, self.warmup_momentum, self.momentum),
            accumulate=max(round(self._warm(iteration, 1.0, self.accumulate)), 1),
        )

    def apply(self, optimizer: Optimizer, iteration: int, epoch: int) -> int:
        """Set the rates of one iteration; returns the number of batches per optimizer step at this point.

        The betas of the Adam family are not changed.
        """
        rates = self.at(iteration, epoch)
        for group, lr in zip(optimizer.param_groups, rates.lr, strict=True):
            group["lr"] = lr
            if "momentum" in group:
                group["momentum"] = rates.momentum
        return rates.accumulate

    def _warm(self, iteration: int, start: float, end: float) -> float:
        return end if iteration >= self.warmup else (end - start) / self.warmup * iteration + start


class Ema:
    """Exponential moving average of a model's weights and buffers, in `model`, which is validated and saved.

    The decay, `decay` · (1 − exp(−updates / `tau`)), grows with the updates, so that the average soon forgets
    the first weights. Integer buffers (counters) are copied.
    """

    def __init__(self, model: nn.Module, decay: float = 0.9999, tau: float = 2000.0) -> None:
        """Start from a copy of `model`, which must be the network itself, not a wrapper such as DDP."""
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.updates = 0
        self.decay = decay
        self.tau = tau

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards `model`; once after each optimizer step."""
        self.updates += 1
        decay = self.decay * (1 - math.exp(-self.updates / self.tau))
        averages, values = [], []
        for average, value in zip(_tensors(self.model), _tensors(model), strict=True):
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, values, 1 - decay)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
