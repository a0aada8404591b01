"""Fixtures that every test may use; `shared` is the optional folder of reference data beside the project."""

import os
from collections.abc import Generator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The matplotlib figures that the test has written to files, in order."""
    from matplotlib.figure import Figure

    written: list[Any] = []
    savefig = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: written.append(self) or savefig(self, *a, **k))
    return written


# What `make test-oldest` does not install: it runs what the light install can do.
HEAVY = ("torch", "onnx", "onnxscript", "matplotlib", "pycocotools", "pandas", "scipy", "tensorboard", "pyarrow")


def _lacks(error: BaseException | None) -> str:
    """The heavy package that a test stopped for, where none of them is installed; nothing otherwise."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in HEAVY:
        return str(error)
    return str(error) if "needs torch" in str(error) or "needs pyarrow" in str(error) else ""


if find_spec("torch") is None:

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(call: Any) -> Generator[None, Any, Any]:
        report = yield
        if report.failed and call.excinfo and (reason := _lacks(call.excinfo.value)):
            report.outcome, report.longrepr = "skipped", (str(__file__), 0, f"light install: {reason}")
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report() -> Generator[None, Any, Any]:
        report = yield
        if report.failed and any(f"No module named '{name}" in str(report.longrepr) for name in HEAVY):
            report.outcome, report.longrepr = "skipped", (str(__file__), 0, "light install: needs a heavy package")
        return report
