"""Optimizers, the course of their rates over a run, and averaged weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from yolopose.config import TrainConfig
from yolopose.errors import PoseError, UsageError
from yolopose.rules import rules_of

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "SGD": torch.optim.SGD,
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
    "Adamax": torch.optim.Adamax,
    "NAdam": torch.optim.NAdam,
    "RAdam": torch.optim.RAdam,
    "RMSProp": torch.optim.RMSprop,
}
FUSED = ("SGD", "Adam", "AdamW")  # one pass over the weights: three to four times as fast on a CPU
LONG_RUN = 10_000  # optimizer steps from which `auto` prefers SGD
BETA2 = 0.999


@dataclass(frozen=True)
class Recipe:
    """An optimizer's settings with `auto` resolved; `weight_decay` is already scaled to the batch.

    A run keeps its recipe when it is resumed, also with another number of epochs.
    """

    name: str
    lr0: float
    momentum: float
    weight_decay: float
    warmup_bias_lr: float


def resolve(config: TrainConfig, *, images: int, batch: int, classes: int) -> Recipe:
    """The recipe for a run over `images` images in batches of `batch` (all ranks together).

    `auto` takes SGD with rate 0.01 when the run has more than LONG_RUN optimizer steps, ceil(images / max(batch, nbs))
    per epoch, and AdamW with rate 0.002 · 5 / (4 + classes) otherwise; momentum 0.9 and no raised rate for biases in
    either case. An lr0, momentum or warmup_bias_lr that the user gave is honoured, except with the rule
    `auto_ignores_given`. Weight decay is scaled by batch · accumulation / nbs.
    """
    decay = config.weight_decay * batch * accumulation(batch, config.nbs) / config.nbs
    if config.optimizer != "auto":
        return Recipe(config.optimizer, config.lr0, config.momentum, decay, config.warmup_bias_lr)
    steps = math.ceil(images / max(batch, config.nbs)) * config.epochs
    name, rate = ("SGD", 0.01) if steps > LONG_RUN else ("AdamW", round(0.002 * 5 / (4 + classes), 6))
    given = frozenset() if rules_of(config.compat).auto_ignores_given else config.given
    return Recipe(
        name=name,
        lr0=config.lr0 if "lr0" in given else rate,
        momentum=config.momentum if "momentum" in given else 0.9,
        weight_decay=decay,
        warmup_bias_lr=config.warmup_bias_lr if "warmup_bias_lr" in given else 0.0,
    )


def accumulation(batch: int, nbs: int) -> int:
    """Batches whose gradients make one optimizer step after the warm-up."""
    return max(round(nbs / batch), 1)


def parameter_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters as biases, decayed weights, and undecayed weights (the scales of norms)."""
    biases: list[nn.Parameter] = []
    weights: list[nn.Parameter] = []
    norms: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            group = biases if name.endswith("bias") else norms if parameter.ndim < 2 else weights
            group.append(parameter)
    return biases, weights, norms


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
    """What holds for one iteration: learning rate per parameter group, momentum, batches per optimizer step."""

    lr: tuple[float, float, float]
    momentum: float
    accumulate: int


@dataclass(frozen=True)
class Schedule:
    """Rates as a pure function of (iteration, epoch), both from 0: a resumed run needs no state of it.

    Rates follow lr0 · factor(epoch), a linear or `cosine` factor from 1 to `lrf`. During the first `warmup` iterations
    each group's rate goes linearly from 0 (that of the biases from `warmup_bias_lr`) to that value, momentum from
    `warmup_momentum` to `momentum`, and the batches per optimizer step from 1 to `accumulate`, rounded.
    """

    lr0: float
    lrf: float
    epochs: int
    cosine: bool
    momentum: float
    accumulate: float
    warmup: int
    warmup_momentum: float
    warmup_bias_lr: float

    @classmethod
    def of(cls, config: TrainConfig, recipe: Recipe, *, batch: int, batches: int) -> Schedule:
        """For `batches` batches of `batch` images (all ranks together) per epoch.

        A warm-up takes at least 100 iterations. With `auto_ignores_given`, `auto` warms momentum up to
        `config.momentum` instead of its own.
        """
        warmup = max(round(config.warmup_epochs * batches), 100) if config.warmup_epochs > 0 else 0
        return cls(
            lr0=recipe.lr0,
            lrf=config.lrf,
            epochs=config.epochs,
            cosine=config.cos_lr,
            momentum=config.momentum if rules_of(config.compat).auto_ignores_given and warmup else recipe.momentum,
            accumulate=config.nbs / batch,
            warmup=warmup,
            warmup_momentum=config.warmup_momentum,
            warmup_bias_lr=recipe.warmup_bias_lr,
        )

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
        """Set the rates of one iteration and give back how many batches make an optimizer step now.

        The loop steps once at least that many batches came since its last step. The betas of the Adam family stay.
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
    """Exponential moving average of a model's weights and buffers, in `model`: what is validated and saved.

    The decay, `decay` · (1 − exp(−updates / `tau`)), grows with the updates, so that early weights are soon forgotten.
    Whole-number buffers (counters) are copied.
    """

    def __init__(self, model: nn.Module, decay: float = 0.9999, tau: float = 2000.0) -> None:
        """Start from a copy of `model`, which must be the bare network, not a wrapper of it."""
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

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-identical resume needs."""
        return {"updates": self.updates, "model": self.model.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.updates = int(state["updates"])
        self.model.load_state_dict(state["model"])


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
