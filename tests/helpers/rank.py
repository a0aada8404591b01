"""A process of distributed training: trains a tiny network for three steps and writes what it computed.

`rank.py DATA FOLDER OPTIONS…`, with the options: `die`, the second process ends; `compat`; `nccl`, a GPU for each;
`gloo`, both on the first GPU; `alone`, a group of one process that takes itself for the first of two.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.builders import make_network
from yolopose.config import TrainConfig, parse
from yolopose.errors import PoseError
from yolopose.train import distributed, loop

STEPS = 3
ARGS = {"imgsz": 64, "epochs": 1, "batch": 4, "nbs": 4, "workers": 0, "device": "cpu", "plots": False,
        "optimizer": "SGD", "warmup_epochs": 0, "lr0": 0.001, "mosaic": 0}  # fmt: skip


@contextmanager
def alone(device, arguments):
    """A group of one over NCCL."""
    torch.distributed.init_process_group("nccl")
    try:
        yield distributed.Ranks(0, 2, torch.device("cuda:0"))
    finally:
        torch.distributed.destroy_process_group()


def main(data: str, folder: str, *rest: str) -> int:
    torch.set_num_threads(1)
    values = ARGS | {"data": data, "project": folder, "compat": "compat" in rest, "amp": False}
    if "nccl" in rest or "gloo" in rest:
        values["device"] = None
    if "gloo" in rest:
        distributed._rank_device = lambda names: torch.device("cuda:0")
        torch.distributed.is_nccl_available = lambda: False
    if "alone" in rest:
        loop.init_distributed = alone
    gradients: list[dict[str, torch.Tensor]] = []

    def keep(run):
        gradients.append({name: p.grad.clone() for name, p in run.network.named_parameters() if p.grad is not None})

    def end(run):
        state = run.network.state_dict()
        torch.save({"gradients": gradients, "state": state, "row": run.losses}, Path(folder) / f"{run.ranks.rank}.pt")

    def die(run):
        if "die" in rest and run.ranks.rank == 1 and run.iteration == 1:
            os._exit(3)

    callbacks = {"on_before_zero_grad": [keep], "on_train_end": [end], "on_train_batch_start": [die]}
    try:
        loop.train(parse(TrainConfig, values), make_network(), callbacks=callbacks)
    except PoseError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
