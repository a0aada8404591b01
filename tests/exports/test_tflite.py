"""TF Lite: files of LiteRT's converter give the results of torch."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.builders import each_in_a_thread, make_network

from yolopose.config import ExportConfig
from yolopose.errors import PoseError, UsageError
from yolopose.evaluate.verify import Comparison
from yolopose.formats.base import Backend, OpenOptions
from yolopose.formats.table import export, format_of, open_backend
from yolopose.formats.tflite import METADATA, open_interpreter

pytest.importorskip("ai_edge_litert")
pytest.importorskip("ai_edge_quantizer")
pytest.importorskip("litert_torch")
pytestmark = pytest.mark.exports

Compare = Callable[..., Comparison]
HW = (64, 96)


def make(network: Any, path: Path, **options: Any) -> Path:
    return export(network, ExportConfig(**({"imgsz": HW} | options), format="tflite", out=str(path)))


@pytest.fixture(scope="module")
def whole(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled network at 640."""
    return make(network, tmp_path_factory.mktemp("whole") / "m.tflite", imgsz=640)


@pytest.fixture(scope="module")
def small() -> Any:
    """A network of two classes."""
    return make_network(classes=2)


@pytest.fixture(scope="module")
def tiny(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(small, tmp_path_factory.mktemp("tiny") / "m.tflite")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, *HW, 3), dtype=np.uint8)


def expected(network: Any, images: np.ndarray) -> np.ndarray:
    from yolopose.formats.pytorch import TorchBackend

    return TorchBackend(network, OpenOptions(device="cpu")).infer(images)


def with_metadata(path: Path, target: Path, name: str, text: str) -> Path:
    """A copy with another archive at its end, or none."""
    with zipfile.ZipFile(path) as archive:
        start = archive.infolist()[0].header_offset
    target.write_bytes(path.read_bytes()[:start])
    if name:
        with zipfile.ZipFile(target, "a") as archive:
            archive.writestr(name, text)
    return target


def kinds(path: Path) -> list[str]:
    """The types of the outputs of all convolutions, in order."""
    interpreter = open_interpreter(path, OpenOptions())
    types = {tensor["index"]: tensor["dtype"].__name__ for tensor in interpreter.get_tensor_details()}
    return [types[op["outputs"][0]] for op in interpreter._get_ops_details() if op["op_name"] == "CONV_2D"]


def test_float32_at_640(whole: Path, against_torch: Compare) -> None:
    assert list(whole.parent.iterdir()) == [whole]
    backend = open_backend(whole)
    assert (backend.precision, backend.device, backend.fixed_shape) == ("float32", "cpu", (1, 640, 640))
    result = against_torch(backend)
    assert (result.unmatched, result.matched > 50) == (0, True)
    assert result.worst < format_of(whole).tolerance == 0.01


def test_half(network: Any, whole: Path, against_torch: Compare, tmp_path: Path) -> None:
    path = make(network, tmp_path / "m.tflite", imgsz=320, half=True)
    backend = open_backend(path)
    assert backend.precision == "float16"
    result = against_torch(backend)
    assert result.unmatched == 0
    assert 1e-4 < result.worst < 2
    assert path.stat().st_size < 0.6 * whole.stat().st_size


