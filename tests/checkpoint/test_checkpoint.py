"""Our own checkpoints: what is written, what is read back, and what is not written at all."""

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.foreign_files import save_foreign, tiny

from yolopose import checkpoint
from yolopose.checkpoint import Checkpoint
from yolopose.errors import PoseError
from yolopose.nn.network import PoseNet, transfer
from yolopose.nn.spec import load_spec


def of(network: PoseNet, **values) -> Checkpoint:
    return Checkpoint(network.state_dict(), network.spec, network.info, **values)


def test_round_trip(tmp_path):
    network = tiny()
    original = of(
        network,
        train_args={"imgsz": 96, "lr0": 0.01, "device": None, "freeze": [1, 2], "cache": False},
        extra={"epoch": 3, "metrics": {"mAP": 0.25}, "card": {"licence": "CC-BY-4.0"}},
    )
    checkpoint.save_checkpoint(tmp_path / "a.pt", original)
    found = checkpoint.load_checkpoint(tmp_path / "a.pt")
    assert found.path == tmp_path / "a.pt"
    assert (found.spec, found.info) == (network.spec, network.info)
    assert (found.train_args, found.extra) == (original.train_args, original.extra)
    assert list(found.state) == list(original.state)
    assert all(torch.equal(found.state[key], value) for key, value in original.state.items())
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(checkpoint.build_network(found)(x), network(x))


def test_torch_reads_it_with_weights_only(tmp_path):
    """Plain tensors and JSON-like metadata: nothing that a careful reader would have to trust."""
    checkpoint.save_checkpoint(tmp_path / "a.pt", of(tiny(), extra={"train_state": {"momentum": [torch.ones(3)]}}))
    found = torch.load(tmp_path / "a.pt", weights_only=True)
    assert found.keys() == {"format", "format_version", "state", "spec", "info", "train_args", "extra"}
    assert found["format"] == "yolopose"
    assert type(found["state"]) is dict
    assert found["info"]["kpt_shape"] == [2, 3]
    assert torch.equal(found["extra"]["train_state"]["momentum"][0], torch.ones(3))


def test_half_stores_half_and_is_read_as_float(tmp_path):
    network = tiny()
    checkpoint.save_checkpoint(tmp_path / "a.pt", of(network, extra={"train_state": torch.ones(3)}), half=True)
    stored = torch.load(tmp_path / "a.pt", weights_only=True)["state"]
    assert {value.dtype for value in stored.values()} == {torch.float16, torch.int64}
    found = checkpoint.load_checkpoint(tmp_path / "a.pt")
    assert all(value.dtype in (torch.float32, torch.int64) for value in found.state.values())
    assert torch.equal(found.state["model.0.conv.weight"], network.state_dict()["model.0.conv.weight"].half().float())
    assert found.extra["train_state"].dtype == torch.float32


