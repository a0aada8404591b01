"""Web addresses, passwords in them, and servers that never come to an end."""

import base64
import socket
import time

import pytest
from helpers.web import answering, serve

from yolopose import download as module
from yolopose import web
from yolopose.download import download
from yolopose.errors import PoseError
from yolopose.web import masked, open_url, parse_address


@pytest.mark.parametrize(
    ("text", "url", "shown"),
    [
        ("http://h/a.zip", "http://h/a.zip", "http://h/a.zip"),
        ("https://H:8443/a?key=secret#x", "https://h:8443/a?key=secret", "https://H:8443/a"),
        ("http://user:se%40cret@h:1/a", "http://h:1/a", "http://***@h:1/a"),
        ("http://token@h/a", "http://h/a", "http://***@h/a"),
        ("http://h/é b/%20", "http://h/%C3%A9%20b/%20", "http://h/é b/%20"),
        ("http://bücher.example/a", "http://xn--bcher-kva.example/a", "http://bücher.example/a"),
        ("http://[::1]:80/a", "http://[::1]:80/a", "http://[::1]:80/a"),
    ],
)
def test_addresses(text: str, url: str, shown: str) -> None:
    found = parse_address(text)
    assert (found.url, found.shown) == (url, shown)


@pytest.mark.parametrize(
    "text",
    ["http://[::1", f"http://{'a' * 64}.example/", "http://a..b/", "http://h:port/", "http://h:99999999/",
     "http://a b/", "http://h\x1b[31m/", "http://[zz]/", "file:///etc/passwd", "http://", "", "a.zip"],
)  # fmt: skip
def test_texts_that_are_no_address_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(PoseError, match=r"web address|only http") as caught:
        parse_address(text)
    assert str(caught.value).isprintable()


def test_what_is_masked_has_no_password_and_no_key() -> None:
    assert masked("rtsp://me:pass@cam/live?key=1") == "rtsp://***@cam/live"
    assert masked("http://h?key=1") == "http://h"
    assert masked("http://h/a@b.jpg") == "http://h/a@b.jpg"
    assert masked("http://h:80/a@b.jpg") == "http://h:80/a@b.jpg"
    assert masked("http://[::1]:80/a@b.jpg") == "http://[::1]:80/a@b.jpg"


def test_a_password_with_a_slash_that_was_not_escaped_is_masked_too() -> None:
    assert masked("rtsp://me:pa/ss@cam/live") == "rtsp://***@cam/live"
    assert masked("rtsp://me:p/s@s@cam:554/live?key=1") == "rtsp://***@cam:554/live"


