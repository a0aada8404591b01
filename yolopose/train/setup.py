"""Before the first step: the network for a data set, the precision, the batch size, the kernels."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from yolopose import weights
from yolopose.checkpoint import load_state
from yolopose.config import TrainConfig
from yolopose.console import log
from yolopose.data.spec import DataSpec
from yolopose.errors import PoseError, UsageError
from yolopose.formats.base import OpenOptions
from yolopose.formats.pytorch import choose_type
from yolopose.geometry.keypoints import fixed_sigmas
from yolopose.nn.network import PoseNet, transfer
from yolopose.rules import rules_of
from yolopose.train.ranks import Ranks

DEFAULT_BATCH = 16
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
MEMORY_SHARE = 0.6  # of a GPU, for batch=-1
TRIALS = (2, 3, 4, 8, 16)  # images; a single one has no batch statistics where a map has a single place
AMP_TOLERANCE = 0.02  # of the input's side: boxes in mixed precision may be off by that much on average


def prepare(base: PoseNet, data: DataSpec, config: TrainConfig, *, pretrained: bool = True) -> PoseNet:
    """A network like `base` for the classes and keypoints of a data set, ready to be trained.

    It takes the weights of `base` where their shapes fit (`pretrained` tells whether they are more than random), then
    those of the file in `config.pretrained`; the others are random, by `config.seed`. `config.pretrained` False makes
    them all random.

    Raises:
        PoseError: `base` is fused, or the file cannot be read.
    """
    layout, names = data.layout, class_names(data, config)
    if rules_of(config.compat).fixed_sigmas:
        layout = replace(layout, sigmas=fixed_sigmas(layout.shape))
    states: dict[str, dict[str, Tensor]] = {}  # by what they are called
    if pretrained and config.pretrained:
        states[config.model or "the model"] = base.state_dict()
    if isinstance(config.pretrained, str):
        states[config.pretrained] = load_state(weights.find(config.pretrained))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = PoseNet(base.spec, names=names, layout=layout, channels=base.channels)
    for name, state in states.items():
        if not any(".bn." in key for key in state):
            raise PoseError(f"{name}: these weights are fused and cannot be trained")
        moved, total = transfer(network, state)
        log.info(f"Transferred {moved}/{total} items from pretrained weights")
    network.info = replace(network.info, imgsz=(config.side, config.side))
    return network


def class_names(data: DataSpec, config: TrainConfig) -> dict[int, str]:
    """The classes of the network: with `single_cls` one, with the rule `keep_names` the data set's all the same."""
    if config.single_cls and len(data.names) > 1 and not rules_of(config.compat).keep_names:
        return {0: "object"}
    return data.names


def memory_format(config: TrainConfig) -> torch.memory_format:
    """Channels last, half as fast again on a CPU and what a GPU's half precision wants; planes with `plain_layout`.

    On CPUs torch's batch statistics of channels-last maps are less exact (1e-4 of the mean, planes 1e-6), which decides
    the close calls among the anchors of an untrained network otherwise than Ultralytics 8.3 does.
    """
    return torch.contiguous_format if rules_of(config.compat).plain_layout else torch.channels_last


def freeze(network: PoseNet, layers: int | tuple[int, ...] | None) -> None:
    """Stop the training of the first n layers, or of those with the given indices.

    Raises:
        UsageError: there is no such layer.
    """
    count = len(network.model)
    indices = range(layers) if isinstance(layers, int) else layers or ()
    if any(index >= count for index in indices):
        raise UsageError(f"freeze={layers}: the network has layers 0 to {count - 1}")
    for index in indices:
        network.model[index].requires_grad_(False)


def autocast_type(config: TrainConfig, network: nn.Module, device: torch.device) -> torch.dtype | None:
    """What convolutions are computed in: float16 on CUDA, bfloat16 where asked for, None for float32.

    Mixed precision that a device computes wrongly is switched off with a warning.

    Raises:
        UsageError: bf16 on a CPU without it.
    """
    if not config.amp or (device.type != "cuda" and not config.bf16):
        return None
    dtype = choose_type(OpenOptions(half=True, bf16=config.bf16), device)
    if not _is_sound(network, device, dtype):
        log.warning(f"mixed precision ({str(dtype).removeprefix('torch.')}) is wrong on this device: amp=False")
        return None
    return dtype


