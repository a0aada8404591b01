"""OpenCV's own log, which it writes to standard error whatever the caller makes of a failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0  # threads within a block
_level = 0  # the log level before the first of them


@contextmanager
def unlogged() -> Iterator[None]:
    """Within the block OpenCV logs nothing: the caller says in one line what failed.

    The log level belongs to the process, so it is restored when no thread is within such a block any more.
    """
    import cv2

    global _inside, _level
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    with _lock:
        if not _inside:
            _level = set_level(0)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                set_level(_level)
