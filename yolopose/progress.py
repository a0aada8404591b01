"""A progress bar below the log lines: on a terminal only, and only where there is much to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

LONG = 20  # steps from which a bar is worth a line


@contextmanager
def progress(wanted: bool = True) -> Iterator[Callable[[int, int | None], None]]:
    """A function (done, total) that moves the bar; total None is unknown and shows none.

    The bar begins with the first call that tells of `LONG` steps or more, and follows when the total changes.
    """
    with ExitStack() as stack:
        bar: Callable[[int, int | None], None] | None = None

        def show(done: int, total: int | None) -> None:
            nonlocal bar
            if bar is None and wanted and (total or 0) >= LONG and sys.stdout.isatty():
                bar = _bar(stack)
            if bar is not None:
                bar(done, total)

        yield show


def _bar(stack: ExitStack) -> Callable[[int, int | None], None]:
    """Begin rich's bar; it keeps itself below whatever is printed meanwhile and goes when the stack unwinds."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = stack.enter_context(Progress(*columns, refresh_per_second=2, transient=True))
    task = bar.add_task("", total=None)
    return lambda done, total: bar.update(task, completed=done, total=total)
