"""Training: the loop over epochs and batches, with the training step in full."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from yolopose.callbacks import Callbacks, Hooks
from yolopose.checkpoint import build_network, load_checkpoint, save_checkpoint
from yolopose.config import TrainConfig, ValConfig, to_dict
from yolopose.console import log, progress
from yolopose.data.batch import Batch
from yolopose.data.sampler import generator
from yolopose.errors import PoseError
from yolopose.evaluate.metrics import Metrics
from yolopose.evaluate.validate import validate
from yolopose.formats.base import OpenOptions
from yolopose.formats.pytorch import TorchBackend
from yolopose.loss.pose import LOSS_PARTS
from yolopose.nn.head import Maps
from yolopose.nn.network import PoseNet
from yolopose.termination import terminable
from yolopose.train import checkpointing, reporting
from yolopose.train.build import build_run
from yolopose.train.device import deterministic_kernels
from yolopose.train.distributed import init_distributed
from yolopose.train.loggers import GuardedLogger, check_loggers, open_loggers
from yolopose.train.run import TrainingRun

MAX_NORM = 10.0  # of the gradient; larger ones are scaled down to it
SIZES = (0.5, 1.5)  # of imgsz, for multi_scale
SIZE_STREAM = 2  # the random stream of multi_scale; data.sampler has the others


@dataclass(frozen=True)
class Outcome:
    """The result of a training: its folder, checkpoints, averaged weights, and the metrics of the best weights.

    `network` holds the averaged weights of the last epoch. With `save=False` there are no checkpoints, and `metrics`
    are those of `network`.
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
    """Train a network, or resume an interrupted run with `config.resume`.

    Every iteration is a pure function of the state in last.pt and of (seed, epoch, batch): on the same machine a
    resumed run ends with the same weights as an uninterrupted one.

    Args:
        config: the arguments.
        base: the architecture, and the weights to start from; not changed, and not needed to resume.
        pretrained: False when the weights of `base` are random.
        callbacks: functions by the names in `callbacks.EVENTS`; they get the `TrainingRun`, at on_val_* a `Validator`.

    Raises:
        PoseError: the data set and the network do not match; a file or device is missing; the loss is not finite;
            another rank died.
        UsageError: arguments that do not go together.
    """
    hooks = Hooks(callbacks)
    check_loggers(config.loggers or ())
    config, checkpoint = checkpointing.load_for_resume(config) if config.resume else (config, None)
    if base is not None and config.imgsz is None:
        config = replace(config, imgsz=max(base.info.input_size(None)))
    given = {name: value for name, value in to_dict(config).items() if name in config.given}
    with (
        init_distributed(config.device, given) as ranks,
        deterministic_kernels(config.deterministic),
        terminable("the run goes on from its last complete epoch with resume=True"),
        ExitStack() as stack,
    ):
        run = build_run(config, checkpoint or base, ranks, stack, pretrained=pretrained)
        hooks("on_pretrain_routine_start", run)
        stack.callback(hooks, "teardown", run)
        stack.callback(run.loader.close)
        reporting.log_start(run)
        loggers: list[GuardedLogger] = []
        if ranks.main:
            reporting.truncate_results(run.csv, run.epoch)
            if config.save:
                checkpointing.save_state(run, run.epoch, run.last)  # to resume a run that is killed in its first epoch
            if run.args.plots and checkpoint is None:
                reporting.draw_labels(run)
            loggers = open_loggers(config.loggers or (), to_dict(config), run.save_dir)
        for logger in loggers:
            stack.callback(logger.close)
        hooks("on_pretrain_routine_end", run)
        hooks("on_train_start", run)
        while run.epoch < run.epochs and not run.stop:
            train_epoch(run, hooks)
            finish_epoch(run, hooks, loggers)
        return finish(run, hooks)


def train_epoch(run: TrainingRun, hooks: Hooks) -> None:
    """Train on every image once."""
    hooks("on_train_epoch_start", run)
    run.loader.dataset.set_epoch(run.epoch, run.mosaic_closed)
    set_training_mode(run)
    run.sums, run.batches = torch.zeros(len(LOSS_PARTS), device=run.device), 0
    unchecked: tuple[Tensor, Batch] | None = None  # the last loss is checked one batch later: no waiting for the GPU
    log.info("\n" + reporting.table_row(reporting.TITLES))
    with progress(run.ranks.main, least=1) as show:
        for index, batch in enumerate(run.loader):
            hooks("on_train_batch_start", run)
            accumulate = run.schedule.apply(run.optimizer, run.iteration, run.epoch)
            if run.teacher is not None:
                batch = run.teacher.complete(batch)
            run.batch = batch = batch.to(run.device, non_blocking=True)
            images = batch.images.contiguous(memory_format=run.memory_format).float().div_(255)  # (B, 3, H, W), 0 to 1
            if run.args.multi_scale:
                images = resized(images, run, index)
            run.size = (images.shape[2], images.shape[3])
            maps = forward(run, images)
            run.loss, run.parts = run.criterion(maps, batch)
            check_finite(unchecked)
            run.scaler.scale(run.loss).backward()  # type: ignore[no-untyped-call]
            run.loss = run.loss.detach()
            unchecked = run.loss, batch
            run.sums, run.batches = run.sums + run.parts, index + 1
            reporting.draw_batch(run, index)
            run.iteration, run.accumulated = run.iteration + 1, run.accumulated + 1
            if run.accumulated >= accumulate:
                optimizer_step(run, hooks)
            show(index + 1, len(run.loader), partial(reporting.epoch_row, run))
            hooks("on_train_batch_end", run)
            if run.args.time and run.ranks.broadcast(run.elapsed > run.args.time * 3600):
                run.stop = True
                break
        check_finite(unchecked)
        run.sums = run.ranks.sum(run.sums) / run.ranks.world  # the ranks' parts add up
    if run.ranks.main:
        log.info(reporting.epoch_row(run))
    run.losses = dict(zip(LOSS_PARTS, run.tloss.tolist(), strict=True))
    hooks("on_train_epoch_end", run)


