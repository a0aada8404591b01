"""ONNX: suppression within the file, and 8-bit integers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolopose.config import ExportConfig
from yolopose.detect import NmsOptions, non_max_suppression
from yolopose.errors import PoseError
from yolopose.evaluate.verify import Comparison
from yolopose.formats.base import Backend
from yolopose.formats.calibration import letterboxed, sample_photographs
from yolopose.formats.table import export, open_backend

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")
pytestmark = pytest.mark.exports

Compare = Callable[..., Comparison]


def make(network: Any, path: Path, **options: Any) -> Any:
    return export(network, ExportConfig(format="onnx", out=str(path), **options))


@pytest.fixture(scope="module")
def int8(network: Any, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In 8 bits at 640, ranges measured on the face data."""
    data = str(shared / "data" / "face" / "data.yaml")
    return make(network, tmp_path_factory.mktemp("int8") / "m.onnx", imgsz=640, int8=True, data=data)


@pytest.mark.parametrize("options", [{}, {"dynamic": True}], ids=["static", "dynamic"])
def test_suppression_within_the_file(network: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    """What comes out is what the host's suppression leaves of torch's candidates."""
    from yolopose.formats.pytorch import TorchBackend

    path = make(network, tmp_path / "m.onnx", imgsz=320, nms=True, conf=0.3, iou=0.5, max_det=30, **options)
    backend, torch = open_backend(path), TorchBackend(network)
    assert backend.info.extra["conf"] == 0.3
    images = np.concatenate([letterboxed(path, backend.info) for path in sample_photographs()])
    if options:
        images = images[:, 32:288]
    found = backend.infer(images)
    assert found.shape == (len(images), 20, 30)
    counts = []
    for rows, candidates in zip(found, torch.candidates(images, 0.3), strict=True):
        boxes, points = non_max_suppression(candidates, 1, NmsOptions(conf=0.3, iou=0.5))
        counts.append(len(boxes))
        rows = rows.T[: len(boxes)]
        np.testing.assert_allclose(rows[:, 4], boxes[:, 4], atol=1e-4)
        np.testing.assert_allclose(rows[:, 5:], points, atol=1e-2)
        np.testing.assert_allclose(rows[:, :2], (boxes[:, :2] + boxes[:, 2:4]) / 2, atol=1e-2)
    assert [int((rows[4] > 0).sum()) for rows in found] == counts
    assert sum(counts) > 5


def test_int8_is_within_a_point_of_float32(int8: Path, torch_map: float, box_map: Callable[[Backend], float]) -> None:
    assert abs(box_map(open_backend(int8)) - torch_map) < 0.01


def test_int8_leaves_first_layer_and_decoding_alone(int8: Path, network: Any, against_torch: Compare) -> None:
    model = onnx.load(int8)
    onnx.checker.check_model(model, full_check=True)
    makers = {name: node for node in model.graph.node for name in node.output}
    behind, waiting = set(), ["output0"]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.op_type != "Conv":
            behind.add(node.op_type)
            waiting.extend(node.input)
    assert {"Softmax", "Sigmoid"} < behind
    assert not behind & {"QuantizeLinear", "DequantizeLinear"}
    weights = {t.name: t for t in model.graph.initializer if len(t.dims) == 4}
    floats = [name for name, t in weights.items() if t.data_type == onnx.TensorProto.FLOAT]
    assert len(weights) - len(floats) == 62  # 72 convolutions but for the first and nine last
    assert int8.stat().st_size < 4.5e6
    backend = open_backend(int8)
    assert (backend.precision, backend.fixed_shape) == ("int8", (1, 640, 640))
    assert backend.info.names == network.info.names
    result = against_torch(backend)
    assert max(result.box_median, result.keypoint_median) < 2


def test_int8_of_open_shape_from_the_packaged_photographs(
    network: Any, against_torch: Compare, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = open_backend(make(network, tmp_path / "m.onnx", imgsz=320, int8=True, dynamic=True))
    assert "8 packaged photographs" in caplog.text
    assert (backend.precision, backend.fixed_shape) == ("int8", None)
    for size in ((320, 320), (256, 416)):
        result = against_torch(backend, size)
        assert result.unmatched <= 0.1 * result.matched
        assert max(result.box_median, result.keypoint_median) < 2


def test_another_size_is_refused(int8: Path) -> None:
    with pytest.raises(PoseError, match=r"takes images of 640x640 only, got 320x640; export it with imgsz=320,640"):
        open_backend(int8).infer(np.zeros((1, 320, 640, 3), np.uint8))
