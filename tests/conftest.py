"""Fixtures that every test may use; `shared` is the optional folder of reference data beside the project."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

with suppress(ImportError):  # the environment of the export runtimes has no hypothesis
    from hypothesis import settings

    settings.register_profile("no clock", deadline=None)  # a busy machine is no fault
    settings.load_profile("no clock")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data and photographs."""
    if not SHARED.is_dir():
        pytest.skip("the recorded data (../shared) are not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Values recorded from Ultralytics 8.3."""
    return shared / "golden"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Caches of the tests go to a folder of theirs, not to the user's."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
