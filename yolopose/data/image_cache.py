"""Working images kept in memory or on disk, once for all worker processes."""

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
from yolopose.data.image_loading import Image, read_working, working_size
from yolopose.data.labels import ImageItem, Scan
from yolopose.data.shared_memory import SharedBytes
from yolopose.errors import PoseError
from yolopose.files import atomic_path, open_regular, remove_leftovers
from yolopose.locks import file_lock
from yolopose.resources import free_memory, local_ranks
from yolopose.rules import Rules

SHARE = 0.5  # of the free memory or disk that a cache may take
HEADER = 40  # bytes: a key of 32, and the number of images
RECENT = 128  # decoded images that a process keeps at hand: two blocks of the epoch's order
VERSION = 2  # raise when working images or the layout of the file change
FILLED = 1 << 32  # set in an image's mark beside its checksum: a mark of 0 is an empty place


class ImageCache:
    """The first images of a data set that fit into `budget` bytes, filled by whoever decodes one first.

    The memory holds a key (32 bytes), the number of images (uint64), a mark for every image (uint64: 0, or FILLED and
    the CRC-32 of its pixels) and the pixels. A file that is there already for the same key is used as it is, whatever
    the budget. An image is written before its mark, and two processes that fill the same place write the same bytes,
    so there are no locks. A process checks an image's CRC when it first reads it.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], budget: int, key: bytes, file: Path | None = None) -> None:
        ends = np.cumsum([0, *(h * w * 3 for h, w in shapes)])
        totals = HEADER + 8 * np.arange(len(ends)) + ends  # with 0, 1, 2, … images
        self.count = int(np.searchsorted(totals[1:], budget, side="right"))
        self.key = key
        if file is None:
            self.memory = SharedBytes(int(totals[self.count]))
        else:
            with file_lock(file.with_name(f".{file.name}.lock")):
                kept = _kept(file, key, totals)
                if kept is None:
                    _create(file, int(totals[self.count]), self._header())
                else:
                    self.count = kept
                self.memory = SharedBytes(int(totals[self.count]), file)
            if not self._is_mine():  # where locks do not work
                raise OSError(errno.EBUSY, "another process is making it, run again")
        self.shapes = list(shapes[: self.count])
        self.starts = ends[: self.count + 1] + HEADER + 8 * self.count
        self.checked = np.zeros(self.count, bool)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a process that maps the memory anew: a file replaced meanwhile holds nothing for us."""
        self.__dict__.update(state)
        if self.key and not self._is_mine():
            self.count = 0

    def _header(self) -> bytes:
        return self.key + self.count.to_bytes(8, sys.byteorder)

    def _is_mine(self) -> bool:
        return self.memory.array[:HEADER].tobytes() == self._header()

    @property
    def bytes(self) -> int:
        """Size when all places are filled."""
        return self.memory.size

    @property
    def marks(self) -> NDArray[np.uint64]:
        """(count,) view of the marks."""
        return self.memory.array[HEADER : HEADER + 8 * self.count].view(np.uint64)

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
    """Working images by index: from the cache, from those decoded lately, or decoded.

    Of those decoded lately at most RECENT are kept, and at most `room` bytes; None is no bound.
    """

    def __init__(self, items: Sequence[ImageItem], imgsz: int, rules: Rules, cache: ImageCache | None = None) -> None:
        self.items, self.imgsz, self.rules, self.cache = items, imgsz, rules, cache
        self.recent: OrderedDict[int, Image] = OrderedDict()
        self.room: int | None = None
        self._taken = 0

    def __call__(self, index: int) -> Image:
        """(H, W, 3) BGR, to be read only."""
        if self.cache is not None and (kept := self.cache.get(index)) is not None:
            return kept
        if (image := self.recent.get(index)) is not None:
            return image
        item = self.items[index]
        image = read_working(item.path, item.hw, self.imgsz, self.rules)
        if self.cache is not None:
            self.cache.put(index, image)
        self.recent[index] = image
        self._taken += image.nbytes
        while len(self.recent) > RECENT or (self.room is not None and self._taken > self.room and len(self.recent) > 1):
            self._taken -= self.recent.popitem(last=False)[1].nbytes
        return image


def open_cache(
    kind: str, scan: Scan, items: Sequence[ImageItem], imgsz: int, rules: Rules, cache_dir: str | None = None
) -> ImageCache:
    """A cache in "ram" or on "disk" for the working images of `items`; says how many of them find room.

    On disk it lies in `cache_dir`, or in the user's cache folder.
    """
    shapes = [working_size(item.hw, imgsz, rules) for item in items]
    if kind == "disk":
        cache, place = _on_disk(scan, items, shapes, imgsz, rules, cache_dir)
    else:
        cache, place = ImageCache(shapes, int(free_memory() * SHARE) // local_ranks(), b""), "memory"
    fit = "all" if cache.count == len(shapes) else f"{cache.count} of {len(shapes)}"
    log.info(f"{scan.split}: cache={kind}: {fit} images, {cache.bytes / 1e9:.2f} GB of at most half the free {place}")
    return cache


def _on_disk(
    scan: Scan,
    items: Sequence[ImageItem],
    shapes: Sequence[tuple[int, int]],
    imgsz: int,
    rules: Rules,
    base: str | None,
) -> tuple[ImageCache, str]:
    folder = cache_folder(scan.spec.path, base)
    file = folder / f"images-{scan.spec.yaml.stem}-{scan.split}-{imgsz}{'-exact' * rules.exact_side}.cache"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_owner(folder, scan.spec.path)
        budget = int(shutil.disk_usage(folder).free * SHARE)
        return ImageCache(shapes, budget, _key(items, imgsz, rules), file), f"disk, in {folder}"
    except OSError as e:
        raise PoseError(
            f"cache=disk: cannot write {file}: {e.strerror or e}; use cache_dir=FOLDER, cache=ram or cache=False"
        ) from None


def _key(items: Sequence[ImageItem], imgsz: int, rules: Rules) -> bytes:
    """32 bytes that change with any of the image files, the size or the way of reading."""
    digest = hashlib.sha256(repr((VERSION, imgsz, rules.exact_side)).encode())
    for item in items:
        line = "\0".join(map(str, (item.path, item.hw, *file_stats(item.path)))) + "\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.digest()


def _kept(file: Path, key: bytes, totals: NDArray[np.int64]) -> int | None:
    """The number of images of a cache file made for `key`, or None when there is none, or not a whole one."""
    try:
        with open_regular(file) as old:
            header = old.read(HEADER)
            size = os.fstat(old.fileno()).st_size
    except OSError:
        return None
    count = int.from_bytes(header[32:], sys.byteorder)
    whole = len(header) == HEADER and header[:32] == key and count < len(totals) and size == totals[count]
    return count if whole else None


def _create(file: Path, size: int, header: bytes) -> None:
    """Put an empty cache file of `size` bytes in the place of an older one."""
    remove_leftovers(file)
    with atomic_path(file) as part:
        part.touch(0o600)
        with part.open("wb") as out:
            out.write(header)
            out.truncate(size)
            if hasattr(os, "posix_fallocate"):  # a disk that fills up later would end the process on a write
                os.posix_fallocate(out.fileno(), 0, size)
