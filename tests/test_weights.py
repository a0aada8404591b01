"""Where models are looked for, and the one download of known weights."""

import logging
import socket
import zipfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.web import serve

from yolopose import download, weights
from yolopose.errors import PoseError
from yolopose.files import cache_dir
from yolopose.weights import KNOWN, bundled, default_model, find, is_bundled, notice


def checkpoint_bytes() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr("a/data.pkl", b"N." * 1000)
    return buffer.getvalue()


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    with serve(checkpoint_bytes()) as served:
        yield served


@pytest.fixture
def places(tmp_path, web, monkeypatch):
    """Folders of bundled and of downloaded files, and a server in place of the release page."""
    (tmp_path / "assets" / "photos").mkdir(parents=True)
    for name in ("face.onnx", "LICENSE", "photos/people.jpg", "person.onnx", "person.md"):
        (tmp_path / "assets" / name).write_bytes(b"x")
    monkeypatch.setattr(weights, "ASSETS", tmp_path / "assets")
    monkeypatch.setattr(weights, "DEFAULT", "person")
    monkeypatch.setattr(weights, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(weights, "RELEASE", web.address)
    return SimpleNamespace(assets=tmp_path / "assets", cache=tmp_path / "cache")


@pytest.fixture
def offline(places, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(weights, "RELEASE", f"http://127.0.0.1:{port}/")


def test_an_existing_path_comes_first(tmp_path, places, monkeypatch, web):
    monkeypatch.chdir(tmp_path)
    for name in ("face.pt", "yolov8n-pose.pt"):
        Path(name).write_bytes(b"mine")
        assert find(name) == Path(name)
    Path("model_openvino").mkdir()
    assert find(tmp_path / "model_openvino") == tmp_path / "model_openvino"
    assert web.requests == []


def test_bundled_models_are_found_without_a_download(places, web):
    for name in ("face", "face.onnx", "face.pt"):
        assert find(name) == places.assets / "face.onnx"
        assert is_bundled(find(name))
    assert bundled() == {name: places.assets / f"{name}.onnx" for name in ("person", "face")}
    assert next(iter(bundled())) == "person"
    assert default_model() == places.assets / "person.onnx"
    assert web.requests == []


def test_a_local_file_wins_over_a_bundled_model_and_a_line_says_so(tmp_path, places, monkeypatch):
    monkeypatch.setitem(weights.FINDS, "face", "faces")
    assert notice(find("face")) == "model: face (bundled): faces"
    assert notice(find("person.pt")) == "model: person (bundled): see its card"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("face").mkdir()  # a folder is no model
    assert is_bundled(find("face"))
    for name in ("face.pt", "face.onnx"):
        Path(name).write_bytes(b"mine")
        assert find(name) == Path(name)
        assert notice(find(name)) == f"model: {name} (a file in this folder, not the bundled face)"
    assert find("face") == Path("face.pt")
    Path("face.pt").unlink()
    assert is_bundled(find("face"))  # an export lies beside: only its full name means it
    assert notice(Path("runs/face.pt")) is None
    assert notice(Path("best.pt")) is None


def test_other_models_come_from_the_cache_or_one_download(places, web, caplog):
    caplog.set_level(logging.INFO, "yolopose")
    target = places.cache / "yolov8s-pose.pt"
    assert find("yolov8s-pose.pt") == target
    assert target.read_bytes() == web.content
    assert [request["path"] for request in web.requests] == ["/yolov8s-pose.pt"]
    licence, summed = caplog.messages
    assert "AGPL-3.0" in licence
    assert "Ultralytics" in licence
    assert web.sha256 in summed
    assert find("yolov8s-pose.pt") == target
    assert find("yolov8s-pose") == target
    assert len(web.requests) == 1
    assert len(caplog.messages) == 2


def test_the_sum_is_checked_where_it_is_known(places, web, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "yolopose")
    monkeypatch.setitem(KNOWN, "yolov8n-pose.pt", "0" * 64)
    with pytest.raises(PoseError, match=f"sha256 {web.sha256}, expected 0000"):
        find("yolov8n-pose.pt")
    assert not list(places.cache.iterdir())
    monkeypatch.setitem(KNOWN, "yolov8n-pose.pt", web.sha256)
    assert find("yolov8n-pose.pt").is_file()
    assert not any("sha256" in message for message in caplog.messages)


def test_without_a_network_what_is_bundled_is_named(places, offline, monkeypatch):
    with pytest.raises(PoseError) as caught:
        find("yolov8n-pose.pt")
    message = str(caught.value)
    assert message.startswith("yolov8n-pose.pt: cannot reach 127.0.0.1:")
    assert "bundled (person, face)" in message
    assert "\n" not in message
    monkeypatch.setattr(weights, "ASSETS", places.assets / "photos")
    with pytest.raises(PoseError, match=r"bundled \(nothing\)"):
        find("yolov8n-pose.pt")


def test_a_page_that_is_no_checkpoint_is_not_kept(places, web):
    """A hotel's network answers every address with its own page."""
    web.content = b"<html>please log in</html>"
    with pytest.raises(PoseError, match="did not send a checkpoint; nothing was kept"):
        find("yolov8n-pose.pt")
    assert not list(places.cache.iterdir())


def test_a_broken_download_is_continued_by_the_next_call(places, web):
    web.cuts = [500, 0, 0]
    with pytest.raises(PoseError, match="run again to continue"):
        find("yolov8n-pose.pt")
    assert find("yolov8n-pose.pt").read_bytes() == web.content
    assert web.requests[-1]["Range"] == "bytes=500-"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("yolov8n_pose.pt", "yolov8n_pose.pt: no such file; did you mean yolov8n-pose.pt?"),
        ("fase.onnx", "fase.onnx: no such file; did you mean face.onnx?"),
        (
            "yolov8n-person",
            "yolov8n-person: no such file, and not in this version of yolopose, which has person, face",
        ),
        ("persn", "persn: no such file; did you mean person?"),
        ("runs/face.pt", "runs/face.pt: no such file; the bare name face.pt would be found"),
        ("zzzzzz.engine", "zzzzzz.engine: no such file"),
        ("runs/yolov8n-pose.pt", "runs/yolov8n-pose.pt: no such file; the bare name yolov8n-pose.pt would be found"),
        ("runs/best.pt", "runs/best.pt: no such file"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(places, web, tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PoseError) as caught:
        find(name)
    assert str(caught.value) == words
    assert web.requests == []


def test_no_model_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "ASSETS", tmp_path)
    with pytest.raises(PoseError, match=r"none is bundled; name a file, or one of yolov8n-pose\.pt"):
        default_model()


def test_the_downloadable_weights():
    assert list(KNOWN) == [*(f"yolov8{scale}-pose.pt" for scale in "nsmlx"), "yolov8x-pose-p6.pt"]
    assert weights.RELEASE.startswith("https://")


@pytest.mark.parametrize(
    ("platform", "environ", "wanted"),
    [
        ("linux", {}, "home/.cache/yolopose"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/yolopose"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "home/.cache/yolopose"),
        ("linux", {"XDG_CACHE_HOME": ""}, "home/.cache/yolopose"),
        ("darwin", {}, "home/Library/Caches/yolopose"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/yolopose"),
        ("win32", {"LOCALAPPDATA": "local"}, "local/yolopose/Cache"),
        ("win32", {}, "home/AppData/Local/yolopose/Cache"),
    ],
)
def test_the_cache_is_where_the_platform_keeps_caches(platform, environ, wanted, monkeypatch):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("home"))
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(wanted)


def test_weights_that_change_after_their_first_download_are_refused(places, web):
    found = find("yolov8n-pose.pt")
    assert find("yolov8n-pose") == found
    found.write_bytes(b"PK changed")
    with pytest.raises(PoseError, match=r"yolov8n-pose\.pt: changed since it was downloaded; delete it"):
        find("yolov8n-pose.pt")
    found.unlink()
    web.content, web.etag = checkpoint_bytes() + b"more", '"v2"'
    with pytest.raises(PoseError, match=r"the first download had .*yolov8n-pose\.pt\.sha256"):
        find("yolov8n-pose.pt")
