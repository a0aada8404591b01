"""Every backend that runs on a GPU, against torch on the CPU; `predict` and `val` on it."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from helpers.builders import make_dataset, make_network

from yolopose import YOLO
from yolopose.checkpoint import Checkpoint, save_checkpoint
from yolopose.config import ExportConfig, parse
from yolopose.formats.base import OpenOptions
from yolopose.formats.pytorch import TorchBackend
from yolopose.formats.table import export, open_backend

pytestmark = pytest.mark.gpu

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return TorchBackend(make_network(), OpenOptions(device="cpu")).infer(IMAGES)


@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-3), (True, 3e-2)])
def test_torch(half, tolerance, expected):
    backend = TorchBackend(make_network(), OpenOptions(device="0", half=half))
    assert backend.device == "cuda:0"
    np.testing.assert_allclose(backend.infer(IMAGES), expected, atol=tolerance * np.abs(expected).max())


def test_onnx_runtime(expected, tmp_path, note):
    import onnxruntime

    there = onnxruntime.get_available_providers()
    note("ONNX Runtime", {"version": onnxruntime.__version__, "providers": there})
    if "CUDAExecutionProvider" not in there:
        pytest.skip("this ONNX Runtime has no CUDA (onnxruntime-gpu)")
    check("onnx", expected, tmp_path, 1e-3)


def test_torchscript(expected, tmp_path):
    check("torchscript", expected, tmp_path, 1e-3)


@pytest.mark.parametrize("half", [False, True])
def test_tensorrt(half, expected, tmp_path, note):
    if importlib.util.find_spec("tensorrt") is None:
        pytest.skip("tensorrt is not installed")
    import tensorrt

    note("TensorRT", tensorrt.__version__)
    check("engine", expected, tmp_path, 5e-2 if half else 5e-3, half=half)


def check(format: str, expected: np.ndarray, folder, tolerance: float, **options) -> None:
    """Export a network, open the file on the GPU, compare."""
    values = {"format": format, "imgsz": 64, "batch": len(IMAGES), "device": 0, "out": str(folder / f"m.{format}")}
    backend = open_backend(export(make_network(), parse(ExportConfig, values | options)), OpenOptions(device="0"))
    assert "cuda" in backend.device
    np.testing.assert_allclose(backend.infer(IMAGES), expected, atol=tolerance * np.abs(expected).max())


def test_predict_and_val(tmp_path):
    network = make_network()
    save_checkpoint(tmp_path / "m.pt", Checkpoint(network.state_dict(), network.spec, network.info))
    data = make_dataset(tmp_path / "data", 6)
    on = {}
    for device in ("cpu", 0):
        model = YOLO(tmp_path / "m.pt")
        (result,) = model.predict(tmp_path / "data" / "images" / "000.jpg", imgsz=64, device=device)
        on[device] = len(result), model.val(data=data, imgsz=64, device=device, plots=False).results_dict
    assert on["cpu"][0] == on[0][0]
    assert on["cpu"][1] == pytest.approx(on[0][1], abs=0.02)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_the_second_gpu(expected):
    backend = TorchBackend(make_network(), OpenOptions(device="1"))
    assert backend.device == "cuda:1"
    np.testing.assert_allclose(backend.infer(IMAGES), expected, atol=1e-3 * np.abs(expected).max())
