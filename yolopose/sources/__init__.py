"""Everything that a user may give as a source → its frames: `open_source`.

Texts: a file, folder, glob pattern (`**` for any depth), URL, `.txt` or `.csv` list, `.streams` list of streams,
`screen [n] [left top width height]`, `-` for standard input, or a camera number. In memory: a NumPy array (BGR), PIL
image, torch tensor (RGB), encoded `bytes`, or a list of any of these.
"""

from __future__ import annotations

import numbers
import os
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from yolopose.errors import PoseError, UsageError, shown
from yolopose.images import ImageTooLarge, check_header, decode, read_image, to_bgr
from yolopose.images.arrays import picture_family
from yolopose.images.strips import INSTALL, StripPicture, can_read_strips
from yolopose.limits import MAX_DOWNLOAD, MAX_IMAGE_BYTES
from yolopose.sources.files import Item, classify, expand, is_url, read_lines, suffix_of, suffix_of_url, surely_stream
from yolopose.sources.frame import Frame, SourceOptions
from yolopose.sources.screen import SCREEN, screen_frames, screen_region
from yolopose.sources.stdin import stdin_frames
from yolopose.sources.stream import stream_frames
from yolopose.sources.video import video_frames
from yolopose.web import masked

__all__ = ["Frame", "Source", "SourceOptions", "open_source"]


class Source(AbstractContextManager["Source"], Iterator[Frame]):
    """The frames of a source, once, in order; `close()` or leaving a `with` block releases files, cameras and threads.

    `len_hint` is the number of frames where it is known beforehand; `streams` the number of live streams read at once,
    one frame of each per round, and 0 for everything else.
    """

    def __init__(
        self,
        frames: Generator[Frame, None, None],
        *,
        len_hint: int | None = None,
        streams: int = 0,
        stop: threading.Event | None = None,
    ):
        self._frames = frames
        self._stop = stop or threading.Event()
        self.len_hint = len_hint
        self.streams = streams

    def __next__(self) -> Frame:
        if self._stop.is_set():
            self._frames.close()
            raise StopIteration
        return next(self._frames)

    def close(self) -> None:
        """Release everything; any thread may call it, also while another one waits for a frame."""
        self._stop.set()
        with suppress(ValueError):  # another thread is inside the generator and closes it with the next frame
            self._frames.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def open_source(source: Any, options: SourceOptions | None = None) -> Source:
    """The frames of `source`, read lazily and in order.

    Raises PoseError for a path, folder, pattern or list that leads nowhere, also within a Python list, and UsageError
    for a value that is not a source. What cannot be read later becomes a Frame with `error`.
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
    if SCREEN.fullmatch(text):
        screen_region(text)  # raise now for a wrong number of words
        stop = threading.Event()
        return Source(screen_frames(text, stop), streams=1, stop=stop)
    if is_url(text) and classify(text) == "stream":
        return _streams([text], options)
    return _open_path(text, options)


def _open_path(text: str, options: SourceOptions) -> Source:
    path = Path(text)
    if suffix_of(path) == "streams" and path.is_file():  # a file in it is searched for in its folder first
        addresses = [_address(line, path.parent) for line in read_lines(path)]
        if not addresses:
            raise PoseError(f"{path}: lists no streams; write one address or camera number per line")
        return _streams(addresses, options, named=False)
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
    """Read a list of streams in parallel, any other list one member after the other."""
    if not members:
        raise UsageError("source is an empty list")
    live = [
        _is_camera(m) or (isinstance(m, str) and (m.isdecimal() or (is_url(m) and surely_stream(m)))) for m in members
    ]
    if all(live):
        return _streams([_address(m) if isinstance(m, str) else _camera(m) for m in members], options)
    if any(live):
        name = members[live.index(True)]
        shown_name = masked(name) if isinstance(name, str) else name
        raise UsageError(f"source list: {shown_name} is a stream and others are not; streams need a list of their own")
    items, position = list[Item](), 0
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
    total = sum(item.count for item in items)
    known = all(item.kind in ("image", "picture", "bytes", "error") for item in items)
    return Source(_frames(items, total, options), len_hint=total if known else None)


def _streams(addresses: list[str | int], options: SourceOptions, *, named: bool = True) -> Source:
    stop = threading.Event()
    return Source(stream_frames(addresses, options, stop, named=named), streams=len(addresses), stop=stop)


def _address(text: str, base: Path | None = None) -> str | int:
    if text.isdecimal():
        return _camera(text)
    inside = base / text if base and not is_url(text) else None
    return str(inside) if inside and inside.exists() else text


def _camera(number: Any) -> int:
    if len(number) > 9 if isinstance(number, str) else abs(number) >> 30:
        raise UsageError(f"source={shown(number)}: there is no such camera")
    return int(number)


def _is_camera(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _frames(items: list[Item], total: int, options: SourceOptions) -> Generator[Frame, None, None]:
    """The frames of all items; what cannot be read becomes a frame with `error`, and the next item follows."""
    position = 0
    for item in items:
        for frame in _read(item, options):
            frame.item, frame.items = position, total
            frame.file, frame.named = item.kind in ("image", "video"), item.named
            if frame.kind == "image":
                frame.item = frame.index = position + frame.index
                frame.total = total
                if item.count > 1:
                    frame.path = f"image{frame.index}.jpg"  # one name per picture of a batch
            yield frame
        position += item.count


def _read(item: Item, options: SourceOptions) -> Iterator[Frame]:
    """The frames of one item; a picture in memory of a wrong shape or type raises, as that is the caller's mistake."""
    if item.kind == "picture":
        exact = picture_family(item.value) == "torch"
        for index, image in enumerate(to_bgr(item.value, item.name)):
            yield Frame(image, item.name, index=index, exact=exact)
        return
    try:
        if item.kind == "image":
            yield _photograph(item, options)
        elif item.kind == "bytes":
            yield Frame(decode(item.value, item.name, max_pixels=options.max_pixels), item.name)
        elif item.kind == "video":
            yield from video_frames(item.value, options, item.name)
        elif item.kind == "url":
            yield from _downloaded(item, options)
        else:
            yield Frame(None, item.name, error=item.value)
    except PoseError as error:
        yield Frame(None, item.name, error=str(error))


