"""CoreML without coremltools: options, missing packages."""

import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.builders import make_network

from yolopose.config import ExportConfig
from yolopose.errors import PoseError, UsageError
from yolopose.formats.table import export, open_backend


@pytest.mark.parametrize("options", [{"dynamic": True}, {"batch": 2}, {"opset": 18}])
def test_options_that_it_does_not_take(options: dict[str, Any]) -> None:
    with pytest.raises(
        UsageError, match=f"{next(iter(options))}=.*format=coreml does not take it; it takes half, int8"
    ):
        export(make_network(), ExportConfig(format="coreml", **options))


def test_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    (tmp_path / "m.mlpackage").mkdir()
    with pytest.raises(PoseError, match=r"needs coremltools: pip install 'yolopose\[coreml\]'"):
        open_backend(tmp_path / "m.mlpackage")
    with pytest.raises(PoseError, match=r"needs coremltools: pip install 'yolopose\[train,coreml\]'"):
        export(make_network(), ExportConfig(format="coreml", imgsz=64, out=str(tmp_path / "n.mlpackage")))
    assert [path.name for path in tmp_path.iterdir()] == ["m.mlpackage"]
