"""Before the first step: the network for a data set, mixed precision, the batch size, deterministic kernels."""

from __future__ import annotations

import os

import pytest
import torch
from helpers.builders import make_dataset, make_network

from yolopose.checkpoint import Checkpoint, save_checkpoint
from yolopose.config import TrainConfig, parse
from yolopose.data.spec import load_data
from yolopose.errors import PoseError, UsageError
from yolopose.formats.pytorch import cpu_has_bf16
from yolopose.geometry.keypoints import default_layout
from yolopose.nn.network import PoseNet
from yolopose.nn.spec import load_spec
from yolopose.rules import REFERENCE
from yolopose.train.build import prepare_network
from yolopose.train.device import autocast_type, batch_size, deterministic_kernels, fitting_batch
from yolopose.train.distributed import Ranks
from yolopose.train.reporting import describe_sigmas

CPU = torch.device("cpu")


@pytest.fixture
def data(tmp_path):
    return load_data(make_dataset(tmp_path, 2, k=5))


def test_a_network_for_other_keypoints_takes_the_weights_that_fit(data, capsys):
    base = PoseNet(load_spec("yolov8n-pose.yaml"))  # 17 keypoints
    network = prepare_network(base, data, TrainConfig(imgsz=320))
    assert network.info.kpt_shape == (5, 3)
    assert network.info.names == {0: "thing"}
    assert network.info.imgsz == (320, 320)
    assert "Transferred 361/397 items from pretrained weights" in capsys.readouterr().out
    assert torch.equal(network.get_parameter("model.0.conv.weight"), base.get_parameter("model.0.conv.weight"))


@pytest.mark.parametrize(("known", "wanted"), [(5, 17), (17, 5)])
def test_weights_of_faces_and_persons_start_each_other(known, wanted, tmp_path, capsys):
    base = PoseNet(load_spec("yolov8n-pose.yaml"), names={0: "a"}, layout=default_layout((known, 3)))
    file = tmp_path / "other.pt"
    save_checkpoint(file, Checkpoint(base.state_dict(), base.spec, base.info, {}, {}))
    data = load_data(make_dataset(tmp_path / "data", 2, k=wanted))
    fresh = PoseNet(load_spec("yolov8n-pose.yaml"))
    network = prepare_network(fresh, data, TrainConfig(pretrained=str(file)), pretrained=False)
    said = capsys.readouterr().out
    assert "Transferred 361/397 items from pretrained weights" in said
    line = f"{file}: 1 layer does not fit and is left out: model.22.cv4, keypoints (36 of 42 entries)"
    assert line in said.splitlines()
    own, theirs = network.state_dict(), base.state_dict()
    kept = [key for key in own if own[key].shape == theirs[key].shape and torch.equal(own[key], theirs[key])]
    assert {".".join(key.split(".")[:3]) for key in own.keys() - kept} <= {"model.22.cv4"}
    assert network.info.kpt_shape == (wanted, 3)


def test_many_layers_that_do_not_fit_are_counted(data, tmp_path, capsys):
    small, large = PoseNet(load_spec("yolov8n-pose.yaml")), PoseNet(load_spec("yolov8s-pose.yaml"))
    file = tmp_path / "large.pt"
    save_checkpoint(file, Checkpoint(large.state_dict(), large.spec, large.info, {}, {}))
    prepare_network(small, data, TrainConfig(pretrained=str(file)), pretrained=False)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert "layers do not fit and are left out: model.0 (" in line
    assert line.endswith("more")
    prepare_network(small, data, TrainConfig(pretrained=True))
    assert "model.22.cv4, keypoints (36 of 42 entries)" in capsys.readouterr().out


def test_without_pretraining_the_weights_follow_from_the_seed(data, capsys):
    state = torch.get_rng_state()
    base = make_network()
    first, second, third = (
        prepare_network(base, data, TrainConfig(seed=seed, pretrained=False)).state_dict() for seed in (1, 1, 2)
    )
    key = "model.0.conv.weight"
    assert torch.equal(first[key], second[key])
    assert not torch.equal(first[key], third[key])
    assert not torch.equal(first[key], base.state_dict()[key])
    assert "Transferred" not in capsys.readouterr().out
    assert torch.equal(torch.get_rng_state(), state)


def test_pretrained_names_a_file(data, tmp_path):
    other = make_network(seed=1)
    save_checkpoint(tmp_path / "other.pt", Checkpoint(other.state_dict(), other.spec, other.info))
    config = parse(TrainConfig, {"pretrained": str(tmp_path / "other.pt")})
    network = prepare_network(make_network(), data, config, pretrained=False)
    key = "model.0.conv.weight"
    assert torch.equal(network.state_dict()[key], other.state_dict()[key])


def test_fused_weights_are_refused(data):
    with pytest.raises(PoseError, match="fused"):
        prepare_network(make_network().fuse(), data, TrainConfig(model="m.pt"))


def test_mixed_precision_is_for_gpus_and_for_those_who_ask():
    network = make_network()
    assert autocast_type(network, CPU, amp=True, bf16=False) is None
    assert autocast_type(network, CPU, amp=False, bf16=True) is None


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU does not compute bfloat16")
def test_bfloat16_is_checked_on_a_synthetic_image(capsys):
    network = make_network()
    assert autocast_type(network, CPU, amp=True, bf16=True) is torch.bfloat16
    network.get_parameter("model.0.conv.weight").data.fill_(float("inf"))
    assert autocast_type(network, CPU, amp=True, bf16=True) is None
    assert "amp=False" in capsys.readouterr().err


def test_the_batch_is_a_number_of_images_that_the_ranks_can_share(capsys):
    network = make_network()
    assert batch_size(12, network, Ranks(0, 4, CPU), None, side=64, images=99) == 12
    assert batch_size(-1, network, Ranks(0, 1, CPU), None, side=64, images=99) == 16
    assert "using 16" in capsys.readouterr().out
    with pytest.raises(UsageError, match="batch=10: 4 ranks need a multiple of 4"):
        batch_size(10, network, Ranks(0, 4, CPU), None, side=64, images=99)
    with pytest.raises(UsageError, match="name the batch"):
        batch_size(-1, network, Ranks(0, 4, CPU), None, side=64, images=99)


def test_the_batch_that_fits_is_extrapolated_and_no_larger_than_the_data(capsys):
    peaks = {2: 300, 3: 400, 4: 500, 8: 900}  # 100 for the network, 100 per image
    assert fitting_batch(peaks, 2150, images=99) == 20
    assert fitting_batch(peaks, 2150, images=7) == 7
    assert fitting_batch(peaks, 50, images=99) == 1
    assert fitting_batch({2: 300, 3: 300, 4: 280}, 1000, images=99) == 16
    assert "does not grow with the batch, using 16" in capsys.readouterr().err


def test_cublas_gets_its_workspace_for_the_time_of_a_deterministic_run(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with deterministic_kernels(True):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with deterministic_kernels(True):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_settings_of_torch_are_restored():
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    with deterministic_kernels(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert (torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark) == before
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_the_log_names_the_source_of_the_sigmas():
    assert describe_sigmas((0.2,) * 5, given=False) == "OKS sigmas (the default for this many keypoints): 0.2 for all"
    assert describe_sigmas((0.1, 0.025), given=True) == "OKS sigmas (from the data YAML): 0.1 0.025"
    assert describe_sigmas((0.1, 0.025), True, REFERENCE).startswith("OKS sigmas (Ultralytics 8.3's rule): 0.1")