def _photograph(item: Item, options: SourceOptions) -> Frame:
    """The frame of an image file; one too large to be decoded whole is read in strips if the options say so.

    Raises:
        PoseError: it cannot be read.
    """
    try:
        if options.strips:
            check_header(item.value, max_pixels=options.max_pixels)  # before gigabytes are read
        return Frame(read_image(item.value, max_pixels=options.max_pixels), item.name)
    except ImageTooLarge as error:
        if options.strips is None:
            raise
        if not options.strips:
            raise PoseError(f"{error}; or set tile=640, which reads it in strips") from None
        if not can_read_strips():
            raise PoseError(f"{error}; or read it in strips: {INSTALL}") from None
    return Frame(None, item.name, large=StripPicture(item.value))


def _downloaded(item: Item, options: SourceOptions) -> Iterator[Frame]:
    """The frames of a URL, downloaded into a temporary folder that is removed after the last one.

    Raises:
        PoseError: it is a stream, or cannot be downloaded.
    """
    from yolopose.download import download

    kind = classify(item.value)
    if kind == "stream":
        raise PoseError(f"{item.name}: a stream among files; name it alone or in a .streams file")
    most = MAX_DOWNLOAD if kind == "video" else MAX_IMAGE_BYTES
    with tempfile.TemporaryDirectory(prefix="yolopose-") as folder:
        path = Path(folder) / f"source.{suffix_of_url(item.value)}"
        download(item.value, path, most=most, progress=kind == "video")
        for frame in _read(Item(kind, str(path), item.name), options):
            frame.error = frame.error and frame.error.replace(str(path), item.name)
            yield frame
