from pathlib import Path

import pytest

from yolopose.data.folders import PACKAGE, cache_folders, free_memory
from yolopose.download import cache_dir


def test_caches_lie_beside_the_data_set_or_in_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    beside, elsewhere = cache_folders(tmp_path / "set")
    assert beside == tmp_path / "set" / ".yolopose"
    assert elsewhere.is_relative_to(tmp_path / "cache" / "yolopose")
    assert cache_folders(tmp_path / "other" / "set")[1] != elsewhere


def test_nothing_is_written_into_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    (only,) = cache_folders(PACKAGE / "assets" / "samples")
    assert only.is_relative_to(cache_dir())


def test_free_memory_is_plausible() -> None:
    assert 10**7 < free_memory() < 10**15
