"""TensorRT with a stand-in for it.

No GPU was at hand. What is tested is all that lies on our side of TensorRT's documented interface.
"""

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers.builders import make_network
from helpers.fake_tensorrt import MAGIC, Context, tensorrt
from onnx import TensorProto, numpy_helper

from yolopose.config import ExportConfig
from yolopose.errors import PoseError, UsageError
from yolopose.formats import tensorrt as ours
from yolopose.formats.base import ExportOptions, OpenOptions
from yolopose.formats.onnx import onnx_model
from yolopose.formats.pytorch import TorchBackend
from yolopose.formats.table import export, open_backend
from yolopose.formats.tensorrt import read_engine

HW = (64, 96)


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with a GPU and TensorRT, both made up."""
    module = tensorrt()
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(ours, "onnx_model", quick_onnx)
    monkeypatch.setattr(ours, "_gpu", lambda what, device: torch.device("cpu"))
    stream = SimpleNamespace(cuda_stream=7, synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Imaginary 1")
    return module


def quick_onnx(network: Any, options: ExportOptions, info: Any, *, symmetric: bool) -> Any:
    """With torch's older exporter, which is faster."""
    return onnx_model(network, replace(options, opset=17), info, symmetric=symmetric)


@pytest.fixture(scope="module")
def network() -> Any:
    return make_network(classes=2)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, *HW, 3), dtype=np.uint8)


def make(network: Any, folder: Path, **options: Any) -> Path:
    return export(network, ExportConfig(imgsz=HW, format="engine", out=str(folder / "m.engine"), **options))


