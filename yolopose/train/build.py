"""Build a training run from its arguments, or restore one from a checkpoint."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from yolopose import weights
from yolopose.checkpoint import Checkpoint, build_network, load_state
from yolopose.config import TrainConfig, pick, to_dict
from yolopose.console import log
from yolopose.data.augment import AugmentOptions
from yolopose.data.dataset import PoseDataset, SampleOptions
from yolopose.data.labels import scan
from yolopose.data.loader import Loader
from yolopose.data.spec import DataSpec, load_data
from yolopose.errors import PoseError, UsageError, one_line
from yolopose.formats.base import OpenOptions
from yolopose.geometry.keypoints import fixed_sigmas
from yolopose.locks import file_lock
from yolopose.loss.pose import Gains, PoseLoss
from yolopose.nn.network import PoseNet, transfer, unfitting
from yolopose.nn.summary import summary
from yolopose.plots.figure import can_plot
from yolopose.resources import processors
from yolopose.rules import DEFAULT, RULES, Rules
from yolopose.saving import run_folder
from yolopose.train.checkpointing import check_teacher, folder_of, restore, restore_optimizer
from yolopose.train.device import autocast_type, batch_size
from yolopose.train.distributed import Ranks
from yolopose.train.optim import Ema, OptimOptions, Recipe, Schedule, build_optimizer, resolve
from yolopose.train.reporting import write_args
from yolopose.train.run import TrainingRun
from yolopose.train.teacher import Teacher, log_task, open_teacher


def build_run(
    config: TrainConfig, source: Checkpoint | PoseNet | None, ranks: Ranks, stack: ExitStack, *, pretrained: bool
) -> TrainingRun:
    """Everything a run needs, in its folder: a new run that starts from a network, or the run of a checkpoint.

    The folder is locked until `stack` closes. `pretrained`: see `prepare_network`.

    Raises:
        PoseError: the data set and the network do not match; the checkpoint is damaged; the folder is in use.
        UsageError: there is nothing to train, or arguments do not go together.
    """
    if source is None:
        raise UsageError("nothing to train: name a model, or resume=True")
    if not config.data:
        raise UsageError("data is missing: name the YAML of a data set, as in data=coco8-pose.yaml")
    if config.plots and ranks.main and not can_plot():
        config = replace(config, plots=False)
    rules, options = RULES[config.compat], pick(OptimOptions, config)
    data = _load_data(config, ranks)
    scan_split = partial(scan, data, strict=config.strict, rules=rules, max_pixels=config.max_pixels)
    if isinstance(source, PoseNet):
        checkpoint, network = None, prepare_network(source, data, config, rules=rules, pretrained=pretrained)
    else:
        checkpoint, network = source, build_network(source)
    _check_match(network, data, config, rules)
    freeze(network, config.freeze)
    # Channels last is 1.5 times as fast on CPUs, and what half precision needs on GPUs. But on CPUs its batch
    # statistics are less exact (1e-4 of the mean against 1e-6), which changes assignments early in training.
    memory_format = torch.contiguous_format if rules.plain_layout else torch.channels_last
    network = network.to(ranks.device).to(memory_format=memory_format)  # type: ignore[call-overload]
    dtype = autocast_type(network, ranks.device, amp=config.amp, bf16=config.bf16)
    augment, stride = pick(AugmentOptions, config), network.info.stride
    samples = pick(SampleOptions, config, imgsz=config.side, stride=stride, augment=augment, rules=rules)
    dataset = PoseDataset(scan_split("train"), samples)
    size = batch_size(config.batch, network, ranks, dtype, config.side, len(dataset), memory_format)
    if ranks.main:
        log.info(summary(network, config.side, table=config.verbose and checkpoint is None))
    loader = Loader(
        dataset, size // ranks.world, workers=min(config.workers, max(processors() // ranks.local_world, 1)),
        rank=ranks.rank, world=ranks.world, pin=ranks.device.type == "cuda",
    )  # fmt: skip
    if ranks.world > 1 and ranks.device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    if checkpoint is not None:
        recipe = Recipe(**checkpoint.extra["train_state"]["recipe"])
        optimizer = build_optimizer(network, recipe)
        restore_optimizer(optimizer, network, checkpoint)  # before the folder is made, because it may raise
    else:
        recipe = resolve(options, images=len(dataset), batch=size, classes=len(network.info.names), rules=rules)
        optimizer = build_optimizer(network, recipe)
    run = TrainingRun(
        args=config,
        rules=rules,
        data=data,
        teacher=_teacher(config, network, dataset, ranks, dtype, checkpoint),  # before the folder is made
        save_dir=_make_folder(config, ranks, checkpoint, stack),
        ranks=ranks,
        loader=loader,
        network=network,
        model=network,
        criterion=build_criterion(config, network, ranks, rules),
        ema=Ema(network),
        recipe=recipe,
        optimizer=optimizer,
        schedule=Schedule(options, recipe, batch=size, batches=len(loader), rules=rules),
        scaler=torch.amp.GradScaler(ranks.device.type, enabled=dtype == torch.float16),
        dtype=dtype,
        memory_format=memory_format,
        batch_size=size,
        validation_set=scan_split(config.split) if ranks.main else None,
        epochs=config.epochs,
    )
    if checkpoint is not None:
        restore(run, checkpoint)
    if config.compile:
        run.model = torch.compile(network)  # type: ignore[assignment]  # a module, to torch's type an Any
    run.model = ranks.wrap(run.model, partial=rules.no_gradient)
    if ranks.main:
        write_args(run, to_dict(config))
    return run


def _teacher(
    config: TrainConfig,
    network: PoseNet,
    dataset: PoseDataset,
    ranks: Ranks,
    dtype: torch.dtype | None,
    checkpoint: Checkpoint | None,
) -> Teacher | None:
    """The teacher that `config` names, the same file as before when a run is resumed."""
    if config.teacher is None:
        return None
    options = OpenOptions(str(ranks.device), half=dtype == torch.float16, bf16=dtype == torch.bfloat16)
    teacher = open_teacher(config.teacher, network.info, options, classes=config.classes, single_cls=config.single_cls)
    if checkpoint is not None:
        check_teacher(teacher.checksum, checkpoint, config.teacher)
    if ranks.main:
        log_task(teacher, config.teacher, dataset.items)
    return teacher


def _load_data(config: TrainConfig, ranks: Ranks) -> DataSpec:
    """The data set; the first rank downloads it if necessary, the others wait."""
    if not ranks.main:
        ranks.broadcast()
    data = load_data(str(config.data), data_dir=config.data_dir)
    if ranks.main:
        ranks.broadcast()
    return data


def prepare_network(
    base: PoseNet, data: DataSpec, config: TrainConfig, *, rules: Rules = DEFAULT, pretrained: bool = True
) -> PoseNet:
    """A network of the architecture of `base` for the classes and keypoints of a data set.

    It takes the weights of `base` whose names and shapes fit, then those of the file `config.pretrained`; the others
    are random, by `config.seed`. With `config.pretrained` False all are random. `pretrained` False means that the
    weights of `base` are themselves random.

    Raises:
        PoseError: `base` is fused, or the file cannot be read.
    """
    layout = data.layout
    if rules.fixed_sigmas:
        layout = replace(layout, sigmas=fixed_sigmas(layout.shape))
    states: dict[str, dict[str, Tensor]] = {}  # by their names in messages
    if pretrained and config.pretrained:
        states[config.model or "the model"] = base.state_dict()
    if isinstance(config.pretrained, str):
        states[config.pretrained] = load_state(weights.find(config.pretrained))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        names = class_names(data, config.single_cls, rules)
        network = PoseNet(base.spec, names=names, layout=layout, channels=base.channels)
    for name, state in states.items():
        if not any(".bn." in key for key in state):
            raise PoseError(f"{name}: these weights are fused and cannot be trained")
        moved, total = transfer(network, state)
        log.info(f"Transferred {moved}/{total} items from pretrained weights")
        if moved and (left := unfitting(network, state)):
            log.info(f"{one_line(name)}: {left}")
    network.info = replace(network.info, imgsz=(config.side, config.side))
    return network


def class_names(data: DataSpec, single_cls: bool, rules: Rules) -> dict[int, str]:
    """The classes of the network: those of the data set, or one class with `single_cls`."""
    return {0: "object"} if single_cls and len(data.names) > 1 and not rules.keep_names else data.names


def _check_match(network: PoseNet, data: DataSpec, config: TrainConfig, rules: Rules) -> None:
    """Raise PoseError when the network was not made for this data set, UsageError when it cannot take this imgsz."""
    if network.info.kpt_shape != data.layout.shape:
        shape = list(network.info.kpt_shape)
        raise PoseError(f"{data.yaml}: kpt_shape is {list(data.layout.shape)}, the network's {shape}")
    classes = len(class_names(data, config.single_cls, rules))
    if len(network.info.names) != classes:
        raise PoseError(f"{data.yaml}: {classes} classes, the network has {len(network.info.names)}")
    if config.side % network.info.stride:
        near = round(config.side / network.info.stride) * network.info.stride
        raise UsageError(f"imgsz={config.side}: must be a multiple of the stride {network.info.stride}, such as {near}")


def freeze(network: PoseNet, layers: int | tuple[int, ...] | None) -> None:
    """Do not train the first n layers, or those with the given indices; the bins of the DFL layer are never trained.

    Raises:
        UsageError: there is no such layer.
    """
    network.head.dfl.requires_grad_(False)
    count = len(network.model)
    indices = range(layers) if isinstance(layers, int) else layers or ()
    if any(index >= count for index in indices):
        raise UsageError(f"freeze={layers}: the network has layers 0 to {count - 1}")
    for index in indices:
        network.model[index].requires_grad_(False)


def build_criterion(config: TrainConfig, network: PoseNet, ranks: Ranks, rules: Rules) -> PoseLoss:
    """The loss; its normalisers are summed over the ranks."""
    info = network.info
    sigmas = fixed_sigmas(info.kpt_shape) if rules.fixed_sigmas else info.layout.sigmas
    reduce = ranks.sum if ranks.world > 1 else None
    return PoseLoss(info, network.head.strides, pick(Gains, config), sigmas, rules=rules, reduce=reduce)


def _make_folder(config: TrainConfig, ranks: Ranks, checkpoint: Checkpoint | None, stack: ExitStack) -> Path:
    """The run's folder, locked: a new one, or that of the checkpoint."""
    if not ranks.main:
        return Path(ranks.broadcast())
    own = folder_of(checkpoint)
    exist_ok = config.exist_ok and checkpoint is None  # a resumed run never overwrites the folder of another
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
    return Path(ranks.broadcast(str(save_dir)))
