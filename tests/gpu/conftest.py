"""What the GPU tests share: figures that a run leaves in benchmarks/results/gpu.json."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "gpu.json"
_figures: dict[str, Any] = {}
_outcomes: dict[str, str] = {}


@pytest.fixture(autouse=True)
def gpu() -> Iterator[None]:
    """Skips where there is no GPU, and leaves none of its memory behind."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    yield
    torch.cuda.empty_cache()


@pytest.fixture
def note() -> Callable[[str, Any], None]:
    """note(name, value): a figure for the file of results."""
    return _figures.__setitem__


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember how each test ended."""
    if report.when == "call" or report.skipped or report.failed:
        reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
        _outcomes[report.nodeid.removeprefix("tests/")] = f"{report.outcome} {reason}".strip()


def pytest_sessionfinish() -> None:
    """Write what was seen on a GPU."""
    import torch

    if not torch.cuda.is_available():
        return

    machine = {
        "gpu": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
        "python": platform.python_version(),
    }  # fmt: skip
    content = {"machine": machine, "figures": _figures, "tests": dict(sorted(_outcomes.items()))}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
