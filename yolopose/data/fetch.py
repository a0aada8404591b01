"""Published data sets: download their archives, check them, unpack them safely."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from yolopose.console import log
from yolopose.download import Unreachable, download, sum_of
from yolopose.errors import PoseError

OFFLINE = "a small data set comes with the package: data=sample-pose.yaml"


@dataclass(frozen=True)
class Download:
    """A .zip file on the net; `into` is the folder below the data set's own that it is unpacked in."""

    url: str
    sha256: str | None = None
    into: str = "."


def fetch(root: Path, downloads: Sequence[Download]) -> None:
    """Download and unpack the archives of a data set, so that `root` appears only when it is complete.

    The archives are kept beside `root` until then, and a broken download is resumed by the next call.

    Raises:
        PoseError: no network, a wrong checksum, or an archive that is damaged or reaches outside its folder.
    """
    staging = root.with_name(root.name + ".partial")
    archives = []
    for source in downloads:
        archive = root.parent / (PurePosixPath(unquote(urlsplit(source.url).path)).name or "data.zip")
        try:
            download(source.url, archive, sha256=source.sha256)
        except Unreachable as e:
            raise PoseError(f"{e}; {OFFLINE}") from None
        if source.sha256 is None:
            log.info(f"{archive.name}: sha256 {sum_of(archive)}")
        archives.append(archive)
    shutil.rmtree(staging, ignore_errors=True)
    for source, archive in zip(downloads, archives, strict=True):
        unpack(archive, staging / source.into, own_folder=root.name)
    staging.rename(root)
    for archive in archives:
        archive.unlink()
    log.info(f"data set unpacked into {root}")


def unpack(archive: Path, folder: Path, own_folder: str = "") -> None:
    """Unpack a .zip file; a single top folder called `own_folder` is left out.

    Raises:
        PoseError: not a .zip file, damaged, or holding absolute paths, `..` or links.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            entries = [(entry, _parts(archive, entry)) for entry in packed.infolist() if not entry.is_dir()]
            entries = [(entry, parts) for entry, parts in entries if parts[0] != "__MACOSX"]
            drop = int(all(parts[0] == own_folder and len(parts) > 1 for _, parts in entries))
            for entry, parts in entries:
                target = folder.joinpath(*parts[drop:])
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(entry) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as e:
        raise PoseError(f"{archive}: not a usable .zip file ({e}); delete it to download it again") from None


def _parts(archive: Path, entry: zipfile.ZipInfo) -> tuple[str, ...]:
    """The folders and name of an archived file, once it is sure that they stay below where it is unpacked."""
    name = entry.filename.replace("\\", "/")
    parts = PurePosixPath(name).parts
    link = stat.S_ISLNK(entry.external_attr >> 16)
    if link or not parts or name.startswith("/") or ".." in parts or os.path.splitdrive(name)[0] or ":" in parts[0]:
        raise PoseError(f"{archive}: refused, {entry.filename!r} would be written outside the data set's folder")
    return parts