def forward(run: TrainingRun, images: Tensor) -> Maps:
    """The raw maps of a batch.

    Raises:
        PoseError: the batch has one image and a map has one place, which gives no batch statistics.
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


def optimizer_step(run: TrainingRun, hooks: Hooks) -> None:
    """Update the weights with the accumulated gradients, then the average of the weights."""
    run.scaler.unscale_(run.optimizer)
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), MAX_NORM)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    hooks("on_params_update", run)
    hooks("on_before_zero_grad", run)
    run.optimizer.zero_grad()
    run.ema.update(run.network)
    run.accumulated = 0
    hooks("optimizer_step", run)


def set_training_mode(run: TrainingRun) -> None:
    """Training mode; frozen layers keep their batch statistics, except with the rule `moving_statistics`."""
    run.model.train()
    if not run.rules.moving_statistics:
        for layer in run.network.model:
            if not any(p.requires_grad for p in layer.parameters()):
                layer.eval()


def resized(images: Tensor, run: TrainingRun, index: int) -> Tensor:
    """The images at a size for `multi_scale` that is a pure function of (seed, epoch, batch)."""
    stride, side = run.network.info.stride, run.args.side
    low, high = (max(round(share * side / stride), 1) for share in SIZES)
    rng = generator(run.args.seed, SIZE_STREAM, run.epoch, index)
    gain = int(rng.integers(low, high + 1)) * stride / max(images.shape[2:])
    hw = [max(round(n * gain / stride), 1) * stride for n in images.shape[2:]]
    return F.interpolate(images, size=hw, mode="bilinear", align_corners=False)


def check_finite(last: tuple[Tensor, Batch] | None) -> None:
    """Raise PoseError with the names of the images when the loss of a batch is not finite."""
    if last is not None and not torch.isfinite(last[0]):
        raise PoseError(
            f"the loss is {last[0].item()} on the images {', '.join(last[1].paths)}; "
            "look at their labels (yolo pose doctor), or lower lr0, or try amp=False"
        )


def finish_epoch(run: TrainingRun, hooks: Hooks, loggers: Sequence[GuardedLogger]) -> None:
    """Validate, decide whether to stop, and write first results.csv, then best.pt, then last.pt."""
    args, done = run.args, run.epoch + 1
    if args.time:
        run.set_epochs(max(math.ceil(args.time * 3600 / run.elapsed * done), done))
    if run.ranks.main:
        final = run.stop or done >= run.epochs
        run.validation = validate_weights(run, cast(PoseNet, run.ema.model), hooks) if args.val or final else None
        run.update_best()
        reporting.append_results(run.csv, run.row)
        for logger in loggers:
            logger.log(run.row, done)
        if args.save:
            if run.best_epoch == run.epoch:
                save_checkpoint(run.best, checkpointing.averaged(run, run.epoch), half=True)
            if args.save_period > 0 and done % args.save_period == 0:
                checkpointing.save_state(run, done, run.wdir / f"epoch{done}.pt")
            checkpointing.save_state(run, done, run.last)
            hooks("on_model_save", run)
        hooks("on_fit_epoch_end", run)
    run.stop, epochs = run.ranks.broadcast([run.stop, run.epochs])
    run.set_epochs(epochs)
    run.epoch += 1


def validate_weights(run: TrainingRun, network: PoseNet, hooks: Hooks, *, best: bool = False) -> Metrics:
    """Validate a network on the validation set: after an epoch with losses, or the `best` one with plots."""
    args = run.args
    assert run.validation_set is not None
    options = OpenOptions(device=str(run.device), bf16=run.dtype == torch.bfloat16)
    config = ValConfig(
        data=args.data, split=args.split, imgsz=args.side, batch=max(2 * run.batch_size // run.ranks.world, 1),
        workers=args.workers, iou=args.iou, max_det=args.max_det, single_cls=args.single_cls, classes=args.classes,
        compat=args.compat, plots=args.plots and best,
    )  # fmt: skip
    return validate(
        TorchBackend(network, options, shared=not best),
        run.validation_set,
        config,
        criterion=None if best else run.criterion,
        folder=run.save_dir if best else None,
        hooks=hooks,
        trainer=run,
    )


def finish(run: TrainingRun, hooks: Hooks) -> Outcome:
    """Validate the best weights, plot the results, and reduce last.pt to half-precision weights."""
    metrics = run.validation
    if run.ranks.main:
        log.info(f"\n{run.epoch} epochs completed in {run.elapsed / 3600:.3f} hours.")
        if run.args.plots:
            reporting.draw_results(run)
        if run.args.save:
            log.info(f"Validating {run.best}")
            metrics = validate_weights(run, build_network(load_checkpoint(run.best)), hooks, best=True)
            checkpointing.strip(run.last)  # last of all: from here on the run cannot be resumed
        else:
            log.info(f"Results saved to {run.save_dir}")
        if metrics is not None and metrics.fitness == 0:
            log.info("mAP is 0: nothing found is right yet; more epochs, more images or a trained model (.pt) help")
    hooks("on_train_end", run)
    return Outcome(run.save_dir, run.best, run.last, metrics, cast(PoseNet, run.ema.model), run.args)
