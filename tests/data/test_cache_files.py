from pathlib import Path

import pytest

from yolopose.data.cache_files import cache_folder, write_owner


def test_caches_are_in_the_users_cache_folder_or_in_cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    usual = cache_folder(tmp_path / "set")
    assert usual.parent == tmp_path / "cache" / "yolopose" / "datasets"
    assert usual.name.startswith("set-")
    assert cache_folder(tmp_path / "other" / "set") != usual
    assert cache_folder(tmp_path / "set", tmp_path / "big").parent == tmp_path / "big"
    (tmp_path / "link").symlink_to("set")
    (tmp_path / "set").mkdir()
    assert cache_folder(tmp_path / "link").name[-16:] == usual.name[-16:]  # one data set, whatever leads to it


def test_names_of_folders_are_plain(tmp_path: Path) -> None:
    for name in ("..", "a b\x1b", "x" * 250, "\udce9", ""):
        folder = cache_folder(Path("/data") / name, tmp_path)
        assert folder.parent == tmp_path
        assert folder.name.isascii()
        assert folder.name.isprintable()
        assert len(folder.name) < 60


def test_a_cache_folder_names_its_data_set(tmp_path: Path) -> None:
    write_owner(tmp_path, Path("/data/set"))
    assert (tmp_path / "dataset.txt").read_text() == "/data/set\n"
