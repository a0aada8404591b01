"""State that a whole process shares, changed for a while: one thread at a time, and all of it given back.

Output streams, warning filters, loaded modules and environment variables belong to the process. Two threads that change
and restore them at once would restore each other's changes, so everything here waits for one lock.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType

from yolopose.files import cache_dir

_lock = threading.RLock()
_depth = 0  # of blocks of `quiet` within each other, all of the thread that holds the lock


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is printed within the block, by Python or by libraries in C, and nothing warned of; errors still raise.

    Packages first imported within it find no module for sending statistics, and Keras writes its settings file into
    our cache folder instead of the home folder. For the whole process while it lasts: for exports and for the first
    import of a runtime, not for computing. Blocks of several threads follow one another.
    """
    global _depth
    with _lock, ExitStack() as stack:
        if not _depth:
            stack.enter_context(redirect_stdout(io.StringIO()))
            stack.enter_context(redirect_stderr(io.StringIO()))
            stack.enter_context(unwarned())
            stack.enter_context(planted({"openvino_telemetry": None}))
            stack.enter_context(_keras_home())
            for stream, number in ((sys.__stdout__, 1), (sys.__stderr__, 2)):
                stack.enter_context(_silent(stream, number))
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1


@contextmanager
def unwarned() -> Iterator[None]:
    """No warnings of Python's within the block."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def planted(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Modules found under these names within the block; None is the import system's mark of one that is not there."""
    with _lock:
        before = {name: sys.modules[name] for name in modules if name in sys.modules}
        sys.modules.update(modules)  # type: ignore[arg-type]
        try:
            yield
        finally:
            for name in modules:
                sys.modules.pop(name, None)
            sys.modules.update(before)


@contextmanager
def _keras_home() -> Iterator[None]:
    """Keras, when it is first imported within the block, reads the user's settings, but writes none of its own."""
    theirs = Path("~/.keras/keras.json").expanduser()
    if "KERAS_HOME" in os.environ or theirs.is_file():
        yield
        return
    os.environ["KERAS_HOME"] = str(cache_dir() / "keras")
    try:
        yield
    finally:
        del os.environ["KERAS_HOME"]


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
