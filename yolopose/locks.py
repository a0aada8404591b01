"""Locks between processes: a file that one process holds at a time."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path`, waiting while another process holds it; the lock ends with its process at the latest.

    Where the file system has no locks, nothing is locked.

    Raises:
        BlockingIOError: without `wait`, another process holds it.
        OSError: the file cannot be created.
    """
    while True:
        with path.open("ab") as file:
            _lock(file, wait)
            try:
                removed = not os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                removed = True
            if removed:  # by the last holder, after it was opened here
                continue
            try:
                yield
            finally:
                with suppress(OSError):
                    path.unlink()
            return


def _lock(file: IO[bytes], wait: bool) -> None:
    """Lock an open file; where the file system has no locks, do nothing."""
    if sys.platform == "win32":
        import msvcrt

        while True:
            try:
                return msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError as error:
                if not wait:
                    raise BlockingIOError from None
                if error.errno != errno.EDEADLK:  # raised after ten seconds of waiting
                    return None
    else:
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if isinstance(error, BlockingIOError):  # others: the file system has no locks
                raise
