"""Downloading a data set: what an attacker, a second process and a broken network can do to it."""

import io
import logging
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.web import Web, serve

from yolopose import download as download_module
from yolopose.data.fetch import Download, fetch
from yolopose.data.spec import load_data
from yolopose.errors import PoseError

YAML = "train: images\nkpt_shape: [5, 3]\nnames: [face]\n"


def packed(*names: str, text: str = "text") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, text)
    return buffer.getvalue()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Web]:
    monkeypatch.setattr(download_module, "PAUSE", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serve(packed("images/a.jpg", "labels/a.txt")) as served:
        yield served


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with files to lose; the data YAML of a stranger goes to home/work, which is the current folder."""
    home = tmp_path / "home"
    for name, text in {
        ".bashrc": "mine",
        "backup.zip": "mine",
        "work/backup.zip": "mine",
        "work/mine.txt": "mine",
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home / "work")
    return home


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def yaml(folder: Path, text: str) -> Path:
    (folder / "evil.yaml").write_text(YAML + text)
    return folder / "evil.yaml"


def test_a_data_set_appears_when_it_is_complete(web: Web, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="yolopose")
    web.contents = {"/labels.zip": packed("set/train.txt"), "/train2017.zip": packed("train2017/a.jpg")}
    root = home / "work" / "datasets" / "set"
    downloads = [Download(web.address + "labels.zip"), Download(web.address + "train2017.zip", into="images")]
    fetch(root, downloads, [home / "work"])
    assert tree(root) == {"train.txt": "text", "images/train2017/a.jpg": "text"}
    assert [p.name for p in root.parent.iterdir()] == ["set"]
    assert "labels.zip: sha256" in caplog.text
    asked = len(web.requests)
    fetch(root, downloads, [home / "work"])
    assert len(web.requests) == asked


@pytest.mark.parametrize(
    "entry",
    [
        "path: new\ndownload: [{url: URLx.zip, into: ../..}]",
        "path: new\ndownload: [{url: URLx.zip, into: HOME}]",
        "path: new\ndownload: [{url: URLx.zip, into: .vscode}]",
        "path: new\ndownload: [{url: URLx.zip, into: images/.git}]",
        f"path: {'x' * 300}/y\ndownload: URLx.zip",
        f"path: {'x' * 300}\ndownload: URLx.zip",
        'path: "\\ud800"\ndownload: URLx.zip',
        "path: new\ndownload: [{url: URLx.zip, into: 'images\\..\\..\\..'}]",
        "path: ~/x\ndownload: [{url: URL.bashrc, sha256: SUM}]",
        "path: ~/x\ndownload: URL.bashrc",
        "path: ../x\ndownload: URLbackup.zip",
        "path: HOME/x\ndownload: URLbackup.zip",
        "path: .config/autostart\ndownload: URLx.zip",
        "path: a/../.ssh\ndownload: URLx.zip",
        "path: link/x\ndownload: URLx.zip",
        "path: dangling\ndownload: URLx.zip",
    ],
)
def test_a_malicious_data_yaml_changes_no_file_of_the_user(web: Web, home: Path, entry: str) -> None:
    work = home / "work"
    (work / "link").symlink_to(home)
    (work / "dangling").symlink_to(home / "fresh")
    web.content = packed(".bashrc", "x.jpg", "authorized_keys.txt", text="evil")
    text = entry.replace("URL", web.address).replace("HOME", str(home)).replace("SUM", web.sha256)
    evil = yaml(work, text)
    before = tree(home)
    with pytest.raises(PoseError) as caught:
        load_data(evil)
    assert str(caught.value).isprintable()
    assert tree(home) == before
    assert not (home / "fresh").exists()
    assert web.requests == []


def test_the_names_of_addresses_are_not_used_as_names_of_files(web: Web, home: Path) -> None:
    """A file of the user with the address's last name is neither taken for the archive nor replaced."""
    web.content = packed("images/a.jpg", ".bashrc", "../x.txt".replace("../", ""))
    before = tree(home)
    names = ("backup.zip", ".bashrc", "..%2F..%2Fx.zip", "..%5C..%5Cx.zip", "mine.txt", "")
    for number, name in enumerate(names):
        load_data(yaml(home / "work", f"path: set{number}\ndownload: {web.address}{name}\n"))
    (home / "work" / "evil.yaml").unlink()
    after = tree(home)
    assert {name: after[name] for name in before} == before
    assert len(web.requests) == len(names)
    new = {name for name in after if name not in before}
    assert new == {f"work/set{n}/{file}" for n in range(len(names)) for file in ("images/a.jpg", "x.txt")}


def test_a_folder_of_the_user_next_to_the_data_set_is_unchanged(web: Web, home: Path) -> None:
    for name in ("set.partial", ".yolopose-12345678", "set.zip"):
        (home / "work" / name).mkdir()
        (home / "work" / name / "mine.txt").write_text("mine")
    before = tree(home)
    load_data(yaml(home / "work", f"path: set\ndownload: {web.address}set.zip\n"))
    after = tree(home)
    assert {name: after[name] for name in before} == before


def test_a_path_elsewhere_is_read_but_not_downloaded_to(web: Web, home: Path) -> None:
    evil = yaml(home / "work", f"path: {home}/data/faces\ndownload: {web.address}x.zip\n")
    with pytest.raises(
        PoseError, match=r"data_dir=datasets downloads it to datasets/faces, data_dir=\S+/data to"
    ) as caught:
        load_data(evil)
    assert f"{home}/data/faces" in str(caught.value)
    spec = load_data(evil, data_dir="datasets")
    assert spec.path == home / "work" / "datasets" / "faces"
    assert [p.name for p in spec.split("train")] == ["a.jpg"]
    assert load_data(evil, data_dir=home / "data").path == home / "data" / "faces"
    assert load_data(evil).path == home / "data" / "faces"  # it is there now


def test_two_archives_of_one_name(web: Web, home: Path) -> None:
    web.contents = {"/a/images.zip": packed("images/a.jpg"), "/b/images.zip": packed("labels/a.txt")}
    spec = load_data(
        yaml(home / "work", f"path: set\ndownload: [{web.address}a/images.zip, {web.address}b/images.zip]\n")
    )
    assert set(tree(spec.path)) == {"images/a.jpg", "labels/a.txt"}


def test_a_broken_download_is_continued_and_leaves_nothing(web: Web, home: Path, tmp_path: Path) -> None:
    web.content = packed("images/a.jpg", text="x" * 200_000)
    web.cuts = [100_000, 0, 0]
    evil = yaml(home / "work", f"path: set\ndownload: {web.address}x.zip\n")
    with pytest.raises(PoseError, match="run again to continue"):
        load_data(evil)
    assert not (home / "work" / "set").exists()
    load_data(evil)
    assert "Range" in web.requests[-1]
    assert not [p for p in (home / "work").iterdir() if p.name.startswith(".yolopose")]
    assert [p.suffix for p in (tmp_path / "cache" / "yolopose" / "downloads").iterdir()] == [".sha256"]


@pytest.mark.parametrize("content", [b"<html>hotel network</html>", packed("../evil.txt"), packed("only.py")])
def test_an_archive_that_is_refused_is_not_kept(web: Web, home: Path, content: bytes) -> None:
    before = tree(home)
    good, web.content = web.content, content
    evil = yaml(home / "work", f"path: set\ndownload: {web.address}x.zip\n")
    with pytest.raises(PoseError, match=r"x\.zip: .*it was not kept") as caught:
        load_data(evil)
    assert str(caught.value).isprintable()
    assert set(tree(home)) == {*before, "work/evil.yaml"}
    web.content = good
    with pytest.raises(PoseError, match="the first download had"):
        load_data(evil)


def test_without_a_network_the_bundled_set_is_named(home: Path) -> None:
    with serve(b"") as gone:
        address = gone.address
    with pytest.raises(PoseError, match=r"cannot reach .*data=sample-pose\.yaml"):
        load_data(yaml(home / "work", f"path: new/deep/set\ndownload: {address}x.zip\n"))
    assert sorted(p.name for p in (home / "work").iterdir()) == ["backup.zip", "evil.yaml", "mine.txt"]


def test_the_sha256_in_the_yaml_is_checked(web: Web, home: Path) -> None:
    entry = f"path: set\ndownload: [{{url: {web.address}x.zip, sha256: '{'0' * 64}'}}]\n"
    with pytest.raises(PoseError, match=f"sha256 {web.sha256}, expected 000"):
        load_data(yaml(home / "work", entry))
    assert load_data(yaml(home / "work", entry.replace("0" * 64, web.sha256.upper()))).path.is_dir()
    with pytest.raises(PoseError, match="sha256 must be 64 hexadecimal digits"):
        Download("http://h/x.zip", sha256="abc")


def test_two_processes_make_one_whole_data_set(web: Web, home: Path) -> None:
    """The second finds what the first is making, waits, and uses it; a third takes over from one that was killed."""
    web.content = packed(*(f"images/{i}.jpg" for i in range(500)), text="x" * 1000)
    web.pace = 0.05
    evil = yaml(home / "work", f"path: set\ndownload: {web.address}x.zip\n")
    command = [
        sys.executable,
        "-c",
        f"from yolopose.data.spec import load_data\nprint(len(load_data({str(evil)!r}).split('train')))",
    ]

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    first = start()
    while not list((home / "work").glob(".yolopose-*/.*.part")):
        time.sleep(0.01)
    first.kill()
    first.communicate()
    running = [start() for _ in range(3)]
    answers = [process.communicate(timeout=60) for process in running]
    assert [out.splitlines()[-1:] for out, _ in answers] == [["500"]] * 3, answers
    assert len(web.requests) == 2
    assert not list((home / "work").glob(".yolopose*"))


def test_a_cache_folder_that_cannot_be_written_is_named(web: Web, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    with pytest.raises(PoseError, match=r"cannot be created \(Not a directory"):
        load_data(yaml(home / "work", f"path: set\ndownload: {web.address}x.zip\n"))
