"""Training: the loop over epochs and batches, with the step in the open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from yolopose.callbacks import Callbacks, Hooks
from yolopose.config import TrainConfig, replace, to_dict
from yolopose.console import log
from yolopose.data.batch import Batch
from yolopose.data.sampler import generator
from yolopose.errors import PoseError
from yolopose.evaluate.metrics import Metrics
from yolopose.loss.pose import PARTS
from yolopose.nn.head import Maps
from yolopose.nn.network import PoseNet
from yolopose.rules import rules_of
from yolopose.train import pictures, report, state
from yolopose.train.begin import begin
from yolopose.train.loggers import Logger, check_loggers, open_loggers
from yolopose.train.ranks import joined
from yolopose.train.run import Run
from yolopose.train.setup import describe_sigmas, kernels, memory_format
from yolopose.train.termination import terminable
from yolopose.train.validation import validate_best, validate_epoch

MAX_NORM = 10.0  # of the gradient, beyond which it is scaled down
SIZES = (0.5, 1.5)  # of imgsz, for multi_scale
SCALING = 2  # the purpose of its random numbers, beside those in data.sampler


@dataclass(frozen=True)
class Outcome:
    """Where a run is and what came of it; `metrics` are those of the best weights.

    `network` holds the averaged weights of the end: with `save=False` they are all there is, and `metrics` are theirs.
    Only with `args.save` are `best` and `last` this run's.
    """

    save_dir: Path
    best: Path
    last: Path
    metrics: Metrics | None
    network: PoseNet
    args: TrainConfig


def train(
    config: TrainConfig, base: PoseNet | None = None, *, pretrained: bool = True, callbacks: Callbacks | None = None
) -> Outcome:
    """Train a network like `base` (see `setup.prepare`), or with `resume` go on with a run that was interrupted.

    Every iteration is a pure function of the state in last.pt, and of (seed, epoch, batch): an interrupted run ends in
    the same weights as an unbroken one on the same machine.

    Args:
        config: the arguments.
        base: the architecture, and the weights to start from; it stays as it is. Not needed to resume.
        pretrained: whether the weights of `base` are more than random.
        callbacks: functions of one argument by the names in `callbacks.EVENTS`: a `Run`, at on_val_* a `Validator`.

    Raises:
        PoseError: the data set and the network do not match; a file or device is missing; the loss is not finite;
            another rank died.
        UsageError: arguments that do not go together.
    """
    hooks = Hooks(callbacks)
    check_loggers(config.loggers or ())
    config, checkpoint = state.reopen(config) if config.resume else (config, None)
    if base is not None and config.imgsz is None:
        config = replace(config, imgsz=max(base.info.input_size(None)))
    with joined(config) as ranks, kernels(config.deterministic), terminable(), ExitStack() as stack:
        run = begin(config, checkpoint or base, ranks, pretrained, stack)
        hooks("on_pretrain_routine_start", run)
        stack.callback(hooks, "teardown", run)
        stack.callback(run.loader.close)
        introduce(run)
        if ranks.main:
            report.truncate(run.csv, run.epoch)
            if config.save:
                state.save_last(run, run.epoch)  # a kill in the first epoch can be resumed, too
            if run.args.plots and checkpoint is None:
                pictures.draw_labels(run)
        loggers = open_loggers(config.loggers or (), to_dict(config), run.save_dir) if ranks.main else []
        for logger in loggers:
            stack.callback(logger.close)
        hooks("on_pretrain_routine_end", run)
        hooks("on_train_start", run)
        while run.epoch < run.epochs and not run.stop:
            train_epoch(run, hooks)
            finish_epoch(run, hooks, loggers)
        return conclude(run, hooks)


def train_epoch(run: Run, hooks: Hooks) -> None:
    """One pass over the training images."""
    hooks("on_train_epoch_start", run)
    run.loader.dataset.set_epoch(run.epoch, run.closing)
    set_training(run)
    run.sums, run.batches = torch.zeros(len(PARTS), device=run.device), 0
    watch = Watch()
    log.info("\n" + report.header())
    with report.epoch_line(len(run.loader), run.ranks.main) as show:
        for index, batch in enumerate(run.loader):
            hooks("on_train_batch_start", run)
            accumulate = run.schedule.apply(run.optimizer, run.iteration, run.epoch)
            run.batch = batch = batch.to(run.device, non_blocking=True)
            images = resized(as_input(batch.images, run.args), run, index)
            run.size = (images.shape[2], images.shape[3])
            maps = forward(run, images)
            run.loss, run.parts = run.criterion(maps, batch)
            watch(run.loss, batch)
            run.scaler.scale(run.loss).backward()  # type: ignore[no-untyped-call]
            run.loss = run.loss.detach()
            run.sums, run.batches = run.sums + run.parts, index + 1
            pictures.keep_batch(run, index)
            run.iteration, run.waiting = run.iteration + 1, run.waiting + 1
            if run.waiting >= accumulate:
                optimizer_step(run, hooks)
            show(index + 1, partial(report.progress, run, run.tloss))
            hooks("on_train_batch_end", run)
            if run.args.time and run.ranks.agree(run.elapsed > run.args.time * 3600):
                run.stop = True
                break
        watch.settle()
        run.sums = run.ranks.sum(run.sums) / run.ranks.world  # the ranks' parts add up
        show(index + 1, partial(report.progress, run, run.tloss))
    run.losses = run.name_losses(run.tloss)
    hooks("on_train_epoch_end", run)


def forward(run: Run, images: Tensor) -> Maps:
    """The raw maps of a batch.

    Raises:
        PoseError: a map has one place and the batch one image: nothing to take batch statistics of.
    """
    try:
        with torch.autocast(run.device.type, dtype=run.dtype, enabled=run.dtype is not None):
            return cast(Maps, run.model(images))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        (count, _, height, width), side = images.shape, run.network.info.stride
        raise PoseError(
            f"imgsz={run.args.side}, batch={run.batch_size}: {count} image of {height} x {width} at stride {side} has "
            "no batch statistics; enlarge imgsz, or choose another batch, so that no batch of a single image is left"
        ) from None


def optimizer_step(run: Run, hooks: Hooks) -> None:
    """Change the weights by the gradients that wait, and let the average follow."""
    run.scaler.unscale_(run.optimizer)
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), MAX_NORM)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    hooks("on_params_update", run)
    hooks("on_before_zero_grad", run)
    run.optimizer.zero_grad()
    run.ema.update(run.network)
    run.waiting = 0
    hooks("optimizer_step", run)


def finish_epoch(run: Run, hooks: Hooks, loggers: Sequence[Logger]) -> None:
    """Validate, decide whether to go on, and write: first results.csv, then best.pt, then last.pt."""
    if run.args.time:
        run.replan(max(math.ceil(run.args.time * 3600 / run.elapsed * (run.epoch + 1)), run.epoch + 1))
    if run.ranks.main:
        final = run.stop or run.epoch + 1 >= run.epochs
        run.validation = validate_epoch(run, hooks) if run.args.val or final else None
        run.judge()
        report.append(run.csv, run.row)
        for logger in loggers:
            logger.log(run.row, run.epoch + 1)
        if run.args.save:
            save(run, hooks)
        hooks("on_fit_epoch_end", run)
    run.stop, epochs = run.ranks.agree([run.stop, run.epochs])
    run.replan(epochs)
    run.epoch += 1


def save(run: Run, hooks: Hooks) -> None:
    """Write the checkpoints of an epoch that is complete."""
    if run.best_epoch == run.epoch:
        state.save_best(run)
    if run.args.save_period > 0 and (run.epoch + 1) % run.args.save_period == 0:
        state.save_last(run, run.epoch + 1, run.last.with_name(f"epoch{run.epoch + 1}.pt"))
    state.save_last(run, run.epoch + 1)
    hooks("on_model_save", run)


def conclude(run: Run, hooks: Hooks) -> Outcome:
    """Validate the best weights, draw the curves, and reduce the checkpoints to what is needed to use them."""
    metrics = run.validation
    if run.ranks.main:
        log.info(f"\n{run.epoch} epochs completed in {run.elapsed / 3600:.3f} hours.")
        if run.args.plots:
            pictures.draw_results(run)
        if run.args.save:
            metrics = validate_best(run, hooks)
            state.strip(run.last)  # last: only now the run cannot be resumed any more
        else:
            log.info(f"Results saved to {run.save_dir}")
        if metrics is not None and metrics.fitness == 0:
            log.info("mAP is 0: nothing found is right yet; more epochs, more images or a trained model (.pt) help")
    hooks("on_train_end", run)
    return Outcome(run.save_dir, run.best, run.last, metrics, cast(PoseNet, run.ema.model), run.args)


class Watch:
    """Stops the run at a loss that is not finite; looks one batch late, so that nobody waits for a GPU."""

    def __init__(self) -> None:
        self._last: tuple[Tensor, Batch] | None = None

    def __call__(self, loss: Tensor, batch: Batch) -> None:
        """Judge the batch before, keep this one."""
        self.settle()
        self._last = loss.detach(), batch

    def settle(self) -> None:
        """Judge the batch kept. Raises PoseError that names its images."""
        if self._last is not None and not torch.isfinite(self._last[0]):
            loss, batch = self._last
            raise PoseError(
                f"the loss is {loss.item()} on the images {', '.join(batch.paths)}; "
                "look at their labels (yolo pose doctor), or lower lr0, or try amp=False"
            )


def set_training(run: Run) -> None:
    """Training mode; frozen layers keep their batch statistics, unless Ultralytics 8.3's ways are asked for."""
    run.model.train()
    if not rules_of(run.args.compat).moving_statistics:
        for layer in run.network.model:
            if not any(p.requires_grad for p in layer.parameters()):
                layer.eval()


