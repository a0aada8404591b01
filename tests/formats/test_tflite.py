"""TF Lite without its runtime: missing packages, metadata, 8-bit numbers."""

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.builders import make_network

from yolopose.config import ExportConfig
from yolopose.errors import PoseError, UsageError
from yolopose.formats.base import OpenOptions
from yolopose.formats.table import export, open_backend
from yolopose.formats.tflite import METADATA, TfliteBackend, dequantised, quantised, read_metadata, write_metadata


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "m.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    return tmp_path / "m.tflite"


def append(path: Path, **entries: str) -> Path:
    with zipfile.ZipFile(path, "a") as archive:
        for name, text in entries.items():
            archive.writestr(name.replace("_", "."), text)
    return path


def test_metadata_are_at_the_end_of_the_file(path: Path) -> None:
    before = path.read_bytes()
    info = make_network().info
    write_metadata(path, info)
    assert path.read_bytes().startswith(before)
    values = read_metadata(path)
    assert values["kpt_shape"] == [5, 3]
    assert values["preprocessing"].endswith("NHWC")
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read(METADATA)) == values


def test_metadata_of_others(path: Path) -> None:
    assert read_metadata(path) == {}
    append(path, labels_txt="face\nhand", meta_bin="no text")
    assert read_metadata(path) == {}
    append(path, alpha_txt="{'names': {0: 'a'}, 'stride': 32}")
    assert read_metadata(path) == {"names": {0: "a"}, "stride": 32}
    append(path, metadata_json='{"task": "pose"}')
    assert read_metadata(path) == {"task": "pose"}


def test_metadata_that_are_no_text(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA, b"\xff\xfe\xff")
    with pytest.raises(PoseError, match=r"m\.tflite: its metadata cannot be read"):
        read_metadata(path)


@pytest.mark.parametrize(
    ("data", "told"), [(b" " * (5 << 20), "more than 4194304 bytes"), (b"[" * 100_000, None), (b"9" * 10_000, None)]
)
def test_metadata_that_are_too_much(path: Path, data: bytes, told: str | None) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(METADATA, data)
    if told is None:
        assert read_metadata(path) == {}
        return
    with pytest.raises(PoseError, match=told):
        read_metadata(path)


def test_missing_packages(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(PoseError, match="pip install 'ai-edge-litert'"):
        open_backend(path)
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(PoseError, match=r"needs litert_torch: pip install 'yolopose\[train,tflite\]'"):
        export(make_network(), ExportConfig(format="tflite", imgsz=64, out=str(tmp_path / "n.tflite")))
    with pytest.raises(UsageError, match="dynamic=True"):
        export(make_network(), ExportConfig(format="tflite", dynamic=True, out=str(tmp_path / "n.tflite")))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("kind", "zero", "ends"), [(np.int8, -128, [-128, -127, 127]), (np.uint8, 0, [0, 1, 255])], ids=["int8", "uint8"]
)
def test_levels_of_pixels(kind: Any, zero: int, ends: list[int]) -> None:
    values = np.arange(256, dtype=np.float32) / 255
    levels = quantised(values, {"dtype": kind, "quantization": (1 / 255, zero)})
    assert levels.dtype == kind
    assert levels[[0, 1, 255]].tolist() == ends
    assert len(set(levels.tolist())) == 256
    bright = quantised(values, {"dtype": kind, "quantization": (0.9 / 255, zero)})
    assert bright[-20:].tolist() == ends[2:] * 20  # the range ends before the pixels do
    assert quantised(values, {"dtype": np.float32, "quantization": (0.0, 0)}) is values


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_integers_of_a_tensor(kind: Any) -> None:
    tensor = {"dtype": kind, "quantization": (0.5, 3)}
    found = dequantised(np.array([3, 4, 103], kind), tensor)
    assert (found.dtype, found.tolist()) == (np.float32, [0.0, 0.5, 50.0])


def test_other_types_than_floats_and_8_bits_are_refused(path: Path) -> None:
    class Interpreter:
        def get_input_details(self) -> list[dict[str, Any]]:
            return [{"shape": np.array([1, 64, 64, 3]), "dtype": np.float32}]

        def get_output_details(self) -> list[dict[str, Any]]:
            return [{"shape": np.array([1, 20, 84]), "dtype": np.int32}]

    with pytest.raises(PoseError, match=r"m\.tflite: expected float32, int8 or uint8 in and out, got float32, int32"):
        TfliteBackend(path, OpenOptions(), Interpreter())
