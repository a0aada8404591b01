"""How far a long piece of work has come: a bar on a terminal, elsewhere (pipes, notebooks) a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from yolopose.console import log

LONG = 20  # steps from which progress is shown
EVERY = 10.0  # seconds between two lines, at least
SHARE = 0.1  # of the work between two lines, unless SLOW seconds have passed
SLOW = 60.0
REFRESH = 0.5  # seconds between readings of a bar's text


class Show(Protocol):
    """Takes how much is done, of how much (None: unknown), and a function that makes the text to show with it."""

    def __call__(self, done: int, total: int | None, text: Callable[[], str] | None = None) -> None:
        """Show it, when it is time to."""


@contextmanager
def progress(
    wanted: bool = True, what: str = "", *, lines: bool = True, sized: bool = False, least: int = LONG
) -> Iterator[Show]:
    """A function (done, total, text) that shows how `what` goes.

    It begins with the first call whose total is `least` or more, and follows when the total changes. With `sized` the
    steps are bytes, and the bar is drawn on standard error. `lines=False` shows nothing outside a terminal. The text
    is asked for only when it is shown: reading losses makes a GPU wait.
    """
    with ExitStack() as stack:
        view: Show | None = None

        def show(done: int, total: int | None, text: Callable[[], str] | None = None) -> None:
            nonlocal view
            if view is None and wanted and (total or 0) >= least:
                terminal = (sys.stderr if sized else sys.stdout).isatty()
                view = _bar(stack, what, sized) if terminal else _lines(what, sized) if lines else _nothing
            if view is not None:
                view(done, total, text)

        yield show


def _nothing(done: int, total: int | None, text: Callable[[], str] | None = None) -> None:
    """Show nothing."""


def _bar(stack: ExitStack, what: str, sized: bool) -> Show:
    """Begin rich's bar; it keeps itself below whatever is printed meanwhile and goes when the stack unwinds."""
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
    bar = Progress(*columns, console=Console(stderr=sized), refresh_per_second=4, transient=True)
    stack.enter_context(bar)
    task = bar.add_task(what, total=None)
    read = -REFRESH

    def show(done: int, total: int | None, text: Callable[[], str] | None = None) -> None:
        nonlocal read
        bar.update(task, completed=done, total=total)
        if text is not None and time.monotonic() - read >= REFRESH:
            read = time.monotonic()
            bar.update(task, description=text())

    return show


def _lines(what: str, sized: bool) -> Show:
    """A log line when EVERY seconds have passed and a SHARE more is done, or SLOW seconds have passed."""
    begun = said = time.monotonic()
    first: int | None = None
    told = 0

    def show(done: int, total: int | None, text: Callable[[], str] | None = None) -> None:
        nonlocal said, told, first
        now = time.monotonic()
        first = done if first is None else first
        further = done - told >= SHARE * (total or 0) or now - said >= SLOW
        if now - said < EVERY or not further or done == total:
            return
        said, told = now, done
        head = text() if text is not None else what
        if total:
            count = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB" if sized else f"{done}/{total}"
            left = (now - begun) / max(done - first, 1) * (total - done)
            count += f" ({100 * done // total} %), {_duration(left)} left"
        else:
            count = f"{done / 1e6:.1f} MB" if sized else str(done)
        log.info(f"{head} {count}".strip())

    return show


def _duration(seconds: float) -> str:
    """Seconds as people say them: 40 s, 5 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
