"""Archives of strangers: .zip files unpacked below one folder, their sizes and counts bounded."""

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
    """The archive is damaged, too large, or reaches outside its folder; another download may be better."""


def unpack(archive: Path, folder: Path, own_folder: str = "") -> None:
    """Unpack a .zip file; a single top folder called `own_folder` is left out.

    Nothing is written before every entry's name and size has been looked at.

    Raises:
        BadArchive: not a .zip file, damaged, larger than `limits` allows, or holding absolute paths, `..`, links or
            names that are not possible here.
        OSError: the disk is full, or may not be written.
    """
    try:
        with _Bounded(io.FileIO(archive)) as file, zipfile.ZipFile(file) as packed:
            listed = [(entry, _parts(entry)) for entry in packed.infolist() if not entry.is_dir()]
            entries = [(entry, parts) for entry, parts in listed if _is_data(parts)]
            _check_sizes([entry for entry, _ in entries], archive.stat().st_size, folder)
            _tell([entry.filename for entry, parts in listed if not _is_data(parts) and parts[0] != "__MACOSX"])
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
    """The folders and file of a path that strangers wrote, once it is sure that it stays below where it is put.

    That holds on every system: a colon, a backslash or a device's name means something on some. An empty path or `.`
    has no parts. Raises BadArchive for any other path.
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
        raise BadArchive(f"{shown(entry.filename)} is packed in another way than by deflate")
    return parts


def _is_data(parts: tuple[str, ...]) -> bool:
    """Whether this is an image, a label or a text about them; nothing else is unpacked.

    A data set that could bring a `.py` file into a folder where Python looks for modules would run code.
    """
    hidden = any(part.startswith(".") for part in parts) or parts[0] == "__MACOSX"
    about = PurePosixPath(parts[-1]).stem.upper() in _ABOUT and "." not in parts[-1]
    return not hidden and (about or suffix_of(parts[-1]) in _DATA | IMAGE_SUFFIXES)


def _tell(names: list[str]) -> None:
    if names:
        log.info(f"left out of the data set: {len(names)} files of other kinds, such as {shown(names[0])}")


def _check_sizes(entries: Sequence[zipfile.ZipInfo], size: int, folder: Path) -> None:
    """Refuse too many entries, and contents that are far larger than an archive of `size` bytes can honestly hold.

    No entry can become larger than it declares: `zipfile` stops there.
    """
    if not entries:
        raise BadArchive("the archive holds no images, labels or texts")
    if len(entries) > MAX_ENTRIES:
        raise BadArchive(f"the archive holds {len(entries)} files, more than {MAX_ENTRIES}")
    total = sum(entry.file_size for entry in entries)
    if total > min(max(size * MAX_EXPANSION, MAX_UNPACKED_FREELY), MAX_UNPACKED):
        raise BadArchive(f"the archive of {size / 1e6:.3g} MB would become {total / 1e9:.3g} GB, which is not honest")
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if total > (free := shutil.disk_usage(there).free):
        raise PoseError(f"{there}: {total / 1e9:.3g} GB are to be unpacked, but {free / 1e9:.3g} GB are left")


class _Bounded(io.BufferedReader):
    """An archive whose index, which `zipfile` reads in one piece, is not larger than is taken."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_ARCHIVE_INDEX:
            raise zipfile.BadZipFile("its index is too large")
        return super().read(size)
