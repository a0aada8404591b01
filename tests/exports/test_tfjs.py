"""TensorFlow.js: folders of tensorflowjs give the results of torch in Node."""

import gc
import json
import os
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.builders import each_in_a_thread

from yolopose.config import ExportConfig
from yolopose.errors import PoseError
from yolopose.evaluate.verify import Comparison, fault
from yolopose.formats import tfjs
from yolopose.formats.base import OpenOptions
from yolopose.formats.table import export, open_backend

pytest.importorskip("tensorflow")
if find_spec("tensorflowjs") is None:  # it cannot be imported as it is, see the converter
    pytest.skip("no tensorflowjs", allow_module_level=True)
MODULES = Path(__file__).parent / "node_modules"
pytestmark = [
    pytest.mark.exports,
    pytest.mark.skipif(shutil.which("node") is None, reason="no node on the PATH"),
    pytest.mark.skipif(
        not (MODULES / "@tensorflow").is_dir(), reason="no TF.js: npm ci --ignore-scripts in tests/exports"
    ),
]

HW = (256, 320)
Compare = Callable[..., Comparison]


@pytest.fixture(autouse=True)
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_PATH", str(MODULES))


def make(network: Any, path: Path, **options: Any) -> Path:
    return export(network, ExportConfig(format="tfjs", imgsz=HW, out=str(path), **options))


@pytest.fixture(scope="module")
def folder(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(network, tmp_path_factory.mktemp("tfjs") / "m_web_model")


def weights(path: Path) -> int:
    return sum(f.stat().st_size for f in path.glob("*.bin"))


def test_float32_is_torch(folder: Path, against_torch: Compare, network: Any) -> None:
    backend = open_backend(folder)
    result = against_torch(backend)
    assert result.matched > 20
    assert fault(result, "float32", 0.01) is None
    assert (backend.precision, backend.device, backend.fixed_shape) == ("float32", "cpu", (1, *HW))
    assert (backend.info.names, backend.info.layout) == (network.info.names, network.info.layout)
    assert {"model.json", "metadata.yaml"} <= {f.name for f in folder.iterdir()}
    assert [f.name for f in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize(("option", "precision", "share"), [("half", "float16", 0.55), ("int8", "int8", 0.32)])
def test_smaller_weights(
    option: str, precision: str, share: float, folder: Path, network: Any, against_torch: Compare, tmp_path: Path
) -> None:
    path = make(network, tmp_path / "m_web_model", **{option: True})
    assert weights(path) < share * weights(folder)
    backend = open_backend(path)
    assert backend.precision == precision
    result = against_torch(backend)
    assert fault(result, precision, 0.01) is None
    assert 1e-4 < result.box_median < 0.2


def test_the_converter_leaves_no_stubs(folder: Path) -> None:
    assert not {name for name in sys.modules if name in tfjs.STUBS or name.startswith("tensorflowjs.converters")}


def test_batches_threads_and_other_sizes(folder: Path) -> None:
    backend = open_backend(folder, OpenOptions(threads=2))
    images = np.random.default_rng(0).integers(0, 256, (3, *HW, 3), dtype=np.uint8)
    expected = backend.infer(images)
    assert expected.shape == (3, 20, 1680)
    np.testing.assert_array_equal(each_in_a_thread(backend, images), expected)
    with pytest.raises(PoseError, match="256x320 only, got 320x320"):
        backend.infer(np.zeros((1, 320, 320, 3), np.uint8))


def test_the_process_ends_with_the_backend(folder: Path) -> None:
    backend = open_backend(folder)
    process = backend._node._process
    assert process.poll() is None
    del backend
    gc.collect()
    assert process.poll() == 0


def test_a_process_that_was_killed(folder: Path) -> None:
    backend = open_backend(folder)
    backend._node._process.kill()
    with pytest.raises(PoseError, match="the Node process ended"):
        backend.infer(np.zeros((1, *HW, 3), np.uint8))


def test_node_and_its_modules_may_be_missing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_PATH", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(
        PoseError, match=r"npm install --prefix .* @tensorflow/tfjs@4\.22\.0 @tensorflow/tfjs-backend-wasm@4\.22\.0$"
    ):
        open_backend(folder)
    ours = tmp_path / "yolopose" / "tfjs"
    ours.mkdir(parents=True)
    (ours / "node_modules").symlink_to(MODULES)
    assert open_backend(folder).fixed_shape == (1, *HW)
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(PoseError, match=r"install Node\.js"):
        open_backend(folder)


def test_damaged_files(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty_web_model"
    empty.mkdir()
    cut = shutil.copytree(folder, tmp_path / "cut_web_model")
    shard = min(cut.glob("*.bin"))
    shard.write_bytes(shard.read_bytes()[:1000])
    words = shutil.copytree(folder, tmp_path / "words_web_model")
    (words / "model.json").write_text("{")
    other = shutil.copytree(folder, tmp_path / "other_web_model")
    model = json.loads((other / "model.json").read_text())
    model["signature"]["outputs"]["more"] = model["signature"]["outputs"]["output0"]
    (other / "model.json").write_text(json.dumps(model))
    for path in (empty, cut, words, other):
        with pytest.raises(PoseError, match=path.name) as error:
            open_backend(path)
        assert "\n" not in str(error.value)


def test_a_missing_converter_is_named(network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflowjs", None)
    with pytest.raises(PoseError, match=r"pip install --no-deps tensorflowjs==4\.22\.0"):
        make(network, tmp_path / "m_web_model")
    assert not list(tmp_path.iterdir())