def test_a_password_goes_into_the_header_and_into_no_message(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    with serve(b"content") as served:
        secret = served.address.replace("http://", "http://me:hunter%40two@")
        download(secret + "a", tmp_path / "a")
        expected = base64.b64encode(b"me:hunter@two").decode()
        assert served.requests[0]["Authorization"] == f"Basic {expected}"
        assert served.requests[0]["Host"] == served.address[7:-1]
        for statuses in ([404], [500] * 3):
            served.statuses = list(statuses)
            with pytest.raises(PoseError) as caught:
                download(secret + "b", tmp_path / "b")
            assert "hunter" not in str(caught.value)
    with pytest.raises(PoseError, match=r"cannot reach 127\.0\.0\.1") as caught:
        download(secret + "b", tmp_path / "b")
    assert "hunter" not in str(caught.value)
    assert not any("hunter" in path.read_text() for path in tmp_path.iterdir())


def test_a_password_goes_to_no_other_host(tmp_path) -> None:
    with serve(b"content") as first, serve(b"content") as second:
        first.redirects = {"/far": second.address + "x", "/near": "/x"}
        for path in ("far", "near"):
            download(first.address.replace("//", "//me:pass@") + path, tmp_path / path)
        assert "Authorization" not in second.requests[0]
        assert [("Authorization" in r) for r in first.requests] == [True, True, True]


def send(data: bytes, then: float = 0.0):
    def answer(connection: socket.socket) -> None:
        connection.sendall(data)
        time.sleep(then)

    return answer


def for_ever(first: bytes, again: bytes, pause: float = 0.0):
    def answer(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(again)
            time.sleep(pause)

    return answer


OK = b"HTTP/1.1 200 OK\r\n"
MOVED = b"HTTP/1.1 302 Found\r\nLocation: "
SERVERS = {
    "length of 5,000 digits": (send(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nbody"), "announced, more"),
    "length that is no number": (send(OK + b"Content-Length: -1\r\n\r\nbody"), None),
    "redirection to half an address": (send(MOVED + b"http://[::1\r\n\r\n"), "cannot be read"),
    "redirection to a long host": (send(MOVED + b"http://" + b"a" * 70 + b"/\r\n\r\n"), "not a web address"),
    "redirection with an endless body": (for_ever(MOVED + b"/x\r\n\r\n", b"x" * 65536), "infinite loop"),
    "endless interim answers": (for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "more than|complete"),
    "slow interim answers": (for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05), "no complete answer|timed out"),
    "header byte by byte": (for_ever(OK, b"x", 0.05), "no complete answer|timed out"),
    "body byte by byte": (for_ever(OK + b"Content-Length: 100000\r\n\r\n", b"x", 0.05), "slower than"),
    "endless body": (for_ever(OK + b"\r\n", b"x" * 65536), "more than the [0-9]+ bytes that are accepted"),
    "endless trailer": (for_ever(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 1000), "more than"),
    "chunk without a size": (send(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nbody"), "connection broke"),
    "control characters": (send(b"HTTP/1.1 404 \x1b[31mred\x07\r\n\r\n"), r"404"),
    "no HTTP": (send(b"\x00\x1b[31m\n" * 9), "connection broke"),
    "nothing": (send(b""), "connection broke"),
    "binary version": (send(OK + b'ETag: "\xff\x00\x1b"\r\nContent-Length: 9\r\n\r\nbody'), "broke after 4 of 9"),
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_hostile_server_ends_in_one_line(name, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    monkeypatch.setattr(module, "TRIES", 2)
    monkeypatch.setattr(module, "MAX_UNANNOUNCED", 1 << 22)
    monkeypatch.setattr(web, "MAX_DOWNLOAD", 1 << 24)
    monkeypatch.setattr(web, "TIMEOUT", 2.0)
    monkeypatch.setattr(web, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(web, "WINDOW", 0.5)
    answer, words = SERVERS[name]
    with answering(answer) as url:
        if words is None:
            download(url + "a", tmp_path / "a")
            return
        with pytest.raises(PoseError, match=words) as caught:
            download(url + "a", tmp_path / "a")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    assert not (tmp_path / "a").exists()


def test_a_file_larger_than_is_taken_is_refused_before_it_comes(tmp_path) -> None:
    with serve(bytes(100_000)) as served:
        with pytest.raises(PoseError, match="announced, more than"):
            download(served.address, tmp_path / "a", most=99_999)
        served.sized = False
        with pytest.raises(PoseError, match="sends more than the 99999 bytes"):
            download(served.address, tmp_path / "a", most=99_999)
        download(served.address, tmp_path / "a", most=100_000)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_larger_than_the_disk_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with serve(bytes(100)) as served, pytest.raises(PoseError, match=r"to download, but .* left"):
        download(served.address, tmp_path / "a")


def test_a_later_change_of_a_file_is_refused(tmp_path) -> None:
    with serve(b"first") as served:
        first = tmp_path / "sums" / "a.sha256"
        download(served.address, tmp_path / "a", first_sum=first)
        (tmp_path / "a").unlink()
        download(served.address, tmp_path / "a", first_sum=first)
        (tmp_path / "a").unlink()
        served.content, served.etag = b"other", '"v2"'
        with pytest.raises(PoseError, match=r"the first download had .*a\.sha256"):
            download(served.address, tmp_path / "a", first_sum=first)
        assert not (tmp_path / "a").exists()
        download(served.address, tmp_path / "a", first_sum=first, sha256=served.sha256)  # the caller knows better


@pytest.mark.parametrize("note", ["[1, 2]", "3", "{}", "[" * 100_000, '["x", "\\r\\nEvil: 1"]', "\xff"])
def test_a_damaged_note_begins_again(note, tmp_path) -> None:
    (tmp_path / ".a.part").write_bytes(b"stale")
    (tmp_path / ".a.part.json").write_text(note, encoding="latin-1")
    with serve(b"content") as served:
        download(served.address, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"content"


def test_an_answer_is_opened_for_others_too() -> None:
    with serve(b"content") as served, open_url(served.address) as response:
        assert response.read() == b"content"
