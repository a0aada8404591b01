"""Web addresses and the connections to them: passwords masked, and a server's time and bytes bounded."""

from __future__ import annotations

import base64
import http.client
import io
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import SplitResult, quote, unquote, urlsplit
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from yolopose.errors import PoseError, one_line
from yolopose.limits import MAX_ANSWER_HEAD, MAX_DOWNLOAD

TIMEOUT = 30.0  # seconds without a byte
HEAD_SECONDS = 60.0  # until an answer's header must be complete
WINDOW = 60.0  # seconds over which the lowest speed is measured
SLOWEST = 1000  # bytes a second

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?\]")
_SAFE = "%/:=&?~+!$,;'@()*[]-._"  # what stays as it is in a path or query


class Address(NamedTuple):
    """A web address: as it is asked for, its host and port, and as messages show it.

    `url` is plain ASCII without a user or password; `authorization` is the header that carries them, or None. `shown`
    is printable and masks them, and the query too, which may hold a key.
    """

    url: str
    host: str
    shown: str
    authorization: str | None


def address(text: str) -> Address:
    """The parts of an http or https address. Raises PoseError for any other text."""
    name = masked(text)
    try:
        parts = urlsplit(text)
        user, at, _ = parts.netloc.rpartition("@")
        host = _ascii_host(parts)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:  # UnicodeError too: a part of the host's name is empty or too long
        raise PoseError(f"{name}: not a web address that can be read") from None
    if parts.scheme not in ("http", "https") or not host:
        raise PoseError(f"{name}: only http and https addresses are downloaded")
    if not _HOST.fullmatch(host):
        raise PoseError(f"{name}: not a web address that can be read")
    path = quote(parts.path, safe=_SAFE, errors="surrogatepass")
    query = f"?{quote(parts.query, safe=_SAFE, errors='surrogatepass')}" if parts.query else ""
    return Address(
        f"{parts.scheme}://{host}{port}{path}{query}", host + port, name, _authorization(user) if at else None
    )


def masked(url: str) -> str:
    """An address of any kind as messages show it: one printable line without user, password, query and fragment."""
    head, separator, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    if "@" in path and "@" not in place and not re.fullmatch(r"(\[.*\]|[^:]*)(:\d*)?", place):
        place, slash, path = "***@", "", path.rpartition("@")[2]  # no port: the start of a password with a slash in it
    place = place.partition("?")[0].partition("#")[0] if "@" not in place else f"***@{place.rpartition('@')[2]}"
    path = path.partition("?")[0].partition("#")[0]
    return one_line(f"{head}{separator}{place}{slash}{path}" if separator else url, 200)


def open_url(url: str, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
    """The answer to a GET request, its header read; user and password of the address go into a header.

    Redirections are followed to http and https only, never from https to http, and the password goes to no other
    host. The server has `HEAD_SECONDS` for its header. The body may be read no further than `MAX_DOWNLOAD` bytes, and
    reading raises TimeoutError when it comes slower than `SLOWEST` over `WINDOW` seconds.

    Raises:
        PoseError: no web address, or one leads to a place that is not followed.
        urllib.error.HTTPError, urllib.error.URLError: the server refuses, or nobody answers.
        OSError, http.client.HTTPException: the connection broke.
    """
    target = address(url)
    request = Request(target.url, headers={"User-Agent": "yolopose", "Accept-Encoding": "identity", **(headers or {})})
    if target.authorization:
        request.add_unredirected_header("Authorization", target.authorization)
    try:
        response = build_opener(_Plain, _Secure, _WebOnly).open(request, timeout=TIMEOUT)
    except ValueError:  # a redirection that urllib cannot take apart
        raise PoseError(f"{target.shown}: leads to an address that cannot be read") from None
    cast(_Response, response).watch.begin_body()
    return cast(http.client.HTTPResponse, response)


def _ascii_host(parts: SplitResult) -> str:
    """The host as the network knows it; UnicodeError for a name that cannot be one."""
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")


def _authorization(user: str) -> str:
    name, _, password = user.partition(":")
    text = f"{unquote(name)}:{unquote(password)}".encode("utf-8", "surrogatepass")
    return f"Basic {base64.b64encode(text).decode('ascii')}"


class _Watched(io.RawIOBase):
    """The bytes of a connection, so many at most and none too late."""

    def __init__(self, raw: io.RawIOBase, sock: Any) -> None:
        self.raw, self.sock = raw, sock
        self.left = MAX_ANSWER_HEAD  # bytes that may still come
        self.end = time.monotonic() + HEAD_SECONDS
        self.due, self.met = 0, 0  # bytes that must come before `end`, and those that have; 0 are due for the header

    def begin_body(self) -> None:
        """The header is complete: from now on the lowest speed counts."""
        self.left = MAX_DOWNLOAD
        self._window()

    def _window(self) -> None:
        self.end, self.due, self.met = time.monotonic() + WINDOW, int(SLOWEST * WINDOW), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        rest = self.end - time.monotonic()
        if rest <= 0 and not self.due:
            raise TimeoutError(f"no complete answer within {HEAD_SECONDS:g} seconds")
        if rest <= 0 and self.met < self.due:
            raise TimeoutError(f"slower than {SLOWEST} bytes a second")
        if rest <= 0:
            self._window()
        self.sock.settimeout(TIMEOUT if self.due else min(TIMEOUT, rest))
        count = self.raw.readinto(buffer)
        self.left -= count or 0
        self.met += count or 0
        if self.left < 0:
            raise OSError("the server sends more than is taken")
        return count

    def close(self) -> None:
        try:
            self.raw.close()
        finally:
            super().close()


class _Response(http.client.HTTPResponse):
    """An answer whose bytes are watched from the first on."""

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.watch = _Watched(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self.watch)


class _Connection(http.client.HTTPConnection):
    response_class = _Response


class _SecureConnection(http.client.HTTPSConnection):
    response_class = _Response


class _Plain(HTTPHandler):
    def http_open(self, req: Request) -> Any:
        return self.do_open(_Connection, req)


class _Secure(HTTPSHandler):
    def https_open(self, req: Request) -> Any:
        return self.do_open(_SecureConnection, req)


class _WebOnly(HTTPRedirectHandler):
    """Follows redirections to http and https only, and never from https to http."""

    def http_error_302(self, req: Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        fp.close()  # the body is of no use, and may have no end
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        target = address(newurl)
        if req.type == "https" and not target.url.startswith("https:"):
            raise PoseError(f"{masked(req.full_url)}: leads to {target.shown}, which is not encrypted")
        follow = super().redirect_request(req, fp, code, msg, headers, target.url)
        same = urlsplit(req.full_url)[:2] == urlsplit(target.url)[:2]
        known = target.authorization or (req.unredirected_hdrs.get("Authorization") if same else None)
        if follow is not None and known:
            follow.add_unredirected_header("Authorization", known)
        return follow
