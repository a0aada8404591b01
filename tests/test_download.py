"""The downloader against a server that breaks off, lies, redirects, or is not there."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.web import serve

from yolopose import download as module
from yolopose import web as transport
from yolopose.download import Unreachable, download, sum_of
from yolopose.errors import PoseError

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.0)
    with serve(CONTENT) as served:
        yield served


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_alone(web, tmp_path):
    target = tmp_path / "new" / "a.bin"
    assert download(web.address + "a.bin", target, sha256=web.sha256) == target
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == ["a.bin"]
    assert "Range" not in web.requests[0]


def test_an_existing_file_is_not_downloaded_again(web, tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"mine")
    download(web.address, target)
    assert target.read_bytes() == b"mine"
    assert web.requests == []
    download(web.address, target, sha256=web.sha256)  # but it is when the sum says that it is something else
    assert target.read_bytes() == CONTENT


def test_a_broken_connection_is_continued(web, tmp_path):
    web.cuts = [100_000, 150_000]
    download(web.address, tmp_path / "a.bin", sha256=web.sha256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    starts = [int(request.get("Range", "bytes=0-")[6:-1]) for request in web.requests]
    assert starts[0] == 0
    assert 0 < starts[1] < starts[2] < len(CONTENT)


def test_a_later_call_continues(web, tmp_path):
    web.cuts = [100_000, 0, 0]
    with pytest.raises(PoseError, match=r"broke.*; run again to continue the download"):
        download(web.address, tmp_path / "a.bin")
    assert names(tmp_path) == [".a.bin.part", ".a.bin.part.json"]
    have = (tmp_path / ".a.bin.part").stat().st_size
    assert 0 < have <= 100_000
    download(web.address, tmp_path / "a.bin", sha256=web.sha256)
    assert web.requests[-1]["Range"] == f"bytes={have}-"
    assert web.requests[-1]["If-Range"] == '"v1"'
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("change", ["etag", "content", "ranges", "no etag", "url", "note", "longer"])
def test_a_download_that_cannot_be_continued_begins_again(web, tmp_path, change):
    web.cuts = [100_000, 0, 0]
    address = web.address
    with pytest.raises(PoseError):
        download(address, tmp_path / "a.bin")
    if change == "etag":
        web.etag = '"v2"'
    elif change == "content":
        web.etag, web.content = '"v2"', CONTENT[::-1]
    elif change == "ranges":
        web.ranges = False
    elif change == "no etag":
        web.etag = None
    elif change == "url":
        address += "other"
    elif change == "note":
        (tmp_path / ".a.bin.part.json").write_text("{")
    else:
        (tmp_path / ".a.bin.part").write_bytes(CONTENT + b"more")
    download(address, tmp_path / "a.bin", sha256=web.sha256)
    assert names(tmp_path) == ["a.bin"]


def test_weak_versions_are_not_continued(web, tmp_path):
    web.etag, web.cuts = 'W/"v1"', [100_000]
    download(web.address, tmp_path / "a.bin", sha256=web.sha256)
    assert all("Range" not in request for request in web.requests)


def test_a_body_that_ends_too_soon_is_not_taken_for_the_whole(web, tmp_path, monkeypatch):
    """An orderly end after half of the promised bytes."""
    monkeypatch.setattr(module, "TRIES", 1)
    web.cuts, web.reset = [200_000], False
    with pytest.raises(PoseError, match="broke after 200000 of 512000 bytes"):
        download(web.address, tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()


def test_a_body_of_unknown_length(web, tmp_path):
    web.sized = False
    download(web.address, tmp_path / "a.bin", sha256=web.sha256)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_file_of_wrong_sha256_is_not_kept(web, tmp_path):
    with pytest.raises(PoseError, match=rf"sha256 {web.sha256}, expected {'0' * 64}; it was not kept"):
        download(web.address, tmp_path / "a.bin", sha256="0" * 64)
    assert names(tmp_path) == []


def test_a_missing_file_is_not_asked_for_twice(web, tmp_path):
    web.statuses = [404]
    with pytest.raises(PoseError, match=r"/a.bin: the server answers 404 Not Found"):
        download(web.address + "a.bin", tmp_path / "a.bin")
    assert len(web.requests) == 1
    assert names(tmp_path) == []


def test_a_busy_server_is_asked_again(web, tmp_path):
    web.statuses = [503, 500]
    download(web.address, tmp_path / "a.bin", sha256=web.sha256)
    web.statuses = [503] * 3
    with pytest.raises(PoseError, match="503 Service Unavailable"):
        download(web.address, tmp_path / "b.bin")


def test_silence_ends_and_is_continued(web, tmp_path, monkeypatch):
    monkeypatch.setattr(transport, "TIMEOUT", 0.2)
    web.pace = 0.5
    threading.Timer(0.4, lambda: setattr(web, "pace", 0.0)).start()
    download(web.address, tmp_path / "a.bin", sha256=web.sha256)
    assert int(web.requests[1]["Range"][6:-1]) >= 50_000


def test_no_server_at_the_address(tmp_path):
    with serve(b"") as gone:
        address = gone.address
    with pytest.raises(Unreachable, match=r"cannot reach 127\.0\.0\.1:\d+ \(.*refused"):
        download(address + "a.bin", tmp_path / "a.bin")
    with pytest.raises(Unreachable, match=r"cannot reach nowhere\.invalid"):
        download("http://nowhere.invalid/a.bin", tmp_path / "a.bin")
    assert names(tmp_path) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a", "data:,x", "a.bin", "http:///a", "//host/a"])
def test_only_web_addresses(tmp_path, url):
    with pytest.raises(PoseError, match="only http and https"):
        download(url, tmp_path / "a.bin")


def test_redirects_are_followed_within_the_web(web, tmp_path):
    web.redirects = {"/a": "/b", "/file": "file:///etc/passwd", "/ftp": "ftp://127.0.0.1/x", "/loop": "/loop"}
    download(web.address + "a", tmp_path / "a.bin", sha256=web.sha256)
    for path, words in {"file": "not allowed", "ftp": "only http and https", "loop": "infinite loop"}.items():
        with pytest.raises(PoseError, match=words) as caught:
            download(web.address + path, tmp_path / "b.bin")
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["a.bin"]


def test_a_folder_that_cannot_be_written(web, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PoseError, match="cannot be written"):
        download(web.address, tmp_path / "file" / "a.bin")


def test_threads_fetch_once(web, tmp_path):
    web.pace = 0.02
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: download(web.address, tmp_path / "a.bin", sha256=web.sha256), range(8)))
    assert done == [tmp_path / "a.bin"] * 8
    assert len(web.requests) == 1
    assert names(tmp_path) == ["a.bin"]


def test_processes_fetch_once_even_if_one_is_killed(web, tmp_path):
    web.pace = 0.05
    script = (
        "import sys\nfrom pathlib import Path\nfrom yolopose.download import download\n"
        "download(sys.argv[1], Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, web.address, str(tmp_path / "a.bin")]
    first = subprocess.Popen(command)
    part = tmp_path / ".a.bin.part"
    while not (part.is_file() and part.stat().st_size):
        time.sleep(0.01)
    others = [subprocess.Popen(command) for _ in range(2)]
    first.kill()
    first.wait()
    assert [other.wait(timeout=30) for other in others] == [0, 0]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert len(web.requests) == 2
    assert int(web.requests[1]["Range"][6:-1]) > 0
    assert names(tmp_path) == ["a.bin"]


def test_progress_is_drawn_on_a_terminal_only(web, tmp_path, monkeypatch, capsys):
    download(web.address, tmp_path / "a.bin")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    download(web.address, tmp_path / "b.bin")
    out, err = capsys.readouterr()
    assert out == ""
    assert "b.bin" in err
    download(web.address, tmp_path / "c.bin", progress=False)
    assert capsys.readouterr() == ("", "")


def test_sum_of(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sum_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_neither_torch_nor_rich_is_imported():
    script = "import sys, json, yolopose.download, yolopose.weights\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "rich", "cv2", "onnxruntime"} & set(json.loads(done.stdout))
