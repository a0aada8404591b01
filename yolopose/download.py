"""Download files over HTTP: resume, verify the checksum, rename only a complete file into place."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.error import HTTPError, URLError

from yolopose.console import progress as show_progress
from yolopose.errors import PoseError, one_line
from yolopose.files import write_text
from yolopose.limits import MAX_DOWNLOAD, MAX_UNANNOUNCED
from yolopose.locks import file_lock
from yolopose.web import Address, open_url, parse_address

CHUNK = 1 << 18  # bytes read at once
TRIES = 3
PAUSE = 1.0  # seconds before the next try

_VERSION = re.compile("[ -~]+")  # an ETag or date that can be sent back in a header


class Unreachable(PoseError):
    """No server answered: no network, or no such host."""


class _ConnectionBroken(Exception):
    """The connection ended too early; the bytes received so far are kept."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    first_sum: Path | None = None,
    most: int = MAX_DOWNLOAD,
    progress: bool = True,
) -> Path:
    """Download `url` to the file `target` unless it exists; returns `target`.

    After a broken connection the next try or the next call continues with the bytes that are missing, if the server
    supports it. Processes and threads that want the same file wait for the first of them. A user and password in the
    address are sent as HTTP basic authorization and never shown.

    Args:
        url: an http or https address.
        target: the file to write; missing folders are created.
        sha256: the expected checksum, if known.
        first_sum: used where `sha256` is None: this file stores the checksum of the first download, and a later
            download with another one is refused.
        most: the largest size in bytes that is accepted.
        progress: show a progress bar.

    Raises:
        Unreachable: no server answered.
        PoseError: the server refused, the connection broke `TRIES` times, the file is too large, the checksum is
            wrong, or the disk is full.
    """
    source = parse_address(url)
    part = target.with_name(f".{target.name}.part")
    try:
        if _is_complete(target, sha256):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(target.with_name(f".{target.name}.lock")):
            if not _is_complete(target, sha256):  # another process may have finished it meanwhile
                _receive_all(source, part, most, progress)
                _verify(source, part, sha256, first_sum)
                os.replace(part, target)
    except OSError as error:
        raise PoseError(f"{target}: cannot be written ({error.strerror or error})") from None
    return target


def sum_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_sum(file: Path) -> str | None:
    """The sha256 that `download` stored in the file `first_sum`, or None."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return text if len(text) == 64 else None


def _is_complete(target: Path, sha256: str | None) -> bool:
    return target.is_file() and (sha256 is None or sum_of(target) == sha256)


def _verify(source: Address, part: Path, sha256: str | None, first_sum: Path | None) -> None:
    """Compare the checksum with the expected one or that of the first download; store it if this is the first.

    A file with a wrong checksum is deleted. Raises PoseError.
    """
    found = sum_of(part)
    known = read_sum(first_sum) if sha256 is None and first_sum is not None else None
    mismatch = None
    if sha256 is not None and found != sha256.lower():
        mismatch = f"expected {one_line(sha256, 80)}; it was not kept"
    elif known is not None and found != known:
        mismatch = f"the first download had {known}; it was not kept. Delete {first_sum} if the change is right"
    if mismatch is not None:
        part.unlink()
        raise PoseError(f"{source.shown}: the downloaded file has sha256 {found}, {mismatch}")
    if sha256 is None and first_sum is not None and known is None:
        write_text(first_sum, f"{found}\n")


def _receive_all(source: Address, part: Path, most: int, progress: bool) -> None:
    """Receive the whole file into `part`, in up to `TRIES` requests."""
    note = part.with_name(f"{part.name}.json")  # which address and version of the file `part` belongs to
    for left in reversed(range(TRIES)):
        try:
            _receive(source, part, note, most, progress)
            break
        except _ConnectionBroken as broken:
            if not left:
                raise PoseError(f"{source.shown}: {broken}; run again to continue the download") from None
            time.sleep(PAUSE)
    note.unlink(missing_ok=True)


def _receive(source: Address, part: Path, note: Path, most: int, progress: bool) -> None:
    """Send one request; append its body to `part`, or start anew if the server does not continue the same file."""
    key = hashlib.sha256(source.url.encode()).hexdigest()  # its query may hold a secret
    have, headers = 0, {}
    try:
        known_key, version = json.loads(note.read_text(encoding="utf-8"))
        if known_key == key and isinstance(version, str) and _VERSION.fullmatch(version):
            have = part.stat().st_size
            headers = {"Range": f"bytes={have}-", "If-Range": version} if have else {}
    except (OSError, ValueError, TypeError, RecursionError):
        pass  # no note, or a damaged one
    with _open(source, headers, part) as response:
        if response.status != 206 or not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0
            # a strong ETag or the date names the version of a file (RFC 9110, section 13.1.5)
            etag, date = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
            version = etag if etag.startswith('"') else date
            write_text(note, json.dumps([key, version if _VERSION.fullmatch(version) else ""]))
        length = response.headers.get("Content-Length", "")
        total = have + int(length[:20]) if length.isascii() and length.isdecimal() else None
        if total is not None:
            _check_size(source, part, have, total, most)
        limit = most if total is not None else min(most, MAX_UNANNOUNCED)
        name = part.name.removeprefix(".").removesuffix(".part")
        with part.open("ab" if have else "wb") as file, show_progress(progress, name, sized=True, least=0) as show:
            size = have
            while size <= limit and (chunk := _read_chunk(response)):
                size += file.write(chunk)
                show(size, total)
    if size > limit:
        part.unlink()
        raise PoseError(f"{source.shown}: the server sends more than the {limit} bytes that are accepted")
    if total is not None and size != total:
        raise _ConnectionBroken(f"the connection broke after {size} of {total} bytes")


def _check_size(source: Address, part: Path, have: int, total: int, most: int) -> None:
    """Raise PoseError for a file of `total` bytes that is larger than `most` or than the free disk space."""
    if total > most:
        raise PoseError(f"{source.shown}: {total / 1e9:.3g} GB announced, more than the {most / 1e9:.3g} GB accepted")
    if (free := shutil.disk_usage(part.parent).free) < total - have:
        raise PoseError(
            f"{source.shown}: {(total - have) / 1e9:.3g} GB to download, but {part.parent} has {free / 1e9:.3g} GB left"
        )


def _read_chunk(response: http.client.HTTPResponse) -> bytes:
    """The next bytes of the body that have arrived, b"" at its end: they reach the disk before a connection breaks."""
    try:
        return response.read1(CHUNK)
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: a chunk's size is not a number
        raise _ConnectionBroken(f"the connection broke ({_reason(error)})") from None


def _open(source: Address, headers: Mapping[str, str], part: Path) -> http.client.HTTPResponse:
    """The response to a GET request.

    Raises PoseError if the server refuses, Unreachable if none answers, _ConnectionBroken where a new try can help.
    """
    try:
        return open_url(source, headers)
    except HTTPError as error:
        error.close()
        answer = one_line(f"{error.code} {error.reason}", 200)
        if error.code == 416:  # Range Not Satisfiable: the part is longer than the file
            part.unlink(missing_ok=True)
        if error.code == 416 or error.code >= 500:
            raise _ConnectionBroken(f"the server answers {answer}") from None
        raise PoseError(f"{source.shown}: the server answers {answer}") from None
    except URLError as error:
        raise Unreachable(f"cannot reach {source.host} ({_reason(error.reason)})") from None
    except (OSError, http.client.HTTPException) as error:
        raise _ConnectionBroken(f"the connection broke ({_reason(error)})") from None


def _reason(error: object) -> str:
    return one_line(error, 200) or type(error).__name__
