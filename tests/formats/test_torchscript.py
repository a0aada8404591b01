"""TorchScript: our files and others' give the same output as the network."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.builders import make_network, same_as_torch

from yolopose.config import ExportConfig
from yolopose.errors import PoseError, UsageError
from yolopose.formats.base import OpenOptions
from yolopose.formats.table import export, open_backend
from yolopose.formats.torchscript import CONFIG

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

HW = (64, 96)


@pytest.fixture(scope="module")
def static(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of fixed input (1, 3, 64, 96)."""
    return make(network, tmp_path_factory.mktemp("static") / "m.torchscript")


def make(network: Any, path: Path, **options: Any) -> Path:
    return export(network, ExportConfig(**({"imgsz": HW} | options), format="torchscript", out=str(path)))


def facts(path: Path) -> dict[str, Any]:
    """What any program can read: the entry of the archive."""
    with zipfile.ZipFile(path) as archive:
        (entry,) = [name for name in archive.namelist() if name.endswith(f"/extra/{CONFIG}")]
        return dict(json.loads(archive.read(entry)))


def theirs(path: Path, module: Callable[..., Any], metadata: Any, *sizes: int) -> Path:
    """A file as others write it: traced, not frozen, with their metadata or none."""
    traced = torch.jit.trace(module, torch.zeros(sizes or (1, 3, *HW)), check_trace=False)
    files = {} if metadata is None else {CONFIG: json.dumps(metadata)}
    torch.jit.save(traced, str(path), _extra_files=files)
    return path


def test_static(network: Any, images: np.ndarray, static: Path) -> None:
    assert list(static.parent.iterdir()) == [static]
    backend = same_as_torch(static, network, images)
    assert (backend.fixed_shape, backend.precision, backend.device) == ((1, *HW), "float32", "cpu")
    same_as_torch(static, network, images.astype(np.float32) / 255)
    with pytest.raises(PoseError, match="64x96 only, got 32x64"):
        backend.infer(images[:, :32, :64])


def test_dynamic(network: Any, images: np.ndarray, tmp_path: Path) -> None:
    path = make(network, tmp_path / "m.torchscript", dynamic=True, batch=2)
    backend = same_as_torch(path, network, images)
    assert (backend.fixed_shape, backend.info.dynamic) == (None, True)
    same_as_torch(path, network, np.random.default_rng(1).integers(0, 256, (1, 160, 32, 3), dtype=np.uint8))


def test_nothing_in_a_file_is_bound_to_the_cpu(network: Any, static: Path, tmp_path: Path) -> None:
    for path in (static, make(network, tmp_path / "m.torchscript", dynamic=True)):
        assert 'torch.device("cpu")' not in torch.jit.load(path).code


@pytest.mark.parametrize("optimize", [False, True])
def test_optimize_lays_the_weights_channels_last(
    network: Any, images: np.ndarray, tmp_path: Path, optimize: bool
) -> None:
    path = make(network, tmp_path / "m.torchscript", optimize=optimize, batch=2)
    assert same_as_torch(path, network, images).fixed_shape == (2, *HW)
    module = torch.jit.load(path)
    nodes = module.graph.findAllNodes("prim::Constant")
    weights = [node.t("value") for node in nodes if node.output().type().kind() == "TensorType"]
    wide = [w for w in weights if w.ndim == 4 and w.shape[1] > 1 and w.shape[2] > 1]
    assert len(wide) > 5
    assert all(w.is_contiguous(memory_format=torch.channels_last) == optimize for w in wide)


def test_half_computes_in_16_bit_and_decodes_in_32(network: Any, images: np.ndarray, tmp_path: Path) -> None:
    path = make(network, tmp_path / "m.torchscript", half=True)
    assert same_as_torch(path, network, images, tolerance=3e-3).precision == "float16"
    assert path.stat().st_size < 0.6 * make(network, tmp_path / "n.torchscript").stat().st_size


def test_metadata(network: Any, static: Path) -> None:
    values = facts(static)
    assert values["names"] == {str(i): name for i, name in network.info.names.items()}
    assert (values["imgsz"], values["kpt_shape"], values["precision"]) == ([64, 96], [5, 3], "float32")
    info = open_backend(static).info
    assert (info.names, info.layout) == (network.info.names, network.info.layout)
    assert (info.imgsz, info.batch, info.dynamic, info.stride) == (HW, 1, False, 32)


