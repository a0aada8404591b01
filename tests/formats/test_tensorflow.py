"""TensorFlow's formats without TensorFlow: missing packages, decoding of raw maps."""

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.builders import make_network

from yolopose.config import ExportConfig
from yolopose.errors import PoseError
from yolopose.formats.edgetpu import WHOLE
from yolopose.formats.sparse import Raw, decode_cells
from yolopose.formats.table import export, format_of, open_backend


@pytest.mark.parametrize("name", ["m.pb", "m_saved_model"])
def test_a_missing_tensorflow_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setitem(sys.modules, "keras", None)
    path = tmp_path / name
    path.mkdir()
    with pytest.raises(PoseError, match=r"pip install 'yolopose\[tensorflow\]'"):
        open_backend(path)
    target = tmp_path / "new" / name
    with pytest.raises(PoseError, match=r"pip install 'yolopose\[train,tensorflow\]'"):
        export(make_network(), ExportConfig(format=format_of(path).argument, imgsz=64, out=str(target)))
    assert not target.parent.exists()


def test_tfjs_needs_its_converter_and_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflowjs", None)
    with pytest.raises(PoseError, match=r"pip install --no-deps tensorflowjs==4\.22\.0$"):
        export(make_network(), ExportConfig(format="tfjs", imgsz=64, out=str(tmp_path / "m_web_model")))
    (tmp_path / "m_web_model").mkdir()
    with pytest.raises(PoseError, match=r"has no model\.json"):
        open_backend(tmp_path / "m_web_model")


def test_a_missing_interpreter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    for name in ("m_edgetpu.tflite", f"m{WHOLE}"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(PoseError, match="pip install 'ai-edge-litert'"):
            open_backend(tmp_path / name)


@pytest.mark.parametrize(("k", "d"), [(5, 3), (4, 2)])
def test_cells_are_decoded_as_torch_does(k: int, d: int) -> None:
    """The raw maps of a network, cell by cell, as the Edge TPU's backend decodes them."""
    import torch

    network = make_network(k=k, d=d, classes=2)
    network.head.dfl.conv.weight.data.div_(3)  # the builder makes all weights larger, but these count bins
    with torch.no_grad():
        maps = network.maps(torch.rand(1, 3, 64, 96, generator=torch.manual_seed(0)))
        expected = network.decode(maps)[0].T.numpy()
    rows, start = [], 0
    for level, stride in zip(maps.levels, network.head.strides, strict=True):
        h, w = level.shape[2:]
        found = np.arange(h * w)
        flat = level[0].flatten(1).T.numpy()
        points = maps.keypoints[0, :, start : start + h * w].T.numpy()
        cell = np.stack((found % w, found // w), 1).astype(np.float32)
        rows.append(decode_cells(Raw(flat[:, :64], points, flat[:, 64:]), cell, stride, (k, d)))
        start += h * w
    np.testing.assert_allclose(np.concatenate(rows), expected, atol=1e-4)
