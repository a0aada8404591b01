"""Image headers: format, size and orientation of a file, and whether it is complete, before it is decoded.

JPEG, PNG, WebP, BMP and GIF are read by Pillow, through a window that bounds what a header may make it read. The
directory of a TIFF file, which is that of EXIF too, is read here: Pillow before 13 unpacks every tag of it, so that
2 MB can take gigabytes, while twelve tags are needed. Of PNM, PFM, JPEG 2000 and AVIF only the declared size is known.
"""

from __future__ import annotations

import functools
import importlib
import io
import math
import operator
import os
import re
import struct
from collections.abc import Callable, Mapping, Set
from typing import Any, BinaryIO, NamedTuple

from yolopose.limits import MAX_HEADER_BYTES, MAX_HEADER_READS, MAX_TAG_VALUES

ORIENTATION = 0x112
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # TIFF field types BYTE, SHORT, LONG, LONG8
_TIFF_TAGS = {254, 256, 257, 273, ORIENTATION, 279, 322, 323, 324, 325, 339, 50706}
_PLUGINS = {"PNG": "PngImage", "WebP": "WebPImage", "BMP": "BmpImage", "GIF": "GifImage"}
_PNG_STUB = b"\0\0\0\0IDAT\x35\xaf\x06\x1e"  # an empty chunk, at which Pillow stops


class Header(NamedTuple):
    """The facts in the header of an image file; `height` and `width` are as stored, before the EXIF orientation."""

    kind: str
    height: int
    width: int
    orientation: int = 1
    complete: bool | None = True  # False: the file ends before its image does; None: known only after decoding
    floating: bool = False  # samples are floating-point numbers
    animated: bool = False  # a PNG with several pictures
    preview: bool = False  # the readable image is only a preview of raw sensor data (DNG)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) after the EXIF orientation."""
        turned = self.orientation >= 5
        return (self.width, self.height) if turned else (self.height, self.width)


def read_header(file: BinaryIO) -> Header | None:
    """The header of an image file opened in binary mode, or None for a format that is not read.

    Time and memory are bounded for any content of the file. Raises ValueError where the header is damaged, EOFError
    where it is cut off, OSError where the file cannot be read.
    """
    magic = file.read(16)
    for beginning, parse in _FORMATS.items():
        if re.match(beginning, magic, re.DOTALL):
            file.seek(0)
            try:
                return parse(file)
            except Exception as error:  # Pillow raises nearly anything for damaged bytes, and warnings may be errors
                if isinstance(error, ImportError) or (isinstance(error, OSError) and error.errno is not None):
                    raise  # an installation without Pillow; a failing disk
                if isinstance(error, struct.error) or "Truncated" in str(error):
                    raise EOFError("the header is cut off") from None
                raise ValueError(f"damaged header ({error})") from None
    return None


class _Window:
    """A binary file of which Pillow may read `most` bytes, in a bounded number of steps: what it needs for a header."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._bytes = most
        self._reads = MAX_HEADER_READS
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int = -1) -> bytes:
        self._reads -= 1
        data = self._file.read(self._bytes if count < 0 else min(count, self._bytes))
        self._bytes -= len(data)
        if not self._reads or not self._bytes:
            raise ValueError("it is longer than that of any image")
        return data


@functools.cache
def plugin(kind: str) -> Callable[[Any], Any]:
    """Pillow's reader of a format; `Image.open` would add a limit that only the whole process can raise."""
    if kind != "JPEG":
        name = _PLUGINS[kind]
        reader: Callable[[Any], Any] = getattr(importlib.import_module(f"PIL.{name}Plugin"), f"{name}File")
        return reader
    from PIL import Image, JpegImagePlugin

    class Jpeg(JpegImagePlugin.JpegImageFile):
        def getexif(self) -> Image.Exif:
            """Nothing: opening asks for the resolution, and would unpack all of a directory that may be hostile."""
            return Image.Exif()

    return Jpeg


