"""ONNX: our files and others' give the same output as the network."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.builders import make_network, same_as_torch
from onnx import TensorProto, helper

from yolopose.config import ExportConfig
from yolopose.errors import PoseError, UsageError
from yolopose.formats.base import OpenOptions
from yolopose.formats.pytorch import TorchBackend
from yolopose.formats.table import export, open_backend
from yolopose.geometry.boxes import cxcywh_to_xyxy

HW = (64, 96)
OLD = 17  # torch's older exporter, which is faster


@pytest.fixture(scope="module")
def static(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of fixed input (1, 3, 64, 96)."""
    return make(network, tmp_path_factory.mktemp("static") / "m.onnx", opset=OLD)


@pytest.fixture(scope="module")
def dynamic(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of open batch, height and width."""
    return make(network, tmp_path_factory.mktemp("dynamic") / "m.onnx", opset=OLD, dynamic=True)


def make(network: Any, path: Path, **options: Any) -> Path:
    return export(network, ExportConfig(**({"imgsz": HW} | options), out=str(path)))


def change(path: Path, target: Path, metadata: dict[str, str] | None, edit: Any = None) -> Path:
    """A copy of a file with other metadata and an edited graph."""
    model = onnx.load(path)
    del model.metadata_props[:]
    helper.set_model_props(model, metadata or {})
    if edit:
        edit(model)
    onnx.checker.check_model(model)
    onnx.save(model, target)
    return target


@pytest.mark.parametrize(
    "options", [{}, pytest.param({"dynamic": True}, marks=pytest.mark.slow)], ids=["static", "dynamic"]
)
def test_newest_exporter(network: Any, images: np.ndarray, tmp_path: Path, options: dict[str, Any]) -> None:
    path = make(network, tmp_path / "m.onnx", **options)
    backend = same_as_torch(path, network, images)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 18
    assert list(tmp_path.iterdir()) == [path]  # one file, nothing left beside it
    assert backend.fixed_shape == (None if options else (1, *HW))
    assert backend.info.to_dict()["precision"] == "float32"
    if options:
        other = np.random.default_rng(1).integers(0, 256, (2, 160, 32, 3), dtype=np.uint8)
        same_as_torch(path, network, other)


def test_static_and_dynamic_axes_are_named(static: Path, dynamic: Path) -> None:
    def axes(path: Path) -> list[list[Any]]:
        graph = onnx.load(path).graph
        return [
            [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
            for value in (graph.input[0], graph.output[0])
        ]

    assert axes(static) == [[1, 3, *HW], [1, 21, 126]]
    assert axes(dynamic) == [["batch", 3, "height", "width"], ["batch", 21, "anchors"]]


def test_metadata_survive(network: Any, static: Path) -> None:
    info = open_backend(static).info
    assert (info.names, info.layout) == (network.info.names, network.info.layout)
    assert (info.imgsz, info.batch, info.dynamic, info.stride) == (HW, 1, False, 32)
    assert all(isinstance(p.value, str) for p in onnx.load(static).metadata_props)


def test_half_computes_in_16_bit_and_decodes_in_32(network: Any, images: np.ndarray, tmp_path: Path) -> None:
    path = make(network, tmp_path / "m.onnx", opset=OLD, half=True)
    backend = same_as_torch(path, network, images, tolerance=3e-3)
    assert backend.precision == "float16"
    graph = onnx.load(path).graph
    assert all(v.type.tensor_type.elem_type == TensorProto.FLOAT for v in (*graph.input, *graph.output))
    kinds = {t.data_type for t in graph.initializer if len(t.dims) == 4 and t.dims[0] > 1}
    assert kinds == {TensorProto.FLOAT16}


def test_fixed_batch(network: Any, images: np.ndarray, tmp_path: Path) -> None:
    path = make(network, tmp_path / "m.onnx", opset=OLD, batch=2, simplify=False)
    assert same_as_torch(path, network, images).fixed_shape == (2, *HW)


def test_sizes_are_rounded_up(network: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert open_backend(make(network, tmp_path / "m.onnx", opset=OLD, imgsz=50)).fixed_shape == (1, 64, 64)
    assert "64,64" in caplog.text


def test_ultralytics_metadata(network: Any, images: np.ndarray, static: Path, dynamic: Path, tmp_path: Path) -> None:
    theirs = {"task": "pose", "stride": "32", "imgsz": "[64, 96]", "names": "{0: 'a', 1: 'b'}", "kpt_shape": "[5, 3]"}
    backend = same_as_torch(change(static, tmp_path / "s.onnx", theirs), network, images)
    assert backend.info.names == {0: "a", 1: "b"}
    assert same_as_torch(change(dynamic, tmp_path / "d.onnx", theirs), network, images[:, :32]).fixed_shape is None


def test_no_metadata(images: np.ndarray, tmp_path: Path, static: Path, network: Any) -> None:
    one = make_network()
    bare = change(make(one, tmp_path / "m.onnx", opset=OLD), tmp_path / "bare.onnx", None)
    assert same_as_torch(bare, one, images).info.kpt_shape == (5, 3)
    two = change(static, tmp_path / "two.onnx", None)
    assert same_as_torch(two, network, images, kpt_shape=(5, 3)).info.names == {0: "class0", 1: "class1"}
    with pytest.raises(PoseError, match="kpt_shape"):
        open_backend(two)


def test_half_precision_input_and_output(network: Any, images: np.ndarray, static: Path, tmp_path: Path) -> None:
    def edit(model: Any) -> None:
        graph = model.graph
        for value, first in ((graph.input[0], True), (graph.output[0], False)):
            outside, inside = value.name, f"{value.name}32"
            for node in graph.node:
                names = node.input if first else node.output
                names[:] = [inside if name == outside else name for name in names]
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
            cast = (outside, inside, TensorProto.FLOAT) if first else (inside, outside, TensorProto.FLOAT16)
            node = helper.make_node("Cast", [cast[0]], [cast[1]], to=cast[2])
            graph.node.insert(0 if first else len(graph.node), node)

    metadata = {p.key: p.value for p in onnx.load(static).metadata_props if p.key != "precision"}
    backend = same_as_torch(change(static, tmp_path / "m.onnx", metadata, edit), network, images, tolerance=2e-3)
    assert backend.precision == "float16"


def test_suppression_within_the_file(network: Any, images: np.ndarray, tmp_path: Path) -> None:
    """A file whose output is (B, N, 6+K·D), as exported with nms=True, gives the same boxes, scores and points."""
    plain = TorchBackend(network).infer(images[:1])[0]
    rows = np.concatenate([
        cxcywh_to_xyxy(plain[:4].T), plain[4:6].max(0)[:, None], plain[4:6].argmax(0)[:, None], plain[6:].T
    ], 1).astype(np.float32)[None]  # fmt: skip
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMin", ["images"], ["least"], keepdims=0),
            helper.make_node("Mul", ["least", "none"], ["zero"]),
            helper.make_node("Add", ["rows", "zero"], ["output0"]),
        ],
        "g",
        [value("images", TensorProto.FLOAT, [1, 3, *HW])],
        [value("output0", TensorProto.FLOAT, list(rows.shape))],
        [helper.make_tensor("rows", TensorProto.FLOAT, rows.shape, rows.ravel()),
         helper.make_tensor("none", TensorProto.FLOAT, [], [0.0])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"names": "{0: 'a', 1: 'b'}", "kpt_shape": "[5, 3]"})
    onnx.save(model, tmp_path / "m.onnx")
    found = open_backend(tmp_path / "m.onnx").infer(images[:1])[0]
    np.testing.assert_allclose(found[:4], plain[:4], atol=1e-3)
    np.testing.assert_allclose(found[4:6].max(0), plain[4:6].max(0))
    assert (found[4:6].argmax(0) == plain[4:6].argmax(0)).all()
    np.testing.assert_allclose(found[6:], plain[6:])


def test_threads_reach_the_session(static: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime as ort

    seen = []
    real = ort.InferenceSession
    monkeypatch.setattr(ort, "InferenceSession", lambda path, settings, **kw: seen.append(settings) or real(path, **kw))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    open_backend(static)
    open_backend(static, OpenOptions(threads=1))
    assert [settings.intra_op_num_threads for settings in seen] == [3, 1]


def test_a_gpu_that_is_not_there(static: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime as ort

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UsageError, match="device=0"):
        open_backend(static, OpenOptions(device="0"))
    assert open_backend(static).device == "cpu"


def test_an_idle_gpu(static: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    import onnxruntime as ort

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert open_backend(static, OpenOptions(device="-1")).device == "cpu"
    assert "device=-1: this ONNX Runtime has no CUDA; running on the CPU" in caplog.text


@pytest.mark.parametrize("device", ["banana", "0,1", "cuda:x", "mps"])
def test_unknown_devices(static: Path, device: str) -> None:
    with pytest.raises(UsageError, match=f"device={device}: ONNX Runtime runs on one device") as error:
        open_backend(static, OpenOptions(device=device))
    assert "\n" not in str(error.value)


def test_a_gpu_that_onnx_runtime_cannot_load(
    static: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says that it has CUDA, and takes the CPU all the same, as where CUDA's libraries are not found."""
    import onnxruntime as ort

    whole = ort.InferenceSession
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", lambda *a, **_: whole(*a, providers=["CPUExecutionProvider"]))
    with pytest.raises(UsageError, match=r"device=0: this ONNX Runtime cannot load CUDA .*device=cpu runs on the CPU"):
        open_backend(static, OpenOptions(device="0"))
    assert not caplog.records
    assert open_backend(static).device == "cpu"
    assert "cannot load CUDA" in caplog.text


def test_options_without_effect_are_warned_about(static: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_backend(static, OpenOptions(half=True))
    assert "float32" in caplog.text


def test_damaged_files_are_named(static: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(static.read_bytes()[:2000])
    with pytest.raises(PoseError, match=r"cut\.onnx") as error:
        open_backend(cut)
    assert "\n" not in str(error.value)


def test_an_operator_set_out_of_reach(network: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="opset=99"):
        make(network, tmp_path / "m.onnx", opset=99)
    assert not list(tmp_path.iterdir())


def test_an_older_file_is_replaced_only_by_a_complete_one(
    network: Any, static: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "m.onnx"
    shutil.copy(static, target)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save_model", fail)
    with pytest.raises(PoseError, match="No space left"):
        make(network, target, opset=OLD)
    assert target.read_bytes() == static.read_bytes()
    assert list(tmp_path.iterdir()) == [target]


def test_the_output_of_a_file_with_nms_is_read_from_its_metadata(
    network: Any, images: np.ndarray, tmp_path: Path
) -> None:
    path = make(network, tmp_path / "m.onnx", opset=OLD, nms=True, conf=0.4, max_det=7)
    said = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    assert said["decoding"].startswith("output (B, N, 6 + K*D), after non-maximum suppression")
    assert (said["nms"], said["conf"], said["max_det"]) == ("True", "0.4", "7")
    backend = open_backend(path)
    assert backend.info.extra["nms"] is True
    assert max(len(rows) for rows in backend.candidates(images, 0.0)) <= 7
