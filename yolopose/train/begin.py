"""Build a training run from its arguments, or restore one from a checkpoint."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import torch
import yaml
from torch import nn

from yolopose.checkpoint import Checkpoint, build_network
from yolopose.config import TrainConfig, pick, replace, to_dict
from yolopose.console import log
from yolopose.data.augment import AugmentOptions
from yolopose.data.dataset import PoseDataset, SampleOptions
from yolopose.data.labels import Scan, scan
from yolopose.data.loader import Loader
from yolopose.data.spec import DataSpec, load_data
from yolopose.errors import PoseError, UsageError
from yolopose.files import write_text
from yolopose.geometry.keypoints import fixed_sigmas
from yolopose.locks import file_lock
from yolopose.loss.pose import Gains, PoseLoss
from yolopose.nn.network import PoseNet
from yolopose.nn.summary import summary
from yolopose.plots.figure import can_plot
from yolopose.resources import processors
from yolopose.rules import rules_of
from yolopose.saving import run_folder
from yolopose.train import state
from yolopose.train.optim import Ema, Recipe, Schedule, build_optimizer, parameter_groups, resolve
from yolopose.train.ranks import Ranks
from yolopose.train.run import Run
from yolopose.train.setup import autocast_type, batch_size, class_names, freeze, memory_format, prepare


def begin(
    config: TrainConfig, source: Checkpoint | PoseNet | None, ranks: Ranks, pretrained: bool, stack: ExitStack
) -> Run:
    """Everything that a run needs, in its folder: a new run from a network, or that of a checkpoint continued.

    The folder is this run's alone until `stack` unwinds.

    Raises:
        PoseError: the data set and the network do not match.
        UsageError: there is nothing to train, or arguments do not go together.
    """
    if source is None:
        raise UsageError("nothing to train: name a model, or resume=True")
    if not config.data:
        raise UsageError("data is missing: name the YAML of a data set, as in data=coco8-pose.yaml")
    if config.plots and ranks.main and not can_plot():
        config = replace(config, plots=False)
    data = _data(config, ranks)
    checkpoint = source if isinstance(source, Checkpoint) else None
    network = (
        build_network(source)
        if isinstance(source, Checkpoint)
        else prepare(source, data, config, pretrained=pretrained)
    )
    _check(network, data, config)
    network.head.dfl.requires_grad_(False)
    network = network.to(ranks.device).to(memory_format=memory_format(config))  # type: ignore[call-overload]
    freeze(network, config.freeze)
    dtype = autocast_type(config, network, ranks.device)
    samples = pick(
        SampleOptions, config, imgsz=config.side, stride=network.info.stride, augment=pick(AugmentOptions, config),
        rules=rules_of(config.compat),
    )  # fmt: skip
    dataset = PoseDataset(_scan(config, data, "train"), samples)
    size = batch_size(config, network, ranks, dtype, images=len(dataset))
    if ranks.main:
        log.info(summary(network, config.side, table=config.verbose and checkpoint is None))
    loader = _loader(config, dataset, ranks, size)
    if ranks.world > 1 and ranks.device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    if checkpoint is not None:
        recipe = Recipe(**checkpoint.extra["train_state"]["recipe"])
    else:
        recipe = resolve(config, images=len(dataset), batch=size, classes=len(network.info.names))
    optimizer = build_optimizer(network, recipe)
    _tell_optimizer(network, recipe)
    run = Run(
        args=config,
        data=data,
        save_dir=_folder(config, ranks, checkpoint, stack),
        ranks=ranks,
        loader=loader,
        network=network,
        model=network,
        criterion=criterion_of(config, network, ranks),
        ema=Ema(network),
        recipe=recipe,
        optimizer=optimizer,
        schedule=Schedule.of(config, recipe, batch=size, batches=len(loader)),
        scaler=torch.amp.GradScaler(ranks.device.type, enabled=dtype == torch.float16),
        dtype=dtype,
        batch_size=size,
        validation_set=_scan(config, data, config.split) if ranks.main else None,
        epochs=config.epochs,
    )
    if checkpoint is not None:
        state.restore(run, checkpoint)
    if config.compile:
        run.model = torch.compile(network)  # type: ignore[assignment]  # a module, to torch's type an Any
    run.model = ranks.wrap(run.model, partial=rules_of(config.compat).no_gradient)
    if ranks.main:
        _write_args(run)
    return run


def _data(config: TrainConfig, ranks: Ranks) -> DataSpec:
    """The data set, downloaded by the first rank where that is needed."""
    if ranks.main:
        data = load_data(str(config.data), data_dir=config.data_dir)
    ranks.agree(None)
    return data if ranks.main else load_data(str(config.data), data_dir=config.data_dir)


def _check(network: PoseNet, data: DataSpec, config: TrainConfig) -> None:
    """Raise PoseError when the network was not made for this data set, UsageError for a size that it cannot take."""
    if network.info.kpt_shape != data.layout.shape:
        shape = list(network.info.kpt_shape)
        raise PoseError(f"{data.yaml}: kpt_shape is {list(data.layout.shape)}, the network's {shape}")
    classes = len(class_names(data, config))
    if len(network.info.names) != classes:
        raise PoseError(f"{data.yaml}: {classes} classes, the network has {len(network.info.names)}")
    if config.side % network.info.stride:
        near = round(config.side / network.info.stride) * network.info.stride
        raise UsageError(f"imgsz={config.side}: a multiple of the stride {network.info.stride}, such as {near}")


def _loader(config: TrainConfig, dataset: PoseDataset, ranks: Ranks, size: int) -> Loader:
    """The training images in batches for this rank, which shares the machine's processors with its neighbours."""
    share = max(processors() // ranks.neighbours, 1)
    return Loader(
        dataset, size // ranks.world, workers=min(config.workers, share), rank=ranks.rank, world=ranks.world,
        pin=ranks.device.type == "cuda",
    )  # fmt: skip


def _scan(config: TrainConfig, data: DataSpec, split: str) -> Scan:
    return scan(data, split, strict=config.strict, rules=rules_of(config.compat), max_pixels=config.max_pixels)


def criterion_of(config: TrainConfig, network: PoseNet, ranks: Ranks) -> PoseLoss:
    """The loss, with its normalisers summed over the ranks."""
    sigmas = (
        fixed_sigmas(network.info.kpt_shape) if rules_of(config.compat).fixed_sigmas else network.info.layout.sigmas
    )
    gains = Gains(config.box, config.cls, config.dfl, config.pose, config.kobj)
    reduce = ranks.sum if ranks.world > 1 else None
    return PoseLoss(network.info, network.head.strides, gains, sigmas, rules=rules_of(config.compat), reduce=reduce)


def _folder(config: TrainConfig, ranks: Ranks, checkpoint: Checkpoint | None, stack: ExitStack) -> Path:
    """The run's folder, locked: a new one, or that of the checkpoint."""
    own = state.folder_of(checkpoint)
    if not ranks.main:
        return Path(ranks.agree(None))
    exist_ok = config.exist_ok and checkpoint is None  # what is resumed elsewhere writes over nothing
    save_dir = own or run_folder(config.project, config.name, "train", exist_ok=exist_ok)
    try:
        stack.enter_context(file_lock(save_dir / ".lock", wait=False))
        (save_dir / "weights").mkdir(exist_ok=True)
        if own is None:
            (save_dir / "results.csv").unlink(missing_ok=True)  # of an earlier run in the same folder
    except BlockingIOError:
        raise PoseError(f"{save_dir}: another process trains in this folder; choose another name") from None
    except OSError as error:
        raise PoseError(f"{save_dir}: cannot be written: {error.strerror or error}") from None
    if checkpoint is not None and own is None:
        log.warning(f"{checkpoint.path}: not in the folder of a run (weights, args.yaml); going on in {save_dir}")
    return Path(ranks.agree(str(save_dir)))


def _write_args(run: Run) -> None:
    """args.yaml: every argument, and which of them the user gave, as `cfg=args.yaml` takes it."""
    values = {"task": "pose", "mode": "train"} | to_dict(run.args) | {"given": sorted(run.args.given)}
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    try:
        write_text(run.save_dir / "args.yaml", text)
    except OSError as error:
        raise PoseError(f"{run.save_dir}: cannot be written: {error.strerror or error}") from None


def _tell_optimizer(network: PoseNet, recipe: Recipe) -> None:
    biases, decayed, norms = (len(group) for group in parameter_groups(network))
    log.info(
        f"optimizer: {recipe.name}(lr={recipe.lr0:g}, momentum={recipe.momentum:g}) with parameter groups "
        f"{norms} weight(decay=0), {decayed} weight(decay={recipe.weight_decay:g}), {biases} bias(decay=0)"
    )
