"""An orderly end at SIGTERM, which is how schedulers and `kill` end a program."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from yolopose.console import log

EXIT_CODE = 128 + signal.SIGTERM


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the block as an exception does: files stay whole, worker processes end, locks go.

    One line is said and the process exits with EXIT_CODE (SystemExit). A second SIGTERM ends it at once. A handler of
    the program's own stays in force; so does the default outside the main thread, where none can be set.
    """
    own = threading.current_thread() is not threading.main_thread()
    if own or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    came = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if sys.platform != "win32":  # workers that got the signal, too, are nobody's failure now
            signal.signal(signal.SIGCHLD, lambda number, frame: None)
        raise SystemExit(EXIT_CODE)

    children = None if sys.platform == "win32" else signal.getsignal(signal.SIGCHLD)
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    except BaseException:
        if not came:
            raise
        if sys.platform != "win32":
            signal.signal(signal.SIGCHLD, children)
        log.error("terminated; the run goes on from its last complete epoch with resume=True")
        raise SystemExit(EXIT_CODE) from None
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
