"""A web server on this machine that can misbehave as networks do."""

import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Web:
    """What is served (`content` at every path but those of `contents` and `redirects`), how, and what was asked for.

    `cuts` are numbers of body bytes after which the connection ends, one per request, None for no cut, by a `reset` or
    in good order; `statuses` are answered instead of content, one per request, None for content. `pace` is in seconds
    per 50 kB.
    """

    content: bytes
    address: str = ""
    etag: str | None = '"v1"'
    ranges: bool = True
    sized: bool = True
    pace: float = 0.0
    reset: bool = True
    cuts: list[int | None] = field(default_factory=list)
    statuses: list[int | None] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    """Answers as the server's `web` says."""

    server: "_Server"

    @property
    def content(self) -> bytes:
        return self.server.web.contents.get(self.path, self.server.web.content)

    def do_GET(self) -> None:
        web = self.server.web
        web.requests.append({"path": self.path, **self.headers})
        status = web.statuses.pop(0) if web.statuses else None
        if self.path in web.redirects:
            self.send_response(302)
            self.send_header("Location", web.redirects[self.path])
            self.end_headers()
        elif status:
            self.send_error(status)
        else:
            self.answer(web)

    def answer(self, web: Web) -> None:
        start = self.start(web)
        if start is not None and start >= len(self.content):
            return self.send_error(416)
        body = self.content[start or 0 :]
        self.send_response(200 if start is None else 206)
        headers = {
            "Content-Length": str(len(body)) if web.sized else None,
            "ETag": web.etag,
            "Content-Range": None if start is None else f"bytes {start}-{len(web.content) - 1}/{len(self.content)}",
        }
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        cut = web.cuts.pop(0) if web.cuts else None
        for at in range(0, len(body[:cut]), 50_000):
            self.wfile.write(body[:cut][at : at + 50_000])
            time.sleep(web.pace)
        if cut is not None and web.reset:
            time.sleep(0.05)  # let it arrive
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        return None

    def start(self, web: Web) -> int | None:
        """Where the asked range starts, when it is to be honoured."""
        wanted = self.headers.get("Range", "")
        if not (web.ranges and wanted.startswith("bytes=")) or self.headers.get("If-Range") != web.etag:
            return None
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, web: Web) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.web = web

    def handle_error(self, *_: object) -> None:
        """A closed connection is what was wanted."""


@contextmanager
def serve(content: bytes) -> Iterator[Web]:
    """Serve `content` for as long as this lasts."""
    web = Web(content)
    server = _Server(web)
    web.address = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that reads each request's header and then does what `answer` does with the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_accept, args=(server, answer))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=10)


def _accept(server: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_serve_one, args=(connection, answer), daemon=True).start()


def _serve_one(connection: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    with suppress(OSError), connection:
        request = b""
        while b"\r\n\r\n" not in request and (more := connection.recv(65536)):
            request += more
        answer(connection)
