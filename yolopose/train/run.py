"""The state of a training run: what the loop changes, callbacks see and last.pt keeps."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from yolopose.config import TrainConfig
from yolopose.console import log
from yolopose.data.batch import Batch
from yolopose.data.labels import Scan
from yolopose.data.loader import Loader
from yolopose.data.spec import DataSpec
from yolopose.evaluate.metrics import Metrics
from yolopose.evaluate.validator import Validator
from yolopose.loss.pose import PARTS, PoseLoss
from yolopose.nn.network import PoseNet
from yolopose.train.optim import Ema, Recipe, Schedule
from yolopose.train.ranks import Ranks


@dataclass
class Run:
    """The state of a run.

    `network` is what is trained, `model` what is called to train it (the network itself, compiled, or wrapped to share
    gradients with other ranks), `ema.model` the average that is validated and saved. `epoch` and `iteration` count from
    0 and stand for what is done next; `waiting` batches have left gradients since the optimizer's last step, also
    across epochs. `losses` are the epoch's means by part, `row` its line in results.csv, `validation` its metrics (None
    where there was no validation), `batch` the last batch on the device, `size` the (H, W) it went in at, `loss` and
    `parts` (5,) its loss and the parts of it on this rank, `sums` those of the epoch so far, over `batches`.

    Callbacks written for Ultralytics 8.3 find its names: `loss_items`, `tloss`, `lr`, `metrics`, `validator` and so on.
    They may set `stop`.
    """

    args: TrainConfig
    data: DataSpec
    save_dir: Path
    ranks: Ranks
    loader: Loader
    network: PoseNet
    model: nn.Module
    criterion: PoseLoss
    ema: Ema
    recipe: Recipe
    optimizer: Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    dtype: torch.dtype | None  # of autocast; None computes in float32
    batch_size: int  # images per iteration, all ranks together
    validation_set: Scan | None  # on the first rank
    epochs: int
    epoch: int = 0
    iteration: int = 0
    waiting: int = 0
    clock: float = field(default_factory=time.perf_counter)  # when it started, earlier sessions included
    best_fitness: float = 0.0
    best_epoch: int = 0
    fitness: float = 0.0
    stop: bool = False
    losses: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    row: dict[str, float] = field(default_factory=dict)
    validation: Metrics | None = None
    validator: Validator | None = None
    start_epoch: int = 0
    batch: Batch | None = None
    size: tuple[int, int] = (0, 0)
    loss: Tensor = field(default_factory=partial(torch.zeros, ()))
    parts: Tensor = field(default_factory=partial(torch.zeros, len(PARTS)))
    sums: Tensor = field(default_factory=partial(torch.zeros, len(PARTS)))
    batches: int = 0

    loss_names = tuple(f"{part}_loss" for part in PARTS)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.ranks.device

    @property
    def loss_items(self) -> Tensor:
        """(5,) the parts of the last batch's loss, by `loss_names`; of all ranks together if they are alike."""
        return self.parts * self.ranks.world

    @property
    def tloss(self) -> Tensor:
        """(5,) the mean of `loss_items` over the epoch so far."""
        return self.sums * self.ranks.world / max(self.batches, 1)

    @property
    def lr(self) -> dict[str, float]:
        """The rates of the parameter groups, by their names in results.csv."""
        return {f"lr/pg{i}": float(group["lr"]) for i, group in enumerate(self.optimizer.param_groups)}

    @property
    def amp(self) -> bool:
        """Whether convolutions compute in mixed precision."""
        return self.dtype is not None

    @property
    def world_size(self) -> int:
        """How many processes train together."""
        return self.ranks.world

    @property
    def train_loader(self) -> Loader:
        """The training batches."""
        return self.loader

    @property
    def wdir(self) -> Path:
        """The folder of the checkpoints."""
        return self.save_dir / "weights"

    @property
    def last(self) -> Path:
        """The checkpoint that the run can be resumed from."""
        return self.wdir / "last.pt"

    @property
    def best(self) -> Path:
        """The weights of the best epoch so far."""
        return self.wdir / "best.pt"

    @property
    def csv(self) -> Path:
        """A row per epoch."""
        return self.save_dir / "results.csv"

    @property
    def closing(self) -> bool:
        """Whether this epoch is one of the last, without mosaic."""
        return self.args.close_mosaic > 0 and self.epoch >= self.epochs - self.args.close_mosaic

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, earlier sessions included."""
        return time.perf_counter() - self.clock

    @elapsed.setter
    def elapsed(self, seconds: float) -> None:
        self.clock = time.perf_counter() - seconds

    def replan(self, epochs: int) -> None:
        """Change the number of epochs, and the schedule with it."""
        self.epochs = epochs
        self.schedule = replace(self.schedule, epochs=epochs)

    def judge(self) -> None:
        """Take over the epoch's metrics: is it the best, and is it time to stop? Ties go to the later epoch.

        An epoch without validation is no reason to stop, and no better than one with.
        """
        metrics = self.validation
        self.fitness = metrics.fitness if metrics else 0.0
        self.metrics = metrics.results_dict | metrics.losses if metrics else {}
        if self.fitness >= self.best_fitness:
            self.best_fitness, self.best_epoch = self.fitness, self.epoch
        late = self.epoch - self.best_epoch
        if metrics and 0 < self.args.patience <= late and self.epoch + 1 < self.epochs:
            log.info(f"no epoch better than {self.best_epoch + 1} in {late} (patience={self.args.patience}): stopping")
            self.stop = True
        losses = self.label_loss_items(self.losses.values())
        self.row = {"epoch": self.epoch + 1, "time": self.elapsed, **losses, **self.metrics, **self.lr}

    def name_losses(self, parts: Tensor) -> dict[str, float]:
        """(5,) → by the names of the parts."""
        return dict(zip(PARTS, parts.tolist(), strict=True))

    def label_loss_items(self, loss_items: Iterable[float] | None = None, prefix: str = "train") -> Any:
        """Five numbers by their names in results.csv; without them the names alone."""
        keys = [f"{prefix}/{name}" for name in self.loss_names]
        return keys if loss_items is None else dict(zip(keys, map(float, loss_items), strict=True))
