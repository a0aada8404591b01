"""Two ranks over gloo: equal to one process that takes both halves of a batch, and one line when a rank dies."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.builders import make_dataset, make_network
from helpers.rank import ARGS, STEPS

from yolopose.config import TrainConfig, parse, pick
from yolopose.data.augment import AugmentOptions
from yolopose.data.batch import Batch
from yolopose.data.dataset import PoseDataset, SampleOptions
from yolopose.data.labels import scan
from yolopose.data.loader import Loader
from yolopose.data.spec import load_data
from yolopose.errors import PoseError, UsageError
from yolopose.rules import DEFAULT
from yolopose.train.build import build_criterion, prepare_network
from yolopose.train.distributed import Ranks, init_distributed
from yolopose.train.loop import train
from yolopose.train.optim import OptimOptions, build_optimizer, resolve


def two_ranks(data: Path, folder: Path, *rest: str) -> list[subprocess.CompletedProcess[str]]:
    """Both ranks as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(Path(__file__).parents[1] / "helpers" / "rank.py"), str(data), str(folder), *rest]
    running = [
        subprocess.Popen(words, env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)}, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for rank in range(2)
    ]  # fmt: skip
    spoken = [process.communicate(timeout=120) for process in running]
    return [
        subprocess.CompletedProcess(words, process.returncode, *texts)
        for process, texts in zip(running, spoken, strict=True)
    ]


def alone(data: Path) -> tuple[list[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """Gradients of each step and the weights after the last, by one process: each half of a batch with its own batch
    statistics, the loss normalised by the sums of both halves."""
    config = parse(TrainConfig, ARGS | {"data": data})
    network = prepare_network(make_network(), load_data(data), config).train()
    samples = pick(SampleOptions, config, imgsz=config.side, augment=pick(AugmentOptions, config))
    dataset = PoseDataset(scan(load_data(data), "train"), samples)
    recipe = resolve(pick(OptimOptions, config), images=len(dataset), batch=4, classes=1)
    optimizer = build_optimizer(network, recipe)
    optimizer.param_groups[1]["lr"] = recipe.lr0
    gradients = []
    halves = [list(Loader(dataset, 2, rank=rank, world=2)) for rank in range(2)]
    for batches in zip(*halves, strict=True):
        step(network, batches, config)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters() if p.requires_grad})
        optimizer.step()
        optimizer.zero_grad()
    return gradients, network.state_dict()


def step(network: torch.nn.Module, batches: tuple[Batch, ...], config: TrainConfig) -> None:
    """Leave the mean gradient of the halves' losses."""
    criterion = build_criterion(config, network, Ranks(0, 1, torch.device("cpu")), DEFAULT)
    counts: list[torch.Tensor] = []
    all_maps = [network(batch.images.float() / 255) for batch in batches]
    criterion.reduce = lambda own: counts.append(own) or own
    for maps, batch in zip(all_maps, batches, strict=True):
        criterion(maps, batch)
    criterion.reduce = lambda own: counts[0] + counts[1]
    for maps, batch in zip(all_maps, batches, strict=True):
        (criterion(maps, batch)[0] / len(batches)).backward()


def test_two_ranks_equal_one_process(tmp_path):
    data = make_dataset(tmp_path / "data", 4 * STEPS)
    first, second = two_ranks(data, tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "1 epochs completed" in first.stdout
    assert second.stdout == ""
    gradients, state = alone(data)
    saved = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert saved[0]["row"] == saved[1]["row"]
    for result in saved:
        assert len(result["gradients"]) == STEPS
        for ours, theirs in zip(result["gradients"], gradients, strict=True):
            for name, gradient in theirs.items():
                torch.testing.assert_close(ours[name], gradient, atol=1e-4, rtol=1e-4)
        for name in dict(make_network().named_parameters()):
            torch.testing.assert_close(result["state"][name], state[name], atol=1e-4, rtol=0)


def test_a_rank_that_dies_ends_the_run_with_one_line(tmp_path):
    data = make_dataset(tmp_path / "data", 4 * STEPS)
    first, second = two_ranks(data, tmp_path, "die")
    assert (first.returncode, second.returncode) == (1, 3)
    errors = [line for line in first.stderr.splitlines() if "ERROR" in line]
    assert errors
    assert errors[-1].startswith("ERROR: rank 0 of 2: another rank is gone")
    assert "Traceback" not in first.stderr


def test_ranks_without_positives_in_compat_mode(tmp_path):
    """The keypoint branch then has no gradient on any rank."""
    data = make_dataset(tmp_path / "data", 4 * STEPS)
    for path in (tmp_path / "data" / "labels").iterdir():
        path.write_text("")
    first, second = two_ranks(data, tmp_path, "compat")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "1 epochs completed" in first.stdout


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1", True),
        ("Connection reset by peer", True),
        ("Timed out waiting 1800000ms for recv operation to complete", True),
        ("NCCL communicator was aborted on rank 1", True),
        ("Distributed package doesn't have NCCL built in", False),
        ("DataLoader timed out after 30 seconds", False),
        ("cannot restore the weights", False),
        ("CUDA out of memory", False),
    ],
)
def test_only_a_lost_connection_counts_as_a_lost_rank(text, lost, monkeypatch, tmp_path):
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.distributed.init_process_group", lambda *_, **__: None)
    error = RuntimeError(text)
    with pytest.raises(PoseError if lost else RuntimeError) as caught, init_distributed("cpu", {}):
        raise error
    assert (caught.value is not error) == lost
    if lost:
        assert str(caught.value).startswith("rank 1 of 2: another rank is gone")
        assert caught.value.__cause__ is error


def test_processors_are_shared_with_the_ranks_of_this_machine_only(monkeypatch):
    ranks = Ranks(0, 16, torch.device("cpu"))
    assert ranks.local_world == 16
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert ranks.local_world == 8
    assert Ranks(0, 1, torch.device("cpu")).local_world == 1


def test_several_devices_without_torchrun_name_the_command():
    config = parse(TrainConfig, {"data": "d.yaml", "epochs": 3, "freeze": [0, 1], "device": "0,1"})
    command = "torchrun --nproc_per_node=2 -m yolopose pose train data=d.yaml epochs=3 freeze=0,1 device=0,1"
    with pytest.raises(UsageError) as caught:
        train(config, make_network())
    assert str(caught.value) == f"device=0,1: several devices need torchrun: {command}"
