"""Working images kept in memory or on disk, once for all worker processes."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolopose.console import log
from yolopose.data.folders import cache_folders, free_memory
from yolopose.data.labels import Item, Scan
from yolopose.data.reading import Image, read_working, working_size
from yolopose.data.shared import SharedBytes
from yolopose.errors import PoseError

SHARE = 0.5  # of the free memory or disk that a cache may take
RECENT = 128  # decoded images that a process keeps at hand: two blocks of the epoch's order
VERSION = 1  # raise when working images or the layout of the file change
FILLED = 1 << 32  # set in an image's mark beside its checksum: a mark of 0 is an empty place


class ImageCache:
    """The first images of a data set that fit into `budget` bytes, filled by whoever decodes one first.

    The memory holds a key (32 bytes), a mark for every image (uint64: 0, or FILLED and the CRC-32 of its pixels)
    and the pixels. An image is written before its mark, and two processes that fill the same place write the same
    bytes, so there are no locks. A process checks an image's CRC when it first reads it.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], budget: int, key: bytes, file: Path | None = None) -> None:
        ends = np.cumsum([0, *(h * w * 3 for h, w in shapes)])
        totals = 32 + 8 * np.arange(len(ends)) + ends  # with 0, 1, 2, … images
        self.count = int(np.searchsorted(totals[1:], budget, side="right"))
        self.shapes = list(shapes[: self.count])
        self.starts = ends[: self.count + 1] + 32 + 8 * self.count
        size = int(totals[self.count])
        if file is not None and not _made_for(file, key):
            _create(file, size, key)
        self.memory = SharedBytes(size, file)
        self.checked = np.zeros(self.count, bool)

    @property
    def bytes(self) -> int:
        """Size when all places are filled."""
        return self.memory.size

    @property
    def marks(self) -> NDArray[np.uint64]:
        """(count,) view of the marks."""
        return self.memory.array[32 : 32 + 8 * self.count].view(np.uint64)

    def get(self, index: int) -> Image | None:
        """The image, to be read only, or None while it is not there."""
        if index >= self.count or not (mark := int(self.marks[index])):
            return None
        image = self._place(index)
        if not self.checked[index]:
            if mark != FILLED | zlib.crc32(image.data):
                return None
            self.checked[index] = True
        return image

    def put(self, index: int, image: Image) -> None:
        """Keep an image where there is a place of its size."""
        if index < self.count and image.shape[:2] == self.shapes[index]:
            self._place(index)[:] = image
            self.marks[index] = FILLED | zlib.crc32(np.ascontiguousarray(image).data)

    def _place(self, index: int) -> Image:
        return self.memory.array[self.starts[index] : self.starts[index + 1]].reshape(*self.shapes[index], 3)


class Reader:
    """Working images by index: from the cache, from those decoded lately, or decoded."""

    def __init__(self, items: Sequence[Item], imgsz: int, compat: bool, cache: ImageCache | None = None) -> None:
        self.items, self.imgsz, self.compat, self.cache = items, imgsz, compat, cache
        self.recent: OrderedDict[int, Image] = OrderedDict()

    def __call__(self, index: int) -> Image:
        """(H, W, 3) BGR, to be read only."""
        if self.cache is not None and (kept := self.cache.get(index)) is not None:
            return kept
        if (image := self.recent.get(index)) is not None:
            return image
        item = self.items[index]
        image = read_working(item.path, item.hw, self.imgsz, self.compat)
        if self.cache is not None:
            self.cache.put(index, image)
        self.recent[index] = image
        if len(self.recent) > RECENT:
            self.recent.popitem(last=False)
        return image


def open_cache(kind: str, scan: Scan, items: Sequence[Item], imgsz: int, compat: bool) -> ImageCache:
    """A cache in "ram" or on "disk" for the working images of `items`; says how many of them find room."""
    shapes = [working_size(item.hw, imgsz, compat) for item in items]
    if kind == "disk":
        cache, place = _on_disk(scan, items, shapes, imgsz, compat)
    else:
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # set by torchrun: each of them keeps its own
        cache, place = ImageCache(shapes, int(free_memory() * SHARE) // ranks, b""), "memory"
    fit = "all" if cache.count == len(shapes) else f"{cache.count} of {len(shapes)}"
    log.info(f"{scan.split}: cache={kind}: {fit} images, {cache.bytes / 1e9:.2f} GB of at most half the free {place}")
    return cache


def _on_disk(
    scan: Scan, items: Sequence[Item], shapes: Sequence[tuple[int, int]], imgsz: int, compat: bool
) -> tuple[ImageCache, str]:
    name = f"images-{scan.spec.yaml.stem}-{scan.split}-{imgsz}{'-compat' * compat}.cache"
    key = _key(items, imgsz, compat)
    for folder in cache_folders(scan.spec.path):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / name
            budget = file.stat().st_size if _made_for(file, key) else int(shutil.disk_usage(folder).free * SHARE)
            return ImageCache(shapes, budget, key, file), f"disk, in {folder}"
        except OSError as e:
            error = e
    raise PoseError(f"cache=disk: cannot write {folder / name}: {error.strerror}; use cache=ram or cache=False")


def _key(items: Sequence[Item], imgsz: int, compat: bool) -> bytes:
    """32 bytes that change with any of the image files, the size or the way of reading."""
    digest = hashlib.sha256(repr((VERSION, imgsz, compat)).encode())
    for item in items:
        stat = item.path.stat()
        digest.update(f"{item.path}\0{item.hw}\0{stat.st_mtime_ns}\0{stat.st_size}\n".encode())
    return digest.digest()


def _made_for(file: Path, key: bytes) -> bool:
    """Whether a cache file begins with `key`."""
    if not file.exists():
        return False
    with file.open("rb") as old:
        return old.read(32) == key


def _create(file: Path, size: int, key: bytes) -> None:
    """Put an empty cache file of `size` bytes in the place of an older one."""
    handle, temporary = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(key)
            out.truncate(size)
            if hasattr(os, "posix_fallocate"):  # a disk that fills up later would end the process on a write
                os.posix_fallocate(out.fileno(), 0, size)
        os.replace(temporary, file)
    except OSError:
        os.unlink(temporary)
        raise
