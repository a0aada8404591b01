"""TensorFlow's files give the results of torch; converted ONNX operators those of ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.builders import OWN_SPEC, each_in_a_thread, make_network
from onnx import TensorProto, helper

from yolopose.config import ExportConfig
from yolopose.errors import PoseError, UsageError
from yolopose.evaluate.verify import Comparison, compare, fault
from yolopose.formats.base import OpenOptions
from yolopose.formats.calibration import letterboxed, sample_photographs
from yolopose.formats.pytorch import TorchBackend
from yolopose.formats.quiet import quiet
from yolopose.formats.table import export, open_backend

pytestmark = [
    pytest.mark.exports,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(tensorflow|keras|google|onnx|torch|ast)"),
]
pytest.importorskip("tensorflow")
with quiet():
    from yolopose.formats.onnx_to_keras import to_keras

HW = (64, 96)  # of small random networks
SIZE = (256, 320)
Compare = Callable[..., Comparison]


def photographs(info: Any) -> list[Any]:
    return [letterboxed(path, info) for path in sample_photographs()]


def make(network: Any, path: Path, **options: Any) -> Path:
    return export(network, ExportConfig(**({"imgsz": SIZE} | options), out=str(path)))


@pytest.fixture(scope="module")
def saved_model(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "m_saved_model"
    return make(network, path, format="saved_model", keras=True)


@pytest.fixture(scope="module")
def graphdef(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(network, tmp_path_factory.mktemp("graph") / "m.pb", format="pb")


@pytest.mark.parametrize("name", ["saved_model", "graphdef"])
def test_float32_is_torch(name: str, network: Any, against_torch: Compare, request: pytest.FixtureRequest) -> None:
    backend = open_backend(request.getfixturevalue(name))
    result = against_torch(backend)
    assert result.matched > 20
    assert fault(result, "float32", 0.01) is None
    assert (backend.precision, backend.device, backend.fixed_shape) == ("float32", "cpu", (1, *SIZE))
    assert (backend.info.names, backend.info.layout) == (network.info.names, network.info.layout)
    assert backend.info.extra["license"] == network.info.extra["license"]


def test_files_of_an_export(saved_model: Path, graphdef: Path) -> None:
    names = {f.name for f in saved_model.iterdir()}
    assert {"saved_model.pb", "variables", "metadata.yaml", "model.keras"} <= names
    assert [f.name for f in saved_model.parent.iterdir()] == [saved_model.name]
    assert sorted(f.name for f in graphdef.parent.iterdir()) == ["m.pb", "m.pb.yaml"]
    assert "NHWC" in (saved_model / "metadata.yaml").read_text()


def test_keras_loads_its_model(saved_model: Path) -> None:
    """Without a class of ours: Keras refuses those of files in its safe mode, which is on."""
    import keras

    model = keras.models.load_model(saved_model / "model.keras")
    images = photographs(open_backend(saved_model).info)[0]
    pixels = np.ascontiguousarray(images[..., ::-1] / np.float32(255), np.float32)
    expected = open_backend(saved_model).infer(images)
    np.testing.assert_allclose(np.asarray(model(pixels)), expected, atol=1e-3)


def test_int8_weights_are_a_quarter_of_the_size(
    network: Any, against_torch: Compare, saved_model: Path, tmp_path: Path
) -> None:
    path = make(network, tmp_path / "m_saved_model", format="saved_model", int8=True)
    size, full = (sum(f.stat().st_size for f in (p / "variables").iterdir()) for p in (path, saved_model))
    assert size < 0.3 * full
    backend = open_backend(path)
    assert backend.precision == "int8"
    result = against_torch(backend)
    assert fault(result, "int8", 0.01) is None
    assert 1e-3 < result.box_median < 0.5


def test_keras_has_no_int8(network: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keras=True"):
        make(network, tmp_path / "m_saved_model", format="saved_model", int8=True, keras=True)
    assert not list(tmp_path.iterdir())


def test_suppression_within_the_file(network: Any, against_torch: Compare, tmp_path: Path) -> None:
    path = make(network, tmp_path / "m_saved_model", format="saved_model", nms=True, conf=0.1, max_det=50)
    backend = open_backend(path)
    images = photographs(backend.info)
    assert backend.infer(images[0]).shape == (1, 20, 50)
    assert fault(against_torch(backend), "float32", 0.01) is None


def test_batches_and_threads(saved_model: Path) -> None:
    backend = open_backend(saved_model)
    images = np.concatenate(photographs(backend.info)[:3])
    alone = [backend.infer(images[i : i + 1])[0] for i in range(3)]
    np.testing.assert_array_equal(backend.infer(images), alone)
    np.testing.assert_array_equal(each_in_a_thread(backend, images), alone)
    np.testing.assert_array_equal(backend.infer((images / np.float32(255)).astype(np.float32)), alone)


def test_another_size_is_refused(graphdef: Path) -> None:
    with pytest.raises(PoseError, match="256x320 only, got 320x640"):
        open_backend(graphdef).infer(np.zeros((1, 320, 640, 3), np.uint8))


def test_a_graph_without_its_metadata(graphdef: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.pb"
    bare.write_bytes(graphdef.read_bytes())
    assert open_backend(bare).info.kpt_shape == (5, 3)
    with pytest.raises(PoseError, match="kpt_shape"):
        open_backend(bare, OpenOptions(kpt_shape=(6, 3)))


def test_damaged_files(saved_model: Path, graphdef: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pb"
    cut.write_bytes(graphdef.read_bytes()[:5000])
    folder = tmp_path / "cut_saved_model"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes((saved_model / "saved_model.pb").read_bytes())
    empty = tmp_path / "empty_saved_model"
    empty.mkdir()
    for path in (cut, folder, empty):
        with pytest.raises(PoseError, match=path.name) as error:
            open_backend(path)
        assert "\n" not in str(error.value)


def test_others_saved_model_of_open_shape(tmp_path: Path) -> None:
    """Other names, any batch and size, Ultralytics' kind of metadata."""
    import tensorflow as tf

    module = tf.Module()
    module.all = tf.function(lambda x: {"out": tf.tile(tf.reduce_mean(x, [1, 2])[:, :, None], [1, 7, 6])})
    entry = tf.TensorSpec([None, None, None, 3], tf.float32, name="x")
    path = tmp_path / "m_saved_model"
    tf.saved_model.save(module, str(path), signatures=module.all.get_concrete_function(entry))
    (path / "metadata.yaml").write_text(
        "names: {0: a, 1: b}\nkpt_shape: [5, 3]\ntask: pose\nstride: 32\nimgsz: [64, 64]\n"
    )
    backend = open_backend(path)
    assert (backend.fixed_shape, backend.info.dynamic) == (None, True)
    images = np.zeros((2, *HW, 3), np.uint8)
    images[1, ..., 2] = 255  # red
    found = backend.infer(images)
    assert found.shape == (2, 21, 6)
    np.testing.assert_array_equal(found[1, :3, 0], [1, 0, 0])


