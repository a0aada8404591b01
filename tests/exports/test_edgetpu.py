"""Edge TPU: the 8-bit file on the CPU gives the results of torch; the compiler is a stand-in."""

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolopose.config import ExportConfig
from yolopose.errors import PoseError
from yolopose.evaluate.verify import Comparison, fault
from yolopose.formats import edgetpu
from yolopose.formats.table import export, format_of, open_backend

pytest.importorskip("tensorflow")
lite = pytest.importorskip("ai_edge_litert.interpreter")
pytestmark = pytest.mark.exports

HW = (256, 320)
Compare = Callable[..., Comparison]


def make(network: Any, path: Path) -> Path:
    return export(network, ExportConfig(format="edgetpu", imgsz=HW, out=str(path)))


@pytest.fixture(scope="module")
def whole(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 8-bit file, not compiled."""
    folder = tmp_path_factory.mktemp("edgetpu")
    path = make(network, folder / "m_full_integer.tflite")
    assert [f.name for f in folder.iterdir()] == [path.name]
    return path


def flatbuffer(path: Path) -> bytes:
    """A file without the archive at its end, which has one entry."""
    content = path.read_bytes()
    return content[: content.rindex(b"PK\x03\x04")]


def test_integers_only_and_scores_survive(whole: Path) -> None:
    interpreter = lite.Interpreter(str(whole))
    interpreter.allocate_tensors()
    assert {detail["dtype"] for detail in interpreter.get_tensor_details()} <= {np.int8, np.int32}
    scale, zero = interpreter.get_input_details()[0]["quantization"]
    assert (scale, zero) == (pytest.approx(1 / 255), -128)  # a number per level of a pixel
    outputs = sorted(interpreter.get_output_details(), key=lambda output: int(output["name"].split(":")[1]))
    h, w = HW
    assert [tuple(output["shape"]) for output in outputs] == [
        (1, h // stride, w // stride, c) for c in (64, 1, 15) for stride in (8, 16, 32)
    ]
    assert all(output["quantization"] == (pytest.approx(16 / 255), 0) for output in outputs[3:6])


def test_the_8_bit_file_on_the_cpu(whole: Path, against_torch: Compare, network: Any) -> None:
    backend = open_backend(whole)
    result = against_torch(backend)
    assert result.matched > 20
    assert fault(result, "int8", 0.0) is None
    assert result.box_median < 0.5
    assert result.score_worst < 0.1
    assert (backend.precision, backend.device, backend.fixed_shape) == ("int8", "cpu", (1, *HW))
    assert (backend.info.names, backend.info.layout) == (network.info.names, network.info.layout)
    assert backend.info.extra["precision"] == "int8"


def test_candidates_are_the_rows_of_infer(whole: Path) -> None:
    backend = open_backend(whole)
    images = np.random.default_rng(0).integers(0, 256, (2, *HW, 3), dtype=np.uint8)
    output = backend.infer(images)
    assert output.shape == (2, 20, 1680)
    conf = float(np.sort(output[:, 4].ravel())[-50])
    found = backend.candidates(images, conf)
    for rows, image in zip(found, output, strict=True):
        np.testing.assert_array_equal(rows, image[:, image[4] > conf].T)
    assert sum(map(len, found)) > 0
    assert [len(rows) for rows in backend.candidates(images, 0.9999)] == [0, 0]
    floats = (images / np.float32(255)).astype(np.float32)
    np.testing.assert_array_equal(backend.infer(floats), output)


def test_another_size_is_refused(whole: Path) -> None:
    with pytest.raises(PoseError, match="256x320 only, got 320x320"):
        open_backend(whole).infer(np.zeros((1, 320, 320, 3), np.uint8))


def stand_in(folder: Path, lines: str) -> None:
    """An edgetpu_compiler that does something else."""
    path = folder / "edgetpu_compiler"
    path.write_text(f"#!{sys.executable}\nimport pathlib, sys\n_, s, o, out, source = sys.argv\n{lines}\n")
    path.chmod(0o755)


def test_with_a_compiler(
    whole: Path, network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A stand-in that marks a file as compiled: without the chip, the 8-bit file inside runs in its place."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(edgetpu, "full_integer", lambda *_: flatbuffer(whole))
    stand_in(
        tmp_path,
        "assert (s, o) == ('-s', '-o')\n"
        f"compiled = pathlib.Path(source).read_bytes() + {edgetpu.CUSTOM!r}\n"
        "(pathlib.Path(out) / 'model_edgetpu.tflite').write_bytes(compiled)",
    )
    path = make(network, tmp_path / "out" / "m_edgetpu.tflite")
    assert [f.name for f in path.parent.iterdir()] == [path.name]
    assert format_of(path).argument == "edgetpu"
    backend = open_backend(path)
    assert "no Edge TPU here" in caplog.text
    assert backend.device == "cpu"
    assert backend.info.names == network.info.names
    image = np.random.default_rng(0).integers(0, 256, (1, *HW, 3), dtype=np.uint8)
    np.testing.assert_array_equal(backend.infer(image), open_backend(whole).infer(image))


def test_a_compiler_that_fails(network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(edgetpu, "full_integer", lambda *_: b"8 bits")
    stand_in(tmp_path, "print('one'); print('Model not quantized'); sys.exit(1)")
    with pytest.raises(PoseError, match="edgetpu_compiler failed: Model not quantized; out=NAME_full_integer"):
        make(network, tmp_path / "out" / "m_edgetpu.tflite")
    assert not list((tmp_path / "out").iterdir())


def test_compiled_by_hand(whole: Path, tmp_path: Path) -> None:
    """Such a file has no metadata and no 8-bit model that a CPU could run."""
    path = tmp_path / "m_full_integer_edgetpu.tflite"
    path.write_bytes(b"a compiled model " + edgetpu.CUSTOM)
    with pytest.raises(PoseError, match=r"no Edge TPU here.*runs on CPUs") as error:
        open_backend(path)
    assert "\n" not in str(error.value)
    with zipfile.ZipFile(whole) as archive, archive.open(archive.namelist()[0]) as entry:
        assert b"kpt_shape" in entry.read()
    plain = tmp_path / "n_edgetpu.tflite"  # as if it had not been compiled: without metadata, unless its source is near
    plain.write_bytes(flatbuffer(whole))
    assert "license" not in open_backend(plain).info.extra
    (tmp_path / "n.tflite").write_bytes(whole.read_bytes())
    assert "license" in open_backend(plain).info.extra


def test_damaged_files(whole: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut_edgetpu.tflite"
    cut.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(PoseError, match=cut.name) as error:
        open_backend(cut)
    assert "\n" not in str(error.value)
