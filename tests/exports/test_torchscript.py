"""TorchScript: a file gives the same detections as the network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yolopose.config import ExportConfig
from yolopose.evaluate.verify import Comparison
from yolopose.formats.base import OpenOptions
from yolopose.formats.table import export, format_of, open_backend

pytest.importorskip("torch")
pytestmark = pytest.mark.exports

Compare = Callable[..., Comparison]


def make(network: Any, folder: Path, **options: Any) -> Any:
    out = str(folder / "m.torchscript")
    return open_backend(
        export(network, ExportConfig(format="torchscript", out=out, **options)), OpenOptions(device="cpu")
    )


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"dynamic": True}], ids=["static", "optimize", "dynamic"])
def test_float32_at_640(network: Any, against_torch: Compare, tmp_path: Path, options: dict[str, Any]) -> None:
    backend = make(network, tmp_path, imgsz=640, **options)
    result = against_torch(backend, (640, 640))
    assert (result.unmatched, result.matched > 50) == (0, True)
    assert result.worst < format_of("m.torchscript").tolerance == 0.01
    if options.get("dynamic"):
        assert against_torch(backend, (256, 320)).worst < 0.01


def test_half(network: Any, against_torch: Compare, tmp_path: Path) -> None:
    backend = make(network, tmp_path, imgsz=320, half=True)
    assert backend.precision == "float16"
    result = against_torch(backend)
    assert result.unmatched == 0
    assert 1e-3 < result.worst < 2
