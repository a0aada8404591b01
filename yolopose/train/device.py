"""What the device decides: mixed precision, the batch size that fits, deterministic kernels."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from yolopose.console import log
from yolopose.errors import PoseError, UsageError
from yolopose.formats.base import OpenOptions
from yolopose.formats.pytorch import choose_type
from yolopose.train.distributed import Ranks

DEFAULT_BATCH = 16
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
MEMORY_SHARE = 0.6  # of a GPU, for batch=-1
TRIALS = (2, 3, 4, 8, 16)  # batch sizes; a single image has no batch statistics where a map has one place
AMP_SIDE = 256  # of the image on which mixed precision is checked
AMP_TOLERANCE = 0.02  # of its side: the mean error of boxes in mixed precision


@torch.no_grad()
def autocast_type(network: nn.Module, device: torch.device, *, amp: bool, bf16: bool) -> torch.dtype | None:
    """The type for autocast: float16 on CUDA, bfloat16 with `bf16`, None for float32.

    Mixed precision is switched off with a warning when its boxes for one synthetic image differ from float32's.

    Raises:
        UsageError: bf16 on a CPU without it.
    """
    if not amp or (device.type != "cuda" and not bf16):
        return None
    dtype = choose_type(OpenOptions(half=True, bf16=bf16), device)
    image = torch.rand(1, 3, AMP_SIDE, AMP_SIDE, generator=torch.Generator().manual_seed(0)).to(device)
    training = network.training
    network.eval()
    exact = network(image)[:, :4]
    with torch.autocast(device.type, dtype=dtype):
        rounded = network(image)[:, :4]
    network.train(training)
    if rounded.isfinite().all() and (rounded - exact).abs().mean() < AMP_TOLERANCE * AMP_SIDE:
        return dtype
    log.warning(f"mixed precision ({str(dtype).removeprefix('torch.')}) is wrong on this device: amp=False")
    return None


def batch_size(
    batch: float,
    network: nn.Module,
    ranks: Ranks,
    dtype: torch.dtype | None,
    side: int,
    images: int,
    memory_format: torch.memory_format = torch.channels_last,
) -> int:
    """The images per iteration, all ranks together, for the argument `batch` and a data set of so many `images`.

    -1 or a share below 1 is measured: the largest batch of side × side images that fits into that share of the GPU.

    Raises:
        UsageError: `batch` is not a whole number, or cannot be divided among the ranks.
        PoseError: the GPU is too small for the measurement.
    """
    if batch >= 1:
        if batch % 1:
            raise UsageError(f"batch={batch:g}: must be a whole number of images")
        if batch % ranks.world:
            raise UsageError(f"batch={batch:g}: {ranks.world} ranks need a multiple of {ranks.world} images")
        return int(batch)
    if batch == 0 or -1 < batch < 0:
        raise UsageError(f"batch={batch:g}: must be a number of images, -1, or a share of the GPU's memory")
    if ranks.world > 1:
        raise UsageError(f"batch={batch:g}: with {ranks.world} ranks name the batch of all of them together")
    if ranks.device.type != "cuda":
        log.info(f"batch={batch:g}: measured on GPUs only, using {DEFAULT_BATCH}")
        return DEFAULT_BATCH
    total = torch.cuda.get_device_properties(ranks.device).total_memory
    peaks = _measure_peaks(network, side, ranks.device, dtype, memory_format)
    if len(peaks) < 2:
        raise PoseError(f"batch={batch:g}: the GPU's {total / 1e9:.1f} GB hold less than {TRIALS[1]} images")
    free = torch.cuda.mem_get_info(ranks.device)[0] + torch.cuda.memory_reserved(ranks.device)
    return fitting_batch(peaks, min((batch if batch > 0 else MEMORY_SHARE) * total, free), images)


def fitting_batch(peaks: Mapping[int, int], room: float, images: int) -> int:
    """The largest batch for `room` bytes, extrapolated from the peaks of smaller batches; at most `images`.

    DEFAULT_BATCH, with a warning, when the measured peaks do not grow with the batch.
    """
    slope, base = np.polyfit(list(peaks), list(peaks.values()), 1)
    if slope <= 0:
        log.warning(f"batch: the memory of {len(peaks)} trials does not grow with the batch, using {DEFAULT_BATCH}")
        return DEFAULT_BATCH
    fitting = max(min(int((room - base) / slope), images), 1)
    log.info(f"batch={fitting}: {slope / 1e6:.0f} MB per image, {room / 1e9:.1f} GB for {images} images at most")
    return fitting


def _measure_peaks(
    network: nn.Module, side: int, device: torch.device, dtype: torch.dtype | None, memory_format: torch.memory_format
) -> dict[int, int]:
    """Peak memory in bytes of a forward and backward pass, by batch size, for the TRIALS that fit."""
    network = copy.deepcopy(network).train()  # the trials change the batch statistics of the copy
    cudnn, peaks = torch.backends.cudnn, {}
    benchmark, cudnn.benchmark = cudnn.benchmark, False  # its trials use additional memory
    try:
        for count in TRIALS:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            images = torch.zeros(count, 3, side, side, device=device)
            with torch.autocast("cuda", dtype=dtype or torch.float16, enabled=dtype is not None):
                maps = network(images.contiguous(memory_format=memory_format))
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
def deterministic_kernels(enabled: bool) -> Iterator[None]:
    """Use deterministic kernels in this block, or else the fastest ones; then restore torch's settings."""
    cudnn, fill = torch.backends.cudnn, cast(Any, torch.utils.deterministic)
    workspace = os.environ.get(CUBLAS)
    before = (
        torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.deterministic, cudnn.benchmark, fill.fill_uninitialized_memory,
    )  # fmt: skip
    try:
        torch.use_deterministic_algorithms(enabled, warn_only=True)
        cudnn.deterministic, cudnn.benchmark = enabled, not enabled
        fill.fill_uninitialized_memory = False  # costs time, and no code here reads uninitialized memory
        if enabled and workspace is None:
            os.environ[CUBLAS] = ":4096:8"  # cuBLAS reads it at the first matrix product
        with warnings.catch_warnings():
            # Some operations have no deterministic kernel on a GPU, e.g. the gradient of max pooling.
            warnings.filterwarnings("ignore", message=".*(deterministic|CUBLAS_WORKSPACE_CONFIG).*")
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.deterministic, cudnn.benchmark, fill.fill_uninitialized_memory = before[2:]
        if workspace is None:
            os.environ.pop(CUBLAS, None)