@pytest.fixture(scope="module")
def int8(network: Any, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In 8 bits at 640, ranges measured on the face data."""
    data = str(shared / "data" / "face" / "data.yaml")
    return make(network, tmp_path_factory.mktemp("int8") / "m.tflite", imgsz=640, int8=True, data=data)


def test_int8_is_within_a_point_of_float32(int8: Path, torch_map: float, box_map: Callable[[Backend], float]) -> None:
    assert abs(box_map(open_backend(int8)) - torch_map) < 0.01


def test_int8_is_8_bits_but_for_the_last_convolutions(int8: Path, whole: Path, against_torch: Compare) -> None:
    types = kinds(int8)
    assert (types.count("int8"), types.count("float32")) == (len(types) - 9, 9)
    assert int8.stat().st_size < 0.35 * whole.stat().st_size
    backend: Any = open_backend(int8)
    assert backend.precision == "int8"
    assert len(set(backend._levels.tolist())) == 256  # every level of a pixel has a number of its own
    result = against_torch(backend)
    assert result.box_median < 1


def test_suppression_within_the_file(small: Any, images: np.ndarray, tmp_path: Path) -> None:
    from yolopose.detect import NmsOptions, non_max_suppression

    settings = {"conf": 0.4, "iou": 0.5, "max_det": 20}
    path = make(small, tmp_path / "m.tflite", nms=True, **settings)
    backend = open_backend(path)
    for i in range(len(images)):
        image = images[i : i + 1]
        (rows,) = backend.candidates(image, 0.4)
        plain = expected(small, image)[0].T
        boxes, points = non_max_suppression(plain[plain[:, 4:6].max(1) > 0.4], 2, NmsOptions(**settings))
        assert len(rows) == len(boxes) > 5
        order = np.argsort(-rows[:, 4:6].max(1), kind="stable")
        np.testing.assert_allclose(rows[order, 4:6].max(1), boxes[:, 4], atol=1e-5)
        np.testing.assert_array_equal(rows[order, 4:6].argmax(1), boxes[:, 5])
        np.testing.assert_allclose(rows[order, 6:], points, rtol=1e-4, atol=1e-3)


def test_metadata(small: Any, tiny: Path) -> None:
    with zipfile.ZipFile(tiny) as archive:
        assert archive.namelist() == [METADATA]
        values = json.loads(archive.read(METADATA))
    assert values["names"] == {"0": "class0", "1": "class1"}
    assert "NHWC" in values["preprocessing"]
    info = open_backend(tiny).info
    assert (info.names, info.layout, info.imgsz) == (small.info.names, small.info.layout, HW)
    assert info.extra["precision"] == "float32"


def test_batches_floats_and_threads(small: Any, tiny: Path, images: np.ndarray) -> None:
    backend = open_backend(tiny)
    whole = backend.infer(images)
    reference = expected(small, images)
    np.testing.assert_allclose(whole, reference, atol=1e-5 * np.abs(reference).max())
    np.testing.assert_array_equal(whole, backend.infer(images.astype(np.float32) / np.float32(255)))
    found = each_in_a_thread(backend, np.concatenate([images] * 4))
    np.testing.assert_array_equal(found, np.concatenate([whole] * 4))


def test_other_sizes_and_devices_are_refused(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(PoseError, match="64x96 only, got 96x64"):
        open_backend(tiny).infer(np.zeros((1, 96, 64, 3), np.uint8))
    with pytest.raises(UsageError, match="device=0"):
        open_backend(tiny, OpenOptions(device="0"))
    open_backend(tiny, OpenOptions(half=True))
    assert "computes in float32" in caplog.text


def test_ultralytics_files(small: Any, tiny: Path, images: np.ndarray, tmp_path: Path) -> None:
    """Theirs give coordinates as fractions of the sides; ours, with their metadata, are scaled up by the sides."""
    theirs = {
        "author": "Ultralytics", "task": "pose", "stride": 32, "batch": 1, "imgsz": list(HW),
        "names": {0: "a", 1: "b"}, "args": {"quantize": None}, "kpt_shape": [5, 3],
    }  # fmt: skip
    scores, xs, ys = [4, 5, *range(8, 21, 3)], [0, 2, *range(6, 21, 3)], [1, 3, *range(7, 21, 3)]
    reference = expected(small, images)
    reference[:, xs] *= HW[1]
    reference[:, ys] *= HW[0]
    for name, text in ((METADATA, json.dumps(theirs)), ("temp_meta.txt", str(theirs))):
        backend = open_backend(with_metadata(tiny, tmp_path / "m.tflite", name, text))
        assert (backend.info.names, backend.precision) == ({0: "a", 1: "b"}, "float32")
        found = backend.infer(images)
        np.testing.assert_allclose(found, reference, rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(found[:, scores], reference[:, scores], atol=1e-5)


def test_planes_first(small: Any, images: np.ndarray, tmp_path: Path) -> None:
    """A file with NCHW input, as Ultralytics' newer ones have, and without metadata."""
    import litert_torch
    import torch

    from yolopose.formats.quiet import quiet
    from yolopose.formats.wrapper import ExportNetwork

    path = tmp_path / "m.tflite"
    with quiet():
        wrapper = ExportNetwork(small, baked=HW).eval()
        litert_torch.convert(wrapper, (torch.zeros(1, 3, *HW),)).export(str(path))
    backend = open_backend(path, OpenOptions(kpt_shape=(5, 3)))
    assert (backend.fixed_shape, backend.info.names) == ((1, *HW), {0: "class0", 1: "class1"})
    reference = expected(small, images)
    np.testing.assert_allclose(backend.infer(images), reference, atol=1e-5 * np.abs(reference).max())


def test_a_file_that_is_no_network_of_ours(tiny: Path, tmp_path: Path) -> None:
    from litert_torch import convert
    from torch import nn, zeros

    from yolopose.formats.quiet import quiet

    path = tmp_path / "m.tflite"
    with quiet():
        convert(nn.Flatten().eval(), (zeros(1, 3, 8, 8),)).export(str(path))
    with pytest.raises(PoseError, match=r"m\.tflite: expected one image input") as error:
        open_backend(path)
    assert "[[1, 3, 8, 8]] → [[1, 192]]" in str(error.value)
    other = json.dumps({"kpt_shape": [17, 3], "names": {"0": "person"}})
    with pytest.raises(PoseError, match="56"):
        open_backend(with_metadata(tiny, tmp_path / "n.tflite", METADATA, other))
    with pytest.raises(PoseError, match="'detect' model"):
        open_backend(with_metadata(tiny, tmp_path / "n.tflite", METADATA, '{"task": "detect"}'))


@pytest.mark.parametrize("kept", [0, 3, 1000, 30000])
def test_damaged_files_are_named(tiny: Path, tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(tiny.read_bytes()[:kept])
    with pytest.raises(PoseError, match=r"cut\.tflite: LiteRT cannot load it") as error:
        open_backend(cut)
    assert "\n" not in str(error.value)


def test_a_failure_of_the_converter_is_one_line(small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import litert_torch

    def fail(*_: Any) -> None:
        raise ValueError("Failed to run converter passes: no such operator\nand much more")

    monkeypatch.setattr(litert_torch, "convert", fail)
    with pytest.raises(PoseError, match=r"cannot convert this network: Failed .*operator$"):
        make(small, tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())
