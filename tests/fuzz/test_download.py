"""Answers of web servers, thousands of them, to the downloader; and addresses."""

import random
import socket
from pathlib import Path
from typing import Any

import pytest
from fuzz import harness
from fuzz.harness import NUMBERS, campaign, many, mutate

from yolopose import download as module
from yolopose import web
from yolopose.download import download
from yolopose.web import masked, parse_address

STATUS = (
    b"HTTP/1.1 200 OK", b"HTTP/1.1 206 Partial", b"HTTP/1.0 200 OK", b"HTTP/1.1 302 Found", b"HTTP/1.1 301 Moved",
    b"HTTP/1.1 308 Moved", b"HTTP/1.1 404 Not Found", b"HTTP/1.1 416 Range", b"HTTP/1.1 500 Error", b"HTTP/1.1 204 No",
    b"HTTP/1.1 304 Same", b"HTTP/1.1 401 Who", b"HTTP/1.1 407 Proxy", b"HTTP/1.1 999 X", b"HTTP/2 200", b"ICY 200 OK",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK", b"HTTP/1.1 \x1b[31m", b"HTTP/1.1 404 \xff\xfe\x1b[31m",
)  # fmt: skip
PLACES = (
    "/b", "http://127.0.0.1/c", "https://127.0.0.1/", "file:///etc/passwd", "ftp://h/x", "http://[::1", "//", "",
    "http://" + "a" * 70 + "/", "http://u:p@127.0.0.1/x", "/é\x1b", "http://h:99999999/", "data:,x", "/" + "x" * 70_000,
)  # fmt: skip
BODIES = (b"", b"content", bytes(5000), b"7\r\ncontent\r\n0\r\n\r\n", b"zz\r\n", b"-5\r\nx", b"0\r\na: b\r\n" * 99)


class _Pair(socket.socket):
    """One end of a pair, which has none of TCP's options."""

    def setsockopt(self, *_: Any) -> None:
        pass


def case_answer(rng: random.Random) -> bytes:
    body = rng.choice(
        (b"", b"content", bytes(5000), b"7\r\ncontent\r\n0\r\n\r\n", b"zz\r\n", b"-5\r\nx", b"0\r\na: b\r\n" * 99)
    )
    headers = {
        "Content-Length": rng.choice((str(len(body)), *NUMBERS, "-1", "7, 7", " 7 ")),
        "Content-Range": rng.choice(("bytes 7-9/10", "bytes */10", "bytes 0-", "x", "bytes 7-" + "9" * 5000)),
        "ETag": rng.choice(('"v1"', 'W/"v1"', '"\x1b\xff"', "", '"' + "x" * 1000 + '"')),
        "Last-Modified": rng.choice(("Sat, 21 Nov 2026 00:00:00 GMT", "\xff", "")),
        "Location": rng.choice(PLACES),
        "Transfer-Encoding": rng.choice(("chunked", "gzip", "chunked, chunked")),
        "Connection": rng.choice(("close", "keep-alive")),
        "Content-Encoding": "gzip",
    }
    chosen = rng.sample(list(headers), rng.randrange(len(headers)))
    head = b"\r\n".join(
        [rng.choice(STATUS), *(f"{name}: {headers[name]}".encode("latin-1", "replace") for name in chosen)]
    )
    answer = head + b"\r\n\r\n" + body
    return mutate(answer, rng) if rng.random() < 0.6 else answer


@many
def test_answers(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over pairs of sockets: no connection to anywhere is made."""
    answer = b""
    others: list[socket.socket] = []

    def connect(*_: Any, **__: Any) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        others.append(theirs)
        return _Pair(fileno=ours.detach())

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(module, "PAUSE", 0.0)
    monkeypatch.setattr(module, "TRIES", 2)
    monkeypatch.setattr(web, "TIMEOUT", 1.0)
    monkeypatch.setattr(harness, "RUNS", tuple(event for event in harness.RUNS if event != "urllib.Request"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def target(case: bytes) -> None:
        nonlocal answer
        answer = case
        try:
            found = download("http://127.0.0.1/a.bin", tmp_path / "a.bin", first_sum=tmp_path / "a.sum")
            assert found.is_file()
        finally:
            for other in others:
                other.close()
            others.clear()
            (tmp_path / "a.bin").unlink(missing_ok=True)
            (tmp_path / "a.sum").unlink(missing_ok=True)  # what is left of a broken one stays for the next case

    target(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ncontent")  # it would be taken
    campaign(target, case_answer, count, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {".a.bin.part", ".a.bin.part.json"}


ADDRESSES = (
    b"http://user:secret@host.example:8080/a/b%20c.zip?key=value#part",
    b"https://[fe80::1%25eth0]:443/x",
    "http://bücher.example/é?ü".encode(),
    b"HTTP://a..b/../../x",
    b"rtsp://u:p@1.2.3.4:554/s",
)


@many
def test_addresses(count: int, tmp_path: Path) -> None:
    def target(text: str) -> None:
        assert masked(text).isprintable()
        found = parse_address(text)
        assert found.url.isascii()
        assert found.url.isprintable()
        assert " " not in found.url
        assert "@" not in found.url.split("/")[2]

    def make(rng: random.Random) -> str:
        return mutate(rng.choice(ADDRESSES), rng, ADDRESSES).decode("utf-8", rng.choice(("replace", "surrogateescape")))

    target("http://b\u00fccher.example/")
    campaign(target, make, count, tmp_path)