def same(path: Path, network: Any, images: np.ndarray, tolerance: float = 1e-5) -> Any:
    """Open the file and compare it with torch on `images`; `tolerance` is relative to the largest number."""
    backend = open_backend(path)
    expected = TorchBackend(network).infer(images)
    found = backend.infer(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
    return backend


def model_of(path: Path) -> Any:
    """The ONNX model that TensorRT was given."""
    return onnx.load_from_string(read_engine(path)[1].partition(b"\n")[2])


def test_static(trt: Any, network: Any, images: np.ndarray, tmp_path: Path) -> None:
    path = make(network, tmp_path, batch=2, workspace=1.5)
    assert list(tmp_path.iterdir()) == [path]
    assert trt.flags == 1 << 1
    assert trt.settings.cleared == ["TF32"]
    assert trt.settings.limits == {"WORKSPACE": 3 << 29}
    assert trt.settings.profiles == []
    backend = same(path, network, images)
    assert (backend.precision, backend.fixed_shape) == ("float32", (2, *HW))
    same(path, network, images.astype(np.float32) / 255)
    with pytest.raises(PoseError, match="64x96 only, got 32x96"):
        backend.infer(images[:, :32])


def test_header(trt: Any, network: Any, tmp_path: Path) -> None:
    path = make(network, tmp_path)
    data = path.read_bytes()
    length = int.from_bytes(data[:4], "little")
    values = json.loads(data[4 : 4 + length])
    assert data[4 + length :].startswith(MAGIC)
    assert (values["imgsz"], values["names"]) == ([64, 96], {"0": "class0", "1": "class1"})
    assert (values["tensorrt"], values["gpu"], values["precision"]) == ("10.9", "Imaginary 1", "float32")
    assert trt.settings.limits == {}
    info = open_backend(path).info
    assert (info.names, info.layout) == (network.info.names, network.info.layout)


@pytest.mark.slow
def test_the_newest_exporter(
    trt: Any, network: Any, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "onnx_model", onnx_model)
    path = make(network, tmp_path)
    same(path, network, images)
    assert model_of(path).opset_import[0].version == 18


def test_dynamic(trt: Any, network: Any, images: np.ndarray, tmp_path: Path) -> None:
    path = make(network, tmp_path, dynamic=True, batch=2)
    shapes = trt.settings.profiles[0].shapes
    assert shapes == {"images": ((1, 3, 32, 32), (2, 3, *HW), (2, 3, *HW))}
    backend = same(path, network, images)
    assert (backend.fixed_shape, backend.info.dynamic) == (None, True)
    same(path, network, images[:, :32, :64])
    with pytest.raises(PoseError, match="up to 64x96, got 64x128"):
        backend.infer(np.zeros((1, 64, 128, 3), np.uint8))


def test_half_computes_in_16_bit_and_decodes_in_32(trt: Any, network: Any, images: np.ndarray, tmp_path: Path) -> None:
    path = make(network, tmp_path, half=True)
    assert same(path, network, images, tolerance=3e-3).precision == "float16"
    graph = model_of(path).graph
    assert {t.data_type for t in graph.initializer if len(t.dims) == 4 and t.dims[0] > 1} == {TensorProto.FLOAT16}


def test_int8_is_what_tensorrt_takes(trt: Any, network: Any, images: np.ndarray, tmp_path: Path) -> None:
    path = make(network, tmp_path, int8=True)
    backend = open_backend(path)
    assert backend.precision == "int8"
    graph = model_of(path).graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert all(values[n.input[2]].dtype == np.int8 and not values[n.input[2]].any() for n in pairs)
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    quantised = [node for node in convolutions if node.input[0] in makers and makers[node.input[0]] in pairs]
    assert len(quantised) == len(convolutions) - 10  # not the first, nor the last of nine branches
    users = {node.op_type for node in graph.node for name in node.input if makers.get(name) in pairs}
    assert users == {"Conv", "DequantizeLinear"}
    found, expected = backend.infer(images), TorchBackend(network).infer(images)
    assert np.median(np.abs(found - expected)[:, :4]) < 2


@pytest.mark.parametrize(
    ("fault", "told"), [("unreadable", "no importer for operator X$"), ("unbuildable", "cannot build this network")]
)
def test_tensorrt_cannot_read_or_build_the_network(
    trt: Any, network: Any, tmp_path: Path, fault: str, told: str
) -> None:
    setattr(trt, fault, True)
    with pytest.raises(PoseError, match=told):
        make(network, tmp_path)
    assert not list(tmp_path.iterdir())


def engine(path: Path, shapes: list[list[Any]], metadata: Any, kind: int = TensorProto.FLOAT) -> Path:
    """A file of other software, with a header or without, whose engine gives zeros."""
    values = [
        onnx.helper.make_tensor_value_info(n, kind, s) for n, s in zip(("images", "output0"), shapes, strict=True)
    ]
    zeros = onnx.helper.make_tensor("zeros", kind, shapes[1], np.zeros(int(np.prod(shapes[1]))))
    nodes = [onnx.helper.make_node("Identity", ["zeros"], ["output0"])]
    graph = onnx.helper.make_graph(nodes, "g", values[:1], values[1:], [zeros])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    header = b"" if metadata is None else json.dumps(metadata).encode()
    length = len(header).to_bytes(4, "little") if header else b""
    path.write_bytes(length + header + MAGIC + b"null\n" + model.SerializeToString())
    return path


THEIRS = {"task": "pose", "stride": 32, "imgsz": [64, 96], "names": {"0": "a"}, "kpt_shape": [5, 3], "args": {}}


@pytest.mark.parametrize("half", [False, True])
def test_files_of_others(trt: Any, images: np.ndarray, tmp_path: Path, half: bool) -> None:
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    backend = open_backend(engine(tmp_path / "m.engine", [[1, 3, *HW], [1, 20, 126]], THEIRS, kind))
    assert backend.info.names == {0: "a"}
    assert (backend.precision, backend.fixed_shape) == ("float16" if half else "float32", (1, *HW))
    assert backend.infer(images).shape == (3, 20, 126)
    bare = engine(tmp_path / "n.engine", [[1, 3, *HW], [1, 300, 21]], THEIRS)
    assert open_backend(bare).infer(images).shape == (3, 20, 300)  # suppression lies within


def test_a_bare_engine(trt: Any, tmp_path: Path) -> None:
    path = engine(tmp_path / "m.engine", [[1, 3, *HW], [1, 20, 126]], None)
    assert read_engine(path) == ({}, path.read_bytes())
    assert open_backend(path).info.kpt_shape == (5, 3)


def test_an_engine_with_unexpected_inputs_or_outputs_is_refused(trt: Any, tmp_path: Path) -> None:
    with pytest.raises(PoseError, match=r"expected one image input .*\(1, 3\).* → \[\(1, 5, 2\)\]"):
        open_backend(engine(tmp_path / "m.engine", [[1, 3], [1, 5, 2]], THEIRS))
    with pytest.raises(PoseError, match="20"):
        open_backend(engine(tmp_path / "m.engine", [[1, 3, *HW], [1, 9, 126]], THEIRS))
    with pytest.raises(PoseError, match="'segment' model"):
        open_backend(engine(tmp_path / "m.engine", [[1, 3, *HW], [1, 20, 126]], THEIRS | {"task": "segment"}))


@pytest.mark.parametrize("kept", [0, 3, 200])
def test_damaged_files(trt: Any, network: Any, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.engine"
    path.write_bytes((5000).to_bytes(4, "little")[:kept] + b"{" * max(kept - 4, 0))
    with pytest.raises(PoseError, match=r"cut\.engine: TensorRT 10\.9 cannot load it"):
        open_backend(path)


def test_an_engine_of_another_machine(trt: Any, tmp_path: Path) -> None:
    header = json.dumps({"tensorrt": "8.6", "gpu": "Older"}).encode()
    (tmp_path / "m.engine").write_bytes(len(header).to_bytes(4, "little") + header + b"ftrt")
    with pytest.raises(PoseError, match=r"made by TensorRT 8\.6 for Older; export it on this machine"):
        open_backend(tmp_path / "m.engine")


def test_failures_of_a_run(trt: Any, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_backend(engine(tmp_path / "m.engine", [[1, 3, *HW], [1, 20, 126]], THEIRS))
    monkeypatch.setattr(Context, "execute_async_v3", lambda self, stream: False)
    with pytest.raises(PoseError, match="failed to run it"):
        backend.infer(images)
    monkeypatch.setattr(Context, "set_input_shape", lambda self, name, shape: False)
    with pytest.raises(PoseError, match=r"refuses an input of \[1, 3, 64, 96\]"):
        backend.infer(images)


def test_half_of_a_float32_engine_is_logged(trt: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_backend(engine(tmp_path / "m.engine", [[1, 3, *HW], [1, 20, 126]], THEIRS), OpenOptions(half=True))
    assert "computes in float32" in caplog.text


def test_without_a_gpu(network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    (tmp_path / "m.engine").write_bytes(b"ftrt")
    with pytest.raises(PoseError, match=r"m\.engine: TensorRT needs an NVIDIA GPU"):
        open_backend(tmp_path / "m.engine")
    with pytest.raises(PoseError, match="format=engine: TensorRT needs an NVIDIA GPU"):
        export(network, ExportConfig(format="engine", out=str(tmp_path / "n.engine")))
    with pytest.raises(UsageError, match="device=0"):
        export(network, ExportConfig(format="engine", device="0", out=str(tmp_path / "n.engine")))
    with pytest.raises(UsageError, match="nms=True: format=engine"):
        export(network, ExportConfig(format="engine", nms=True, out=str(tmp_path / "n.engine")))
    assert len(list(tmp_path.iterdir())) == 1


def test_without_tensorrt(trt: Any, network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.engine").write_bytes(b"ftrt")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(PoseError, match=r"needs tensorrt: pip install 'yolopose\[tensorrt\]'"):
        open_backend(tmp_path / "m.engine")
    with pytest.raises(PoseError, match=r"needs tensorrt: pip install 'yolopose\[train,tensorrt\]'"):
        make(network, tmp_path)


def test_tensorrt_without_its_libraries(trt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt.py").write_text('raise ImportError("libnvonnxparser.so.11: cannot open")\n')
    (tmp_path / "m.engine").write_bytes(b"ftrt")
    monkeypatch.delitem(sys.modules, "tensorrt")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PoseError, match="TensorRT cannot be loaded: libnvonnxparser"):
        open_backend(tmp_path / "m.engine")
