"""Clean shutdown at SIGTERM, the signal with which schedulers and `kill` end a program."""

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
def terminable(advice: str) -> Iterator[None]:
    """Let SIGTERM end this block as an exception does: files stay complete, workers stop, locks are released.

    Logs one line, "terminated; " and `advice`, and exits with EXIT_CODE (SystemExit). A second SIGTERM ends the process
    at once. Does nothing when the program has its own handler for SIGTERM, or outside the main thread, where Python
    cannot set one.
    """
    threaded = threading.current_thread() is not threading.main_thread()
    if threaded or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    received = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if sys.platform != "win32":  # workers that got the signal too must not be reported as failed
            signal.signal(signal.SIGCHLD, lambda number, frame: None)
        raise SystemExit(EXIT_CODE)

    children = None if sys.platform == "win32" else signal.getsignal(signal.SIGCHLD)
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    except BaseException:
        if not received:
            raise
        if sys.platform != "win32":
            signal.signal(signal.SIGCHLD, children)
        log.error(f"terminated; {advice}")
        raise SystemExit(EXIT_CODE) from None
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
