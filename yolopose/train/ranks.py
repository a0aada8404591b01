"""The processes that train one network together; `torchrun` starts them, each on its own device."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from yolopose.config import TrainConfig, arguments
from yolopose.console import log
from yolopose.errors import PoseError, UsageError, first_line
from yolopose.formats.pytorch import choose_device
from yolopose.resources import local_ranks

PATIENCE = timedelta(hours=1)  # for the others while the first rank validates
LOST = re.compile(
    r"gloo/transport/|connection (closed|reset|refused)|broken pipe|socket ?timeout"
    r"|timed out (waiting|after) \d+ ?ms|nccl (error|communicator was aborted)|ncclRemoteError",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Ranks:
    """This process among `world` of them. The first one, `main`, is the only one that validates and writes."""

    rank: int
    world: int
    device: torch.device

    @property
    def neighbours(self) -> int:
        """How many of the processes share this machine, this one included."""
        return local_ranks(self.world) if self.world > 1 else 1

    @property
    def main(self) -> bool:
        """Whether this process is the first."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum of `values` over the ranks, in place; every rank must call."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def agree(self, value: Any) -> Any:
        """The first rank's `value` (JSON-like), on every rank; every rank must call."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def wrap(self, network: nn.Module, *, partial: bool = False) -> nn.Module:
        """The module to call in training: it averages the gradients over the ranks.

        With `partial` some parameters may get none in a batch, as with the rule `no_gradient` (see `PoseLoss`).
        """
        if self.world == 1:
            return network
        return nn.parallel.DistributedDataParallel(
            network,
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            find_unused_parameters=partial,
        )


@contextmanager
def joined(config: TrainConfig) -> Iterator[Ranks]:
    """Take this process's place among the ranks that torchrun started; alone without it.

    Raises:
        UsageError: several devices are asked for without torchrun; names the command.
        PoseError: another rank died or cannot be reached.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    wanted = _several(config.device)
    if world == 1:
        if wanted > 1:
            raise UsageError(f"device={config.device}: several devices need torchrun: {command(config, wanted)}")
        device = choose_device(config.device)
        with _current(device):
            yield Ranks(0, 1, device)
        return
    device = _device(config)
    level = log.level
    try:
        with _current(device):
            dist.init_process_group(_backend(device), timeout=PATIENCE)
            if rank:
                log.setLevel(logging.ERROR)  # only rank 0 logs
            yield Ranks(rank, world, device)
    except (dist.DistError, RuntimeError) as error:
        if not _is_lost(error):
            raise
        reason = first_line(error)
        raise PoseError(f"rank {rank} of {world}: another rank is gone, so the run ends here ({reason})") from error
    finally:
        log.setLevel(level)
        if dist.is_initialized():
            dist.destroy_process_group()


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """Makes a GPU the current one: what names no device (page-locked memory, streams, ranks) then uses no other."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _backend(device: torch.device) -> str:
    """What carries tensors between ranks; NCCL takes one rank per GPU and is not part of torch on Windows."""
    return "nccl" if device.type == "cuda" and dist.is_nccl_available() else "gloo"


def _several(device: str | None) -> int:
    """How many devices are named."""
    return len([part for part in str(device or "").strip("[]()").split(",") if part.strip()])


def _device(config: TrainConfig) -> torch.device:
    """The device of this rank: the n-th of those named, or of those there."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    named = [part.strip() for part in str(config.device or "").strip("[]()").split(",") if part.strip()]
    if len(named) > 1:
        if local >= len(named):
            raise UsageError(f"device={config.device}: {len(named)} devices for more processes; see --nproc_per_node")
        return choose_device(named[local])
    if named and named[0] == "cpu":
        return torch.device("cpu")
    gpus = torch.cuda.device_count()
    if gpus and local >= gpus:
        raise UsageError(f"--nproc_per_node: this machine has {gpus} GPUs; start as many processes, or add device=cpu")
    return choose_device(str(local) if gpus else "cpu")


def _is_lost(error: Exception) -> bool:
    """Whether an error means that the other ranks cannot be reached: torch has a type for some such errors only."""
    return isinstance(error, dist.DistError) or LOST.search(str(error)) is not None


def command(config: TrainConfig, processes: int) -> str:
    """The torchrun command line of a run."""
    words = [f"{name}={_text(getattr(config, name))}" for name in arguments(TrainConfig) if name in config.given]
    return f"torchrun --nproc_per_node={processes} -m yolopose pose train {' '.join(words)}"


def _text(value: Any) -> str:
    """A value as the command line reads it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
