"""A training under way: what the loop works on, callbacks see and last.pt keeps."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from yolopose.config import TrainConfig
from yolopose.console import log
from yolopose.data.batch import Batch
from yolopose.data.labels import DataSpec, Scan
from yolopose.data.loader import Loader
from yolopose.evaluate.metrics import Metrics
from yolopose.nn.network import PoseNet
from yolopose.train.loss import PARTS, PoseLoss
from yolopose.train.optim import Ema, Schedule
from yolopose.train.ranks import Ranks


@dataclass
class Run:
    """The state of a run.

    `network` is what is trained, `model` what is called to train it (the network itself, compiled, or wrapped to share
    gradients with other ranks), `ema.model` the average that is validated and saved. `epoch` and `iteration` count from
    0 and stand for what is done next; `waiting` batches have left gradients since the optimizer's last step, also
    across epochs. `losses` are the epoch's means by part, `row` its line in results.csv, `validation` its metrics (None
    where there was no validation), `batch` the last batch on the device, `size` the (H, W) it went in at.
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
    batch: Batch | None = None
    size: tuple[int, int] = (0, 0)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.ranks.device

    @property
    def last(self) -> Path:
        """The checkpoint that the run can be resumed from."""
        return self.save_dir / "weights" / "last.pt"

    @property
    def best(self) -> Path:
        """The weights of the best epoch so far."""
        return self.save_dir / "weights" / "best.pt"

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
        """Take over the epoch's metrics: is it the best, and is it time to stop? Ties go to the later epoch."""
        metrics = self.validation
        self.fitness = metrics.fitness if metrics else 0.0
        self.metrics = metrics.results_dict if metrics else {}
        if self.fitness >= self.best_fitness:
            self.best_fitness, self.best_epoch = self.fitness, self.epoch
        late = self.epoch - self.best_epoch
        if 0 < self.args.patience <= late and self.epoch + 1 < self.epochs:
            log.info(f"no epoch better than {self.best_epoch + 1} in {late} (patience={self.args.patience}): stopping")
            self.stop = True
        rates = {f"lr/pg{i}": float(group["lr"]) for i, group in enumerate(self.optimizer.param_groups)}
        losses = {f"train/{name}_loss": value for name, value in self.losses.items()}
        validated = metrics.losses if metrics else {}
        self.row = {"epoch": self.epoch + 1, "time": self.elapsed, **losses, **self.metrics, **validated, **rates}

    def name_losses(self, parts: Tensor) -> dict[str, float]:
        """(5,) → by the names of the parts."""
        return dict(zip(PARTS, parts.tolist(), strict=True))
