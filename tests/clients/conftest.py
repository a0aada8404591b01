"""What the tests of third-party programs share. With torch installed results are tensors, without it HostArrays."""

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import yolopose
from yolopose import YOLO
from yolopose.results import Results

os.environ |= {  # nothing here needs a network
    "FIFTYONE_DO_NOT_TRACK": "True",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
}
SAMPLES = Path(yolopose.__file__).parent / "assets" / "samples" / "images"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Nothing here is imported but by `-m clients`: elsewhere the clients are not installed."""
    return None if config.option.markexpr == "clients" else True


@pytest.fixture(scope="session")
def torch() -> Any:
    """The module, imported; None in the environment without it."""
    return importlib.import_module("torch") if importlib.util.find_spec("torch") else None


@pytest.fixture(scope="session")
def model(torch: Any) -> YOLO:
    """The bundled face model, as ONNX."""
    return YOLO(SAMPLES.parents[1] / "yolov8n-face.onnx")


@pytest.fixture
def photograph() -> Path:
    """One with four faces."""
    return SAMPLES / "val" / "intel_classroom.jpg"


@pytest.fixture
def faces(model: YOLO, photograph: Path, torch: Any) -> Results:
    """What the model finds in it."""
    result = model(photograph, verbose=False)[0]
    assert len(result) == 4
    assert type(result.boxes.xyxy).__name__ == ("Tensor" if torch else "HostArray")
    return result


@pytest.fixture
def nobody(model: YOLO) -> Results:
    """A result without instances."""
    result = model(np.zeros((120, 160, 3), np.uint8), verbose=False)[0]
    assert len(result) == 0
    return result
