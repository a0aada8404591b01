"""What archives of strangers may do: be unpacked below one folder, and no more."""

import io
import logging
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from yolopose.data import archives
from yolopose.data.archives import BadArchive, safe_parts, unpack
from yolopose.errors import PoseError


def archive(file: Path, names: dict[str, str | bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(file, "w", method) as packed:
        for name, text in names.items():
            packed.writestr(name, text)
    return file


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["set/images/a.jpg", "set/labels/a.txt"], ["images/a.jpg", "labels/a.txt"]),
        (["set/a.jpg", "__MACOSX/set/._a.jpg"], ["a.jpg"]),
        (["set/a.jpg", "other/b.jpg"], ["set/a.jpg", "other/b.jpg"]),
        (["images/a.jpg"], ["images/a.jpg"]),
        (["set/LICENSE", "set/README.md", "set/a.JPG"], ["LICENSE", "README.md", "a.JPG"]),
    ],
)
def test_a_folder_named_like_the_data_set_is_left_out(tmp_path: Path, names: list[str], expected: list[str]) -> None:
    unpack(archive(tmp_path / "x.zip", dict.fromkeys(names, "text")), tmp_path / "out", own_folder="set")
    assert files(tmp_path / "out") == set(expected)


OUTSIDE = ["../evil.txt", "a/../../evil.txt", "/evil.txt", "C:/evil.txt", "..\\evil.txt", "C:\\evil.txt",
           "images/C:/Users/x.txt", "a/.. /evil.txt", "a/.../evil.txt", "\\\\host\\share\\x.txt", "a\x1b[31m.txt",
           "a\nb.txt", "x/" * 70 + "a.txt"]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_archive_cannot_reach_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadArchive, match=r"outside|no name of a file") as caught:
        unpack(archive(tmp_path / "x.zip", {"good.txt": "1", name: "2"}), tmp_path / "deep" / "out")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "deep").exists()  # not even the good file


@pytest.mark.parametrize("name", [*OUTSIDE, "..", "/", "~/../..", "\0"])
def test_unsafe_names_of_the_target_folder_are_refused(name: str) -> None:
    with pytest.raises(PoseError):
        safe_parts(name)


@pytest.mark.parametrize(("name", "parts"), [("", ()), (".", ()), ("a/./b", ("a", "b")), ("a\\b", ("a", "b"))])
def test_paths_that_stay_below(name: str, parts: tuple[str, ...]) -> None:
    assert safe_parts(name) == parts


def test_links_in_archives_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, "/etc/passwd")
    with pytest.raises(BadArchive, match=r"'link\.txt' is a link"):
        unpack(tmp_path / "x.zip", tmp_path / "out")


def test_only_data_are_unpacked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder `torch` with a `__init__.py` beside the user's script would be imported by it."""
    caplog.set_level(logging.INFO, logger="yolopose")
    names = [
        "a.jpg",
        "__init__.py",
        "x.pth",
        "lib.so",
        "run.sh",
        ".bashrc",
        ".ssh/config.txt",
        "Makefile",
        "a/.git/x.txt",
    ]
    unpack(archive(tmp_path / "x.zip", dict.fromkeys(names, "1")), tmp_path / "out")
    assert files(tmp_path / "out") == {"a.jpg"}
    assert "8 files of other kinds" in caplog.text


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_rare_methods_are_refused(tmp_path: Path, method: int) -> None:
    with pytest.raises(BadArchive, match="another compression than deflate"):
        unpack(archive(tmp_path / "x.zip", {"a.txt": "1"}, method), tmp_path / "out")


def test_damaged_archives_are_one_line(tmp_path: Path) -> None:
    good = archive(tmp_path / "x.zip", {f"{i}.txt": "some text " * 50 for i in range(3)}, zipfile.ZIP_DEFLATED)
    data = good.read_bytes()
    refused = []
    for position in range(0, len(data), 3):
        good.write_bytes(data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :])
        try:
            unpack(good, tmp_path / "out")
        except BadArchive as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert all(message.isprintable() for message in refused)
    for broken in (b"", b"no zip", data[:-30]):
        good.write_bytes(broken)
        with pytest.raises(BadArchive, match="not a usable"):
            unpack(good, tmp_path / "out")
    with pytest.raises(BadArchive, match="no images, labels or texts"):
        unpack(archive(tmp_path / "empty.zip", {}), tmp_path / "out")


def test_a_bomb_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = archive(tmp_path / "x.zip", {f"{i}.txt": bytes(1 << 20) for i in range(70)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(BadArchive, match=r"would become 0\.0734 GB: not plausible"):
        unpack(bomb, tmp_path / "out")
    monkeypatch.setattr(archives, "MAX_ENTRIES", 69)
    with pytest.raises(BadArchive, match="70 files, more than 69"):
        unpack(bomb, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_entry_cannot_become_larger_than_it_declares(tmp_path: Path) -> None:
    data = bytearray(archive(tmp_path / "x.zip", {"a.txt": bytes(1 << 20)}, zipfile.ZIP_DEFLATED).read_bytes())
    size = struct.pack("<I", 1 << 20)
    (tmp_path / "x.zip").write_bytes(bytes(data).replace(size, struct.pack("<I", 10)))
    with pytest.raises(BadArchive, match="not a usable"):
        unpack(tmp_path / "x.zip", tmp_path / "out")
    assert (tmp_path / "out" / "a.txt").stat().st_size <= 10


def test_an_index_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    """A file of holes that says that its list of entries has 3 GB."""
    size = 3 << 30
    with (tmp_path / "x.zip").open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, size, 0, 0))
    with pytest.raises(BadArchive, match="index is too large"):
        unpack(tmp_path / "x.zip", tmp_path / "out")


def test_a_disk_that_is_too_small_is_named_and_the_archive_is_not_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(PoseError, match="to be unpacked, but") as caught:
        unpack(archive(tmp_path / "x.zip", {"a.txt": "x" * 100}), tmp_path / "out")
    assert not isinstance(caught.value, BadArchive)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a.txt", "a.txt/b.txt"], "both a file and a folder"),
        (["a.txt/b.txt", "a.txt"], "both a file and a folder"),
        ([f"{'a' * 300}.txt"], "a name is too long"),
    ],
)
def test_names_that_are_not_possible_are_the_fault_of_the_archive(tmp_path: Path, names: list[str], told: str) -> None:
    with pytest.raises(BadArchive, match=told):
        unpack(archive(tmp_path / "x.zip", dict.fromkeys(names, "1")), tmp_path / "out")


def test_nothing_but_the_archive_itself_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("a.txt", "1")
    (tmp_path / "x.zip").write_bytes(b"in front of it" + buffer.getvalue())  # a self-extracting archive is one too
    unpack(tmp_path / "x.zip", tmp_path / "out")
    assert files(tmp_path / "out") == {"a.txt"}
