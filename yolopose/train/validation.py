"""Validation during training and at its end, by the evaluator of `val`."""

from __future__ import annotations

from yolopose.callbacks import Hooks
from yolopose.checkpoint import build_network, load_checkpoint
from yolopose.config import ValConfig
from yolopose.console import log
from yolopose.evaluate.metrics import Metrics
from yolopose.evaluate.validate import validate
from yolopose.formats.base import OpenOptions
from yolopose.formats.pytorch import TorchBackend
from yolopose.train.run import Run


def validate_epoch(run: Run, hooks: Hooks) -> Metrics:
    """The averaged weights on the validation images, with losses."""
    backend = TorchBackend(run.ema.model, _options(run))  # type: ignore[arg-type]  # a copy of run.network
    assert run.validation_set is not None
    config = val_config(run, plots=False)
    return validate(backend, run.validation_set, config, criterion=run.criterion, hooks=hooks, trainer=run)


def validate_best(run: Run, hooks: Hooks) -> Metrics:
    """Validate best.pt as loaded from disk, with all plots."""
    log.info(f"Validating {run.best}")
    backend = TorchBackend(build_network(load_checkpoint(run.best)), _options(run), shared=False)
    assert run.validation_set is not None
    config = val_config(run, plots=run.args.plots)
    return validate(backend, run.validation_set, config, folder=run.save_dir, hooks=hooks, trainer=run)


def val_config(run: Run, *, plots: bool) -> ValConfig:
    """The arguments of val that belong to those of the training."""
    args = run.args
    return ValConfig(
        data=args.data,
        split=args.split,
        imgsz=args.side,
        batch=max(2 * run.batch_size // run.ranks.world, 1),
        workers=args.workers,
        iou=args.iou,
        max_det=args.max_det,
        single_cls=args.single_cls,
        classes=args.classes,
        compat=args.compat,
        plots=plots,
    )


def _options(run: Run) -> OpenOptions:
    """The device of the run, in bfloat16 where the training is."""
    import torch

    return OpenOptions(device=str(run.device), bf16=run.dtype == torch.bfloat16)
