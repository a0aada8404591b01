"""Images on standard input: one of any format, or many JPEG and PNG files one behind the other."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterator
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

    Raises PoseError for what is no image however long one waits.
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
    """Concatenated JPEG and PNG files, one by one; from anything else on, the rest is taken as one image."""
    pending, between = _Pending(stream), 0
    while pending.reach(1):
        padding = len(pending.data) - len(pending.data.lstrip(_BETWEEN))
        if padding:
            del pending.data[:padding]
            between += padding
            if between > MAX_PIPED:
                raise PoseError(f"-: {MAX_PIPED >> 20} MB without an image in them; standard input holds no images")
            continue
        between = 0
        pending.reach(8)
        if pending.data.startswith(b"\xff\xd8"):
            end = _jpeg_end(pending)
        elif pending.data.startswith(b"\x89PNG"):
            end = _png_end(pending)
        else:
            end = pending.everything()
        with memoryview(pending.data) as view:
            image = bytes(view[:end])
        yield image
        del pending.data[:end]


class _Pending:
    """Bytes that have come from a stream and belong to no finished image yet."""

    def __init__(self, stream: BinaryIO):
        self.data = bytearray()
        self._read = getattr(stream, "read1", stream.read)  # read1 does not wait for a full chunk

    def reach(self, count: int) -> bool:
        """Read on until `count` bytes are there; False where the stream ends before."""
        while len(self.data) < count:
            if len(self.data) > MAX_PIPED:
                raise PoseError(f"-: {MAX_PIPED >> 20} MB and no end of the image; standard input holds no images")
            chunk = self._read(_CHUNK)
            if not chunk:
                return False
            self.data += chunk
        return True

    def everything(self) -> int:
        """Read to the end of the stream and return the number of bytes."""
        while self.reach(len(self.data) + 1):
            pass
        return len(self.data)


def _jpeg_end(pending: _Pending) -> int:
    """Where the JPEG at the start ends; at the end of the stream if its end marker never comes."""
    position = 2
    while True:
        found = _MARKER.search(pending.data, position)
        if found is None:
            position = max(position, len(pending.data) - 1)
            if not pending.reach(len(pending.data) + 1):
                return len(pending.data)
            continue
        after, marker = found.end(), found[0][1]
        del found  # it would forbid the bytearray to grow
        if marker == 0xD9:
            return after
        if not pending.reach(after + 2):
            return len(pending.data)
        position = after + int.from_bytes(pending.data[after : after + 2], "big")
        if not pending.reach(position):
            return len(pending.data)


def _png_end(pending: _Pending) -> int:
    """Where the PNG at the start ends; at the end of the stream if its last chunk never comes."""
    position, name = 8, b""
    while name != b"IEND":
        if not pending.reach(position + 8):
            return len(pending.data)
        length = int.from_bytes(pending.data[position : position + 4], "big")
        name = bytes(pending.data[position + 4 : position + 8])
        position += 12 + length
    pending.reach(position)
    return min(position, len(pending.data))
