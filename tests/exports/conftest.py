"""What every export is tested with: a network of natural weights, and the packaged photographs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from yolopose.config import ValConfig
from yolopose.data.spec import load_data
from yolopose.evaluate.verify import Comparison, compare
from yolopose.formats.base import Backend, OpenOptions
from yolopose.formats.calibration import letterboxed, sample_photographs
from yolopose.weights import find

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet


@pytest.fixture(scope="session")
def network() -> "PoseNet":
    """The bundled face network."""
    pytest.importorskip("torch")
    from yolopose.formats.pytorch import load_network

    return load_network(find("yolov8n-face"))


@pytest.fixture(scope="session")
def against_torch(network: "PoseNet") -> Callable[[Backend], Comparison]:
    """Compares a backend with float32 torch on the packaged photographs, at the size of the backend."""
    from yolopose.formats.pytorch import TorchBackend

    reference = TorchBackend(network, OpenOptions(device="cpu"))

    def run(backend: Backend, imgsz: tuple[int, int] | None = None) -> Comparison:
        info = replace(backend.info, imgsz=imgsz or backend.info.imgsz)
        return compare(reference, backend, [letterboxed(path, info) for path in sample_photographs()])

    return run


@pytest.fixture(scope="session")
def box_map(shared: Path) -> Callable[[Backend], float]:
    """Measures the box mAP50-95 of a face model on the validation split of the shared face data, at 640."""
    from yolopose.evaluate.validate import validate

    data = load_data(shared / "data" / "face" / "data.yaml")
    return lambda backend: validate(backend, data, ValConfig(imgsz=640, plots=False, verbose=False)).box.map


@pytest.fixture(scope="session")
def torch_map(network: "PoseNet", box_map: Callable[[Backend], float]) -> float:
    """What `box_map` says of the bundled network in torch, float32."""
    from yolopose.formats.pytorch import TorchBackend

    return box_map(TorchBackend(network, OpenOptions(device="cpu")))
