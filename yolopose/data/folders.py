"""Where caches of a data set are kept, and how much room there is."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from yolopose.download import cache_dir
from yolopose.files import write_text


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


def free_memory() -> int:
    """Bytes of memory that can be used without swapping, within the limit of the container; 0 when nobody tells."""
    limits = []
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        limits.append(int(fields["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        try:
            limits.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (AttributeError, ValueError, OSError):
            return 0
    try:
        group = Path("/sys/fs/cgroup")
        limits.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no such group, or no limit: "max"
        pass
    return max(min(limits), 0)


def local_ranks(default: int = 1) -> int:
    """Training processes on this machine, which share its memory and processors: as torchrun says, or the default."""
    ranks = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(int(ranks), 1) if ranks.isascii() and ranks.isdecimal() else default
