"""Fixtures that every test may use; `shared` is the optional folder of reference data beside the project."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data and photographs."""
    if not SHARED.is_dir():
        pytest.skip("the reference data (../shared) are not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Values recorded from the reference system."""
    return shared / "golden"
