"""Bytes shared between processes: the RAM cache, and the slots in which workers deliver images.

Not `multiprocessing.shared_memory` and not torch's shared tensors: both use /dev/shm, which is small in containers.
"""

from __future__ import annotations

import mmap
import os
import secrets
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class SharedBytes:
    """`array` (n,) uint8, zeros at first; pickled or forked copies in other processes share its memory.

    On Linux it is anonymous memory, on Windows named memory, elsewhere a temporary file; all are freed when the
    process that created them ends. With a `file`, the bytes are those of this existing file, which stays.
    """

    def __init__(self, size: int, file: Path | None = None) -> None:
        self.size = size
        self._is_file = True
        if file is not None:
            self._path = str(file)
        elif hasattr(os, "memfd_create"):
            handle = os.memfd_create("yolopose")
            os.truncate(handle, size)
            self._path = f"/proc/{os.getpid()}/fd/{handle}"
            weakref.finalize(self, os.close, handle)
        elif sys.platform == "win32":  # a temporary file could not be deleted while it is mapped
            self._path, self._is_file = f"yolopose-{os.getpid()}-{secrets.token_hex(8)}", False
        else:
            handle, self._path = tempfile.mkstemp(prefix="yolopose")
            os.truncate(handle, size)
            os.close(handle)
            weakref.finalize(self, Path(self._path).unlink, missing_ok=True)
        self.array = self._map()

    def _map(self) -> NDArray[np.uint8]:
        if sys.platform == "win32" and not self._is_file:
            return np.frombuffer(mmap.mmap(-1, self.size, tagname=self._path), np.uint8)
        return np.asarray(np.memmap(self._path, np.uint8, "r+", shape=(self.size,)))

    def __getstate__(self) -> dict[str, Any]:
        return {"size": self.size, "_path": self._path, "_is_file": self._is_file}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.array = self._map()
