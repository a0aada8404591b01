"""Statistics of other packages are off before these can be loaded; where it is too late, a line says so."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from helpers.builders import tiny_onnx

from yolopose import telemetry
from yolopose.formats.table import open_backend

SHOW = "import os; print(os.environ['ORT_DISABLE_TELEMETRY'])"


def python(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh process that has no setting of ours."""
    inherited = {key: value for key, value in os.environ.items() if key not in telemetry.OFF}
    return subprocess.run(
        [sys.executable, "-c", code], env=inherited | environ, capture_output=True, text=True, check=True
    )


def test_the_package_switches_it_off_for_itself_and_its_children() -> None:
    assert python(f"import yolopose; {SHOW}").stdout == "1\n"
    spawned = f"import yolopose, subprocess, sys; subprocess.run([sys.executable, '-c', {SHOW!r}], check=True)"
    assert python(spawned).stdout == "1\n"
    assert python(f"import yolopose.cli; {SHOW}").stdout == "1\n"


def test_a_setting_of_the_users_stays() -> None:
    assert python(f"import yolopose; {SHOW}", ORT_DISABLE_TELEMETRY="0").stdout == "0\n"


@pytest.mark.parametrize(
    ("version", "setting", "lines"),
    [("1.31.1", {}, 1), ("1.28.0", {}, 0), ("1.31.1", {"ORT_DISABLE_TELEMETRY": "1"}, 0)],
)
def test_one_warning_for_a_runtime_imported_before_yolopose(
    version: str, setting: dict[str, str], lines: int, tmp_path: Path
) -> None:
    model = tiny_onnx(tmp_path / "tiny.onnx")
    code = (
        f"import onnxruntime; onnxruntime.__version__ = {version!r}\n"
        f"from yolopose.formats.table import open_backend\n"
        f"open_backend({str(model)!r}); open_backend({str(model)!r})"
    )
    told = python(code, **setting).stderr
    assert told.count("onnxruntime was imported before yolopose") == lines
    assert told.count("\n") == lines
    assert ("ORT_DISABLE_TELEMETRY=1" in told) == bool(lines)


def test_no_warning_when_yolopose_was_imported_first(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    open_backend(tiny_onnx(tmp_path / "tiny.onnx")).infer(np.zeros((1, 64, 64, 3), np.uint8))
    assert "imported before" not in capfd.readouterr().err


def test_openvino_sends_only_with_its_package_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "loaded_before", set())
    monkeypatch.setitem(sys.modules, "openvino", ModuleType("openvino"))
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    telemetry.switch_off()
    assert telemetry.loaded_before == set()
    monkeypatch.setitem(sys.modules, "openvino_telemetry", ModuleType("openvino_telemetry"))
    telemetry.switch_off()
    assert telemetry.loaded_before == {"openvino"}
