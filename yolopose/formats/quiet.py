"""Toolchains that talk to themselves, kept off the user's terminal."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is printed within the block, by Python or by libraries in C, and nothing warned of; errors still raise.

    For the whole process while it lasts: for exports and for the first import of a runtime, not for computing.
    """
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for stream, number in ((sys.__stdout__, 1), (sys.__stderr__, 2)):
            stack.enter_context(_silent(stream, number))
        yield


@contextmanager
def _silent(stream: io.TextIOBase | None, number: int) -> Iterator[None]:
    """What goes to a file descriptor goes nowhere."""
    if stream is None:  # a process without a console
        yield
        return
    stream.flush()
    kept = os.dup(number)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, number)
        yield
    finally:
        stream.flush()
        os.dup2(kept, number)
        os.close(kept)
        os.close(nowhere)
