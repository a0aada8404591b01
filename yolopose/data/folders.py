"""Where caches of a data set are kept, and how much room there is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from yolopose.download import cache_dir

PACKAGE = Path(__file__).resolve().parents[1]


def cache_folders(root: Path) -> list[Path]:
    """Where to look for caches of the data set in `root`, and to put them: the first one that can be written.

    Beside the data set comes first, except for one inside the installed package, which stays as it was installed.
    """
    place = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    elsewhere = cache_dir() / "datasets" / f"{root.name}-{place}"
    return [elsewhere] if root.resolve().is_relative_to(PACKAGE) else [root / ".yolopose", elsewhere]


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
