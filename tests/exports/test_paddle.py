"""PaddlePaddle: folders converted from torch give the results of torch."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.builders import OWN_SPEC, each_in_a_thread

from yolopose.config import ExportConfig
from yolopose.errors import PoseError
from yolopose.evaluate.verify import Comparison
from yolopose.formats.paddle import _operators, _paddle
from yolopose.formats.pytorch import TorchBackend
from yolopose.formats.table import export, format_of, open_backend
from yolopose.metadata import load_metadata

# not imported here: see `_paddle` on TensorFlow, which other tests import
pytestmark = [pytest.mark.exports, pytest.mark.skipif(find_spec("paddle") is None, reason="needs Paddle")]

HW = (256, 320)
Compare = Callable[..., Comparison]


@pytest.fixture(scope="module")
def folder(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("paddle") / "m_paddle_model"
    return export(network, ExportConfig(format="paddle", imgsz=HW, out=str(out)))


def test_float32_at_640(network: Any, against_torch: Compare, tmp_path: Path) -> None:
    path = export(network, ExportConfig(format="paddle", imgsz=640, out=str(tmp_path / "m_paddle_model")))
    assert list(tmp_path.iterdir()) == [path]
    result = against_torch(open_backend(path))
    assert (result.unmatched, result.matched > 50) == (0, True)
    assert result.worst < format_of(path).tolerance == 0.01


def test_metadata(network: Any, folder: Path, against_torch: Compare) -> None:
    assert {path.name for path in folder.iterdir()} == {"model.json", "model.pdiparams", "metadata.yaml"}
    assert load_metadata(folder / "metadata.yaml")["imgsz"] == list(HW)
    backend = open_backend(folder)
    assert (backend.precision, backend.device, backend.fixed_shape) == ("float32", "cpu", (1, *HW))
    assert (backend.info.names, backend.info.layout) == (network.info.names, network.info.layout)
    assert against_torch(backend).worst < 0.01


def test_every_block_is_translated(tmp_path: Path) -> None:
    from yolopose.nn.network import PoseNet

    torch.manual_seed(0)
    network = PoseNet(OWN_SPEC).eval()
    path = export(network, ExportConfig(format="paddle", imgsz=64, out=str(tmp_path / "m_paddle_model")))
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    expected = TorchBackend(network).infer(images)
    np.testing.assert_allclose(open_backend(path).infer(images), expected, atol=1e-5 * np.abs(expected).max())


def test_batches_and_threads(folder: Path) -> None:
    backend = open_backend(folder)
    images = np.random.default_rng(0).integers(0, 256, (3, *HW, 3), dtype=np.uint8)
    whole = backend.infer(images)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole, backend.infer(images.astype(np.float32) / 255))
    np.testing.assert_array_equal(whole, each_in_a_thread(backend, images))


def test_other_sizes_are_refused(folder: Path) -> None:
    with pytest.raises(PoseError, match="256x320 only, got 320x320"):
        open_backend(folder).infer(np.zeros((1, 320, 320, 3), np.uint8))


def test_a_folder_without_metadata(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "m_paddle_model"
    shutil.copytree(folder, bare)
    (bare / "metadata.yaml").unlink()
    info = open_backend(bare).info
    assert (info.kpt_shape, info.imgsz, info.names) == ((5, 3), HW, {0: "face"})


@pytest.mark.parametrize("name", ["model.json", "model.pdiparams"])
def test_damaged_files(folder: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "m_paddle_model"
    shutil.copytree(folder, path)
    (path / name).write_bytes((path / name).read_bytes()[:3000])
    with pytest.raises(PoseError, match="Paddle cannot load it") as error:
        open_backend(path)
    assert "\n" not in str(error.value)
    (path / name).unlink()
    with pytest.raises(PoseError, match=r"expected a program, model\.json"):
        open_backend(path)


def test_an_unknown_operator_is_named_and_the_mode_stays(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = _operators()
    del known["silu"], known["einsum"]
    monkeypatch.setattr("yolopose.formats.paddle._operators", lambda: known)
    with pytest.raises(PoseError, match="no translation to Paddle of torch's operators einsum, silu"):
        export(network, ExportConfig(format="paddle", imgsz=64, out=str(tmp_path / "m_paddle_model")))
    assert not list(tmp_path.iterdir())
    known["silu"] = known["einsum"] = None  # fails while the program is built
    with pytest.raises(TypeError):
        export(network, ExportConfig(format="paddle", imgsz=64, out=str(tmp_path / "m_paddle_model")))
    assert _paddle().in_dynamic_mode()


def test_after_tensorflow_in_the_same_process(folder: Path) -> None:
    pytest.importorskip("tensorflow")
    code = (
        "import sys, tensorflow, numpy as np\n"
        "from yolopose.formats.table import open_backend\n"
        "flags = sys.getdlopenflags()\n"
        "images = np.zeros((1, 256, 320, 3), np.uint8)\n"
        "print(open_backend(sys.argv[1]).infer(images).shape, flags == sys.getdlopenflags())\n"
    )
    run = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
    assert run.stdout.splitlines()[-1:] == ["(1, 20, 1680) True"], run.stderr[-500:]
