"""Unpack untrusted .zip files below one folder, with limits on sizes and counts."""

from __future__ import annotations

import errno
import io
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from yolopose.console import log
from yolopose.errors import PoseError, one_line, shown
from yolopose.limits import (
    MAX_ARCHIVE_INDEX,
    MAX_ENTRIES,
    MAX_EXPANSION,
    MAX_PATH_PARTS,
    MAX_UNPACKED,
    MAX_UNPACKED_FREELY,
)
from yolopose.sources.files import IMAGE_SUFFIXES, suffix_of

_DATA = frozenset({"txt", "json", "yaml", "yml", "csv", "tsv", "xml", "md", "mat", "pdf"})
_ABOUT = frozenset({"LICENSE", "LICENCE", "README", "COPYING", "NOTICE"})  # names that need no suffix
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError,
           LookupError, OverflowError, struct.error, MemoryError)  # fmt: skip
_CLASH = "a name is both a file and a folder"
_FAULTS = {errno.EINVAL: "it points outside itself", errno.ENAMETOOLONG: "a name is too long", errno.EEXIST: _CLASH,
           errno.ENOTDIR: _CLASH, errno.EISDIR: _CLASH}  # fmt: skip


class BadArchive(PoseError):
    """The archive is damaged, too large, or would write outside its folder; a new download may help."""


def unpack(archive: Path, folder: Path, own_folder: str = "") -> None:
    """Unpack a .zip file; a single top folder called `own_folder` is left out.

    All names and sizes are checked before anything is written.

    Raises:
        BadArchive: not a .zip file, damaged, larger than `limits` allows, or with absolute paths, `..`, links or
            invalid names.
        OSError: the disk is full or read-only.
    """
    try:
        with _Bounded(io.FileIO(archive)) as file, zipfile.ZipFile(file) as packed:
            listed = [(entry, _parts(entry)) for entry in packed.infolist() if not entry.is_dir()]
            entries = [(entry, parts) for entry, parts in listed if _is_data(parts)]
            _check_sizes([entry for entry, _ in entries], archive.stat().st_size, folder)
            others = [entry.filename for entry, parts in listed if not _is_data(parts) and parts[0] != "__MACOSX"]
            if others:
                log.info(f"left out of the data set: {len(others)} files of other kinds, such as {shown(others[0])}")
            drop = int(all(parts[0] == own_folder and len(parts) > 1 for _, parts in entries))
            for entry, parts in entries:
                target = folder.joinpath(*parts[drop:])
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(entry) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
    except OSError as e:
        if e.errno not in _FAULTS:
            raise
        raise BadArchive(f"not a usable .zip file ({_FAULTS[e.errno]})") from None
    except _DAMAGE as e:
        raise BadArchive(f"not a usable .zip file ({one_line(e, 200) or type(e).__name__})") from None


def safe_parts(name: str, what: str = "name") -> tuple[str, ...]:
    """The folders and file name of an untrusted path, after checking that it stays below its target folder.

    This holds on every system: a colon, a backslash or a device name has a meaning on some. An empty path or `.` has
    no parts. Raises BadArchive for an unsafe path.
    """
    path = name.replace("\\", "/")
    parts = PurePosixPath(path).parts
    windows = PureWindowsPath(name)
    outside = path.startswith("/") or windows.drive or windows.root or ":" in name
    if outside or any(not part.rstrip(" .") for part in parts):  # Windows takes ".. " for ".."
        raise BadArchive(f"{what} {shown(name)} would be written outside the data set's folder")
    if not name.isprintable() or len(parts) > MAX_PATH_PARTS:
        raise BadArchive(f"{what} {shown(name)} is no name of a file")
    return parts


def _parts(entry: zipfile.ZipInfo) -> tuple[str, ...]:
    parts = safe_parts(entry.filename, "refused:")
    if stat.S_ISLNK(entry.external_attr >> 16) or not parts:
        raise BadArchive(f"refused: {shown(entry.filename)} is a link or has no name")
    if entry.compress_type not in _METHODS:
        raise BadArchive(f"{shown(entry.filename)} uses another compression than deflate")
    return parts


def _is_data(parts: tuple[str, ...]) -> bool:
    """Whether this is an image, a label or a text about them; nothing else is unpacked.

    A `.py` file in a folder where Python searches for modules would run as code.
    """
    hidden = any(part.startswith(".") for part in parts) or parts[0] == "__MACOSX"
    about = PurePosixPath(parts[-1]).stem.upper() in _ABOUT and "." not in parts[-1]
    return not hidden and (about or suffix_of(parts[-1]) in _DATA | IMAGE_SUFFIXES)


def _check_sizes(entries: Sequence[zipfile.ZipInfo], size: int, folder: Path) -> None:
    """Raise BadArchive for too many entries, or contents far larger than an archive of `size` bytes can hold.

    No entry can become larger than it declares: `zipfile` stops there.
    """
    if not entries:
        raise BadArchive("the archive holds no images, labels or texts")
    if len(entries) > MAX_ENTRIES:
        raise BadArchive(f"the archive holds {len(entries)} files, more than {MAX_ENTRIES}")
    total = sum(entry.file_size for entry in entries)
    if total > min(max(size * MAX_EXPANSION, MAX_UNPACKED_FREELY), MAX_UNPACKED):
        raise BadArchive(f"the archive of {size / 1e6:.3g} MB would become {total / 1e9:.3g} GB: not plausible")
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if total > (free := shutil.disk_usage(there).free):
        raise PoseError(f"{there}: {total / 1e9:.3g} GB are to be unpacked, but {free / 1e9:.3g} GB are left")


class _Bounded(io.BufferedReader):
    """An archive file that limits the size of the index, which `zipfile` reads at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_ARCHIVE_INDEX:
            raise zipfile.BadZipFile("its index is too large")
        return super().read(size)
