"""OpenVINO: errors raised before the runtime is imported."""

import sys
from pathlib import Path

import pytest
from helpers.builders import make_network

from yolopose.config import ExportConfig
from yolopose.errors import PoseError, UsageError
from yolopose.formats.base import OpenOptions
from yolopose.formats.table import export, open_backend


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the name of a model and nothing in it."""
    path = tmp_path / "m_openvino_model"
    path.mkdir()
    return path


def test_a_folder_without_a_model(folder: Path) -> None:
    with pytest.raises(PoseError, match=r"m_openvino_model: expected a folder with one \.xml and its \.bin, found 0"):
        open_backend(folder)


def test_a_gpu_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"device=0: .*m_openvino_model runs on the CPU only"):
        open_backend(folder, OpenOptions(device="0"))


def test_missing_packages_are_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    (folder / "model.xml").write_text("")
    with pytest.raises(PoseError, match=r"needs openvino: pip install 'openvino'"):
        open_backend(folder)
    out = tmp_path / "new_openvino_model"
    with pytest.raises(PoseError, match=r"needs openvino: pip install 'yolopose\[train,openvino\]'"):
        export(make_network(), ExportConfig(format="openvino", imgsz=64, out=str(out)))
    assert not out.exists()
