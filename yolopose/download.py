"""One HTTP downloader: it resumes, verifies, and puts a file in its place only when it is whole."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError

from yolopose.errors import PoseError, one_line
from yolopose.files import write_text
from yolopose.limits import MAX_DOWNLOAD, MAX_UNANNOUNCED
from yolopose.locks import alone
from yolopose.progress import progress as show_progress
from yolopose.web import address, open_url

CHUNK = 1 << 18
TRIES = 3
PAUSE = 1.0  # seconds before the next try


class Unreachable(PoseError):
    """No server answered: no network, or no such host."""


class _Broken(Exception):
    """The connection ended too early; what has come is kept."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    first_sum: Path | None = None,
    most: int = MAX_DOWNLOAD,
    progress: bool = True,
) -> Path:
    """Fetch `url` to `target`, unless it is there already; → `target`.

    What a broken connection left behind is continued if the server can, by the next try or the next call. Processes and
    threads that want the same file wait for the first of them. A user and password in the
    address are sent as HTTP's basic authorization and never shown.

    Where no `sha256` is known, the file `first_sum` keeps the sum of the first download, and another file that comes
    later is refused. A file of more than `most` bytes is refused.

    Raises:
        Unreachable: no server answered.
        PoseError: the server refused, the connection broke again and again, the file is too large, the sum is wrong,
            or the disk is full.
    """
    target = Path(target)
    address(url)
    try:
        if not _is_there(target, sha256):
            target.parent.mkdir(parents=True, exist_ok=True)
            with alone(target.with_name(f".{target.name}.lock")):
                if not _is_there(target, sha256):  # somebody else may just have finished
                    _fetch(url, target, sha256, first_sum, most, progress)
    except OSError as error:
        raise PoseError(f"{target}: cannot be written ({error.strerror or error})") from None
    return target


def cache_dir(platform: str = sys.platform, environ: Mapping[str, str] = os.environ, home: Path | None = None) -> Path:
    """The user's cache folder for yolopose, where the platform keeps such things; XDG_CACHE_HOME goes first.

    Raises PoseError when nobody says where the user's home is.
    """
    if os.path.isabs(environ.get("XDG_CACHE_HOME", "")):  # the standard wants relative ones ignored
        return Path(environ["XDG_CACHE_HOME"]) / "yolopose"
    try:
        home = home or Path.home()
    except RuntimeError:
        raise PoseError("no home folder is known; set XDG_CACHE_HOME to a folder for caches") from None
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


def _fetch(url: str, target: Path, sha256: str | None, first_sum: Path | None, most: int, progress: bool) -> None:
    """Receive in as many tries as are allowed, verify, rename."""
    part = target.with_name(f".{target.name}.part")
    note = target.with_name(f".{target.name}.part.json")  # which version of the file the part belongs to
    for attempt in range(TRIES):
        try:
            _receive(url, part, note, most, progress)
            break
        except _Broken as broken:
            if attempt == TRIES - 1:
                raise PoseError(f"{address(url).shown}: {broken}; run again to go on from there") from None
            time.sleep(PAUSE)
    note.unlink(missing_ok=True)
    try:
        _verify(address(url).shown, sum_of(part), sha256, first_sum)
    except PoseError:
        part.unlink()
        raise
    os.replace(part, target)


def _verify(name: str, found: str, sha256: str | None, first_sum: Path | None) -> None:
    """Refuse a sum that is not the expected one, or not that of the first download; keep it if this is the first."""
    if sha256 is not None:
        if found != sha256.lower():
            raise PoseError(
                f"{name}: the file that came has sha256 {found}, expected {one_line(sha256, 80)}; it was not kept"
            )
    elif first_sum is not None:
        known = read_sum(first_sum)
        if known is None:
            write_text(first_sum, f"{found}\n")
        elif found != known:
            raise PoseError(
                f"{name}: the file that came has sha256 {found}, the first download had {known}; it was not kept. "
                f"Delete {first_sum} if the change is right"
            )


