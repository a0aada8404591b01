"""Atomic writes of files and folders, bounded reads of files that may be anything, YAML read as plain data."""

from __future__ import annotations

import errno
import glob
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

IDLE = 60.0  # seconds after which the unfinished file of a process that is gone is nobody's


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name next to `path`, of the same suffix; it is renamed to `path` on success (atomic write).

    For a file or a folder. Missing parents are made. When the block fails, what was written goes and the older stays.
    A file that the block writes to that name and `.yaml`, about the other one, goes along.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{_mark()}{path.name}")
    about = Path(f"{part}.yaml")
    try:
        yield part
        if path.is_dir() and part.is_dir():
            _swap(part, path)
        else:
            os.replace(part, path)
        if about.is_file():
            os.replace(about, f"{path}.yaml")
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)
        about.unlink(missing_ok=True)


def _swap(part: Path, path: Path) -> None:
    """Put a folder in the place of an older one, which comes back when that fails; no system call does it at once."""
    old = path.with_name(f"{_mark()}old-{path.name}")
    os.rename(path, old)
    try:
        os.rename(part, path)
    except OSError:
        os.rename(old, path)
        raise
    shutil.rmtree(old)


def remove_leftovers(path: Path) -> None:
    """Remove what processes that were killed left of `path`: their names by `atomic_path`, untouched for a minute.

    The minute is for processes of other machines on a shared disk. On Windows, where asking for a process can end it,
    nothing is removed.
    """
    for part in () if os.name == "nt" else path.parent.glob(f".*-*-{glob.escape(path.name)}"):
        found = re.match(r"\.(\d+)-\d+-", part.name)
        try:
            if not found or found.end() + len(path.name) != len(part.name) or _is_running(int(found[1])):
                continue
            if time.time() - part.lstat().st_mtime > IDLE:
                shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()
        except OSError:  # somebody else was faster, or may do so
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
    """How names of unfinished files begin, hidden and different for every thread that may write them."""
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
    """A file opened for reading in binary mode; a pipe, device or folder is refused at once instead of waited for.

    Raises:
        OSError: it is not there, may not be read, or is no regular file.
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
    """`os.walk` through links too, in order; a folder reached in several ways comes once, one of `without` never."""
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
    """What tells a folder from others, whatever leads to it; None when it is gone."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def cell(text: str) -> str:
    """Foreign text as a cell of a CSV file, with an apostrophe in front where a spreadsheet would calculate it.

    Numbers stay as they are, rows of them too.
    """
    harmless = re.fullmatch(r"[-+.\deE\s]*", text, re.ASCII)
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@") and not harmless else text


def write_text(path: Path, text: str, errors: str = "strict") -> None:
    """Write UTF-8 text by `atomic_path`."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8", errors=errors)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes by `atomic_path`."""
    with atomic_path(path) as part:
        part.write_bytes(data)


def read_yaml(path: Path) -> dict[str, Any]:
    """The entries of a YAML file, read as plain data and within the bounds of `limits`.

    Raises:
        PoseError: it cannot be read, or holds something else than entries.
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


def read_bounded(path: str | os.PathLike[str], most: int) -> bytes:
    """The bytes of a regular file. Raises ValueError for one of more than `most`, OSError as `open_regular` does."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise ValueError(f"more than {most >> 20} MB")
        return file.read(size + (1 << 20))  # some files of /proc state no size, and a few of those never end
