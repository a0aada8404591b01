"""Size, orientation and completeness of an image file from its first and last bytes, without decoding it.

The layouts are those of the public specifications: JPEG (ITU T.81), PNG (ISO 15948), WebP (RIFF container), BMP,
GIF89a, TIFF 6.0, EXIF 2.3.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

ORIENTATION = 0x112
_INTEGERS = {1: "B", 3: "H", 4: "I"}  # TIFF field types BYTE, SHORT, LONG
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MAX_VALUES = 1 << 20  # more values than that in one tag is damage, not an image


class Header(NamedTuple):
    """What an image file says of itself; `height` and `width` are as stored, before the EXIF orientation."""

    kind: str
    height: int
    width: int
    orientation: int = 1
    complete: bool = True  # False: the file ends before its image does
    floating: bool = False  # samples are floating-point numbers
    preview: bool = False  # the readable image is only a preview of raw sensor data (DNG)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) as the image is meant to be seen."""
        turned = self.orientation >= 5
        return (self.width, self.height) if turned else (self.height, self.width)


def read_header(file: BinaryIO) -> Header | None:
    """The header of an image file opened in binary mode, or None for a format or a layout not known here."""
    magic = file.read(16)
    for kind, matches, parse in _FORMATS:
        if matches(magic):
            try:
                return parse(file)
            except struct.error:  # the bytes asked for are not there
                return Header(kind, 0, 0, complete=False)
            except ValueError:  # an unusual layout: the decoder has the last word
                return None
    return None


def _length(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _jpeg(file: BinaryIO) -> Header:
    height = width = 0
    orientation = None
    position = 2
    while True:
        file.seek(position)
        prefix, marker, length = _unpack(file, ">BBH")
        if prefix != 0xFF or marker in (0x00, 0xD9):
            raise ValueError("no marker here")
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:  # fill byte, or a marker without a segment
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _START_OF_FRAME:
            _, height, width = _unpack(file, ">BHH")
        elif marker == 0xE1 and orientation is None:
            orientation = _exif_orientation(file.read(length - 2))
        position += 2 + length
        if marker == 0xDA:
            return Header("JPEG", height, width, orientation or 1, _jpeg_ends(file, position))


def _jpeg_ends(file: BinaryIO, scan: int) -> bool:
    """Whether an end marker follows the start of the scan; inside a scan those two bytes cannot occur."""
    if _length(file) < scan + 2:
        return False
    file.seek(-2, os.SEEK_END)
    if file.read(2) == b"\xff\xd9":
        return True
    file.seek(scan)  # other data (a second picture, a film) may follow the image
    return b"\xff\xd9" in file.read()


def _exif_orientation(segment: bytes) -> int | None:
    """The orientation in an EXIF block with or without its prefix; None where the block is something else."""
    if segment.startswith(b"Exif\0\0"):
        segment = segment[6:]
    elif not segment.startswith((b"II*\0", b"MM\0*")):
        return None
    try:
        value = _first_directory(io.BytesIO(segment)).get(ORIENTATION, (1,))[0]
    except (struct.error, ValueError):
        return 1
    return value if 1 <= value <= 8 else 1


def _first_directory(file: BinaryIO) -> dict[int, tuple[int, ...]]:
    """The integer tags of the first directory of a TIFF structure."""
    file.seek(0)
    order = {b"II": "<", b"MM": ">"}.get(file.read(2))
    if order is None:
        raise ValueError("not a TIFF structure")
    _, offset = _unpack(file, order + "HI")
    file.seek(offset)
    (entries,) = _unpack(file, order + "H")
    raw = file.read(12 * entries)
    tags = {}
    for start in range(0, 12 * entries, 12):
        tag, kind, count, where = struct.unpack_from(order + "HHII", raw, start)
        if kind not in _INTEGERS:
            continue
        layout = f"{order}{min(count, _MAX_VALUES)}{_INTEGERS[kind]}"
        if struct.calcsize(layout) <= 4:
            tags[tag] = struct.unpack_from(layout, raw, start + 8)
        else:
            file.seek(where)
            tags[tag] = _unpack(file, layout)
    return tags


def _png(file: BinaryIO) -> Header:
    height = width = 0
    orientation = None
    position, end = 8, _length(file)
    while True:
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8))
        if name == b"IHDR":
            width, height = _unpack(file, ">II")
        elif name == b"eXIf":
            orientation = _exif_orientation(file.read(min(length, end)))
        position += 12 + length  # length, name, data, checksum
        if name == b"IEND":
            return Header("PNG", height, width, orientation or 1, position <= end)


