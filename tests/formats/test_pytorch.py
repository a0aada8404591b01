"""The torch backend: same output as the network, which is not changed; devices and types by name."""

import copy
import logging

import numpy as np
import pytest
import torch
from helpers.builders import make_network

from yolopose.errors import PoseError, UsageError
from yolopose.formats import pytorch
from yolopose.formats.base import OpenOptions, candidates_above
from yolopose.formats.pytorch import TorchBackend, choose_device, cpu_has_bf16


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)


def rgb(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images[..., ::-1])).permute(0, 3, 1, 2).float() / 255


def test_equals_the_unfused_network_and_leaves_it_alone(images: np.ndarray) -> None:
    network = make_network(classes=2)
    before = copy.deepcopy(network.state_dict())
    network.train()
    backend = TorchBackend(network, OpenOptions(device="cpu"))
    assert network.training
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in before.items())
    with torch.inference_mode():
        expected = network.eval()(rgb(images)).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(backend.infer(images), expected, atol=1e-5 * scale)
    floats = images.astype(np.float32) / 255
    for _ in range(2):  # the second time shows whether the first one changed the caller's array
        np.testing.assert_allclose(backend.infer(floats), expected, atol=1e-5 * scale)


def test_candidates_and_maps_belong_to_the_same_forward(images: np.ndarray) -> None:
    backend = TorchBackend(make_network(classes=2), OpenOptions(device="cpu"))
    output, maps = backend.infer_maps(images)
    np.testing.assert_array_equal(backend.network.decode(maps).numpy(), output.numpy())
    for rows, expected in zip(backend.candidates(images, 0.5), candidates_above(output.numpy(), 2, 0.5), strict=True):
        assert 0 < len(rows) < output.shape[2]
        np.testing.assert_allclose(rows, expected, atol=1e-5 * np.abs(expected).max())


def test_no_candidates_above_confidence_1(images: np.ndarray) -> None:
    backend = TorchBackend(make_network(), OpenOptions(device="cpu"))
    assert [rows.shape for rows in backend.candidates(images, 1.0)] == [(0, 20), (0, 20)]


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU has no bfloat16")
def test_bf16_is_close_and_decodes_in_float32(images: np.ndarray) -> None:
    network = make_network()
    exact = TorchBackend(network, OpenOptions(device="cpu")).infer(images)
    backend = TorchBackend(network, OpenOptions(device="cpu", bf16=True))
    rounded = backend.infer(images)
    assert (backend.precision, rounded.dtype) == ("bfloat16", np.float32)
    centres = rounded[:, 5::3] - exact[:, 5::3]  # keypoint x
    assert 0 < np.abs(centres).max() < 0.02 * np.abs(exact[:, 5::3]).max()
    # coordinates rounded to bfloat16 would be multiples of large powers of two
    assert len(np.unique(rounded[0, 5])) > 0.9 * rounded.shape[2]


def test_bf16_without_the_instructions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytorch, "cpu_has_bf16", lambda: False)
    with pytest.raises(UsageError, match="bf16=True"):
        TorchBackend(make_network(), OpenOptions(device="cpu", bf16=True))


def test_half_on_a_cpu_stays_float32_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "yolopose"):
        backend = TorchBackend(make_network(), OpenOptions(device="cpu", half=True))
    assert backend.precision == "float32"
    assert "half=True" in caplog.text


@pytest.mark.parametrize("name", ["gpu", "99", "²", "cuda:99", "0,1"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        TorchBackend(make_network(), OpenOptions(device=name))


@pytest.mark.gpu
def test_gpu_equals_cpu(images: np.ndarray) -> None:
    network = make_network()
    rows = [TorchBackend(network, OpenOptions(device=d)).candidates(images, 0.5) for d in ("cpu", "cuda")]
    for cpu, gpu in zip(*rows, strict=True):
        np.testing.assert_allclose(cpu, gpu, atol=1e-2 * np.abs(cpu).max())


def test_without_torch_the_error_has_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PoseError, match=r"yolopose\[train\].*ONNX") as error:
        pytorch.load_network(tmp_path / "some.pt")
    assert "\n" not in str(error.value)


def test_idle_gpu_is_the_cpu_without_gpus(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("-1") == torch.device("cpu")
    assert "device=-1: this machine has no GPU" in caplog.text
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda i: ((5, 9, 7)[i], 10))
    assert choose_device("-1") == torch.device("cuda:1")


@pytest.mark.parametrize(("what", "remedy"), [("best.pt", "export it to ONNX"), ("train", None), ("format=onnx", None)])
def test_errors_without_torch(what: str, remedy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PoseError, match=r"needs torch: pip install 'yolopose\[train\]'") as error:
        pytorch.require_torch(what)
    assert ("export" in str(error.value)) is (remedy is not None)


@pytest.mark.parametrize(
    ("device", "said"),
    [("0,1", "device=0,1 takes one device here; there is cpu"), ("7", "device=7 is not on this machine")],
)
def test_errors_of_devices(device: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match=f"^{said}"):
        choose_device(device)
