"""The state of a training run: what the loop changes, callbacks see and last.pt stores."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
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
from yolopose.loss.pose import LOSS_PARTS, PoseLoss
from yolopose.nn.network import PoseNet
from yolopose.rules import Rules
from yolopose.train.distributed import Ranks
from yolopose.train.optim import Ema, Recipe, Schedule
from yolopose.train.teacher import Teacher

LOSS_NAMES = tuple(f"{part}_loss" for part in LOSS_PARTS)


@dataclass
class TrainingRun:
    """The state of a training run; callbacks get this object.

    - `network` is the network that is trained; `model` is what is called: the network itself, compiled, or wrapped in
      DistributedDataParallel; `ema.model` is the average that is validated and saved.
    - `epoch` and `iteration` count from 0 and name the next one; `accumulated` is the number of batches whose
      gradients have been added up since the optimizer's last step, also across epochs.
    - `batch` is the last batch on the device, `size` the (H, W) at which it was trained, `loss` its loss, and `parts`
      (5,) the parts of that loss on this rank. `sums` (5,) are the parts added up over the `batches` of this epoch.
    - `losses` are the epoch's mean losses by part, `row` its line in results.csv, `validation` its metrics (None
      without validation).

    Callbacks written for Ultralytics 8.3 find its names: `loss_items`, `tloss`, `lr`, `metrics`, `validator` and so on.
    They may set `stop`.
    """

    args: TrainConfig
    rules: Rules
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
    memory_format: torch.memory_format  # of images and weights
    batch_size: int  # images per iteration, all ranks together
    validation_set: Scan | None  # on the first rank
    epochs: int
    teacher: Teacher | None = None
    epoch: int = 0
    iteration: int = 0
    accumulated: int = 0
    started: float = field(default_factory=time.perf_counter)  # less the seconds before a resume
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
    parts: Tensor = field(default_factory=partial(torch.zeros, len(LOSS_PARTS)))
    sums: Tensor = field(default_factory=partial(torch.zeros, len(LOSS_PARTS)))
    batches: int = 0

    loss_names = LOSS_NAMES

    def __post_init__(self) -> None:
        self.device = self.ranks.device
        self.world_size = self.ranks.world
        self.train_loader = self.loader
        self.amp = self.dtype is not None  # mixed precision
        self.csv = self.save_dir / "results.csv"
        self.wdir = self.save_dir / "weights"
        self.last = self.wdir / "last.pt"  # to resume from
        self.best = self.wdir / "best.pt"

    @property
    def loss_items(self) -> Tensor:
        """(5,) the parts of the last batch's loss, by `loss_names`; with several ranks this rank's, scaled to all."""
        return self.parts * self.ranks.world

    @property
    def tloss(self) -> Tensor:
        """(5,) the mean of `loss_items` over the epoch so far."""
        return self.sums * self.ranks.world / max(self.batches, 1)

    @property
    def lr(self) -> dict[str, float]:
        """The learning rates of the parameter groups, by their names in results.csv."""
        return {f"lr/pg{i}": float(group["lr"]) for i, group in enumerate(self.optimizer.param_groups)}

    @property
    def mosaic_closed(self) -> bool:
        """Whether this epoch is one of the last `close_mosaic`, which have no mosaic."""
        return self.args.close_mosaic > 0 and self.epoch >= self.epochs - self.args.close_mosaic

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, including earlier sessions of a resumed run."""
        return time.perf_counter() - self.started

    @elapsed.setter
    def elapsed(self, seconds: float) -> None:
        self.started = time.perf_counter() - seconds

    def set_epochs(self, epochs: int) -> None:
        """Change the number of epochs, and the schedule with it."""
        self.epochs = self.schedule.epochs = epochs

    def update_best(self) -> None:
        """Set the epoch's metrics and `row`, update the best epoch, and set `stop` when patience is exhausted.

        Of equally good epochs the later one is the best. An epoch without validation counts as fitness 0 and does not
        stop the run.
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

    def label_loss_items(self, loss_items: Iterable[float] | None = None, prefix: str = "train") -> Any:
        """The five loss parts by their names in results.csv; without `loss_items` the list of these names."""
        keys = [f"{prefix}/{name}" for name in LOSS_NAMES]
        return keys if loss_items is None else dict(zip(keys, map(float, loss_items), strict=True))
