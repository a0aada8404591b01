import hashlib
import logging
import stat
import zipfile
from pathlib import Path

import pytest

from yolopose.data import fetch as fetch_module
from yolopose.data.fetch import Download, fetch, unpack
from yolopose.download import Unreachable
from yolopose.errors import PoseError


def archive(file: Path, **contents: str) -> Path:
    with zipfile.ZipFile(file, "w") as packed:
        for name, text in contents.items():
            packed.writestr(name, text)
    return file


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["set/images/a.jpg", "set/labels/a.txt"], ["images/a.jpg", "labels/a.txt"]),
        (["set/a.jpg", "__MACOSX/set/._a.jpg"], ["a.jpg"]),
        (["set/a.jpg", "other/b.jpg"], ["set/a.jpg", "other/b.jpg"]),
        (["images/a.jpg"], ["images/a.jpg"]),
    ],
)
def test_a_folder_named_like_the_data_set_is_left_out(tmp_path: Path, names: list[str], expected: list[str]) -> None:
    unpack(archive(tmp_path / "x.zip", **dict.fromkeys(names, "text")), tmp_path / "out", own_folder="set")
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == set(expected)


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "C:/evil", "..\\evil", "C:\\evil"])
def test_an_archive_cannot_reach_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(PoseError, match="outside"):
        unpack(archive(tmp_path / "x.zip", **{"good": "1", name: "2"}), tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()  # not even the good file


def test_links_in_archives_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, "/etc/passwd")
    with pytest.raises(PoseError, match="'link'"):
        unpack(tmp_path / "x.zip", tmp_path / "out")


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(PoseError, match=r"x\.zip: not a usable"):
        unpack(tmp_path / "x.zip", tmp_path / "out")


def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the downloader by one that packs two small archives."""
    asked = []

    def fake(url: str, target: Path, *, sha256: str | None = None) -> Path:
        asked.append(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        name = "set/train.txt" if "labels" in url else "train2017/a.jpg"
        return archive(target, **{name: "text"})

    monkeypatch.setattr(fetch_module, "download", fake)
    return asked


def test_a_data_set_appears_when_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="yolopose")
    served(tmp_path, monkeypatch)
    root = tmp_path / "datasets" / "set"
    fetch(root, [Download("http://h/labels.zip"), Download("http://h/train2017.zip", into="images")])
    assert (root / "train.txt").read_text() == "text"
    assert (root / "images" / "train2017" / "a.jpg").is_file()
    assert sorted(p.name for p in root.parent.iterdir()) == ["set"]
    assert "labels.zip: sha256" in caplog.text


def test_without_a_network_the_bundled_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Path:
        raise Unreachable("http://h/x.zip: no network")

    monkeypatch.setattr(fetch_module, "download", fail)
    with pytest.raises(PoseError, match=r"no network; .*data=sample-pose\.yaml"):
        fetch(tmp_path / "set", [Download("http://h/x.zip")])
    assert not (tmp_path / "set").exists()


def test_a_given_sum_reaches_the_downloader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sums = []

    def fake(url: str, target: Path, *, sha256: str | None = None) -> Path:
        sums.append(sha256)
        return archive(target, a="1")

    monkeypatch.setattr(fetch_module, "download", fake)
    wanted = hashlib.sha256(b"x").hexdigest()
    fetch(tmp_path / "set", [Download("http://h/x.zip", sha256=wanted)])
    assert sums == [wanted]
