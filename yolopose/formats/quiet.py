"""Silence converters and runtimes: change output streams, warning filters, modules and environment, then restore them.

All of that belongs to the whole process. Two threads that change and restore it at once would restore each other's
changes, so everything here holds one lock.
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


@contextmanager
def quiet() -> Iterator[None]:
    """Silence stdout, stderr (of Python and of C libraries) and warnings; errors still raise.

    Packages first imported in the block cannot send statistics, and Keras writes its settings file into our cache
    folder instead of the home folder. It affects the whole process and blocks other threads: for exports and for the
    first import of a runtime, not for computing.
    """
    streams = _silent(sys.__stdout__, 1), _silent(sys.__stderr__, 2)
    others = without_warnings(), replaced_modules({"openvino_telemetry": None}), _keras_home()
    with _lock, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), ExitStack() as stack:
        for context in (*others, *streams):
            stack.enter_context(context)
        yield


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore Python's warnings."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def replaced_modules(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Put modules into `sys.modules` for the block; None makes an import fail."""
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
    """Let Keras, if first imported in the block, read the user's settings file but write none to the home folder."""
    if "KERAS_HOME" in os.environ or Path("~/.keras/keras.json").expanduser().is_file():
        yield
        return
    os.environ["KERAS_HOME"] = str(cache_dir() / "keras")
    try:
        yield
    finally:
        del os.environ["KERAS_HOME"]


@contextmanager
def _silent(stream: io.TextIOBase | None, number: int) -> Iterator[None]:
    """Redirect a file descriptor to the null device."""
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
