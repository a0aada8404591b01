"""Small image files that declare, or unpack to, far more than they hold."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def _encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (10, 90, 200)).save(buffer, kind)
    return buffer.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def jpeg(width: int = 65500, height: int = 16000, size: int = 100_000) -> bytes:
    """A JPEG whose frame header declares a large image."""
    data = bytearray(_encoded("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data[:-2]) + bytes(size) + b"\xff\xd9"


def png(width: int = 60000, height: int = 60000) -> bytes:
    """A PNG of one colour, whole."""
    packer = zlib.compressobj(9)
    row = bytes(1 + width * 3)
    pixels = b"".join(packer.compress(row) for _ in range(100)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def gif(width: int = 65500, height: int = 16000) -> bytes:
    """A tiny GIF on a large canvas."""
    data = bytearray(_encoded("GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    at = data.rindex(b"," + struct.pack("<HHHH", 0, 0, 64, 48))
    data[at + 5 : at + 9] = struct.pack("<HH", width, height)
    return bytes(data)


def webp() -> bytes:
    """A WebP of few bytes with a canvas of 2^24 by 2^7 pixels."""
    payload = _encoded("WEBP")[12:]
    canvas = (1 << 24) - 1, (1 << 7) - 1
    extended = b"VP8X" + struct.pack("<IB3x", 10, 2) + b"".join(side.to_bytes(3, "little") for side in canvas)
    frame = b"\0\0\0\0\0\0" + (63).to_bytes(3, "little") + (47).to_bytes(3, "little") + b"\0\0\0\0" + payload
    body = b"WEBP" + extended + b"ANIM" + struct.pack("<I6x", 6) + b"ANMF" + struct.pack("<I", len(frame)) + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp(width: int = 60000, height: int = 60000) -> bytes:
    """A run-length encoded BMP."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 4, 0, 0, 256, 0)
    offset = 14 + len(head) + 1024
    return b"BM" + struct.pack("<IHHI", offset + 4, 0, 0, offset) + head + bytes(1024) + b"\0\0\0\1"


def tiff(width: int = 60000, height: int = 60000) -> bytes:
    """A TIFF of one deflated strip."""
    strip = zlib.compress(bytes(1 << 20))
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 8), (277, 3, 1),
            (278, 4, height), (279, 4, len(strip))]  # fmt: skip
    rows = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + rows + bytes(4)


def directory(entries: int = 200, values: int = 1 << 20, *, first: int = 40000) -> bytes:
    """A TIFF structure whose tags all name the same large place."""
    rows = b"".join(struct.pack("<HHII", first + i, 3, values, 8) for i in range(entries))
    sides = b"".join(struct.pack("<HHII", tag, 3, 1, 64) for tag in (256, 257))
    return (
        b"II*\0" + struct.pack("<I", 8 + 2 * values) + bytes(2 * values)
        + struct.pack("<H", entries + 2) + sides + rows + bytes(4)
    )  # fmt: skip


def wanted_directory() -> bytes:
    """The same with the very tags that are read, each as large as is allowed, many times over."""
    values = 1 << 20
    tags = [256, 257, 273, 274, 279, 322, 323, 324, 325, 339, 50706] * 5000
    rows = b"".join(struct.pack("<HHII", tag, 3, values, 8) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8 + 2 * values) + bytes(2 * values) + struct.pack("<H", len(tags)) + rows


def png_exif(block: bytes) -> bytes:
    """A small PNG with an EXIF block."""
    data = _encoded("PNG")
    return data[:33] + _chunk(b"eXIf", block) + data[33:]


def jpeg_exif(block: bytes, times: int = 1) -> bytes:
    """A small JPEG with an EXIF block in pieces of 64 kB, `times` over; several blocks continue the first."""
    data = _encoded("JPEG")
    at = data.index(b"\xff\xdb")
    data = data[:2] + data[at:]  # without JFIF, whose resolution would make Pillow pass over EXIF
    pieces = [block[i : i + 65000] for i in range(0, len(block), 65000)] * times
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(p) + 8) + b"Exif\0\0" + p for p in pieces)
    return data[:2] + segments + data[2:]


HEADERS = {
    "png_exif_200x1M.png": lambda: png_exif(directory()),
    "tiff_200x1M.tif": directory,
    "tiff_wanted_tags.tif": wanted_directory,
    "jpeg_exif_64kB.jpg": lambda: jpeg_exif(directory(2000, 19000, first=1000)),
    "jpeg_exif_20MB.jpg": lambda: jpeg_exif(directory(10_000, 9_000_000, first=1000)),
    "jpeg_fill.jpg": lambda: b"\xff\xd8\xff" + b"\xff" * 20_000_000,
    "jpeg_comments.jpg": lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * 5_000_000,
    "gif_comments.gif": lambda: _encoded("GIF")[:-1] + b"!\xfe" + (b"\xff" + bytes(255)) * 80_000,
    "gif_comments_first.gif": lambda: b"GIF89a\1\0\1\0\0\0\0!\xfe" + (b"\xff" + bytes(255)) * 80_000,
    "png_chunks.png": lambda: _encoded("PNG")[:33] + _chunk(b"teXt", b"") * 1_500_000,
    "png_texts.png": lambda: _encoded("PNG")[:33] + _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26))) * 100,
}
PIXELS = {"x.jpg": jpeg, "x.png": png, "x.gif": gif, "x.webp": webp, "x.bmp": bmp, "x.tif": tiff}
