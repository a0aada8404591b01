"""Download published data sets: verify their archives and unpack them, inside one new folder."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from yolopose.console import log
from yolopose.data.archives import BadArchive, safe_parts, unpack
from yolopose.download import Unreachable, download, sum_of
from yolopose.errors import PoseError, one_line, shown
from yolopose.files import cache_dir, write_text
from yolopose.locks import file_lock
from yolopose.web import masked

OFFLINE = "a small data set comes with the package: data=sample-pose.yaml"
_STAGING = ".yolopose-"  # prefix of temporary folders


@dataclass(frozen=True)
class Download:
    """A .zip file to download; it is unpacked in the subfolder `into` of the data set."""

    url: str
    sha256: str | None = None
    into: str = "."

    def __post_init__(self) -> None:
        """Raise PoseError for an invalid sum, or a folder that is hidden or outside the data set."""
        if any(part.startswith(".") for part in safe_parts(self.into, "download: into")):
            raise PoseError(f"download: into {shown(self.into)} is a hidden folder, where programs keep their settings")
        if self.sha256 is not None and not re.fullmatch("[0-9A-Fa-f]{64}", self.sha256):
            raise PoseError("download: sha256 must be 64 hexadecimal digits")


def fetch(root: Path, downloads: Sequence[Download], within: Sequence[Path]) -> None:
    """Download and unpack the archives of a data set; `root` appears only when it is complete.

    Everything is written to a new folder next to `root`; file names do not come from the server. A broken download is
    continued by the next call. Processes that want the same data set wait for the first of them. If no sha256 is known,
    an archive that has changed since its first download is refused.

    Raises:
        PoseError: `root` is in none of the folders `within`, no network, a wrong checksum, or an archive that is
            damaged, too large or would write outside its folder.
    """
    try:
        place, is_link = root.parent.resolve(), root.is_symlink()
    except OSError as e:
        raise PoseError(f"{one_line(root)}: cannot be created ({e.strerror or e})") from None
    if not any(_may_hold(folder.resolve(), place / root.name) for folder in within):
        inside = Path("datasets") / root.name
        raise PoseError(
            f"{one_line(root)} does not exist, and data sets are downloaded only below the YAML's folder and the "
            "working folder, and to no hidden folder. With train, val or doctor, data_dir=datasets downloads it to "
            f"{one_line(inside)}, data_dir={one_line(root.parent)} to {one_line(root)}"
        )
    if is_link:
        raise PoseError(f"{root} is a link to a place that does not exist; remove it to download the data set")
    notes = cache_dir() / "downloads"
    key = hashlib.sha256(os.fsencode(place / root.name)).hexdigest()[:16]
    try:
        notes.mkdir(parents=True, exist_ok=True)
        with file_lock(notes / f"{key}.lock"):
            if not root.exists():  # another process may just have finished
                _fetch(place / root.name, downloads, notes, notes / f"{key}.txt")
                log.info(f"data set unpacked into {one_line(root)}")
    except OSError as e:
        raise PoseError(f"{root}: cannot be created ({e.strerror or e}: {e.filename or ''})") from None


def _may_hold(folder: Path, root: Path) -> bool:
    """Whether `root` is below `folder`, and not in a hidden folder there, where programs keep their settings."""
    return root.is_relative_to(folder) and not any(part.startswith(".") for part in root.relative_to(folder).parts)


def _fetch(root: Path, downloads: Sequence[Download], notes: Path, note: Path) -> None:
    """Download and unpack under the lock; `note` stores the name of the staging folder between calls."""
    missing = [folder for folder in root.parents if not folder.exists()]
    root.parent.mkdir(parents=True, exist_ok=True)
    staging = _staging(root.parent, note)
    contents = staging / "contents"
    try:
        archives = [_archive(source, staging, notes) for source in downloads]
        shutil.rmtree(contents, ignore_errors=True)
        contents.mkdir()
        for source, archive in zip(downloads, archives, strict=True):
            try:
                unpack(archive, contents.joinpath(*safe_parts(source.into)), own_folder=root.name)
            except BadArchive as e:
                archive.unlink()
                raise PoseError(f"{masked(source.url)}: {e}; it was not kept") from None
        contents.rename(root)
        for archive in archives:
            archive.unlink(missing_ok=True)
    finally:
        shutil.rmtree(contents, ignore_errors=True)
        with suppress(OSError):  # a folder with a broken download is kept for the next call
            staging.rmdir()
            note.unlink()
            for folder in missing:  # created here, and empty if the download failed
                folder.rmdir()


def _staging(parent: Path, note: Path) -> Path:
    """The staging folder that an earlier call left in `parent`, or a new one."""
    with suppress(OSError, ValueError):
        name = note.read_text(encoding="utf-8")
        earlier = parent / name
        if re.fullmatch(re.escape(_STAGING) + r"\w+", name) and earlier.is_dir() and not earlier.is_symlink():
            return earlier
    made = Path(tempfile.mkdtemp(prefix=_STAGING, dir=parent))
    write_text(note, made.name)
    return made


def _archive(source: Download, staging: Path, notes: Path) -> Path:
    """Download an archive; its file name is a hash of the address."""
    name = hashlib.sha256(source.url.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    archive = staging / f"{name}.zip"
    try:
        download(source.url, archive, sha256=source.sha256, first_sum=notes / f"{name}.sha256")
    except Unreachable as e:
        raise PoseError(f"{e}; {OFFLINE}") from None
    if source.sha256 is None:
        log.info(f"{masked(source.url)}: sha256 {sum_of(archive)}")
    return archive