def test_every_block(tmp_path: Path) -> None:
    """A specification with all blocks, several classes, an input that is not square."""
    import torch

    from yolopose.nn.network import PoseNet

    torch.manual_seed(0)
    own = PoseNet(OWN_SPEC).eval()
    backend = open_backend(make(own, tmp_path / "m.pb", format="pb", imgsz=HW))
    images = np.random.default_rng(0).integers(0, 256, (2, *HW, 3), dtype=np.uint8)
    np.testing.assert_allclose(backend.infer(images), TorchBackend(own).infer(images), atol=2e-4)


def test_suppression_of_several_classes(tmp_path: Path) -> None:
    network = make_network(classes=2)
    backend = open_backend(make(network, tmp_path / "m_saved_model", format="saved_model", imgsz=HW, nms=True))
    images = np.random.default_rng(0).integers(0, 256, (2, *HW, 3), dtype=np.uint8)
    result = compare(TorchBackend(network), backend, [images[:1], images[1:]])
    assert result.matched > 20
    assert fault(result, "float32", 0.01) is None


def graph(nodes: list[Any], x: tuple[int, ...], y: tuple[int, ...], **constants: Any) -> Any:
    """An ONNX model of the values x → y."""
    value = helper.make_tensor_value_info
    tensors = [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    ends = [value("x", TensorProto.FLOAT, x)], [value("y", TensorProto.FLOAT, y)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", *ends, tensors), opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    )
    onnx.checker.check_model(model, full_check=True)
    return model


RANDOM = np.random.default_rng(0).normal(size=(6, 6, 3, 3)).astype(np.float32)
NODES = {
    "groups": (["Conv", ["x", "k"], {"group": 2, "pads": [1, 1, 1, 1]}], (1, 6, 9, 8), {"k": RANDOM[:, :3]}),
    "stride": (["Conv", ["x", "k"], {"strides": [2, 2], "pads": [1, 1, 1, 1]}], (1, 6, 5, 4), {"k": RANDOM[:, :3]}),
    "uneven": (["Conv", ["x", "k"], {"pads": [0, 2, 1, 0]}], (1, 6, 8, 8), {"k": RANDOM[:, :3]}),
    "dilated": (["Conv", ["x", "k"], {"dilations": [2, 2], "pads": [2] * 4}], (1, 6, 9, 8), {"k": RANDOM[:, :3]}),
    "pool": (["MaxPool", ["x"], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}], (1, 6, 5, 4), {}),
    "resize": (["Resize", ["x", "", "", "s"], {"mode": "nearest", "coordinate_transformation_mode": "asymmetric",
                                               "nearest_mode": "floor"}], (1, 6, 18, 24), {"s": [1, 6, 18, 24]}),
    "axis": (["Concat", ["x", "x"], {"axis": -1}], (1, 6, 9, 16), {}),
    "softmax": (["Softmax", ["x"], {"axis": 1}], (1, 6, 9, 8), {}),
    "reshape": (["Reshape", ["x", "s"], {}], (1, 3, 2, 72), {"s": [0, 3, 2, -1]}),
    "slice": (["Slice", ["x", "a", "b", "c", "d"], {}], (1, 6, 4, 7), {"a": [-8, 0], "b": [2**62, -1], "c": [2, 3],
                                                                    "d": [2, 1]}),
    "matmul": (["MatMul", ["k", "x"], {}], (1, 6, 8), {"k": RANDOM.ravel()[:9]}),
    "pad": (["Pad", ["x", "s", "v"], {}], (1, 6, 10, 8), {"s": [0, 0, 1, 0, 0, 0, 0, 0], "v": np.float32(3)}),
    "constants": (["Add", ["x", "s"], {}], (1, 6, 9, 8), {"s": RANDOM[0, :, :1, :1]}),
    "channelwise": (["Mul", ["x", "s"], {}], (1, 6, 9, 8), {"s": RANDOM[0, :, :1, :1]}),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("rescaled", [False, True])
def test_operators_are_those_of_onnx(name: str, rescaled: bool) -> None:
    import onnxruntime as ort

    (operator, inputs, attributes), shape, constants = NODES[name]
    c = 3 if name in ("stride", "uneven", "dilated") else 6
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["s0"]),
        helper.make_node(operator, ["s0" if i == "x" else i for i in inputs], ["n"], **attributes),
        helper.make_node("Add", ["n", "one"], ["y"]),
    ]
    model = graph(nodes, (1, c, 9, 8), shape, one=np.float32(1), **constants)
    x = np.random.default_rng(1).normal(size=(1, c, 9, 8)).astype(np.float32)
    expected = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    found = np.asarray(to_keras(model, rescaled=rescaled)(x.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_sum_of_a_row_and_a_column() -> None:
    """Keras' own addition takes one of them for a bias."""
    nodes = [
        helper.make_node("ReduceMax", ["x", "sides"], ["n"], keepdims=0),
        helper.make_node("Unsqueeze", ["n", "one"], ["row"]),
        helper.make_node("Unsqueeze", ["n", "two"], ["column"]),
        helper.make_node("Add", ["column", "row"], ["y"]),
    ]
    model = graph(nodes, (1, 3, 2, 2), (1, 3, 3), sides=[2, 3], one=[1], two=[2])
    found = np.asarray(to_keras(model)(np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)))
    np.testing.assert_array_equal(found[0], np.add.outer([9, 10, 11], [9, 10, 11]))


def test_an_operator_without_translation_is_named() -> None:
    model = graph(
        [helper.make_node("Sin", ["x"], ["s"]), helper.make_node("Cos", ["s"], ["y"])], (1, 3, 2, 2), (1, 3, 2, 2)
    )
    with pytest.raises(PoseError, match="Cos, Sin"):
        to_keras(model)
    nodes = [helper.make_node("Resize", ["x", "", "s"], ["y"], mode="linear")]
    with pytest.raises(PoseError, match="Resize"):
        to_keras(graph(nodes, (1, 3, 2, 2), (1, 3, 4, 4), s=np.float32([1, 1, 2, 2])))
