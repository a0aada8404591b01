"""ncnn: folders of pnnx give the results of torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.builders import each_in_a_thread

from yolopose.config import ExportConfig
from yolopose.errors import PoseError
from yolopose.evaluate.verify import Comparison
from yolopose.formats.table import export, format_of, open_backend

ncnn = pytest.importorskip("ncnn")
pytest.importorskip("pnnx")
pytestmark = pytest.mark.exports

HW = (256, 320)
Compare = Callable[..., Comparison]


@pytest.fixture(scope="module")
def folder(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ncnn") / "m_ncnn_model"
    return export(network, ExportConfig(format="ncnn", imgsz=HW, out=str(out)))


def changed(folder: Path, target: Path, **entries: Any) -> Path:
    """A copy with other metadata; entries of None are taken out."""
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text()) | entries
    (target / "metadata.yaml").write_text(yaml.safe_dump({k: v for k, v in metadata.items() if v is not None}))
    return target


def test_float32_at_640(network: Any, against_torch: Compare, tmp_path: Path) -> None:
    path = export(network, ExportConfig(format="ncnn", imgsz=640, out=str(tmp_path / "m_ncnn_model")))
    assert list(tmp_path.iterdir()) == [path]
    result = against_torch(open_backend(path))
    assert (result.unmatched, result.matched > 50) == (0, True)
    assert result.worst < format_of(path).tolerance == 0.05


def test_metadata(network: Any, folder: Path, against_torch: Compare) -> None:
    assert {path.name for path in folder.iterdir()} == {"model.ncnn.param", "model.ncnn.bin", "metadata.yaml"}
    backend = open_backend(folder)
    assert (backend.precision, backend.device, backend.fixed_shape) == ("float32", "cpu", (1, *HW))
    assert (backend.info.names, backend.info.layout) == (network.info.names, network.info.layout)
    assert (backend.info.imgsz, backend.info.dynamic) == (HW, False)
    assert against_torch(backend).worst < 0.05


def test_half(network: Any, folder: Path, against_torch: Compare, tmp_path: Path) -> None:
    path = export(network, ExportConfig(format="ncnn", imgsz=HW, half=True, out=str(tmp_path / "m_ncnn_model")))
    backend = open_backend(path)
    assert backend.precision == "float16"
    result = against_torch(backend)
    assert result.unmatched == 0
    assert 1e-4 < result.worst < 2
    sizes = [(p / "model.ncnn.bin").stat().st_size for p in (path, folder)]
    assert sizes[0] < 0.55 * sizes[1]


def test_batches_floats_and_threads(folder: Path) -> None:
    backend = open_backend(folder)
    images = np.random.default_rng(0).integers(0, 256, (3, *HW, 3), dtype=np.uint8)
    whole = backend.infer(images)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole, np.concatenate([backend.infer(image[None]) for image in images]))
    np.testing.assert_array_equal(whole, backend.infer(images.astype(np.float32) / 255))
    np.testing.assert_array_equal(whole, each_in_a_thread(backend, images))


def test_other_sizes_are_refused(folder: Path) -> None:
    with pytest.raises(PoseError, match="256x320 only, got 320x320"):
        open_backend(folder).infer(np.zeros((1, 320, 320, 3), np.uint8))


def test_ultralytics_folder(folder: Path, tmp_path: Path) -> None:
    theirs = {
        "description": "Ultralytics",
        "args": {"half": True},
        "kpt_names": None,
        "sigmas": None,
        "precision": None,
    }
    backend = open_backend(changed(folder, tmp_path / "theirs_ncnn_model", **theirs))
    assert (backend.precision, backend.info.imgsz, backend.info.kpt_shape) == ("float16", HW, (5, 3))


@pytest.mark.parametrize(
    ("name", "told"), [("model.ncnn.param", "param: ncnn cannot load"), ("model.ncnn.bin", "bin: ncnn cannot load")]
)
def test_damaged_files(folder: Path, tmp_path: Path, name: str, told: str) -> None:
    path = changed(folder, tmp_path / "m_ncnn_model")
    (path / name).write_bytes((path / name).read_bytes()[:3000])
    with pytest.raises(PoseError, match=told):
        open_backend(path)
    (path / name).unlink()
    with pytest.raises(PoseError, match=f"has no {name}"):
        open_backend(path)


def test_metadata_of_another_network(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PoseError, match="56 channels"):
        open_backend(changed(folder, tmp_path / "m_ncnn_model", kpt_shape=[17, 3], **dict.fromkeys(
            ("kpt_names", "skeleton", "kpt_sigmas", "flip_idx", "kpt_oks_sigmas")
        )))  # fmt: skip


def test_a_failure_of_the_converter_is_one_line(network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pnnx

    monkeypatch.setattr(pnnx, "EXEC_PATH", "/bin/false")
    with pytest.raises(PoseError, match="pnnx failed with code 1"):
        export(network, ExportConfig(format="ncnn", imgsz=64, out=str(tmp_path / "m_ncnn_model")))
    assert not list(tmp_path.iterdir())
