"""PaddlePaddle without Paddle: options, missing packages."""

import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.builders import make_network

from yolopose.config import ExportConfig
from yolopose.errors import PoseError, UsageError
from yolopose.formats.table import export, open_backend


@pytest.mark.parametrize("options", [{"dynamic": True}, {"batch": 2}, {"half": True}, {"int8": True}, {"nms": True}])
def test_options_that_it_does_not_take(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(options))}=.*format=paddle does not take it"):
        export(make_network(), ExportConfig(format="paddle", **options))


def test_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paddle", None)
    (tmp_path / "m_paddle_model").mkdir()
    with pytest.raises(PoseError, match=r"needs paddle.*: pip install 'yolopose\[paddle\]'"):
        open_backend(tmp_path / "m_paddle_model")
    with pytest.raises(PoseError, match=r"needs paddle.*: pip install 'yolopose\[train,paddle\]'"):
        export(make_network(), ExportConfig(format="paddle", imgsz=64, out=str(tmp_path / "n_paddle_model")))
    assert [path.name for path in tmp_path.iterdir()] == ["m_paddle_model"]
