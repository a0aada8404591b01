"""The table of formats: complete rows, files recognised by suffix, options accepted or refused by name."""

import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.builders import make_network

from yolopose.config import ExportConfig, arguments
from yolopose.errors import PoseError, UsageError
from yolopose.formats.table import COMMON, FORMATS, export, format_of, needs_torch, open_backend
from yolopose.weights import default_model


def test_rows_are_distinct_and_their_options_exist() -> None:
    for key in ("title", "argument", "suffix"):
        values = [getattr(row, key) for row in FORMATS]
        assert len(set(values)) == len(values)
    for row in FORMATS:
        assert row.options | COMMON <= set(arguments(ExportConfig))
        assert not row.options & COMMON


def test_files_are_known_by_suffix() -> None:
    assert format_of("a/b.onnx").argument == "onnx"
    assert needs_torch("best.pt")
    assert not needs_torch("best.onnx")
    with pytest.raises(UsageError, match=r"photo\.jpg"):
        format_of("photo.jpg")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(PoseError, match=r"nowhere\.onnx: no such file"):
        open_backend("nowhere.onnx")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"format": "onxx"}, "did you mean onnx"),
        ({"format": "pytorch"}, "format=pytorch"),
        ({"optimize": True}, r"optimize=True: format=onnx does not take it"),
        ({"format": "pb", "int8": True}, r"int8=True: format=pb does not take it"),
        ({"out": "model.txt"}, r"ends in \.onnx"),
    ],
)
def test_invalid_export_options_are_refused_before_anything_is_written(
    options: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=told) as error:
        export(make_network(), ExportConfig(**options))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_an_export_does_not_start_from_an_export() -> None:
    with pytest.raises(UsageError, match=r"m\.onnx: an export starts from a \.pt"):
        export("m.onnx", ExportConfig())


def test_a_missing_runtime_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PoseError, match=r"m\.onnx: needs onnxruntime: pip install 'onnxruntime'"):
        open_backend(tmp_path / "m.onnx")


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("no onnx", name="onnx")

    monkeypatch.setattr("yolopose.formats.onnx._graph", missing)
    with pytest.raises(PoseError, match=r"needs onnx: pip install 'yolopose\[train\]'"):
        export(make_network(), ExportConfig(out=str(tmp_path / "m.onnx")))


def test_the_package_itself_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    config = ExportConfig(model=str(default_model()), format="torchscript", imgsz=64)
    assert export(make_network(), config) == Path("yolov8n-face.torchscript")
    assert [file.name for file in tmp_path.iterdir()] == ["yolov8n-face.torchscript"]
