"""ncnn without its runtime: options, metadata, devices."""

import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.builders import make_network

from yolopose.config import ExportConfig
from yolopose.errors import PoseError, UsageError
from yolopose.formats.base import OpenOptions
from yolopose.formats.table import export, open_backend
from yolopose.metadata import save_metadata


class Nothing:
    """Stands for the package `ncnn`; these tests fail before they use it."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "m_ncnn_model"
    path.mkdir()
    save_metadata(path / "metadata.yaml", make_network().info)
    monkeypatch.setitem(sys.modules, "ncnn", Nothing())
    return path


@pytest.mark.parametrize("options", [{"dynamic": True}, {"batch": 2}, {"int8": True}, {"nms": True}])
def test_options_that_it_does_not_take(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(options))}=.*format=ncnn does not take it; it takes half"):
        export(make_network(), ExportConfig(format="ncnn", **options))


def test_missing_packages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ncnn", "pnnx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PoseError, match=r"needs ncnn: pip install 'yolopose\[ncnn\]'"):
        open_backend(folder)
    with pytest.raises(PoseError, match=r"needs pnnx: pip install 'yolopose\[train,ncnn\]'"):
        export(make_network(), ExportConfig(format="ncnn", imgsz=64, out=str(folder.with_name("n_ncnn_model"))))
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("text", [None, "task: pose", "names: [face]\nkpt_shape: [5, 3]"])
def test_metadata_without_size(folder: Path, text: str | None) -> None:
    metadata = folder / "metadata.yaml"
    metadata.unlink()
    if text:
        metadata.write_text(text)
    with pytest.raises(PoseError, match=r"metadata\.yaml: missing, or does not tell imgsz") as error:
        open_backend(folder)
    assert "\n" not in str(error.value)


def test_another_device(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"device=cuda: .*CPU only"):
        open_backend(folder, OpenOptions(device="cuda"))
