"""The log, and progress bars. `log.info` goes to standard output, warnings and errors to standard error.

`log` is the logger "yolopose": a program that uses the package sets its level, silences or redirects it like any other.
Where the program has a console handler on the root logger (`logging.basicConfig`), only that one prints.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO, TypeAlias

from yolopose.errors import printable

log = logging.getLogger("yolopose")

LONG = 20  # steps from which progress is shown
LINE_SECONDS = 10.0  # between two lines, at least
LINE_SHARE = 0.1  # of the work between two lines, unless SLOW_SECONDS have passed
SLOW_SECONDS = 60.0
TEXT_SECONDS = 0.5  # between two updates of a bar's text

Text: TypeAlias = Callable[[], str]
Show: TypeAlias = Callable[..., None]  # done: int, total: int | None, text: Text | None = None


class _Console(logging.Handler):
    """Writes to the current `sys.stdout` and `sys.stderr`, so that redirections work.

    Messages quote names and values of foreign files. So control characters become escapes (except line breaks in
    `log.info`), and so do characters that the stream's encoding does not have.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record, warnings with their level in front."""
        if log.propagate and any(map(_is_console, logging.getLogger().handlers)):
            return
        warning = record.levelno >= logging.WARNING
        stream = sys.stderr if warning else sys.stdout
        message = record.getMessage()
        text = (
            f"{record.levelname}: {printable(message)}" if warning else "\n".join(map(printable, message.split("\n")))
        )
        try:
            print(encodable(text, stream), file=stream, flush=True)
        except BrokenPipeError:  # `yolo … | head` has read enough
            sys.stdout = None


def encodable(text: str, stream: TextIO | None) -> str:
    """`text` with escapes for the characters that `stream` cannot encode."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _is_console(handler: logging.Handler) -> bool:
    """Whether another handler writes to the terminal: a StreamHandler, or rich's."""
    stream = getattr(handler, "stream", None) or getattr(getattr(handler, "console", None), "file", None)
    return stream is not None and stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)


@contextmanager
def progress(
    wanted: bool = True, what: str = "", *, lines: bool = True, sized: bool = False, least: int = LONG
) -> Iterator[Show]:
    """A function (done, total, text) that shows how far `what` has come: a bar on a terminal, log lines elsewhere.

    It starts with the first call whose total is `least` or more; the total may change. With `sized` the steps are
    bytes, and the bar is on standard error. `lines=False` shows nothing outside a terminal. `text` is called only when
    it is shown, because reading losses makes a GPU wait.
    """
    with ExitStack() as stack:
        shown: Show | None = None

        def show(done: int, total: int | None, text: Text | None = None) -> None:
            nonlocal shown
            if shown is None and wanted and (total or 0) >= least:
                if (sys.stderr if sized else sys.stdout).isatty():
                    shown = _bar(stack, what, sized)
                elif lines:
                    shown = _lines(what, sized)
            if shown is not None:
                shown(done, total, text)

        yield show


def _bar(stack: ExitStack, what: str, sized: bool) -> Show:
    """Start rich's bar; it stays below lines printed meanwhile and disappears when `stack` is closed."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    counts = (DownloadColumn(), TransferSpeedColumn()) if sized else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(20), *counts, TimeRemainingColumn())
    bar = stack.enter_context(Progress(*columns, console=Console(stderr=sized), refresh_per_second=4, transient=True))
    task = bar.add_task(what, total=None)
    updated = -TEXT_SECONDS

    def show(done: int, total: int | None, text: Text | None) -> None:
        nonlocal updated
        bar.update(task, completed=done, total=total)
        if text is not None and time.monotonic() - updated >= TEXT_SECONDS:
            updated = time.monotonic()
            bar.update(task, description=text())

    return show


def _lines(what: str, sized: bool) -> Show:
    """Log a line when LINE_SECONDS have passed and LINE_SHARE more is done, or SLOW_SECONDS have passed."""
    start = last_time = time.monotonic()
    last_done, first = 0, None

    def show(done: int, total: int | None, text: Text | None) -> None:
        nonlocal last_time, last_done, first
        now = time.monotonic()
        first = done if first is None else first
        due = done - last_done >= LINE_SHARE * (total or 0) or now - last_time >= SLOW_SECONDS
        if now - last_time < LINE_SECONDS or not due or done == total:
            return
        last_time, last_done = now, done
        count = f"{done / 1e6:.1f}" if sized else str(done)
        if total:
            count += f" of {total / 1e6:.1f} MB" if sized else f"/{total}"
            left = (now - start) / max(done - first, 1) * (total - done)
            count += f" ({100 * done // total} %), {_duration(left)} left"
        elif sized:
            count += " MB"
        log.info(f"{text() if text is not None else what} {count}".strip())

    return show


def _duration(seconds: float) -> str:
    """Seconds in a unit that is easy to read: 40 s, 5 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


if not log.handlers:
    log.addHandler(_Console())
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO)
