"""What the tests of one format each start from: a small network, and noise of its size."""

from typing import Any

import numpy as np
import pytest
from helpers.builders import make_network


@pytest.fixture(scope="module")
def network() -> Any:
    """A network of two classes and five keypoints."""
    return make_network(classes=2)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Three images of 64 x 96."""
    return np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
