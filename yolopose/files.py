"""Atomic writes of files and folders, limited reads of untrusted files, the cache folder."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import shutil
import stat
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from yolopose.errors import PoseError, one_line
from yolopose.limits import MAX_YAML

IDLE = 60.0  # seconds after which the unfinished file of a process that does not run may be deleted


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name next to `path`, of the same suffix; it is renamed to `path` on success (atomic write).

    For a file or a folder. Missing parents are created. If the block fails, the temporary file is deleted and an
    existing `path` stays. A file that the block writes to the temporary name plus `.yaml` is renamed with it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{_mark()}{path.name}")
    metadata = Path(f"{part}.yaml")
    try:
        yield part
        (_swap if path.is_dir() and part.is_dir() else os.replace)(part, path)
        if metadata.is_file():
            os.replace(metadata, f"{path}.yaml")
    finally:
        shutil.rmtree(part, ignore_errors=True)  # of a folder
        part.unlink(missing_ok=True)
        metadata.unlink(missing_ok=True)


def _swap(part: Path, path: Path) -> None:
    """Replace a folder; the old one is restored if that fails, since no system call replaces folders atomically."""
    old = path.with_name(f"{_mark()}old-{path.name}")
    os.rename(path, old)
    try:
        os.rename(part, path)
    except OSError:
        os.rename(old, path)
        raise
    shutil.rmtree(old)


def remove_leftovers(path: Path) -> None:
    """Delete temporary files of `atomic_path` for `path` from processes that were killed, if unchanged for a minute.

    The minute protects files of processes on other machines with a shared disk. On Windows nothing is deleted, since
    `os.kill` there would end a process instead of checking that it runs.
    """
    for part in () if os.name == "nt" else path.parent.glob(f".*-*-{glob.escape(path.name)}"):
        found = re.match(r"\.(\d+)-\d+-", part.name)
        try:
            if not found or found.end() + len(path.name) != len(part.name) or _is_running(int(found[1])):
                continue
            if time.time() - part.lstat().st_mtime > IDLE:
                shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()
        except OSError:  # another process deleted it first, or only another user may
            continue


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _mark() -> str:
    """The prefix of temporary names: hidden, and different for every process and thread."""
    return f".{os.getpid()}-{threading.get_ident()}-"


def cache_dir() -> Path:
    """The user's cache folder for yolopose: in XDG_CACHE_HOME if set, else where the platform keeps caches.

    Raises PoseError when the home folder is not known.
    """
    if os.path.isabs(os.environ.get("XDG_CACHE_HOME", "")):  # the XDG standard says to ignore relative paths
        return Path(os.environ["XDG_CACHE_HOME"]) / "yolopose"
    try:
        home = Path.home()
    except RuntimeError:
        raise PoseError("no home folder is known; set XDG_CACHE_HOME to a folder for caches") from None
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "yolopose" / "Cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "yolopose"
    return home / ".cache" / "yolopose"


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading in binary mode; pipes, devices and folders are refused at once, without waiting.

    Raises:
        OSError: the file does not exist, may not be read, or is not a regular file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    number = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def walk(top: str | os.PathLike[str], without: Iterable[Path] = ()) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` sorted and with links followed; each folder is visited once, those of `without` never."""
    seen = {identity for folder in without if (identity := _identity(folder))}
    for folder, below, names in os.walk(top, followlinks=True):
        here = _identity(folder)
        if here is None or here in seen:
            below.clear()
            continue
        seen.add(here)
        below.sort()
        yield os.fspath(folder), below, names


def _identity(folder: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Device and inode of a folder, the same for all links to it; None if it does not exist."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def cell(text: str) -> str:
    """Untrusted text as a cell of a CSV file, with an apostrophe in front if a spreadsheet would take it for a formula.

    Numbers, also several in one cell, stay unchanged.
    """
    harmless = re.fullmatch(r"[-+.\deE\s]*", text, re.ASCII)
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@") and not harmless else text


def write_text(path: Path, text: str, errors: str = "strict") -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8", errors=errors)


def read_yaml(path: Path) -> dict[str, Any]:
    """The entries of a YAML file, read as plain data and within `limits`.

    Raises:
        PoseError: it cannot be read, or is not a mapping.
    """
    from yolopose.yamldata import parse

    try:
        values = parse(read_bounded(path, MAX_YAML).decode("utf-8-sig"))
    except OSError as e:
        raise PoseError(f"{path}: {e.strerror or e}") from None
    except ValueError as e:
        raise PoseError(f"{path}: not a YAML file: {one_line(e)}") from None
    if not isinstance(values, dict):
        raise PoseError(f"{path}: expected lines of the form key: value")
    return {str(key): value for key, value in values.items()}


def read_text(path: Path, most: int, failed: str = "cannot be read as UTF-8 text") -> str:
    """The UTF-8 text of a regular file of at most `most` bytes. Raises PoseError; `failed` describes other contents."""
    try:
        return read_bounded(path, most).decode("utf-8-sig")
    except OSError as e:
        raise PoseError(f"{path}: {e.strerror or e}") from None
    except ValueError as e:
        raise PoseError(f"{path}: {failed}: {e}") from None


def read_bounded(path: str | os.PathLike[str], most: int) -> bytes:
    """The bytes of a regular file. Raises ValueError if there are more than `most`, OSError as `open_regular` does."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise ValueError(f"more than {most >> 20} MB")
        return file.read(size + (1 << 20))  # some files of /proc have size 0, and a few of them never end


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files in the order of their names."""
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            total.update(file.read_bytes())
    return total.hexdigest()