@pytest.mark.parametrize("dynamic", [False, True])
def test_ultralytics_metadata(network: Any, images: np.ndarray, tmp_path: Path, dynamic: bool) -> None:
    metadata = {
        "stride": 32, "task": "pose", "batch": 1, "imgsz": list(HW), "names": {"0": "a", "1": "b"},
        "args": {"batch": 1, "quantize": None, "nms": None, "dynamic": dynamic}, "kpt_shape": [5, 3],
    }  # fmt: skip
    path = theirs(tmp_path / "m.torchscript", network.eval(), metadata)
    backend = same_as_torch(path, network, images)
    assert backend.info.names == {0: "a", 1: "b"}
    assert backend.fixed_shape == (None if dynamic else (1, *HW))


def test_half_precision_input(network: Any, images: np.ndarray, tmp_path: Path) -> None:
    class Half(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network.eval()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.ndim == 4
            weight = torch.ones(3, 1, 1, 1, dtype=torch.float16)
            return self.network(torch.conv2d(x, weight, groups=3).float()).half()

    metadata = {"imgsz": list(HW), "names": {"0": "a", "1": "b"}, "kpt_shape": [5, 3]}
    traced = torch.jit.trace(Half(), torch.zeros(1, 3, *HW, dtype=torch.float16), check_trace=False)
    torch.jit.save(traced, str(tmp_path / "m.torchscript"), _extra_files={CONFIG: json.dumps(metadata)})
    assert same_as_torch(tmp_path / "m.torchscript", network, images, 2e-3).precision == "float16"


def test_suppression_within_the_file(images: np.ndarray, tmp_path: Path) -> None:
    """A file whose output is (B, N, 6+K·D): x1 y1 x2 y2 score class keypoints."""
    row = torch.arange(1.0, 22.0)
    row[4:6] = torch.tensor([0.75, 1.0])

    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return row.expand(x.shape[0], 7, 21) + x.sum() * 0

    metadata = {"imgsz": list(HW), "names": ["a", "b"], "kpt_shape": [5, 3]}
    backend = open_backend(theirs(tmp_path / "m.torchscript", Fixed(), metadata))
    (rows,) = backend.candidates(images[:1], 0.5)
    assert rows.shape == (7, 21)
    np.testing.assert_allclose(rows[0], [2, 3, 2, 2, 0, 0.75, *range(7, 22)])


def test_no_metadata(network: Any, tmp_path: Path) -> None:
    one = make_network()
    path = theirs(tmp_path / "m.torchscript", one.eval(), None, 1, 3, 640, 640)
    backend = open_backend(path)
    assert (backend.info.kpt_shape, backend.fixed_shape) == ((5, 3), (1, 640, 640))


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"task": "detect"}, "'detect' model"),
        ({"imgsz": "640"}, "imgsz must be a whole number, got '640'"),
        ({"kpt_shape": [17, 3], "names": ["a"], "imgsz": list(HW)}, "make 56"),
        ([], "no JSON object"),
    ],
)
def test_metadata_of_something_else(network: Any, tmp_path: Path, metadata: Any, told: str) -> None:
    path = theirs(tmp_path / "m.torchscript", network.eval(), metadata)
    with pytest.raises(PoseError, match=told):
        open_backend(path)


def test_a_program_with_unexpected_outputs_is_refused(tmp_path: Path) -> None:
    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with pytest.raises(PoseError, match="one decoded"):
        open_backend(theirs(tmp_path / "m.torchscript", Twice(), None))

    class Narrow(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.conv2d(x, torch.ones(1, 4, 1, 1))

    path = theirs(tmp_path / "n.torchscript", Narrow(), {"imgsz": 64}, 1, 4, 64, 64)
    with pytest.raises(PoseError, match=r"n\.torchscript: torch cannot run it: .*4") as error:
        open_backend(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kept", [0, 500, 3000])
def test_damaged_files_are_named(static: Path, tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut.torchscript"
    cut.write_bytes(static.read_bytes()[:kept])
    with pytest.raises(PoseError, match=r"cut\.torchscript") as error:
        open_backend(cut)
    assert "\n" not in str(error.value)


def test_an_archive_without_a_program(tmp_path: Path) -> None:
    path = tmp_path / "m.torchscript"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/extra/config.txt", "{}")
    with pytest.raises(PoseError, match="torch cannot run it") as error:
        open_backend(path)
    assert "\n" not in str(error.value)


def test_options_without_effect_are_warned_about(
    static: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_backend(static, OpenOptions(half=True))
    assert "float32" in caplog.text
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    open_backend(static, OpenOptions(threads=3))
    assert asked == [3]
    with pytest.raises(UsageError, match="device=7"):
        open_backend(static, OpenOptions(device="7"))


def test_options_that_the_format_does_not_take(network: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nms"):
        make(network, tmp_path / "m.torchscript", nms=True)
