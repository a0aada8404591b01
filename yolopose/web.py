"""Web addresses with masked passwords, and HTTP requests with limits on a server's time and bytes."""

from __future__ import annotations

import base64
import http.client
import io
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import quote, unquote, urlsplit
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from yolopose.errors import PoseError, one_line
from yolopose.limits import MAX_DOWNLOAD, MAX_RESPONSE_HEADER

TIMEOUT = 30.0  # seconds without any byte
HEAD_SECONDS = 60.0  # until a response's header must be complete
WINDOW = 60.0  # seconds over which the lowest speed is measured
SLOWEST = 1000  # bytes a second

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?\]")
_SAFE = "%/:=&?~+!$,;'@()*[]-._"  # characters of a path or query that are not escaped


class Address(NamedTuple):
    """A web address: the URL to request, its host with the port, and the text for messages.

    `url` is plain ASCII without user and password; `authorization` is the header that carries them, or None. In `shown`
    they are masked, and the query is left out, which may hold a key.
    """

    url: str
    host: str
    shown: str
    authorization: str | None


def parse_address(text: str) -> Address:
    """The parts of an http or https address. Raises PoseError for any other text."""
    name = masked(text)
    try:
        parts = urlsplit(text)
        user, has_user, _ = parts.netloc.rpartition("@")
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:  # UnicodeError too: a label of the host name is empty or too long
        raise PoseError(f"{name}: not a web address") from None
    if parts.scheme not in ("http", "https") or not host:
        raise PoseError(f"{name}: only http and https addresses are downloaded")
    if not _HOST.fullmatch(host):
        raise PoseError(f"{name}: not a web address")
    path = quote(parts.path, safe=_SAFE, errors="surrogatepass")
    query = f"?{quote(parts.query, safe=_SAFE, errors='surrogatepass')}" if parts.query else ""
    login, _, password = user.partition(":")
    plain = f"{unquote(login)}:{unquote(password)}".encode("utf-8", "surrogatepass")
    authorization = f"Basic {base64.b64encode(plain).decode('ascii')}" if has_user else None
    return Address(f"{parts.scheme}://{host}{port}{path}{query}", host + port, name, authorization)


def masked(url: str) -> str:
    """An address of any kind for messages: one printable line without user, password, query and fragment."""
    head, separator, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    if "@" in path and "@" not in place and not re.fullmatch(r"(\[.*\]|[^:]*)(:\d*)?", place):
        place, slash, path = "***@", "", path.rpartition("@")[2]  # not a port: the start of a password with a slash
    place = place.partition("?")[0].partition("#")[0] if "@" not in place else f"***@{place.rpartition('@')[2]}"
    path = path.partition("?")[0].partition("#")[0]
    return one_line(f"{head}{separator}{place}{slash}{path}" if separator else url, 200)


def open_url(source: str | Address, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
    """The response to a GET request, its header read; user and password of the address are sent in a header.

    Redirects are followed to http and https only, never from https to http, and the password is sent to no other host.
    The server has `HEAD_SECONDS` for its header. At most `MAX_DOWNLOAD` bytes of the body can be read, and reading
    raises TimeoutError below `SLOWEST` bytes a second, measured over `WINDOW` seconds.

    Raises:
        PoseError: not a web address, or a redirect that is not followed.
        urllib.error.HTTPError, urllib.error.URLError: the server refuses, or none answers.
        OSError, http.client.HTTPException: the connection broke.
    """
    target = parse_address(source) if isinstance(source, str) else source
    request = Request(target.url, headers={"User-Agent": "yolopose", "Accept-Encoding": "identity", **(headers or {})})
    if target.authorization:
        request.add_unredirected_header("Authorization", target.authorization)
    try:
        response = build_opener(_Handler, _WebRedirects).open(request, timeout=TIMEOUT)
    except ValueError:  # a redirect that urllib cannot parse
        raise PoseError(f"{target.shown}: redirects to an address that cannot be read") from None
    cast(_Response, response).stream.begin_body()
    return cast(http.client.HTTPResponse, response)


class _LimitedStream(io.RawIOBase):
    """The bytes of a connection, limited in number and time."""

    def __init__(self, raw: io.RawIOBase, sock: Any) -> None:
        self.raw, self.sock = raw, sock
        self.left = MAX_RESPONSE_HEADER  # bytes that may still come
        self.deadline = time.monotonic() + HEAD_SECONDS
        self.due, self.received = 0, 0  # bytes required before the deadline (0 while reading the header) and received

    def begin_body(self) -> None:
        """The header is complete: from now on the lowest speed is enforced."""
        self.left = MAX_DOWNLOAD
        self._start_window()

    def _start_window(self) -> None:
        self.deadline, self.due, self.received = time.monotonic() + WINDOW, int(SLOWEST * WINDOW), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        rest = self.deadline - time.monotonic()
        if rest <= 0 and not self.due:
            raise TimeoutError(f"no complete answer within {HEAD_SECONDS:g} seconds")
        if rest <= 0 and self.received < self.due:
            raise TimeoutError(f"slower than {SLOWEST} bytes a second")
        if rest <= 0:
            self._start_window()
        self.sock.settimeout(TIMEOUT if self.due else min(TIMEOUT, rest))
        count = self.raw.readinto(buffer)
        self.left -= count or 0
        self.received += count or 0
        if self.left < 0:
            raise OSError("the server sends more than is accepted")
        return count

    def close(self) -> None:
        try:
            self.raw.close()
        finally:
            super().close()


class _Response(http.client.HTTPResponse):
    """A response whose bytes are limited from the first one on."""

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.stream = _LimitedStream(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self.stream)


class _Handler(HTTPHandler, HTTPSHandler):
    def do_open(self, http_class: Any, req: Request, **options: Any) -> http.client.HTTPResponse:
        def connect(*args: Any, **more: Any) -> http.client.HTTPConnection:
            connection = http_class(*args, **more)
            connection.response_class = _Response
            return cast(http.client.HTTPConnection, connection)

        return super().do_open(cast(Any, connect), req, **options)


class _WebRedirects(HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https to http."""

    def http_error_302(self, req: Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        fp.close()  # the body is not used, and may have no end
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        target = parse_address(newurl)
        if req.type == "https" and not target.url.startswith("https:"):
            raise PoseError(f"{masked(req.full_url)}: redirects to {target.shown}, which is not encrypted")
        follow = super().redirect_request(req, fp, code, msg, headers, target.url)
        same_host = urlsplit(req.full_url)[:2] == urlsplit(target.url)[:2]
        authorization = target.authorization or (req.unredirected_hdrs.get("Authorization") if same_host else None)
        if follow is not None and authorization:
            follow.add_unredirected_header("Authorization", authorization)
        return follow
