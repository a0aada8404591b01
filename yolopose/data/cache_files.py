"""What label and image caches share: their folder, and the state of the files that they were made from."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from yolopose.files import cache_dir, write_text


def cache_folder(root: Path, base: str | Path | None = None) -> Path:
    """The folder for caches of the data set in `root`: a subfolder of `base`, or of the user's cache folder.

    Nothing is ever written to the data set itself. Raises PoseError when there is no base and no home.
    """
    place = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    name = re.sub(r"[^\w.-]", "_", root.name, flags=re.ASCII).lstrip(".")[:40]
    return (cache_dir() / "datasets" if base is None else Path(base)) / f"{name}-{place}"


def write_owner(folder: Path, root: Path) -> None:
    """Note in `dataset.txt` which data set the caches in `folder` belong to, for users who want to delete them."""
    note = folder / "dataset.txt"
    if not note.exists():
        write_text(note, f"{root.resolve()}\n", errors="backslashreplace")


def file_stats(*files: Path) -> tuple[int, ...]:
    """Modification time and change time (ns) and size (bytes) of each file, three zeros for a missing one.

    The change time also moves when a file is replaced by one of the same size and date, or becomes readable.
    """
    stats: list[int] = []
    for file in files:
        try:
            found = file.stat()
            stats += (found.st_mtime_ns, found.st_ctime_ns, found.st_size)
        except OSError:
            stats += (0, 0, 0)
    return tuple(stats)
