"""Distributed training: the ranks that `torchrun` starts, each on its own device."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from yolopose.console import log
from yolopose.errors import PoseError, UsageError, first_line
from yolopose.formats.pytorch import choose_device
from yolopose.resources import local_ranks

TIMEOUT = timedelta(hours=1)  # the other ranks wait while the first one validates
LOST = re.compile(
    r"gloo/transport/|connection (closed|reset|refused)|broken pipe|socket ?timeout"
    r"|timed out (waiting|after) \d+ ?ms|nccl (error|communicator was aborted)|ncclRemoteError",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Ranks:
    """This process, number `rank` of `world` processes. Only the first one, `main`, validates and writes files."""

    rank: int
    world: int
    device: torch.device

    @property
    def local_world(self) -> int:
        """The number of ranks on this machine."""
        return local_ranks(self.world) if self.world > 1 else 1

    @property
    def main(self) -> bool:
        """Whether this is the first rank."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum of `values` over the ranks, in place; every rank must call this."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def broadcast(self, value: Any = None) -> Any:
        """The first rank's `value` (JSON-like) on every rank; every rank must call this and waits for the first."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def wrap(self, network: nn.Module, *, partial: bool = False) -> nn.Module:
        """The module to call in training, which averages the gradients over the ranks.

        With `partial` a batch may give some parameters no gradient, as with the rule `no_gradient` (see `PoseLoss`).
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
def init_distributed(device: str | None, arguments: Mapping[str, Any]) -> Iterator[Ranks]:
    """Join the process group that torchrun prepared; without torchrun a single rank.

    Args:
        device: the argument `device`: None, one device, or GPU numbers with commas.
        arguments: the arguments that the user gave, for the torchrun command in the error message.

    Raises:
        UsageError: several devices without torchrun, with the command to use; more processes than devices.
        PoseError: another rank died or cannot be reached.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    names = device.split(",") if device else []
    if world == 1 and len(names) > 1:
        words = (f"{k}={','.join(map(str, v)) if isinstance(v, list | tuple) else v}" for k, v in arguments.items())
        command = f"torchrun --nproc_per_node={len(names)} -m yolopose pose train {' '.join(words)}"
        raise UsageError(f"device={device}: several devices need torchrun: {command}")
    chosen = choose_device(device) if world == 1 else _rank_device(names)
    # The current GPU is used wherever none is named: pinned memory, streams, collectives.
    with torch.cuda.device(chosen) if chosen.type == "cuda" else nullcontext():
        if world == 1:
            yield Ranks(0, 1, chosen)
            return
        level = log.level
        try:
            nccl = chosen.type == "cuda" and dist.is_nccl_available()  # torch on Windows has no NCCL
            dist.init_process_group("nccl" if nccl else "gloo", timeout=TIMEOUT)
            if rank:
                log.setLevel(logging.ERROR)  # only the first rank logs
            yield Ranks(rank, world, chosen)
        except (dist.DistError, RuntimeError) as error:
            # torch has an exception type for some lost connections only
            if not isinstance(error, dist.DistError) and not LOST.search(str(error)):
                raise
            reason = first_line(error)
            raise PoseError(f"rank {rank} of {world}: another rank is gone, so the run ends here ({reason})") from error
        finally:
            log.setLevel(level)
            if dist.is_initialized():
                dist.destroy_process_group()


def _rank_device(names: list[str]) -> torch.device:
    """The device of this rank: number LOCAL_RANK of those named, or of the machine's GPUs."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    if len(names) > 1:
        if local >= len(names):
            raise UsageError(f"device={','.join(names)}: {len(names)} devices for more processes; see --nproc_per_node")
        return choose_device(names[local])
    gpus = 0 if names == ["cpu"] else torch.cuda.device_count()
    if gpus and local >= gpus:
        raise UsageError(f"--nproc_per_node: this machine has {gpus} GPUs; start as many processes, or add device=cpu")
    return choose_device(str(local) if gpus else "cpu")
