"""Opens a PyTorch file: a zip archive of one pickle and the raw numbers of its tensors, all of it read as data.

Nothing is unpacked to disk and nothing is decompressed (torch stores its entries as they are), so that a file takes at
most a small multiple of its own size in memory.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolopose.checkpoint import unpickle
from yolopose.checkpoint.records import NUMPY_ARRAY, Name, StandIn, Storage, TensorView
from yolopose.errors import PoseError, one_line, shown
from yolopose.limits import (
    MAX_ARCHIVE_READ,
    MAX_CHECKPOINT_DEPTH,
    MAX_CHECKPOINT_NODES,
    MAX_CHECKPOINT_TEXT,
    MAX_PICKLE,
)

DAMAGED = (zipfile.BadZipFile, struct.error, EOFError, NotImplementedError, UnicodeDecodeError, OverflowError)
OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # how files of torch before 1.6 begin


class Archive:
    """`root` is the value of the file's pickle; its tensors are views into the file, read by `tensor` and `plain`."""

    def __init__(self, zipped: zipfile.ZipFile, path: Path, size: int) -> None:
        self.path = path
        self._zip = zipped
        self._folder = _check(zipped, path, size)
        self._storages: dict[str, Tensor] = {}
        self._bytes_left = 4 * size + 4096  # for all tensors together: many may share one storage
        self._nodes_left = MAX_CHECKPOINT_NODES
        self._text_left = max(4 * size, MAX_CHECKPOINT_TEXT)  # characters of all texts together, repeats too
        entry = zipped.getinfo(f"{self._folder}/data.pkl")
        if entry.file_size > MAX_PICKLE:
            raise PoseError(f"{path}: refused: its pickle has {entry.file_size} bytes")
        self.root: Any = unpickle.read_pickle(bytes(self._read(entry)), str(path))

    def tensor(self, view: TensorView) -> Tensor:
        """A copy of the numbers that `view` describes, in their own type and order."""
        storage = self._storage(view.storage)
        self._bytes_left -= math.prod(view.shape) * storage.element_size()
        if self._bytes_left < 0:
            raise PoseError(f"{self.path}: refused: its tensors take more room than the file has")
        return storage.as_strided(view.shape, view.stride, view.offset).clone(memory_format=torch.contiguous_format)

    def plain(self, value: Any, depth: int = 0) -> Any:
        """`value` as dicts, lists, tuples, numbers, text and tensors; of another object, the name of its class."""
        self._nodes_left -= 1
        if depth > MAX_CHECKPOINT_DEPTH or self._nodes_left < 0 or self._text_left < 0:
            raise PoseError(f"{self.path}: refused: its data are nested without end")
        if isinstance(value, dict):
            return {key: self.plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | set | tuple):
            items = [self.plain(item, depth + 1) for item in value]
            return tuple(items) if isinstance(value, tuple) else items
        if isinstance(value, TensorView):
            return self.tensor(value)
        if isinstance(value, StandIn) and value.kind == NUMPY_ARRAY:
            return self.plain(value.state.get("values"), depth + 1)
        if isinstance(value, StandIn) and value.kind.name.endswith("Namespace"):  # settings kept as attributes
            return self.plain(value.state, depth + 1)
        if isinstance(value, str | bytes):
            self._text_left -= len(value)
        value = value.kind if isinstance(value, StandIn) else value
        return str(value) if isinstance(value, Name | Storage) else value

    def _storage(self, storage: Storage) -> Tensor:
        if storage.key not in self._storages:
            dtype = getattr(torch, storage.dtype)
            try:
                entry = self._zip.getinfo(f"{self._folder}/data/{storage.key}")
            except KeyError:
                raise PoseError(f"{self.path}: damaged: tensor data {shown(storage.key)} is missing") from None
            if entry.file_size != storage.numel * dtype.itemsize:
                raise PoseError(
                    f"{self.path}: damaged: tensor data {shown(storage.key)} has {entry.file_size} bytes, "
                    f"{storage.numel} numbers of {storage.dtype} need {storage.numel * dtype.itemsize}"
                )
            data = self._read(entry)
            self._storages[storage.key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        found = self._storages[storage.key]
        if found.dtype != getattr(torch, storage.dtype) or found.numel() != storage.numel:
            raise PoseError(f"{self.path}: damaged: tensor data {shown(storage.key)} has two types or sizes")
        return found

    def _read(self, entry: zipfile.ZipInfo) -> bytearray:
        data = bytearray()
        with self._zip.open(entry) as stream:
            while chunk := stream.read(MAX_ARCHIVE_READ // 4):
                data += chunk
        return data


class _BoundedReads(io.FileIO):
    """A file that refuses to read very much at once, as zipfile does for a directory of a million entries."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_ARCHIVE_READ:
            raise zipfile.BadZipFile(f"{size} bytes of directory")
        return super().read(size) or b""


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """The archive at `path`, open for reading its tensors.

    Raises:
        PoseError: no such file, no PyTorch file, a damaged one, or one that asks for more than data.
    """
    try:
        if path.is_fifo() or path.is_char_device():
            raise PoseError(f"{path}: a pipe or device, not a file")
        with _BoundedReads(path) as file:
            _check_start(file.read(512), path)
            with zipfile.ZipFile(file) as zipped:
                yield Archive(zipped, path, path.stat().st_size)
    except FileNotFoundError:
        raise PoseError(f"{path}: no such file") from None
    except DAMAGED as error:
        raise PoseError(f"{path}: damaged or cut off ({one_line(error)})") from None
    except OSError as error:
        raise PoseError(f"{path}: cannot be read ({error.strerror or error})") from None


def _check_start(start: bytes, path: Path) -> None:
    """Raise PoseError with the kind of the file when it is no zip archive."""
    if start[:2] == b"PK":
        return
    if start.startswith(OLD_TORCH) or start[257:262] == b"ustar":
        raise PoseError(
            f"{path}: written in the format of torch before 1.6; load it and torch.save it again with torch ≥ 1.6"
        )
    if start.startswith(b"version https://git-lfs"):
        raise PoseError(f"{path}: a Git LFS pointer, not the model itself; run `git lfs pull`")
    what = "an empty file" if not start else f"begins with {shown(start[:16])}"
    raise PoseError(f"{path}: not a PyTorch checkpoint ({what})")


def _check_entries(entries: list[zipfile.ZipInfo], path: Path, size: int) -> set[str]:
    """The names of the entries, after a check that no entry is compressed, repeated, misplaced or too large."""
    names = {entry.filename for entry in entries}
    if len(names) != len(entries):
        raise PoseError(f"{path}: refused: an entry of the archive is there twice")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise PoseError(f"{path}: refused: entry {shown(entry.filename)} is compressed or encrypted")
        parts = entry.filename.split("/")
        if "\\" in entry.filename or ":" in entry.filename or not {"", ".", ".."}.isdisjoint(parts):
            raise PoseError(f"{path}: refused: entry {shown(entry.filename)} points outside the archive")
    if sum(entry.file_size for entry in entries) > size:
        raise PoseError(f"{path}: refused: its entries claim more bytes than the file has")
    return names


def _check(zipped: zipfile.ZipFile, path: Path, size: int) -> str:
    """The archive's only folder, after a check that its entries are what torch writes."""
    names = _check_entries(zipped.infolist(), path, size)
    folders = sorted(name.split("/")[0] for name in names if name.count("/") == 1 and name.endswith("/data.pkl"))
    if len(folders) != 1:
        raise PoseError(f"{path}: a zip archive, but not a PyTorch checkpoint")
    if f"{folders[0]}/constants.pkl" in names:
        raise PoseError(f"{path}: a TorchScript model; name it with the suffix .torchscript")
    byteorder = f"{folders[0]}/byteorder"
    if byteorder in names and zipped.getinfo(byteorder).file_size < 16 and zipped.read(byteorder) != b"little":
        raise PoseError(f"{path}: written on a big-endian machine, which is not supported")
    return folders[0]
