"""Writing files so that a reader, or a kill in between, never meets half of one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A name to write to, beside `path` and of its suffix; the file takes the name `path` when the block ends well.

    Missing folders are made. When the block fails, what was written goes and an older file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}-{threading.get_ident()}{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str, errors: str = "strict") -> None:
    """Write UTF-8 text by `beside`."""
    with beside(path) as part:
        part.write_text(text, encoding="utf-8", errors=errors)