def test_training_state_survives(tmp_path):
    """Optimizer, average, scaler, schedule and random generators: whatever an exact resume needs."""
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {
        "optimizer": optimizer.state_dict(),
        "ema": network.state_dict(),
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": np.random.default_rng(5).bit_generator.state,
        "best": np.float64(0.5),
        "since": float("-inf"),
    }
    checkpoint.save_checkpoint(tmp_path / "a.pt", of(tiny(), extra={"train_state": state}))
    found = checkpoint.load_checkpoint(tmp_path / "a.pt").extra["train_state"]
    assert torch.equal(found["torch"], state["torch"])
    assert found["python"] == state["python"]
    assert found["numpy"] == state["numpy"]
    assert (found["best"], found["since"]) == (0.5, float("-inf"))
    assert torch.equal(found["ema"]["weight"], network.weight)
    again = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    again.load_state_dict(found["optimizer"])
    for mine, theirs in zip(again.state.values(), optimizer.state.values(), strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_views_do_not_drag_their_storage_along(tmp_path):
    network = tiny()
    checkpoint.save_checkpoint(tmp_path / "plain.pt", of(network))
    huge = torch.zeros(1_000_000)
    checkpoint.save_checkpoint(tmp_path / "view.pt", of(network, extra={"train_state": huge[:1]}))
    assert (tmp_path / "view.pt").stat().st_size - (tmp_path / "plain.pt").stat().st_size < 1000


@pytest.mark.parametrize(
    ("extra", "place"),
    [
        ({"a": [1, {"b": object()}]}, r"extra\.a\[1\]\.b is object"),
        ({"a": np.zeros(3)}, r"extra\.a is ndarray"),
        ({"a": {1.5: 0}}, r"extra\.a is dict"),
        ({"a": {(1, 2): 0}}, r"extra\.a is dict"),
        ({"a": torch.zeros(1, dtype=torch.complex64)}, r"extra\.a is Tensor"),
        ({"a": tiny}, r"extra\.a is function"),
    ],
)
def test_values_that_could_not_be_read_back_are_not_written(tmp_path, extra, place):
    with pytest.raises(TypeError, match=place):
        checkpoint.save_checkpoint(tmp_path / "a.pt", of(tiny(), extra=extra))
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.save_checkpoint(path, of(tiny(), extra={"epoch": 1}))

    def full(content, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(PoseError, match=r"last\.pt: cannot be written .*No space left"):
        checkpoint.save_checkpoint(path, of(tiny(), extra={"epoch": 2}))
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [path]
    assert checkpoint.load_checkpoint(path).extra == {"epoch": 1}


def test_the_file_appears_only_when_it_is_whole(tmp_path, monkeypatch):
    seen = []
    replace = os.replace

    def watch(part: Path, path: Path) -> None:
        seen.append((part.parent, torch.load(part, weights_only=True)["format"], path.exists()))
        replace(part, path)

    monkeypatch.setattr(os, "replace", watch)
    checkpoint.save_checkpoint(tmp_path / "a.pt", of(tiny()))
    assert seen == [(tmp_path, "yolopose", False)]
    with pytest.raises(PoseError, match="cannot be written"):
        checkpoint.save_checkpoint(tmp_path / "a.pt" / "b.pt", of(tiny()))


def test_two_networks_of_one_checkpoint_share_nothing(tmp_path):
    checkpoint.save_checkpoint(tmp_path / "a.pt", of(tiny()))
    found = checkpoint.load_checkpoint(tmp_path / "a.pt")
    one, other = checkpoint.build_network(found), checkpoint.build_network(found)
    with torch.no_grad():
        one.model[0].conv.weight.zero_()
    assert other.model[0].conv.weight.any()
    assert found.state["model.0.conv.weight"].any()


def test_a_built_network_can_be_trained():
    network = checkpoint.build_network(of(tiny())).train()
    maps = network(torch.rand(2, 3, 64, 64))
    (sum(level.sum() for level in maps.levels) + maps.keypoints.sum()).backward()
    assert network.model[0].conv.weight.grad is not None


def tampered(tmp_path, **changes):
    checkpoint.save_checkpoint(tmp_path / "a.pt", of(tiny()))
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    torch.save(content | changes, tmp_path / "b.pt")
    return tmp_path / "b.pt"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 2}, "written by another yolopose"),
        ({"state": [1]}, "'state' is not what it should be"),
        ({"state": {"a": 1}}, "'state' is not what it should be"),
        ({"extra": None}, "'extra' is not what it should be"),
        ({"info": {"task": "segment"}}, "'segment' model; yolopose runs pose models"),
        ({"info": {"kpt_shape": [2, 3], "names": 5}}, "damaged"),
        ({"format": "other"}, "no model in this checkpoint"),
    ],
)
def test_damaged_checkpoints_are_refused_in_one_line(tmp_path, changes, words):
    path = tampered(tmp_path, **changes)
    with pytest.raises(PoseError, match=words) as caught:
        checkpoint.load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def rows(repeats=1, channels=16, last="C2f"):
    return [[-1, 1, "Conv", [8, 3, 4]], [-1, 1, "Conv", [channels, 3, 2]], [-1, repeats, last, [16, True]]]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"backbone": rows(repeats=900)}, "more layers than weights"),
        ({"backbone": rows(repeats=10**9)}, "repeats must be a whole number"),
        ({"backbone": rows(repeats=10**70), "depth_multiple": 0.5}, "repeats must be a whole number"),
        ({"backbone": rows(channels=10**9)}, "differ|cannot be made"),
        ({"backbone": rows(channels=32)}, r"entries, first 'model.1.bn.bias': .16,. stored, .32,. expected"),
        ({"backbone": 5}, "cannot be built: .*backbone must be a list"),
        ({"backbone": rows(last="os.system")}, "unknown module .os.system."),
        ({"ch": "x"}, "cannot be built"),
        ({"kpt_shape": None}, "cannot be built: .*kpt_shape"),
    ],
)  # fmt: skip
def test_architectures_that_do_not_fit_are_refused_soon(tmp_path, spec, words):
    path = tampered(tmp_path, spec=tiny().spec | spec)
    started = time.process_time()
    with pytest.raises(PoseError, match=words) as caught:
        checkpoint.build_network(checkpoint.load_checkpoint(path))
    assert time.process_time() - started < 5
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_huge_fused_architecture_is_refused_before_it_is_built(tmp_path):
    network = tiny().fuse()
    spec = network.spec | {"backbone": rows(channels=30_000)}
    checkpoint.save_checkpoint(tmp_path / "a.pt", Checkpoint(network.state_dict(), spec, network.info))
    with pytest.raises(PoseError, match="larger than its weights"):
        checkpoint.build_network(checkpoint.load_checkpoint(tmp_path / "a.pt"))