def as_input(images: Tensor, config: TrainConfig) -> Tensor:
    """(B, 3, H, W) uint8 → float32 from 0 to 1, in the memory layout of the network."""
    return images.contiguous(memory_format=memory_format(config)).float().div_(255)


def resized(images: Tensor, run: Run, index: int) -> Tensor:
    """With `multi_scale`, the images at a size that is a pure function of (seed, epoch, batch)."""
    if not run.args.multi_scale:
        return images
    stride, side = run.network.info.stride, run.args.side
    low, high = (max(round(share * side / stride), 1) for share in SIZES)
    rng = generator(run.args.seed, SCALING, run.epoch, index)
    gain = int(rng.integers(low, high + 1)) * stride / max(images.shape[2:])
    hw = [max(round(n * gain / stride), 1) * stride for n in images.shape[2:]]
    return F.interpolate(images, size=hw, mode="bilinear", align_corners=False)


def introduce(run: Run) -> None:
    """What the run is about to do."""
    log.info(describe_sigmas(tuple(run.criterion.sigmas.tolist()), run.data.given_sigmas, run.args.compat))
    log.info(f"Image sizes {run.args.side} train, {run.args.side} val")
    log.info(f"Using {run.loader.workers} dataloader workers")
    log.info(f"Logging results to {run.save_dir}")
    if run.args.close_mosaic >= run.epochs and (run.args.mosaic or run.args.mixup):
        log.info(f"close_mosaic={run.args.close_mosaic}: a run of {run.epochs} epochs has neither mosaic nor mixup")
    if run.epoch:
        log.info(f"Resuming after epoch {run.epoch} of {run.epochs}")
    else:
        log.info(f"Starting training for {run.epochs} epochs...")
