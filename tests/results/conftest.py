"""Results as they are with torch imported and without."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(params=["torch", "no torch"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Whether torch is imported while the test runs."""
    if request.param == "torch":
        pytest.importorskip("torch")
    else:
        monkeypatch.setitem(sys.modules, "torch", None)
    return request.param


@pytest.fixture
def torchless(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the test runs torch is not there."""
    monkeypatch.setitem(sys.modules, "torch", None)
