"""Where caches of a data set are kept, and how much room there is."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from yolopose.files import cache_dir, write_text


def cache_folder(root: Path, base: str | Path | None = None) -> Path:
    """Where caches of the data set in `root` are kept: a folder of its own below `base`, or the user's cache folder.

    Data sets themselves are never written to. Raises PoseError when there is no base and no home.
    """
    place = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    name = re.sub(r"[^\w.-]", "_", root.name, flags=re.ASCII).lstrip(".")[:40]
    return (cache_dir() / "datasets" if base is None else Path(base)) / f"{name}-{place}"


def tell_owner(folder: Path, root: Path) -> None:
    """Name the data set that a folder of caches belongs to, for whoever wants to clear it."""
    note = folder / "dataset.txt"
    if not note.exists():
        write_text(note, f"{root.resolve()}\n", errors="backslashreplace")
