"""One of two ranks: trains a tiny network for three steps and leaves notes. `rank.py DATA FOLDER [die|compat]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from builders import make_network

from yolopose.config import TrainConfig, parse
from yolopose.errors import PoseError
from yolopose.train.loop import train

STEPS = 3
ARGS = {"imgsz": 64, "epochs": 1, "batch": 4, "nbs": 4, "workers": 0, "device": "cpu", "plots": False,
        "optimizer": "SGD", "warmup_epochs": 0, "lr0": 0.001, "mosaic": 0}  # fmt: skip


def main(data: str, folder: str, *rest: str) -> int:
    torch.set_num_threads(1)
    config = parse(TrainConfig, ARGS | {"data": data, "project": folder, "compat": "compat" in rest})
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
        train(config, make_network(), callbacks=callbacks)
    except PoseError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
