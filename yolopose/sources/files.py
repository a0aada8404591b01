"""Paths, folders, glob patterns and lists of them → items, in order."""

from __future__ import annotations

import csv
import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from yolopose.errors import PoseError
from yolopose.sources.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES, suffix_of
from yolopose.sources.urls import is_url, shown

LIST_SUFFIXES = frozenset({"txt", "csv"})
CSV_COLUMNS = ("source", "path", "image", "file")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a source names; `value` is a path, URL, picture, bytes or, for "error", the line that says why."""

    kind: Literal["image", "video", "url", "picture", "bytes", "error"]
    value: Any
    name: str
    count: int = 1  # pictures inside (a batch in memory has several)


def expand(text: str, base: Path | None = None) -> list[Item]:
    """A path, URL, folder, glob pattern, `.txt` or `.csv` list → its items, sorted where the file system gives them.

    `base` is the folder of the list in which `text` was found: a relative path is looked for there first and then in
    the current folder; lists inside lists are refused. Raises PoseError where nothing is found.
    """
    if is_url(text):
        return [Item("url", text, shown(text))]
    path = _resolve(text, base)
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        if suffix_of(path) not in LIST_SUFFIXES:
            return [Item(_file_kind(path), str(path), str(path))]
        if base is not None:
            raise PoseError(f"{path}: a list inside a list; write its lines into the outer one")
        return _listed(path)
    if glob.has_magic(text):
        return _pattern(text, base)
    raise PoseError(f"{text}: no such file or folder; check the path (the current folder is {Path.cwd()})")


def expand_all(texts: list[str], base: Path | None) -> list[Item]:
    """The items of every text; one that leads nowhere becomes an item that says so, and the rest goes on."""
    items: list[Item] = []
    for text in texts:
        try:
            items += expand(text, base)
        except PoseError as error:
            items.append(Item("error", str(error), text))
    return items


def read_lines(path: Path) -> list[str]:
    """The lines of a list file without blank ones and `#` comments."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PoseError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _resolve(text: str, base: Path | None) -> Path:
    path = Path(text).expanduser()
    beside = base / path if base else path  # an absolute path stays as it is
    return beside if beside.exists() else path


def _file_kind(path: Path) -> Literal["image", "video"]:
    """Image or video: by suffix, or by the first bytes of a file whose suffix is unknown."""
    if suffix_of(path) in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        return "video" if suffix_of(path) in VIDEO_SUFFIXES else "image"
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return "image"  # reading it will say why it cannot be read
    mp4 = start[4:8] == b"ftyp" and start[8:11] not in (b"avi", b"hei", b"mif")
    return "video" if mp4 or start[:4] in (b"\x1aE\xdf\xa3", b"OggS") or start[8:] == b"AVI " else "image"


def _folder(path: Path) -> list[Item]:
    """The images and videos directly inside a folder; hidden files are passed over."""
    found = _media(entry for entry in path.iterdir() if not entry.name.startswith("."))
    if not found:
        raise PoseError(f"{path}: no images or videos in this folder; for its subfolders use '{path / '**' / '*'}'")
    return found


def _pattern(text: str, base: Path | None) -> list[Item]:
    expanded = str(Path(text).expanduser())
    places = [str(Path(glob.escape(str(base))) / expanded)] if base else []
    for place in [*places, expanded]:
        if found := _media(Path(match) for match in glob.iglob(place, recursive=True)):
            return found
    raise PoseError(f"{text}: no image or video matches this pattern; '**' stands for any depth of folders")


def _media(paths: Any) -> list[Item]:
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    files = sorted(str(path) for path in paths if suffix_of(path) in known and path.is_file())
    return [Item("video" if suffix_of(file) in VIDEO_SUFFIXES else "image", file, file) for file in files]


def _listed(path: Path) -> list[Item]:
    lines = read_lines(path) if suffix_of(path) == "txt" else _csv_cells(path)
    if not lines:
        raise PoseError(f"{path}: lists nothing; write one source per line")
    return expand_all(lines, path.parent)


def _csv_cells(path: Path) -> list[str]:
    """The cells of the column named source, path, image or file, or of the first column where none is so named."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PoseError(f"{path}: cannot be read as a UTF-8 CSV table ({error})") from None
    heads = [cell.strip().lower() for cell in rows[0]] if rows else []
    named = next((heads.index(name) for name in CSV_COLUMNS if name in heads), None)
    column, body = (0, rows) if named is None else (named, rows[1:])
    cells = [row[column].strip() for row in body if len(row) > column]
    return [cell for cell in cells if cell]
