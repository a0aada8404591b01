"""Paths, folders, glob patterns, lists and addresses → the items that they name, in order."""

from __future__ import annotations

import csv
import glob
import io
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from yolopose.errors import PoseError, one_line
from yolopose.files import open_regular, read_text, walk
from yolopose.limits import MAX_LIST_BYTES
from yolopose.web import masked, open_url

# suffixes in lower case, without the dot
IMAGE_SUFFIXES = frozenset(
    {"bmp", "dng", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp", "pfm", "heic", "avif", "jp2", "pgm", "ppm"}
)
VIDEO_SUFFIXES = frozenset({"asf", "avi", "gif", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ts", "wmv", "webm"})
STREAM_SUFFIXES = frozenset({"m3u8", "mjpeg", "mjpg", "mpd", "sdp"})
LIST_SUFFIXES = frozenset({"txt", "csv"})
CSV_COLUMNS = ("source", "path", "image", "file")
STREAM_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "tcp", "udp", "srt"})
_VIDEO_SITES = ("youtube.com", "youtu.be", "vimeo.com")


def is_image(path: str | PurePath) -> bool:
    """Whether the suffix is that of an image file."""
    return suffix_of(path) in IMAGE_SUFFIXES


def suffix_of(path: str | PurePath) -> str:
    """The suffix in lower case and without its dot."""
    return PurePath(path).suffix[1:].lower()


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a source names; `value` is a path, URL, picture, bytes or, for "error", the message."""

    kind: Literal["image", "video", "url", "picture", "bytes", "error"]
    value: Any
    name: str
    count: int = 1  # pictures inside (a batch in memory has several)
    named: bool = False  # the user named it, alone or in a Python list; it was not found in a folder, pattern or list


def expand(text: str, base: Path | None = None) -> list[Item]:
    """A path, URL, folder, glob pattern, `.txt` or `.csv` list → its items, sorted where the file system gives them.

    `base` is the folder of the list in which `text` was found: a relative path is looked for there first and then in
    the current folder; lists inside lists are refused. Without `base`, `text` counts as named by the user.
    Raises PoseError where nothing is found.
    """
    if is_url(text):
        return [Item("url", text, masked(text), named=base is None)]
    try:
        return _expand_path(text, base)
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise PoseError(f"{one_line(text)}: cannot be read: {error.strerror or error}") from None


def _expand_path(text: str, base: Path | None) -> list[Item]:
    path = _resolve(text, base)
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        if suffix_of(path) not in LIST_SUFFIXES:
            return [Item(_file_kind(path), str(path), str(path), named=base is None)]
        if base is not None:
            raise PoseError(f"{path}: a list inside a list; write its lines into the outer one")
        return _listed(path)
    if glob.has_magic(text):
        return _pattern(text, base)
    if path.exists():
        raise PoseError(f"{one_line(text)}: a pipe or device, not a file; '-' reads images from standard input")
    raise PoseError(f"{one_line(text)}: no such file or folder; check the path (the current folder is {Path.cwd()})")


def read_lines(path: Path) -> list[str]:
    """The lines of a list file without blank ones and `#` comments."""
    lines = [line.strip() for line in read_text(path, MAX_LIST_BYTES).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _resolve(text: str, base: Path | None) -> Path:
    path = Path(os.path.expanduser(text))
    inside = base / path if base else path  # an absolute path stays as it is
    return inside if inside.exists() else path


def _file_kind(path: Path) -> Literal["image", "video"]:
    """Image or video: by suffix, or by the first bytes of a file whose suffix is unknown."""
    if suffix_of(path) in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        return "video" if suffix_of(path) in VIDEO_SUFFIXES else "image"
    try:
        with open_regular(path) as file:
            start = file.read(12)
    except OSError:
        return "image"  # reading it gives the error
    mp4 = start[4:8] == b"ftyp" and start[8:11] not in (b"avi", b"hei", b"mif")
    return "video" if mp4 or start[:4] in (b"\x1aE\xdf\xa3", b"OggS") or start[8:] == b"AVI " else "image"


def _folder(path: Path) -> list[Item]:
    """The images and videos directly inside a folder; hidden files are skipped."""
    found = _media(entry for entry in path.iterdir() if not entry.name.startswith("."))
    if not found:
        raise PoseError(f"{path}: no images or videos in this folder; for its subfolders use '{path / '**' / '*'}'")
    return found


def _pattern(text: str, base: Path | None) -> list[Item]:
    expanded = os.path.expanduser(text)
    places = [str(Path(glob.escape(str(base))) / expanded)] if base else []
    for place in [*places, expanded]:
        if found := _media(map(Path, _matches(place))):
            return found
    raise PoseError(f"{one_line(text)}: no image or video matches this pattern; '**' stands for any depth of folders")


def _matches(pattern: str) -> Iterator[str]:
    """The paths that a pattern matches; `**` is any depth of folders, hidden ones and loops of links left out."""
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    depth = parts.index("**")
    rest = parts[depth + 1 :] or ("*",)
    for top in glob.iglob(str(Path(*parts[:depth]))) if depth else ["."]:
        for folder in _folders(top):
            yield from _matches(str(Path(glob.escape(folder), *rest)))


def _folders(top: str) -> Iterator[str]:
    """A folder and all folders below it that are not hidden; each once, also when links lead to it again."""
    for folder, below, _ in walk(top):
        below[:] = [name for name in below if not name.startswith(".")]
        yield folder


def _media(paths: Iterable[Path]) -> list[Item]:
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    files = sorted({str(path) for path in paths if suffix_of(path) in known and path.is_file()})
    return [Item("video" if suffix_of(file) in VIDEO_SUFFIXES else "image", file, file) for file in files]


def _listed(path: Path) -> list[Item]:
    """The items of every line of a list; a line that leads nowhere becomes an item of kind "error"."""
    lines = read_lines(path) if suffix_of(path) == "txt" else _csv_cells(path)
    if not lines:
        raise PoseError(f"{path}: lists nothing; write one source per line")
    items: list[Item] = []
    for line in lines:
        try:
            items += expand(line, path.parent)
        except PoseError as error:
            items.append(Item("error", str(error), line))
    return items


def _csv_cells(path: Path) -> list[str]:
    """The cells of the column named source, path, image or file, or else of the first column."""
    table = io.StringIO(read_text(path, MAX_LIST_BYTES), newline="")
    try:
        rows = [row for row in csv.reader(table) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise PoseError(f"{path}: cannot be read as a CSV table ({error})") from None
    heads = [cell.strip().lower() for cell in rows[0]] if rows else []
    named = next((heads.index(name) for name in CSV_COLUMNS if name in heads), None)
    column, body = (0, rows) if named is None else (named, rows[1:])
    cells = [row[column].strip() for row in body if len(row) > column]
    return [cell for cell in cells if cell]


def is_url(text: str) -> bool:
    """Whether the text begins like an address; the drive letter of a Windows path does not count."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def surely_stream(url: str) -> bool:
    """Whether the address alone shows that this is a stream, by its scheme or suffix."""
    return _parts(url).scheme.lower() in STREAM_SCHEMES or suffix_of_url(url) in STREAM_SUFFIXES


def classify(url: str) -> Literal["image", "video", "stream"]:
    """What an address leads to: by its scheme, suffix or password, else by the content type that the server states.

    Raises PoseError for unknown schemes, web pages and servers that refuse.
    """
    parts, suffix = _parts(url), suffix_of_url(url)
    scheme = parts.scheme.lower()
    if surely_stream(url):
        return "stream"
    if scheme not in ("http", "https"):
        raise PoseError(f"{masked(url)}: unknown kind of address; use http, https, {', '.join(sorted(STREAM_SCHEMES))}")
    if (parts.hostname or "").removeprefix("www.").removeprefix("m.") in _VIDEO_SITES:
        raise PoseError(
            f"{masked(url)}: video sites are not read; download the video first (yt-dlp), then name the file"
        )
    if suffix in IMAGE_SUFFIXES:
        return "image"
    if suffix in VIDEO_SUFFIXES:
        return "video"
    if "@" in parts.netloc:
        return "stream"  # a camera with its password, to which FFmpeg knows how to log in
    kind, finite = _content_type(url)
    if kind.startswith("text/html"):
        raise PoseError(
            f"{masked(url)}: a web page, not an image, video or stream; give the address of the file itself"
        )
    if kind.startswith("image/"):
        return "image"
    return "video" if kind.startswith("video/") and finite else "stream"


def suffix_of_url(url: str) -> str:
    """The suffix of the file that an address names, in lower case and without its dot."""
    return PurePosixPath(_parts(url).path).suffix[1:].lower()


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise PoseError(f"{masked(url)}: not a web address that can be read") from None


def _content_type(url: str) -> tuple[str, bool]:
    """The stated content type, and whether a length is stated too (a live stream has none)."""
    import http.client
    from urllib.error import HTTPError

    try:
        with open_url(url) as answer:
            return answer.headers.get_content_type(), "Content-Length" in answer.headers
    except HTTPError as error:
        error.close()
        raise PoseError(f"{masked(url)}: the server answers {error.code} {one_line(error.reason)}") from None
    except http.client.HTTPException:  # not quite HTTP (cameras, radio servers): FFmpeg may know better
        return "", False
    except OSError as error:
        reason = one_line(getattr(error, "reason", error))  # a URLError's
        raise PoseError(f"{masked(url)}: cannot be reached ({reason}); check the address") from None