def read_sum(file: Path) -> str | None:
    """The sha256 that the `first_sum` of `download` keeps, or None."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return text if len(text) == 64 else None


def _receive(url: str, part: Path, note: Path, most: int, progress: bool) -> None:
    """One request: append to `part` what it lacks, or write it anew if the server does not continue the same file."""
    have, version = _kept(url, part, note)
    headers = {"Range": f"bytes={have}-", "If-Range": version} if have else {}
    with _open(url, headers, part) as response:
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0
            write_text(note, json.dumps([_name(url), _version(response)]))
        total = _total(response, have)
        _check_room(url, part, have, total, most)
        name = part.name.removeprefix(".").removesuffix(".part")
        with part.open("ab" if have else "wb") as file, show_progress(progress, name, sized=True, least=0) as show:
            _copy(response, file, lambda size: show(size, total), min(most, MAX_UNANNOUNCED) if total is None else most)
    size = part.stat().st_size
    if size > most or (total is None and size > MAX_UNANNOUNCED):
        part.unlink()
        raise PoseError(f"{address(url).shown}: sends more than {size - 1} bytes, which is more than is taken")
    if total is not None and size != total:
        raise _Broken(f"the connection broke after {size} of {total} bytes")


def _total(response: http.client.HTTPResponse, have: int) -> int | None:
    """Bytes of the whole file as far as the server states them."""
    length = response.headers.get("Content-Length", "")
    return have + int(length[:20]) if length.isascii() and length.isdecimal() else None


def _check_room(url: str, part: Path, have: int, total: int | None, most: int) -> None:
    """Refuse a file that is larger than `most` or than the disk, before its body comes."""
    if total is None:
        return
    name = address(url).shown
    if total > most:
        raise PoseError(f"{name}: {total / 1e9:.3g} GB are announced, more than the {most / 1e9:.3g} GB that are taken")
    if (free := shutil.disk_usage(part.parent).free) < total - have:
        raise PoseError(
            f"{name}: {(total - have) / 1e9:.3g} GB to come, but {part.parent} has {free / 1e9:.3g} GB left"
        )


def _kept(url: str, part: Path, note: Path) -> tuple[int, str]:
    """Bytes that an earlier try left, and the version of the file they belong to; 0 if they cannot be continued."""
    try:
        name, version = json.loads(note.read_text(encoding="utf-8"))
        known = name == _name(url) and isinstance(version, str) and _is_token(version)
        return (part.stat().st_size, version) if known else (0, "")
    except (OSError, ValueError, TypeError, RecursionError):  # no note, or a damaged one
        return 0, ""


def _name(url: str) -> str:
    """What tells one address from another on the disk, where no password belongs."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def _version(response: http.client.HTTPResponse) -> str:
    """What names this version of the file: a strong ETag, or its date (RFC 9110, section 13.1.5)."""
    etag = response.headers.get("ETag", "")
    version = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
    return version if _is_token(version) else ""


def _is_token(version: str) -> bool:
    """Whether this can be sent back in a header."""
    return bool(version) and version.isascii() and version.isprintable()


def _copy(response: http.client.HTTPResponse, file: IO[bytes], show: Callable[[int], Any], most: int) -> None:
    """Write the body to the end of `file` until that has more than `most` bytes."""
    have = file.tell()
    while have <= most:
        try:
            chunk = response.read1(CHUNK)  # whatever is there: what has come is on the disk when it breaks
        except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: a chunk's size is no number
            raise _Broken(f"the connection broke ({_reason(error)})") from None
        if not chunk:
            return
        file.write(chunk)
        have += len(chunk)
        show(have)


def _open(url: str, headers: Mapping[str, str], part: Path) -> http.client.HTTPResponse:
    """The answer to a request, its failures told apart: refused, to be tried again, or nobody there."""
    try:
        return open_url(url, headers)
    except HTTPError as error:
        error.close()
        answer = one_line(f"{error.code} {error.reason}", 200)
        if error.code == 416:  # the part is longer than the file
            part.unlink(missing_ok=True)
        if error.code == 416 or error.code >= 500:
            raise _Broken(f"the server answers {answer}") from None
        raise PoseError(f"{address(url).shown}: the server answers {answer}") from None
    except URLError as error:
        raise Unreachable(f"cannot reach {address(url).host} ({_reason(error.reason)})") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"the connection broke ({_reason(error)})") from None


def _reason(error: object) -> str:
    return one_line(error, 200) or type(error).__name__
