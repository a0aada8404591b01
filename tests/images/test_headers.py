import io
import struct
import zlib

import numpy as np
import pytest

from yolopose import images
from yolopose.images.headers import read_header

cv2 = pytest.importorskip("cv2")
Image = pytest.importorskip("PIL.Image")

NOISE = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"]


def encoded(kind, orientation=None, picture=NOISE, **options):
    buffer = io.BytesIO()
    if orientation is not None:
        exif = Image.Exif()
        exif[0x112] = orientation
        options["exif"] = exif
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def header(data):
    return read_header(io.BytesIO(data))


@pytest.mark.parametrize("kind", FORMATS)
def test_size_of_a_whole_file(kind):
    found = header(encoded(kind))
    assert (found.kind.upper(), found.size, found.orientation, found.complete) == (kind, (40, 30), 1, True)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_and_orientation_agree_with_the_decoder(kind, orientation):
    data = encoded(kind, orientation)
    assert header(data).orientation == orientation
    assert header(data).size == images.decode(data).shape[:2] == ((30, 40) if orientation > 4 else (40, 30))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("cut", [1, 30, 0.5, 0.9])
def test_a_cut_file_is_not_complete(kind, cut):
    data = encoded(kind)
    cut_off = data[: -cut if cut >= 1 else -int(len(data) * cut)]
    try:
        found = header(cut_off)
    except (EOFError, ValueError):
        return
    assert found.complete is (None if kind == "GIF" else False)  # without its trailer a GIF is left to the decoder


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_data_behind_the_image_do_no_harm(kind):
    found = header(encoded(kind, **({"exif": b""} if kind == "JPEG" else {})) + b"\0more\xff\xff" * 20)
    assert found.complete
    assert found.size == (40, 30)


def test_jpeg_cut_after_a_thumbnail_is_truncated():
    thumbnail = encoded("JPEG", picture=NOISE[:8, :8])
    block = b"Exif\0\0" + thumbnail
    data = encoded("JPEG")
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    assert header(data).complete
    assert not header(data[:-40]).complete


def test_jpeg_progressive_grey_fill_bytes_and_late_exif():
    assert header(encoded("JPEG", progressive=True)).size == (40, 30)
    assert header(encoded("JPEG", picture=NOISE[..., 0])).size == (40, 30)
    data = encoded("JPEG", orientation=6)
    assert header(data[:2] + b"\xff\xff\xff" + data[2:]).size == (30, 40)
    plain, exif = encoded("JPEG"), encoded("JPEG", orientation=6)
    block = exif[exif.index(b"\xff\xe1") :][: 2 + struct.unpack(">H", exif[exif.index(b"\xff\xe1") + 2 :][:2])[0]]
    scan = plain.index(b"\xff\xda")
    late = plain[:scan] + block + plain[scan:]
    assert header(late).size == images.decode(late).shape[:2] == (30, 40)


def test_png_exif_behind_the_pixels_counts():
    plain, exif = encoded("PNG"), Image.Exif()
    exif[0x112] = 6
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    data = plain[:-12] + chunk + plain[-12:]
    assert header(data).size == images.decode(data).shape[:2] == (30, 40)


def test_webp_lossless_and_bottom_up_bmp():
    assert header(encoded("WEBP", lossless=True)).size == (40, 30)
    assert header(encoded("WEBP", lossless=True, orientation=8)).size == (30, 40)
    data = bytearray(encoded("BMP"))
    data[22:26] = struct.pack("<i", -40)  # rows from top to bottom
    assert header(bytes(data)).size == images.decode(bytes(data)).shape[:2] == (40, 30)


def test_damaged_exif_counts_as_upright():
    data = encoded("JPEG", orientation=6)
    at = data.index(b"Exif\0\0") + 6
    for broken in (b"II*\0\xff\xff\xff\x7f", b"MM\0*\xff\0\0\0", b"XXXXXXXX"):
        assert header(data[:at] + broken + data[at + 8 :]).orientation == 1


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"BM"])
def test_headers_of_a_few_bytes_are_incomplete_or_no_image(data):
    if data in (b"", b"hello"):
        assert header(data) is None
    else:
        with pytest.raises((EOFError, ValueError)):
            header(data)


def test_random_damage_raises_nothing_else():
    rng = np.random.default_rng(1)
    for kind in FORMATS:
        data = bytearray(encoded(kind))
        for _ in range(60):
            damaged = data.copy()
            for at in rng.integers(0, min(len(data), 200), 6):
                damaged[at] = rng.integers(256)
            try:
                found = header(bytes(damaged))
            except (EOFError, ValueError):
                continue
            assert found is None or found.kind.upper() == kind
