"""OpenVINO: the same detections as the network, in every precision and shape."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from yolopose.config import ExportConfig
from yolopose.errors import PoseError, UsageError
from yolopose.evaluate.verify import Comparison
from yolopose.formats.base import Backend, OpenOptions, candidates_above
from yolopose.formats.calibration import letterboxed, sample_photographs
from yolopose.formats.openvino import OpenvinoBackend, _core
from yolopose.formats.table import export, format_of, open_backend

pytest.importorskip("openvino")
pytest.importorskip("torch")
pytestmark = pytest.mark.exports

Compare = Callable[..., Comparison]


def make(network: Any, folder: Path, **options: Any) -> Path:
    out = str(folder / "m_openvino_model")
    return export(network, ExportConfig(format="openvino", out=out, **options))


@pytest.fixture(scope="module")
def static(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of fixed input (1, 3, 640, 640)."""
    return make(network, tmp_path_factory.mktemp("static"), imgsz=640)


@pytest.fixture(scope="module")
def dynamic(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of open batch, height and width."""
    return make(network, tmp_path_factory.mktemp("dynamic"), imgsz=320, dynamic=True)


@pytest.fixture(scope="module")
def int8(network: Any, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In 8 bits at 640, ranges measured on the face data."""
    pytest.importorskip("nncf")
    data = str(shared / "data" / "face" / "data.yaml")
    return make(network, tmp_path_factory.mktemp("int8"), imgsz=640, int8=True, data=data)


@pytest.fixture(scope="module")
def people(dynamic: Path) -> np.ndarray:
    """Two photographs with faces as one (2, 320, 320, 3) batch."""
    info = open_backend(dynamic).info
    chosen = [path for path in sample_photographs() if path.stem in ("astronaut_nasa", "coco_000000000165")]
    return np.concatenate([letterboxed(path, info) for path in chosen])


def same_rows(found: Any, expected: Any, atol: float = 1e-3) -> None:
    """Candidate rows of each image of a batch agree."""
    assert sum(map(len, expected)) > 0
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


def test_float32_at_640(static: Path, against_torch: Compare) -> None:
    backend = open_backend(static)
    assert (backend.precision, backend.fixed_shape) == ("float32", (1, 640, 640))
    result = against_torch(backend)
    assert (result.unmatched, result.matched > 50) == (0, True)
    assert result.worst < format_of(static).tolerance == 0.01
    assert sorted(path.name for path in static.iterdir()) == ["metadata.yaml", "model.bin", "model.xml"]


def test_open_sizes_and_batches(dynamic: Path, against_torch: Compare, people: np.ndarray) -> None:
    backend = open_backend(dynamic)
    assert backend.fixed_shape is None
    for size in ((320, 320), (256, 416)):
        result = against_torch(backend, size)
        assert (result.unmatched, result.worst < 0.01) == (0, True)
    together = backend.candidates(people, 0.25)
    same_rows(together, [backend.candidates(image[None], 0.25)[0] for image in people])


def test_candidates_are_rows_of_the_output(dynamic: Path, people: np.ndarray) -> None:
    """Above and below the threshold at which the head is computed whole."""
    backend = open_backend(dynamic)
    assert isinstance(backend, OpenvinoBackend)
    assert backend._sparse is not None
    whole = backend.infer(people)
    for conf in (0.5, 0.06, 0.01):
        same_rows(backend.candidates(people, conf), candidates_above(whole, 1, conf))


def test_float_images(dynamic: Path, people: np.ndarray) -> None:
    backend = open_backend(dynamic)
    floats = people.astype(np.float32) / np.float32(255)
    same_rows(backend.candidates(floats, 0.25), backend.candidates(people, 0.25))
    np.testing.assert_allclose(backend.infer(floats), backend.infer(people), atol=1e-2)


def test_threads(dynamic: Path, people: np.ndarray) -> None:
    backend = open_backend(dynamic, OpenOptions(threads=1))
    expected = [backend.candidates(image[None], 0.25) for image in people]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: backend.candidates(people[i % 2][None], 0.25), range(16)))
    for i, rows in enumerate(found):
        np.testing.assert_array_equal(rows[0], expected[i % 2][0])