def _webp(file: BinaryIO) -> Header:
    file.seek(4)
    end = 8 + _unpack(file, "<I")[0]
    complete = end <= _length(file)
    height = width = 0
    orientation = None
    position = 12
    while position + 8 <= end and complete:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"EXIF":
            orientation = _exif_orientation(file.read(length))
        elif name in (b"VP8X", b"VP8 ", b"VP8L") and not height:
            height, width = _webp_size(name, file.read(10))
        position += 8 + length + length % 2
    if complete and not height:
        raise ValueError("no picture inside")
    return Header("WebP", height, width, orientation or 1, complete)


def _webp_size(name: bytes, data: bytes) -> tuple[int, int]:
    """(H, W) from the first ten bytes of a VP8X, VP8 or VP8L chunk."""
    if name == b"VP8X":
        return 1 + int.from_bytes(data[7:10], "little"), 1 + int.from_bytes(data[4:7], "little")
    if name == b"VP8 ":
        width, height = struct.unpack("<HH", data[6:10])
        return height & 0x3FFF, width & 0x3FFF
    bits = int.from_bytes(data[1:5], "little")
    return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)


def _bmp(file: BinaryIO) -> Header:
    file.seek(10)
    pixels, header = _unpack(file, "<II")
    width, height = _unpack(file, "<HH" if header == 12 else "<ii")  # 12: the OS/2 layout
    _, bits = _unpack(file, "<HH")
    compression = 0 if header == 12 else _unpack(file, "<I")[0]
    size = (width * bits + 31) // 32 * 4 * abs(height) if compression in (0, 3) else 1  # 3: bit fields
    return Header("BMP", abs(height), width, complete=pixels + size <= _length(file))


def _gif(file: BinaryIO) -> Header:
    file.seek(6)
    width, height = _unpack(file, "<HH")
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b";":
        raise ValueError("no trailer at the very end")
    return Header("GIF", height, width)


def _tiff(file: BinaryIO) -> Header:
    tags = _first_directory(file)
    width, height = tags.get(256, (0,))[0], tags.get(257, (0,))[0]
    offsets = tags.get(273) or tags.get(324) or ()  # strips or tiles
    counts = tags.get(279) or tags.get(325) or ()
    last = max((start + count for start, count in zip(offsets, counts, strict=False)), default=0)
    orientation = tags.get(ORIENTATION, (1,))[0]
    return Header(
        "TIFF",
        height,
        width,
        orientation if 1 <= orientation <= 8 else 1,
        complete=last <= _length(file),
        floating=tags.get(339, (1,))[0] == 3,
        preview=50706 in tags and bool(tags.get(254, (0,))[0] & 1),  # DNGVersion; reduced-resolution image
    )


_FORMATS: tuple[tuple[str, Callable[[bytes], bool], Callable[[BinaryIO], Header]], ...] = (
    ("JPEG", lambda magic: magic.startswith(b"\xff\xd8\xff"), _jpeg),
    ("PNG", lambda magic: magic.startswith(b"\x89PNG\r\n\x1a\n"), _png),
    ("WebP", lambda magic: magic[:4] == b"RIFF" and magic[8:12] == b"WEBP", _webp),
    ("BMP", lambda magic: magic.startswith(b"BM"), _bmp),
    ("GIF", lambda magic: magic.startswith((b"GIF87a", b"GIF89a")), _gif),
    ("TIFF", lambda magic: magic.startswith((b"II*\0", b"MM\0*")), _tiff),
)
