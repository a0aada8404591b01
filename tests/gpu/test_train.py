"""Training on a GPU: as on a CPU, in mixed precision, resumed, with a measured batch, by several ranks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.builders import make_dataset, make_network
from helpers.rank import ARGS as RANK_ARGS
from helpers.rank import STEPS

from yolopose import checkpoint
from yolopose.config import TrainConfig, parse
from yolopose.nn.network import PoseNet
from yolopose.nn.spec import load_spec
from yolopose.train.device import batch_size
from yolopose.train.distributed import Ranks
from yolopose.train.loop import Outcome, train

pytestmark = pytest.mark.gpu

ARGS = {"imgsz": 64, "epochs": 2, "batch": 4, "nbs": 4, "workers": 2, "device": 0, "plots": False, "optimizer": "SGD",
        "warmup_epochs": 0, "lr0": 0.001}  # fmt: skip


class Killed(BaseException):
    """The end of a run in the middle of things."""


def run(root: Path, callbacks=None, network=None, **values) -> Outcome:
    data = root / "data" / "data.yaml"
    if not data.exists():
        make_dataset(root / "data", 12)
    config = parse(TrainConfig, ARGS | {"data": data, "project": root / "runs"} | values)
    return train(config, network or make_network(), callbacks=callbacks)


def losses(outcome: Outcome) -> torch.Tensor:
    """The five training losses of every epoch."""
    rows = (outcome.save_dir / "results.csv").read_text().split()[1:]
    return torch.tensor([[float(cell) for cell in row.split(",")[2:7]] for row in rows])


def state(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_checkpoint(path).state


def test_a_run_equals_that_on_a_cpu(tmp_path, note):
    on_cpu, on_gpu = run(tmp_path, device="cpu"), run(tmp_path, amp=False)
    torch.testing.assert_close(losses(on_gpu), losses(on_cpu), rtol=2e-2, atol=1e-3)
    note("losses, GPU / CPU - 1", float((losses(on_gpu) / losses(on_cpu) - 1).abs().max()))


@pytest.mark.parametrize(("bf16", "dtype"), [(False, torch.float16), (True, torch.bfloat16)])
def test_mixed_precision(bf16, dtype, tmp_path, note):
    seen = []
    exact = run(tmp_path, amp=False)
    callbacks = {"on_train_start": [lambda run: seen.append((run.dtype, run.scaler.is_enabled()))]}
    rounded = run(tmp_path, callbacks, bf16=bf16)
    assert seen == [(dtype, not bf16)]
    note(f"losses, {dtype} / float32 - 1", float((losses(rounded) / losses(exact) - 1).abs().max()))
    torch.testing.assert_close(losses(rounded), losses(exact), rtol=0.1, atol=1e-2)


def test_an_overflow_skips_the_step_and_lowers_the_scale(tmp_path):
    scales, weights = [], []

    def overflow(run):
        run.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**60)

    def look(run):
        scales.append(run.scaler.get_scale())
        weights.append(run.network.get_parameter("model.0.conv.weight").detach().clone())

    run(tmp_path, {"on_train_start": [overflow], "on_params_update": [look]}, epochs=1)
    assert scales[0] < 2.0**60
    assert torch.equal(weights[0], weights[1])
    assert torch.isfinite(weights[-1]).all()


@pytest.mark.parametrize("values", [{"amp": False}, {}, {"bf16": True}], ids=["float32", "float16", "bfloat16"])
def test_a_resumed_run_equals_the_uninterrupted_one(values, tmp_path):
    """Bit for bit: a network without max pooling, whose gradient has no reproducible kernel."""

    def strike(run):
        if run.iteration == 5:
            raise Killed

    whole = run(tmp_path, name="whole", epochs=3, **values)
    with pytest.raises(Killed):
        run(tmp_path, {"on_train_batch_end": [strike]}, name="broken", epochs=3, **values)
    resumed = train(parse(TrainConfig, {"resume": tmp_path / "runs" / "broken" / "weights" / "last.pt"}))
    first, second = state(whole.last), state(resumed.last)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert torch.equal(losses(whole), losses(resumed))


def test_a_measured_batch_fits(tmp_path, note):
    """A tenth of the memory for yolov8n at 640: a step of that batch takes about as much, and not twice."""
    device = torch.device("cuda:0")
    network = PoseNet(load_spec("yolov8n-pose.yaml")).to(device)
    size = batch_size(0.1, network, Ranks(0, 1, device), torch.float16, side=640, images=10_000)
    torch.cuda.reset_peak_memory_stats()
    with torch.autocast("cuda"):
        maps = network.train()(torch.zeros(size, 3, 640, 640, device=device))
    sum(level.float().sum() for level in (*maps.levels, maps.keypoints)).backward()
    share = torch.cuda.max_memory_allocated() / torch.cuda.get_device_properties(0).total_memory
    note("batch=0.1", {"images": size, "share of the memory": share})
    assert 0.05 < share < 0.15
    assert run(tmp_path, batch=-1, epochs=1).args.batch == -1  # a whole run, of one batch of all its images


def ranks(root: Path, *rest: str, world: int = 2) -> list[subprocess.CompletedProcess[str]]:
    """`tests/helpers/rank.py` in as many processes as torchrun would start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    words = [
        sys.executable,
        str(Path(__file__).parents[1] / "helpers" / "rank.py"),
        str(root / "data" / "data.yaml"),
        str(root),
    ]
    running = [
        subprocess.Popen([*words, *rest], env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                         text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for rank in range(world)
    ]  # fmt: skip
    spoken = [process.communicate(timeout=240) for process in running]
    return [subprocess.CompletedProcess(words, p.returncode, *s) for p, s in zip(running, spoken, strict=True)]


@pytest.mark.parametrize("compat", [False, True])
def test_two_ranks_equal_one_process(compat, tmp_path, note):
    """Over NCCL where there are two GPUs, else over gloo on the one; batch statistics are those of both."""
    make_dataset(tmp_path / "data", 4 * STEPS)
    over = "nccl" if torch.cuda.device_count() > 1 else "gloo"
    done = ranks(tmp_path, over, *(["compat"] if compat else []))
    assert [process.returncode for process in done] == [0, 0], done[0].stderr + done[1].stderr
    note("two ranks", over)
    ended = []
    values = RANK_ARGS | {"device": 0, "amp": False, "compat": compat}
    run(tmp_path, {"on_train_end": [lambda run: ended.append(run.network.state_dict())]}, **values)
    saved = [torch.load(tmp_path / f"{rank}.pt", weights_only=True)["state"] for rank in range(2)]
    for key, value in ended[0].items():
        assert torch.equal(saved[0][key].cpu(), saved[1][key].cpu()), key
        torch.testing.assert_close(saved[0][key].cpu(), value.cpu(), atol=1e-3, rtol=1e-3)


def test_one_rank_over_nccl(tmp_path):
    """All collectives of a run, with a group of one: that NCCL takes our tensors and calls."""
    if not torch.distributed.is_nccl_available():
        pytest.skip("this torch has no NCCL")
    make_dataset(tmp_path / "data", 4 * STEPS)
    (done,) = ranks(tmp_path, "nccl", "alone", world=1)
    assert done.returncode == 0, done.stderr
    assert "1 epochs completed" in done.stdout
