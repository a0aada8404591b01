"""Anything a user may point at → a stream of frames; `open_source` is the door.

Texts: a file, folder, glob pattern (`**` for any depth), URL, `.txt` or `.csv` list, `.streams` list of streams,
`screen [n] [left top width height]`, `-` for standard input, or a camera number. In memory: a NumPy array (BGR), PIL
image, torch tensor (RGB), encoded `bytes`, or a list of any of these.
"""

from __future__ import annotations

import numbers
import os
import threading
from pathlib import Path
from typing import Any

from yolopose.errors import PoseError, UsageError, shown
from yolopose.images.arrays import picture_family
from yolopose.sources.files import Item, expand, read_lines
from yolopose.sources.frame import Frame, Source, SourceOptions
from yolopose.sources.read import item_frames
from yolopose.sources.screen import is_screen, screen_frames, screen_region
from yolopose.sources.stdin import stdin_frames
from yolopose.sources.stream import stream_frames
from yolopose.sources.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES, suffix_of
from yolopose.sources.urls import classify, is_url, surely_stream
from yolopose.web import masked

__all__ = ["IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "Frame", "Source", "SourceOptions", "open_source"]


def open_source(source: Any, options: SourceOptions | None = None) -> Source:
    """Find out what `source` is and return its frames, to be read lazily and in order.

    Raises PoseError for a path, folder, pattern or list that leads nowhere, be it one of a Python list, and UsageError
    for what is no source at all. What turns out unreadable later becomes a Frame with `error`.
    """
    options = options or SourceOptions()
    if isinstance(source, str):
        return _open_text(source.strip(), options)
    if isinstance(source, os.PathLike):
        return _open_path(os.fspath(source), options)
    if isinstance(source, list | tuple):
        return _open_list(list(source), options)
    if _is_camera(source):
        return _streams([_camera(source)], options)
    return _items(_memory_items(source, 0), options)


def _open_text(text: str, options: SourceOptions) -> Source:
    if not text:
        raise UsageError("source is empty; name a file, folder, URL, camera number or stream")
    if text == "-":
        return Source(stdin_frames(options))
    if text.isdecimal():
        return _streams([_camera(text)], options)
    if is_screen(text):
        screen_region(text)  # a wrong number of words is to be known at once
        stop = threading.Event()
        return Source(screen_frames(text, stop), streams=1, stop=stop)
    if is_url(text) and classify(text) == "stream":
        return _streams([text], options)
    return _open_path(text, options)


def _open_path(text: str, options: SourceOptions) -> Source:
    if suffix_of(text) == "streams" and Path(text).is_file():
        return _streams(_stream_list(Path(text)), options, named=False)
    return _items(_named(text, options), options)


def _named(text: str, options: SourceOptions) -> list[Item]:
    """The items of a path or address that the user named; where it leads nowhere, an item or an error."""
    try:
        return expand(text)
    except PoseError as error:
        if not options.skip_missing:
            raise
        return [Item("error", str(error), text, named=True)]


def _open_list(members: list[Any], options: SourceOptions) -> Source:
    """A list of streams is read side by side; any other list one member after the other."""
    if not members:
        raise UsageError("source is an empty list")
    live = [_is_camera(member) or (isinstance(member, str) and _is_stream_text(member)) for member in members]
    if all(live):
        return _streams([_address(m) if isinstance(m, str) else _camera(m) for m in members], options)
    if any(live):
        name = members[live.index(True)]
        shown_name = masked(name) if isinstance(name, str) else name
        raise UsageError(f"source list: {shown_name} is a stream and others are not; streams need a list of their own")
    items: list[Item] = []
    position = 0
    for member in members:
        path = isinstance(member, str | os.PathLike)
        added = _named(os.fspath(member), options) if path else _memory_items(member, position)
        items += added
        position += sum(item.count for item in added)
    return _items(items, options)


def _memory_items(value: Any, position: int) -> list[Item]:
    """A picture, batch or encoded bytes in memory; `position` numbers it among its neighbours."""
    name = f"image{position}.jpg"
    if isinstance(value, bytes | bytearray | memoryview):
        return [Item("bytes", bytes(value), name, named=True)]
    family = picture_family(value)
    if family is None:
        kinds = "a path, URL, camera number, array (BGR), PIL image, tensor (RGB), bytes, or a list of these"
        raise UsageError(f"source of type {type(value).__name__}: expected {kinds}")
    file = getattr(value, "filename", "") if family == "PIL" else ""
    count = len(value) if family != "PIL" and value.ndim == 4 else 1
    return [Item("picture", value, str(file or name), count)]


def _items(items: list[Item], options: SourceOptions) -> Source:
    known = all(item.kind in ("image", "picture", "bytes", "error") for item in items)
    return Source(item_frames(items, options), len_hint=sum(item.count for item in items) if known else None)


def _streams(addresses: list[str | int], options: SourceOptions, *, named: bool = True) -> Source:
    stop = threading.Event()
    return Source(stream_frames(addresses, options, stop, named=named), streams=len(addresses), stop=stop)


def _stream_list(path: Path) -> list[str | int]:
    """The addresses of a `.streams` file; a file named there is looked for beside it first, then here."""
    addresses = [_address(line, path.parent) for line in read_lines(path)]
    if not addresses:
        raise PoseError(f"{path}: lists no streams; write one address or camera number per line")
    return addresses


def _address(text: str, base: Path | None = None) -> str | int:
    if text.isdecimal():
        return _camera(text)
    beside = base / text if base and not is_url(text) else None
    return str(beside) if beside and beside.exists() else text


def _camera(number: Any) -> int:
    if len(number) > 9 if isinstance(number, str) else abs(number) >> 30:
        raise UsageError(f"source={shown(number)}: there is no such camera")
    return int(number)


def _is_camera(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_stream_text(text: str) -> bool:
    return text.isdecimal() or (is_url(text) and surely_stream(text))