def test_weights_alone_say_what_to_do_and_can_be_transferred(tmp_path):
    network = tiny()
    torch.save(network.half().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(
        PoseError, match=r"weights without their architecture; name its model YAML, as in YOLO\('yolov8n"
    ):
        checkpoint.load_checkpoint(tmp_path / "weights.pt")
    state = checkpoint.load_state(tmp_path / "weights.pt")
    other = tiny()
    torch.nn.init.zeros_(other.model[0].conv.weight)
    assert transfer(other, state) == (len(state), len(state))
    assert torch.equal(other.model[0].conv.weight, network.model[0].conv.weight.float())


def test_weights_of_every_kind_of_file_are_the_same(tmp_path):
    network = tiny()
    checkpoint.save_checkpoint(tmp_path / "own.pt", of(network), half=True)
    save_foreign(tmp_path / "foreign.pt", network)
    own, foreign = (checkpoint.load_state(tmp_path / f"{name}.pt") for name in ("own", "foreign"))
    assert own.keys() == foreign.keys()
    assert all(torch.equal(own[key], foreign[key]) for key in own if "num_batches" not in key)


def test_files_without_a_model(tmp_path):
    for content in ({"epoch": 1}, [1, 2], {"model": None, "ema": None}, torch.nn.ReLU()):
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(PoseError, match=r"a\.pt: no model|a\.pt: its network .ReLU. has no layers"):
            checkpoint.load_checkpoint(tmp_path / "a.pt")
        with pytest.raises(PoseError, match=r"a\.pt: no weights|a\.pt: its network .ReLU. has no layers"):
            checkpoint.load_state(tmp_path / "a.pt")


def test_transfer_from_17_to_5_keypoints():
    """The figure of Ultralytics 8.3: all but the keypoint branch's last layers and what depends on their width."""
    spec = load_spec("yolov8n-pose.yaml")
    body = PoseNet(spec | {"kpt_shape": [17, 3]})
    assert transfer(PoseNet(spec | {"kpt_shape": [5, 3]}), body.state_dict()) == (361, 397)


def test_recorded_checkpoints_round_trip(golden, tmp_path):
    foreign = checkpoint.load_checkpoint(golden / "natural-n17.pt")
    checkpoint.save_checkpoint(tmp_path / "own.pt", foreign, half=True)
    own = checkpoint.load_checkpoint(tmp_path / "own.pt")
    assert (own.spec, own.info, own.train_args, own.extra) == (
        foreign.spec,
        foreign.info,
        foreign.train_args,
        foreign.extra,
    )
    assert all(torch.equal(own.state[key], value) for key, value in foreign.state.items())  # they were half before
    assert (tmp_path / "own.pt").stat().st_size < 7_000_000


BIG = "x" * 1_000_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": [BIG] * 100_000}, "written by another yolopose"),
        ({"info": {"kpt_shape": [3_000_000, 3]}}, "K of kpt_shape must be from 1 to 10000, got 3000000"),
        ({"info": {"kpt_shape": [10**18, 3]}}, "K of kpt_shape must be from 1 to 10000"),
        ({"info": {"flip_idx": torch.ones(2)}}, "flip_idx must be a list, got Tensor of shape"),
        ({"info": {"stride": float("nan")}}, "stride must be a whole number, got nan"),
        ({"info": {"stride": [BIG] * 1000}}, "stride must be a whole number|nested without end"),
        ({"info": {"names": {0: [[BIG]] * 1000}}}, "a name of names must be text|nested without end"),
        ({"info": {"imgsz": [10**9, 10**9]}}, "imgsz must be from 1 to"),
        ({"info": {"batch": float("inf")}}, "batch must be a whole number, got inf"),
        ({"info": {"task": [BIG] * 1000}}, "this is a .* model|nested without end"),
        ({"extra": {"note": [[BIG] * 1000] * 1000}}, "nested without end"),
        ({"state": {1: torch.ones(1), "a": torch.ones(1)}}, "'state' is not what it should be"),
        ({"spec": {"scales": torch.ones(3)}}, "scales must map a letter"),
    ],
)  # fmt: skip
def test_values_of_hostile_files_end_in_one_short_line(tmp_path, changes, words):
    network = tiny()
    whole = {"info": network.info.to_dict(), "spec": network.spec, "extra": {}}
    merged = {key: whole[key] | value if key in whole else value for key, value in changes.items()}
    path = tampered(tmp_path, **merged)
    with pytest.raises(PoseError, match=words) as caught:
        checkpoint.build_network(checkpoint.load_checkpoint(path))
    assert len(str(caught.value)) < 700


def test_whole_numbers_are_no_weights(tmp_path):
    network = tiny()
    state = network.state_dict()
    state["model.0.conv.weight"] = state["model.0.conv.weight"].long()
    with pytest.raises(PoseError, match=r"model\.0\.conv\.weight.*'whole numbers'.* stored"):
        checkpoint.build_network(checkpoint.load_checkpoint(tampered(tmp_path, state=state)))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.pt")
    with pytest.raises(PoseError, match="a pipe or device, not a file"):
        checkpoint.load_checkpoint(tmp_path / "a.pt")
