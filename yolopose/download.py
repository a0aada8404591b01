"""One HTTP downloader: it resumes, verifies, and puts a file in its place only when it is whole."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from yolopose.errors import PoseError

CHUNK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte
TRIES = 3
PAUSE = 1.0  # seconds before the next try


class Unreachable(PoseError):
    """No server answered: no network, or no such host."""


class _Broken(Exception):
    """The connection ended too early; what has come is kept."""


def download(url: str, target: Path, *, sha256: str | None = None, progress: bool = True) -> Path:
    """Fetch `url` to `target`, unless it is there already; → `target`.

    What a broken connection left behind is continued if the server can, by the next try or the next call. Processes and
    threads that want the same file wait for the first of them. Progress is shown only on a terminal.

    Raises:
        Unreachable: no server answered.
        PoseError: the server refused, the connection broke again and again, the sum is wrong, or the disk is full.
    """
    target = Path(target)
    _check_url(url)
    try:
        if not _is_there(target, sha256):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _alone(target.with_name(f".{target.name}.lock")):
                if not _is_there(target, sha256):  # somebody else may just have finished
                    _fetch(url, target, sha256, progress)
    except OSError as error:
        raise PoseError(f"{target}: cannot be written ({error.strerror or error})") from None
    return target


def cache_dir(platform: str = sys.platform, environ: Mapping[str, str] = os.environ, home: Path | None = None) -> Path:
    """The user's cache folder for yolopose, where the platform keeps such things; XDG_CACHE_HOME goes first."""
    home = home or Path.home()
    if environ.get("XDG_CACHE_HOME"):
        return Path(environ["XDG_CACHE_HOME"]) / "yolopose"
    if platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "yolopose" / "Cache"
    if platform == "darwin":
        return home / "Library" / "Caches" / "yolopose"
    return home / ".cache" / "yolopose"


def sum_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_there(target: Path, sha256: str | None) -> bool:
    return target.is_file() and (sha256 is None or sum_of(target) == sha256)


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PoseError(f"{url}: only http and https addresses are downloaded")


def _fetch(url: str, target: Path, sha256: str | None, progress: bool) -> None:
    """Receive in as many tries as are allowed, verify, rename."""
    part = target.with_name(f".{target.name}.part")
    note = target.with_name(f".{target.name}.part.json")  # which version of the file the part belongs to
    for attempt in range(TRIES):
        try:
            _receive(url, part, note, progress)
            break
        except _Broken as broken:
            if attempt == TRIES - 1:
                raise PoseError(f"{url}: {broken}; run again to go on from there") from None
            time.sleep(PAUSE)
    found = sum_of(part)
    note.unlink(missing_ok=True)
    if sha256 is not None and found != sha256:
        part.unlink()
        raise PoseError(f"{url}: the file that came has sha256 {found}, expected {sha256}; it was not kept")
    os.replace(part, target)


def _receive(url: str, part: Path, note: Path, progress: bool) -> None:
    """One request: append to `part` what it lacks, or write it anew if the server does not continue the same file."""
    have, version = _kept(url, part, note)
    headers = {"User-Agent": "yolopose", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with _open(Request(url, headers=headers), part) as response:
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0
            note.write_text(json.dumps([url, _version(response)]), encoding="utf-8")
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        with part.open("ab" if have else "wb") as file, _meter(part, have, total, progress) as advance:
            _copy(response, file, advance)
    if total is not None and part.stat().st_size != total:
        raise _Broken(f"the connection broke after {part.stat().st_size} of {total} bytes")


def _kept(url: str, part: Path, note: Path) -> tuple[int, str]:
    """Bytes that an earlier try left, and the version of the file they belong to; 0 if they cannot be continued."""
    try:
        address, version = json.loads(note.read_text(encoding="utf-8"))
        return (part.stat().st_size, version) if address == url and version else (0, "")
    except (OSError, ValueError):
        return 0, ""


def _version(response: http.client.HTTPResponse) -> str:
    """What names this version of the file: a strong ETag, or its date (RFC 9110, section 13.1.5)."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def _copy(response: http.client.HTTPResponse, file: IO[bytes], advance: Callable[[int], Any]) -> None:
    while True:
        try:
            chunk = response.read1(CHUNK)  # whatever is there: what has come is on the disk when it breaks
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(f"the connection broke ({error or type(error).__name__})") from None
        if not chunk:
            return
        file.write(chunk)
        advance(len(chunk))


class _WebOnly(HTTPRedirectHandler):
    """Follows redirections to http and https only, and never from https to http."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        _check_url(newurl)
        if req.type == "https" and not newurl.startswith("https:"):
            raise PoseError(f"{req.full_url}: leads to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(request: Request, part: Path) -> Any:
    """The answer to a request, its failures told apart: refused, to be tried again, or nobody there."""
    try:
        return build_opener(_WebOnly).open(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        answer = f"{error.code} {' '.join(str(error.reason).split())}"
        if error.code == 416:  # the part is longer than the file
            part.unlink(missing_ok=True)
        if error.code == 416 or error.code >= 500:
            raise _Broken(f"the server answers {answer}") from None
        raise PoseError(f"{request.full_url}: the server answers {answer}") from None
    except URLError as error:
        raise Unreachable(f"cannot reach {request.host} ({error.reason})") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"the connection broke ({error or type(error).__name__})") from None


@contextmanager
def _meter(part: Path, have: int, total: int | None, progress: bool) -> Iterator[Callable[[int], Any]]:
    """A function to report bytes to; draws a bar on a terminal."""
    if not (progress and sys.stderr.isatty()):
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(part.name.removeprefix(".").removesuffix(".part"), completed=have, total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting for whoever holds it; the lock ends with its process, however that ends."""
    while True:
        with path.open("ab") as file:
            _lock(file)
            if not _is_same(file, path):  # its last holder has removed it meanwhile
                continue
            try:
                yield
            finally:
                with suppress(OSError):
                    path.unlink()
            return


def _is_same(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: IO[bytes]) -> None:
    """Wait for the lock; where the file system has none, go on without."""
    if sys.platform == "win32":
        import msvcrt

        while True:
            try:
                return msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
            except OSError as error:  # after ten seconds
                if error.errno != errno.EDEADLK:
                    return None
    else:
        import fcntl

        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