@torch.no_grad()
def _is_sound(network: nn.Module, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the boxes of one synthetic image agree with float32's."""
    side = 256
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    training = network.training
    network.eval()
    exact = network(image)[:, :4]
    with torch.autocast(device.type, dtype=dtype):
        rounded = network(image)[:, :4]
    network.train(training)
    return bool(rounded.isfinite().all() and (rounded - exact).abs().mean() < AMP_TOLERANCE * side)


def batch_size(config: TrainConfig, network: nn.Module, ranks: Ranks, dtype: torch.dtype | None, *, images: int) -> int:
    """Images per iteration over all ranks, of a data set of so many `images`; -1 or a share measures the GPU.

    Raises:
        UsageError: a fraction of an image, or a number that the ranks cannot share.
        PoseError: the GPU holds too few images to measure.
    """
    if config.batch >= 1:
        if config.batch % 1:
            raise UsageError(f"batch={config.batch:g}: a whole number of images")
        if config.batch % ranks.world:
            raise UsageError(f"batch={config.batch:g}: {ranks.world} ranks need a multiple of {ranks.world} images")
        return int(config.batch)
    if config.batch == 0 or -1 < config.batch < 0:
        raise UsageError(f"batch={config.batch:g}: a number of images, -1, or a share of the GPU's memory")
    if ranks.world > 1:
        raise UsageError(f"batch={config.batch:g}: with {ranks.world} ranks name the batch of all of them together")
    if ranks.device.type != "cuda":
        log.info(f"batch={config.batch:g}: measured on GPUs only, using {DEFAULT_BATCH}")
        return DEFAULT_BATCH
    share = config.batch if config.batch > 0 else MEMORY_SHARE
    total = torch.cuda.get_device_properties(ranks.device).total_memory
    peaks = _peaks(network, config, ranks.device, dtype)
    if len(peaks) < 2:
        raise PoseError(f"batch={config.batch:g}: the GPU's {total / 1e9:.1f} GB hold less than {TRIALS[1]} images")
    free = torch.cuda.mem_get_info(ranks.device)[0] + torch.cuda.memory_reserved(ranks.device)
    return fitting_batch(peaks, min(share * total, free), images)


def fitting_batch(peaks: Mapping[int, int], room: float, images: int) -> int:
    """The batch whose passes take `room` bytes, extrapolated from those measured (`peaks` by batch); at most `images`.

    DEFAULT_BATCH with a warning where larger batches did not take more.
    """
    slope, base = np.polyfit(list(peaks), list(peaks.values()), 1)
    if slope <= 0:
        log.warning(f"batch: the memory of {len(peaks)} trials does not grow with the batch, using {DEFAULT_BATCH}")
        return DEFAULT_BATCH
    fitting = max(min(int((room - base) / slope), images), 1)
    log.info(f"batch={fitting}: {slope / 1e6:.0f} MB per image, {room / 1e9:.1f} GB for {images} images at most")
    return fitting


def _peaks(network: nn.Module, config: TrainConfig, device: torch.device, dtype: torch.dtype | None) -> dict[int, int]:
    """Bytes at the peak of a forward and backward pass of a few small batches, as far as they fit."""
    network = copy.deepcopy(network).train()  # whose batch statistics may be spoilt
    cudnn, peaks = torch.backends.cudnn, {}
    benchmark, cudnn.benchmark = cudnn.benchmark, False  # its trials take memory of their own
    try:
        for count in TRIALS:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            images = torch.zeros(count, 3, config.side, config.side, device=device)
            with torch.autocast("cuda", dtype=dtype or torch.float16, enabled=dtype is not None):
                maps = network(images.contiguous(memory_format=memory_format(config)))
            sum(level.float().sum() for level in (*maps.levels, maps.keypoints)).backward()
            network.zero_grad(set_to_none=True)
            peaks[count] = torch.cuda.max_memory_allocated(device)
            del images, maps
    except torch.cuda.OutOfMemoryError:
        pass
    finally:
        cudnn.benchmark = benchmark
        del network
        torch.cuda.empty_cache()
    return peaks


@contextmanager
def kernels(deterministic: bool) -> Iterator[None]:
    """Reproducible kernels for the time of a run, or the fastest ones; torch's settings are then as before."""
    cudnn, fill = torch.backends.cudnn, cast(Any, torch.utils.deterministic)
    workspace = os.environ.get(CUBLAS)
    before = (
        torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.deterministic, cudnn.benchmark, fill.fill_uninitialized_memory,
    )  # fmt: skip
    try:
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        cudnn.deterministic, cudnn.benchmark = deterministic, not deterministic
        fill.fill_uninitialized_memory = False  # costs time, and nothing here reads it
        if deterministic and workspace is None:
            os.environ[CUBLAS] = ":4096:8"  # read when a GPU first multiplies matrices
        with warnings.catch_warnings():
            # some operations have no reproducible kernel on a GPU (the gradient of max pooling): best effort
            warnings.filterwarnings("ignore", message=".*(deterministic|CUBLAS_WORKSPACE_CONFIG).*")
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.deterministic, cudnn.benchmark, fill.fill_uninitialized_memory = before[2:]
        if workspace is None:
            os.environ.pop(CUBLAS, None)


def describe_sigmas(sigmas: tuple[float, ...], given: bool, compat: bool) -> str:
    """Which OKS sigmas are in use, and why."""
    source = (
        "Ultralytics 8.3's rule" if compat else "from the data YAML" if given else "the default for this many keypoints"
    )
    values: Any = sigmas[:1] if len(set(sigmas)) == 1 else sigmas
    return f"OKS sigmas ({source}): {' '.join(f'{s:.3g}' for s in values)}{' for all' * (len(values) < len(sigmas))}"
