"""Checks before an export begins; no file of the user is replaced."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.builders import make_network

from yolopose.config import ExportConfig
from yolopose.errors import PoseError
from yolopose.formats import checks, table, tfjs
from yolopose.formats.table import FORMATS, export, open_backend


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every format as it is, but all packages are there and an export that begins is a failure."""

    def begun(*_: object) -> None:
        pytest.fail("the work began")

    def there(name: str) -> Any:
        return None if sys.modules.get(name, "") is None else object()

    rows = tuple(table.replace(row, export=begun) if row.export else row for row in FORMATS)
    monkeypatch.setattr(table, "FORMATS", rows)
    monkeypatch.setattr(checks, "find_spec", there)
    monkeypatch.setattr(tfjs, "find_spec", there)


def verified(*_: object) -> None:
    """A verification that is asked for and not reached."""


PACKAGES = [
    (row, word.rpartition(":")) for row in FORMATS for word in row.packages.split() if row.argument != "engine"
]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "option", "package"), [(row, word[0], word[2]) for row, word in PACKAGES],
    ids=[f"{row.argument}-{''.join(word)}" for row, word in PACKAGES],
)  # fmt: skip
def test_a_missing_package(
    row: Any, option: str, package: str, idle: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(table, "FORMATS", tuple(table.replace(each, check=None) for each in table.FORMATS))  # its tools
    out = tmp_path / f"m{row.suffix}"
    settings = {option: True} if option and option != "verify" else {}
    config = ExportConfig(format=row.argument, imgsz=64, out=str(out), **settings)
    with pytest.raises(PoseError, match=f"format={row.argument}: needs {package}: pip install ") as error:
        export(make_network(), config, verified)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "file", "told"),
    [
        ("edgetpu", "m_edgetpu.tflite", r"edgetpu_compiler is not on this machine .*out=NAME_full_integer\.tflite"),
        ("tfjs", "m_web_model", r"to verify the new file \(verify=False does not\): TF\.js files run in Node"),
    ],
)
def test_a_missing_tool(
    kind: str, file: str, told: str, idle: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    config = ExportConfig(format=kind, imgsz=64, out=str(tmp_path / file))
    with pytest.raises(PoseError, match=told) as error:
        export(make_network(), config, verified)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_calibration_data_that_cannot_be_read(idle: None, tmp_path: Path) -> None:
    config = ExportConfig(imgsz=64, int8=True, data=str(tmp_path / "no.yaml"), out=str(tmp_path / "m.onnx"))
    with pytest.raises(PoseError, match=r"no\.yaml"):
        export(make_network(), config)


FOLDERS = [row for row in FORMATS if row.files]


@pytest.mark.parametrize("row", FOLDERS, ids=[row.argument for row in FOLDERS])
def test_a_folder_with_files_of_the_users_is_not_replaced(row: Any, idle: None, tmp_path: Path) -> None:
    out = tmp_path / f"m{row.suffix}"
    (out / "node_modules").mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    table_row = table.replace(row, check=None)
    with pytest.raises(PoseError, match=r"has files of no export: \['node_modules', 'notes\.txt'\]"):
        table._check(table_row, ExportConfig(format=row.argument), out)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_folder_in_place_of_the_file_and_the_reverse_are_refused(idle: None, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").mkdir()
    with pytest.raises(PoseError, match=r"m\.onnx: is a folder already"):
        export(make_network(), ExportConfig(imgsz=64, out=str(tmp_path / "m.onnx")))
    (tmp_path / "m_openvino_model").write_text("mine")
    with pytest.raises(PoseError, match="m_openvino_model: is a file already"):
        export(make_network(), ExportConfig(format="openvino", imgsz=64, out=str(tmp_path / "m_openvino_model")))


def test_a_place_that_cannot_be_written(idle: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PoseError, match="file is no folder"):
        export(make_network(), ExportConfig(imgsz=64, out=str(tmp_path / "file" / "deep" / "m.onnx")))
    monkeypatch.setattr(checks.os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(PoseError, match="is not writable"):
        export(make_network(), ExportConfig(imgsz=64, out=str(tmp_path / "new" / "m.onnx")))


def test_messages_name_the_file_as_it_will_be_called(tmp_path: Path) -> None:
    def check(network: Any, made: Path, target: Path, device: str | None) -> None:
        assert made.name != target.name
        raise PoseError(f"{made}: wrong, and {made.name} again")

    out = tmp_path / "m.torchscript"
    with pytest.raises(PoseError) as error:
        export(make_network(), ExportConfig(format="torchscript", imgsz=64, out=str(out)), check)
    assert str(error.value) == f"{out}: wrong, and m.torchscript again"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ImportError("libcuda.so.1: cannot open shared object file\nmore"), "cannot be loaded: libcuda.so.1: cannot"),
        (PermissionError(13, "Permission denied"), "cannot be opened: Permission denied"),
    ],
)
def test_a_runtime_that_cannot_be_loaded(
    error: Exception, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(table, "FORMATS", (table.replace(table.format_of("m.onnx"), open=broken),))
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(PoseError, match=told) as said:
        open_backend(tmp_path / "m.onnx")
    assert "\n" not in str(said.value)


def test_programs_in_relative_folders_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.curdir)
    assert shutil.which("tool") is not None
    assert checks.tool("tool") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checks.tool("tool") == str(tmp_path / "tool")
