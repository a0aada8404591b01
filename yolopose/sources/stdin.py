"""Read images from standard input: one of any format, or concatenated JPEG and PNG files."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import BinaryIO

from yolopose.errors import PoseError
from yolopose.images import decode
from yolopose.limits import MAX_PIPED
from yolopose.sources.frame import Frame, SourceOptions

_CHUNK = 1 << 16
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # JPEG: neither stuffing, restart nor fill
_BETWEEN = b"\0\r\n\t "  # padding that may stand between two files


def stdin_frames(options: SourceOptions) -> Generator[Frame, None, None]:
    """The images of standard input, each as soon as it is complete; memory holds one at a time.

    Raises PoseError when nothing is piped in, or when there is no image within `MAX_PIPED` bytes.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise PoseError("-: nothing is piped in; try `cat photo.jpg | yolo predict source=-`")
    index = -1
    for index, data in enumerate(split_images(sys.stdin.buffer)):
        name = f"stdin{index}.jpg"
        try:
            yield Frame(decode(data, name, max_pixels=options.max_pixels), name, index=index, item=index)
        except PoseError as error:
            yield Frame(None, name, index=index, item=index, error=str(error))
    if index < 0:
        yield Frame(None, "-", error="-: standard input is empty", named=True)


def split_images(stream: BinaryIO) -> Iterator[bytes]:
    """Concatenated JPEG and PNG files, one by one; from anything else on, the rest is taken as one image.

    A file that is cut off goes to the end of the stream. Raises PoseError when no image ends within `MAX_PIPED` bytes.
    """
    pending, between = _Pending(stream), 0
    while True:
        with suppress(EOFError):
            pending.reach(8)
        if not pending:
            return
        padding = len(pending) - len(pending.lstrip(_BETWEEN))
        if padding:
            del pending[:padding]
            between += padding
            if between > MAX_PIPED:
                raise PoseError(f"-: {MAX_PIPED >> 20} MB without an image in them; standard input holds no images")
            continue
        between = 0
        try:
            end = _image_end(pending)
        except EOFError:
            end = len(pending)
        with memoryview(pending) as view:
            image = bytes(view[:end])
        yield image
        del pending[:end]


class _Pending(bytearray):
    """Bytes that were read from a stream and are not part of a complete image yet."""

    def __init__(self, stream: BinaryIO):
        super().__init__()
        self._read = getattr(stream, "read1", stream.read)  # read1 does not wait for a full chunk

    def reach(self, count: int) -> None:
        """Read until there are `count` bytes. Raises EOFError when the stream ends before."""
        while len(self) < count:
            if len(self) > MAX_PIPED:
                raise PoseError(f"-: {MAX_PIPED >> 20} MB and no end of the image; standard input holds no images")
            chunk = self._read(_CHUNK)
            if not chunk:
                raise EOFError
            self.extend(chunk)


def _image_end(pending: _Pending) -> int:
    """The length of the image at the start. Raises EOFError when the stream ends first."""
    if pending.startswith(b"\xff\xd8"):
        return _jpeg_end(pending)
    position, name = 8, b""
    while pending.startswith(b"\x89PNG"):
        if name == b"IEND":
            pending.reach(position)
            return position
        pending.reach(position + 8)
        length, name = struct.unpack_from(">I4s", pending, position)
        position += 12 + length  # length, name, data, checksum
    while True:  # another format
        pending.reach(len(pending) + 1)


def _jpeg_end(pending: _Pending) -> int:
    """The length of the JPEG at the start: the segments before its end marker are skipped."""
    position = 2
    while True:
        found = _MARKER.search(pending, position)
        if found is None:
            position = max(position, len(pending) - 1)
            pending.reach(len(pending) + 1)
            continue
        after, marker = found.end(), found[0][1]
        del found  # a match keeps the bytearray from growing
        if marker == 0xD9:
            return after
        pending.reach(after + 2)
        position = after + int.from_bytes(pending[after : after + 2], "big")
        pending.reach(position)
