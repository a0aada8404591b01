"""What the machine reports of itself."""

import pytest

from yolopose.resources import free_memory, local_ranks, processors


def test_free_memory_is_plausible() -> None:
    assert 10**7 < free_memory() < 10**15


def test_processors_and_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processors() >= 1
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert (local_ranks(), local_ranks(3)) == (1, 3)
    for text, ranks in {"4": 4, "0": 1, "four": 1}.items():
        monkeypatch.setenv("LOCAL_WORLD_SIZE", text)
        assert local_ranks() == ranks
