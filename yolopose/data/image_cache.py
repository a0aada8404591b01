"""Working images (decoded, in the size that training reads) in memory or on disk, shared by all workers."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.console import log
from yolopose.data.cache_files import cache_folder, file_stats, write_owner
from yolopose.data.image_loading import Image, read_reduced, read_working, working_size
from yolopose.data.labels import ImageItem, Scan
from yolopose.data.shared_memory import SharedBytes
from yolopose.errors import PoseError
from yolopose.files import atomic_path, open_regular, remove_leftovers
from yolopose.locks import file_lock
from yolopose.resources import free_memory, local_ranks
from yolopose.rules import Rules

SHARE = 0.5  # of the free memory or disk that a cache may use
HEADER = 40  # bytes: a key of 32, and the number of images
RECENT = 128  # decoded images that a process keeps: two blocks of the epoch's order
VERSION = 2  # raise when working images or the layout of the file change
FILLED = 1 << 32  # set in an image's mark together with its checksum; a mark of 0 is an empty place


class ImageCache:
    """The first images of a data set that fit into `budget` bytes; the first process that decodes an image stores it.

    The memory holds a key (32 bytes), the number of images (uint64), a mark for every image (uint64: 0, or FILLED and
    the CRC-32 of its pixels) and the pixels. An existing file with the same key is used with its number of images. An
    image is written before its mark, and two processes that fill the same place write the same bytes, so no locks are
    needed. A process checks the CRC of an image when it reads it for the first time.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], budget: int, key: bytes, file: Path | None = None) -> None:
        ends = np.cumsum([0, *(h * w * 3 for h, w in shapes)])
        totals = HEADER + 8 * np.arange(len(ends)) + ends  # bytes for 0, 1, 2, … images
        self.count = int(np.searchsorted(totals[1:], budget, side="right"))
        self.key = key
        if file is None:
            self.memory = SharedBytes(int(totals[self.count]))
        else:
            with file_lock(file.with_name(f".{file.name}.lock")):
                stored = _stored_count(file, key, totals)
                if stored is None:
                    _create(file, int(totals[self.count]), self._header())
                else:
                    self.count = stored
                self.memory = SharedBytes(int(totals[self.count]), file)
            if not self._is_valid():  # possible where the file system has no locks
                raise OSError(errno.EBUSY, "another process is creating it, run again")
        self.shapes = list(shapes[: self.count])
        self.starts = ends[: self.count + 1] + HEADER + 8 * self.count
        self.checked = np.zeros(self.count, bool)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a new process, which maps the memory again: a file that was replaced meanwhile is not used."""
        self.__dict__.update(state)
        if self.key and not self._is_valid():
            self.count = 0

    def _header(self) -> bytes:
        return self.key + self.count.to_bytes(8, sys.byteorder)

    def _is_valid(self) -> bool:
        return self.memory.array[:HEADER].tobytes() == self._header()

    @property
    def marks(self) -> NDArray[np.uint64]:
        """(count,) view of the marks."""
        return self.memory.array[HEADER : HEADER + 8 * self.count].view(np.uint64)

    def get(self, index: int) -> Image | None:
        """The image, read-only, or None if it is not stored."""
        if index >= self.count or not (mark := int(self.marks[index])):
            return None
        image = self._pixels(index)
        if not self.checked[index]:
            if mark != FILLED | zlib.crc32(image.data):
                return None
            self.checked[index] = True
        return image

    def put(self, index: int, image: Image) -> None:
        """Store an image if there is a place of its size."""
        if index < self.count and image.shape[:2] == self.shapes[index]:
            self._pixels(index)[:] = image
            self.marks[index] = FILLED | zlib.crc32(np.ascontiguousarray(image).data)

    def _pixels(self, index: int) -> Image:
        return self.memory.array[self.starts[index] : self.starts[index + 1]].reshape(*self.shapes[index], 3)


class Reader:
    """Working images by index: from the cache, from the recently decoded ones, or from their files.

    At most RECENT recently decoded images are kept, and at most `room` bytes of them; None is no limit.
    """

    def __init__(self, items: Sequence[ImageItem], imgsz: int, rules: Rules, cache: ImageCache | None = None) -> None:
        self.items, self.imgsz, self.rules, self.cache = items, imgsz, rules, cache
        self.recent: OrderedDict[int, Image] = OrderedDict()
        self.room: int | None = None
        self._bytes = 0

    def __call__(self, index: int) -> Image:
        """(H, W, 3) BGR, read-only."""
        if self.cache is not None and (stored := self.cache.get(index)) is not None:
            return stored
        if (image := self.recent.get(index)) is not None:
            return image
        item = self.items[index]
        image = read_working(item.path, item.hw, self.imgsz, self.rules)
        if self.cache is not None:
            self.cache.put(index, image)
        self.recent[index] = image
        self._bytes += image.nbytes
        while len(self.recent) > RECENT or (self.room is not None and self._bytes > self.room and len(self.recent) > 1):
            self._bytes -= self.recent.popitem(last=False)[1].nbytes
        return image

    def detailed(self, index: int, side: float) -> Image:
        """Image `index` at a size at which `side` pixels of the file's give at least imgsz, or at the file's own size.

        (H, W, 3) BGR, read-only. The working image where that is large enough; otherwise the file is decoded, and the
        result is not kept, because it may be many times as large.
        """
        item = self.items[index]
        if max(item.hw) <= max(side, self.imgsz):
            return self(index)
        return read_reduced(item.path, item.hw, side / self.imgsz, self.rules)


def open_cache(
    kind: bool | str, scan: Scan, items: Sequence[ImageItem], imgsz: int, rules: Rules, cache_dir: str | None = None
) -> ImageCache:
    """A cache in memory ("ram" or True) or on "disk" for the working images of `items`; logs how many of them fit.

    On disk it is in `cache_dir`, or in the user's cache folder. Raises PoseError if it cannot be written.
    """
    shapes = [working_size(item.hw, imgsz, rules) for item in items]
    if kind == "disk":
        folder = cache_folder(scan.spec.path, cache_dir)
        file = folder / f"images-{scan.spec.yaml.stem}-{scan.split}-{imgsz}{'-exact' * rules.exact_side}.cache"
        place = f"disk, in {folder}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_owner(folder, scan.spec.path)
            budget = int(shutil.disk_usage(folder).free * SHARE)
            cache = ImageCache(shapes, budget, _cache_key(items, imgsz, rules), file)
        except OSError as e:
            raise PoseError(
                f"cache=disk: cannot write {file}: {e.strerror or e}; use cache_dir=FOLDER, cache=ram or cache=False"
            ) from None
    else:
        kind, place = "ram", "memory"
        cache = ImageCache(shapes, int(free_memory() * SHARE) // local_ranks(), b"")
    fit, size = "all" if cache.count == len(shapes) else f"{cache.count} of {len(shapes)}", cache.memory.size
    log.info(f"{scan.split}: cache={kind}: {fit} images, {size / 1e9:.2f} GB of at most half the free {place}")
    return cache


def _cache_key(items: Sequence[ImageItem], imgsz: int, rules: Rules) -> bytes:
    """32 bytes that depend on the state of all image files and on how they are read."""
    digest = hashlib.sha256(repr((VERSION, imgsz, rules.exact_side)).encode())
    for item in items:
        line = "\0".join(map(str, (item.path, item.hw, *file_stats(item.path)))) + "\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.digest()


def _stored_count(file: Path, key: bytes, totals: NDArray[np.int64]) -> int | None:
    """The number of images in an existing cache file with this key, or None if there is no complete one."""
    try:
        with open_regular(file) as old:
            header = old.read(HEADER)
            size = os.fstat(old.fileno()).st_size
    except OSError:
        return None
    count = int.from_bytes(header[32:], sys.byteorder)
    complete = len(header) == HEADER and header[:32] == key and count < len(totals) and size == totals[count]
    return count if complete else None


def _create(file: Path, size: int, header: bytes) -> None:
    """Create an empty cache file of `size` bytes; it replaces an older one."""
    remove_leftovers(file)
    with atomic_path(file) as part:
        part.touch(0o600)
        with part.open("wb") as out:
            out.write(header)
            out.truncate(size)
            if hasattr(os, "posix_fallocate"):  # reserve the blocks: a disk that is full later would end the process
                os.posix_fallocate(out.fileno(), 0, size)