def test_bfloat16_decodes_in_float32(static: Path, against_torch: Compare) -> None:
    if "BF16" not in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(UsageError, match="bf16"):
            open_backend(static, OpenOptions(bf16=True))
        pytest.skip("a CPU without bfloat16")
    backend: Any = open_backend(static, OpenOptions(bf16=True))
    assert backend.precision == "bfloat16"
    result = against_torch(backend)
    assert (result.unmatched, 1e-2 < result.worst < 2) == (0, True)
    compiled = _core().compile_model(backend._model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    types: dict[str, set[str]] = {}
    for node in compiled.get_runtime_model().get_ops():
        facts = node.get_rt_info()
        types.setdefault(str(facts["layerType"].value), set()).add(str(facts["outputPrecisions"].value))
    assert types["Convolution"] == {"bf16"}
    assert types["Softmax"] == types["Reduce"] == {"f32"}


def test_half_is_half_the_size(network: Any, static: Path, against_torch: Compare, tmp_path: Path) -> None:
    path = make(network, tmp_path, imgsz=320, half=True)
    assert (path / "model.bin").stat().st_size < 0.52 * (static / "model.bin").stat().st_size
    backend = open_backend(path)
    assert backend.precision == "float16"
    result = against_torch(backend)
    assert (result.unmatched, 1e-3 < result.worst < 2) == (0, True)


def test_int8_is_within_a_point_of_float32(int8: Path, torch_map: float, box_map: Callable[[Backend], float]) -> None:
    assert abs(box_map(open_backend(int8)) - torch_map) < 0.01


def test_int8_leaves_the_decoding_alone(int8: Path, static: Path, against_torch: Compare) -> None:
    backend: Any = open_backend(int8)
    assert backend.precision == "int8"
    assert (int8 / "model.bin").stat().st_size < 0.3 * (static / "model.bin").stat().st_size
    behind, waiting = set(), [backend._model.outputs[0].get_node()]
    while waiting:
        node = waiting.pop()
        if node.get_type_name() != "Convolution":
            behind.add(node.get_type_name())
            waiting.extend(value.get_node() for value in node.input_values())
    assert {"Softmax", "Sigmoid"} < behind
    assert "FakeQuantize" not in behind
    result = against_torch(backend)
    assert max(result.box_median, result.keypoint_median) < 2


@pytest.mark.parametrize("options", [{}, {"dynamic": True}], ids=["static", "dynamic"])
def test_suppression_within_the_file(
    network: Any, dynamic: Path, people: np.ndarray, tmp_path: Path, options: dict[str, Any]
) -> None:
    backend = open_backend(make(network, tmp_path, imgsz=320, nms=True, max_det=30, conf=0.3, **options))
    found = backend.infer(people)
    assert found.shape == (2, 20, 30)
    plain = open_backend(dynamic).infer(people)
    for rows, image in zip(found, plain, strict=True):
        rows = rows[:, rows[4] > 0].T
        assert 0 < len(rows) < (image[4] > 0.3).sum()
        near = np.abs(image.T[None, :, 5:] - rows[:, None, 5:]).max(2).argmin(1)
        np.testing.assert_allclose(rows, image.T[near], atol=1e-2)


def test_a_fixed_batch(network: Any, people: np.ndarray, dynamic: Path, tmp_path: Path) -> None:
    backend = open_backend(make(network, tmp_path, imgsz=320, batch=2))
    assert backend.fixed_shape == (2, 320, 320)
    three = np.concatenate([people, people[:1]])
    expected = open_backend(dynamic)
    np.testing.assert_allclose(backend.infer(three), expected.infer(three), atol=1e-2)
    same_rows(backend.candidates(three, 0.25), expected.candidates(three, 0.25))
    same_rows(backend.candidates(people, 0.25), expected.candidates(people, 0.25))
    for call in (backend.infer, lambda images: backend.candidates(images, 0.25)):
        with pytest.raises(PoseError, match="takes images of 320x320 only, got 256x320"):
            call(people[:, :256])


def test_folders_of_others(dynamic: Path, people: np.ndarray, tmp_path: Path) -> None:
    """Moved, renamed, with another program's metadata or none, and without our names of the head's layers."""
    folder = tmp_path / "theirs_openvino_model"
    shutil.copytree(dynamic, folder)
    for suffix in (".xml", ".bin"):
        (folder / f"model{suffix}").rename(folder / f"theirs{suffix}")
    text = (folder / "theirs.xml").read_text(encoding="utf-8")
    (folder / "theirs.xml").write_text(text.replace('"head.', '"other.'), encoding="utf-8")
    theirs = {"task": "pose", "stride": 32, "imgsz": [320, 320], "names": {0: "face"}, "kpt_shape": [5, 3]}
    (folder / "metadata.yaml").write_text(yaml.safe_dump(theirs), encoding="utf-8")
    backend: Any = open_backend(folder)
    assert (backend._sparse, backend.info.names) == (None, {0: "face"})
    expected = open_backend(dynamic).candidates(people, 0.25)
    same_rows(backend.candidates(people, 0.25), expected)
    (folder / "metadata.yaml").unlink()
    bare = open_backend(folder)
    assert bare.info.kpt_shape == (5, 3)
    same_rows(bare.candidates(people, 0.25), expected)


def test_metadata(static: Path, network: Any) -> None:
    info = open_backend(static).info
    assert (info.names, info.layout, info.imgsz) == (network.info.names, network.info.layout, (640, 640))
    assert info.extra["precision"] == "float32"


@pytest.mark.parametrize("name", ["model.xml", "model.bin"])
def test_damaged_files(static: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(static, tmp_path / "m_openvino_model")
    (folder / name).write_bytes((folder / name).read_bytes()[:5000])
    with pytest.raises(PoseError, match="m_openvino_model: OpenVINO cannot") as error:
        open_backend(folder)
    assert "\n" not in str(error.value)


def test_options_without_effect_are_warned_about(int8: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend = open_backend(int8, OpenOptions(bf16=True, half=True))
    assert backend.precision == "int8"
    assert "half and bf16 change nothing" in caplog.text