def _length(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _jpeg(file: BinaryIO) -> Header:
    image = plugin("JPEG")(_Window(file, MAX_HEADER_BYTES))
    orientation = _orientation(image.info.get("exif", b""))
    complete = bool(image.tile) and _jpeg_ends(file, file.tell())
    return Header("JPEG", image.height, image.width, orientation, complete)


def _jpeg_ends(file: BinaryIO, scan: int) -> bool:
    """Whether an end marker follows the start of the scan; inside a scan those two bytes cannot occur."""
    if _length(file) < scan + 2:
        return False
    file.seek(-2, os.SEEK_END)
    if file.read(2) == b"\xff\xd9":
        return True
    file.seek(scan)  # other data (a second picture, a film) may follow the image
    return b"\xff\xd9" in file.read()


def _png(file: BinaryIO) -> Header:
    """The size by Pillow; the chunks are walked for the end, and an orientation that may come after the pixels."""
    image = plugin("PNG")(io.BytesIO(file.read(33) + _PNG_STUB))
    header, position, end, names = Header("PNG", image.height, image.width), 33, _length(file), set[bytes]()
    for _ in range(MAX_TAG_VALUES):
        file.seek(position)
        chunk = file.read(8)
        if len(chunk) < 8:
            return header._replace(complete=False)
        length, name = struct.unpack(">I4s", chunk)
        if name == b"eXIf" and name not in names:
            header = header._replace(orientation=_orientation(file.read(min(length, end))))
        names.add(name)
        position += 12 + length  # length, name, data, checksum
        if name == b"IEND":
            return header._replace(complete=position <= end, animated=b"acTL" in names)
    raise ValueError("more chunks than any image has")


def _webp(file: BinaryIO) -> Header:
    end = _length(file)
    file.seek(4)
    (size,) = struct.unpack("<I", file.read(4))
    file.seek(0)
    if 8 + size > end:
        return Header("WebP", 1, 1, complete=False)
    image = plugin("WebP")(_Window(file, end + 1))
    return Header("WebP", image.height, image.width, _orientation(image.info.get("exif", b"")))


def _bmp(file: BinaryIO) -> Header:
    image = plugin("BMP")(_Window(file, MAX_HEADER_BYTES))
    codec, _, offset, arguments = image.tile[0]
    size = arguments[1] * image.height if codec == "raw" else 1  # bytes of a row
    return Header("BMP", image.height, image.width, complete=offset + size <= _length(file))


def _gif(file: BinaryIO) -> Header:
    image = plugin("GIF")(_Window(file, MAX_HEADER_BYTES))
    file.seek(-1, os.SEEK_END)
    return Header("GIF", image.height, image.width, complete=file.read(1) == b";" or None)


def _tiff(file: BinaryIO) -> Header:
    tags = _first_directory(file, _TIFF_TAGS)
    offsets = tags.get(273) or tags.get(324, ())  # strips or tiles
    counts = tags.get(279) or tags.get(325, ())
    last = max(map(operator.add, offsets, counts), default=0)
    height, width = tags.get(257, (0,))[0], tags.get(256, (0,))[0]
    if tags.get(323, (0,))[0] > height + 4096 or tags.get(322, (0,))[0] > width + 4096:
        raise ValueError("tiles far larger than the image")  # they are decoded whole
    return Header(
        "TIFF",
        height,
        width,
        _valid_orientation(tags),
        complete=last <= _length(file),
        floating=tags.get(339, (1,))[0] == 3,
        preview=50706 in tags and bool(tags.get(254, (0,))[0] & 1),  # DNGVersion; reduced-resolution image
    )


def _orientation(block: bytes) -> int:
    """The orientation in an EXIF block with or without its prefix; 1 where there is none."""
    try:
        return _valid_orientation(_first_directory(io.BytesIO(block.removeprefix(b"Exif\0\0")), {ORIENTATION}))
    except (struct.error, ValueError):
        return 1


def _valid_orientation(tags: Mapping[int, tuple[int, ...]]) -> int:
    """The orientation, 1 to 8; 1 where there is none."""
    value = tags.get(ORIENTATION, (1,))[0]
    return value if 1 <= value <= 8 else 1


def _first_directory(file: BinaryIO, wanted: Set[int]) -> dict[int, tuple[int, ...]]:
    """The `wanted` integer tags of the first directory of a TIFF structure; struct.error where it is cut."""
    magic = file.read(4)
    order = {b"II": "<", b"MM": ">"}.get(magic[:2], "")
    version = struct.unpack(f"{order}H", magic[2:])[0] if order else 0
    if version not in (42, 43):
        raise ValueError("not a TIFF structure")
    large = version == 43  # BigTIFF: sizes of 8 bytes
    offset = struct.unpack(f"{order}{'4xQ' if large else 'I'}", file.read(12 if large else 4))[0]
    head, entry, address = (f"{order}{layout}" for layout in (("Q", "HHQ8s", "Q") if large else ("H", "HHI4s", "I")))
    file.seek(offset)
    (entries,) = struct.unpack(head, file.read(struct.calcsize(head)))
    size = struct.calcsize(entry)
    raw = file.read(size * min(entries, 1 << 16))
    tags: dict[int, tuple[int, ...]] = {}
    for tag, kind, count, value in struct.iter_unpack(entry, raw[: len(raw) // size * size]):
        if tag not in wanted or tag in tags or kind not in _INTEGERS or not count:
            continue
        if count > MAX_TAG_VALUES:
            raise ValueError(f"tag {tag} with {count} values")
        layout = f"{order}{count}{_INTEGERS[kind]}"
        if struct.calcsize(layout) > len(value):
            file.seek(struct.unpack(address, value)[0])
            value = file.read(struct.calcsize(layout))
        tags[tag] = struct.unpack_from(layout, value)
    return tags


def _largest(kind: str, pattern: bytes, layout: str = "") -> Callable[[BinaryIO], Header]:
    """A reader of formats that OpenCV alone reads: the largest size that the file declares anywhere, to bound it."""

    def read(file: BinaryIO) -> Header:
        found = [(0, 0)]
        for match in re.finditer(pattern, file.read(), re.DOTALL):
            width, height, *origin = struct.unpack(layout, match[1]) if layout else map(int, match.groups())
            left, top = origin or (0, 0)
            found.append((height - top, width - left))
        height, width = max(found, key=math.prod)
        return Header(kind, height, width, complete=None, floating=kind == "PFM")

    return read


# how the file begins, and its reader
_FORMATS = {
    rb"\xff\xd8\xff": _jpeg,
    rb"\x89PNG\r\n\x1a\n": _png,
    rb"RIFF....WEBP": _webp,
    rb"BM": _bmp,
    rb"GIF8[79]a": _gif,
    rb"II[*+]\0|MM\0[*+]": _tiff,
    rb"P[Ff]": _largest("PFM", rb"\AP[Ff]\s+(\d{1,9})\s+(\d{1,9})\s"),
    rb"P[1-6]": _largest("PNM", rb"\AP[1-6]\s(?:\s|#[^\n]*\n)*(\d{1,9})\s(?:\s|#[^\n]*\n)*(\d{1,9})\s"),
    rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51": _largest("JPEG 2000", rb"\xff\x4f\xff\x51.{4}(.{16})", ">4I"),
    rb"....ftypavi[fs]": _largest("AVIF", rb"ispe.{4}(.{8})", ">2I"),
}
