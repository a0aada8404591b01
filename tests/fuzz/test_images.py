"""Damaged and hostile images, as files and as a pipe of them: refused in a line, in bounded time and memory."""

import io
import random
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from fuzz.harness import campaign, many, mutate
from PIL import Image

from yolopose.images import ImageError, check_image, decode, image_size, read_image
from yolopose.sources.stdin import split_images

PIXELS = 1 << 22  # so that decoding what passes takes moments


def picture(hw: tuple[int, int] = (40, 60)) -> np.ndarray:
    return cv2.resize(np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8), hw[::-1])


def encoded(kind: str, mode: str = "RGB", orientation: int | None = None, frames: int = 1, **options: object) -> bytes:
    buffer, image = io.BytesIO(), Image.fromarray(picture()).convert(mode)
    if orientation:
        exif = Image.Exif()
        exif[0x112], exif[0x10F] = orientation, "maker"
        options["exif"] = exif
    if frames > 1:
        more = [Image.fromarray(picture()[::-1].copy()).convert(mode) for _ in range(frames - 1)]
        options |= {"save_all": True, "append_images": more}
    image.save(buffer, kind, **options)
    return buffer.getvalue()


SEEDS = {
    "JPEG": [encoded("JPEG"), encoded("JPEG", orientation=6), encoded("JPEG", progressive=True), encoded("JPEG", "L"),
             encoded("JPEG", "CMYK"), encoded("JPEG", icc_profile=bytes(300), comment=b"x" * 90)],
    "PNG": [encoded("PNG"), encoded("PNG", orientation=8), encoded("PNG", "P"), encoded("PNG", "LA"),
            encoded("PNG", "1"), encoded("PNG", frames=3),
            cv2.imencode(".png", picture().astype(np.uint16) * 257)[1].tobytes()],
    "WEBP": [encoded("WEBP"), encoded("WEBP", orientation=3), encoded("WEBP", "RGBA", lossless=True),
             encoded("WEBP", frames=3)],
    "BMP": [encoded("BMP"), encoded("BMP", "L"), encoded("BMP", "1"), encoded("BMP", "RGBA")],
    "TIFF": [encoded("TIFF"), encoded("TIFF", orientation=5), encoded("TIFF", compression="tiff_lzw"),
             encoded("TIFF", compression="tiff_deflate"), encoded("TIFF", "F"), encoded("TIFF", big_tiff=True)],
    "GIF": [encoded("GIF"), encoded("GIF", frames=3), encoded("GIF", transparency=0, comment=b"x" * 300)],
    "others": [cv2.imencode(suffix, picture())[1].tobytes() for suffix in (".ppm", ".jp2")]
    + [cv2.imencode(".pfm", picture().astype(np.float32) / 255)[1].tobytes()],
}  # fmt: skip
# Places where sizes, counts and offsets stand, so that some faults are of the malicious kind.
NUMBERS = (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x10000, 60, 40, 65500, 1 << 20)


def damaged(kind: str, rng: random.Random) -> bytes:
    seed = rng.choice(SEEDS[kind])
    if rng.random() < 0.4:  # numbers of the header alone
        data = bytearray(seed)
        for _ in range(rng.choice((1, 1, 2, 4))):
            layout = rng.choice(("<H", ">H", "<I", ">I"))
            at = rng.randrange(min(len(data), 400) - 4)
            number = rng.choice(NUMBERS) & (0xFFFF if layout[1] == "H" else 0xFFFFFFFF)
            struct.pack_into(layout, data, at, number)
        return bytes(data)
    return mutate(seed, rng, [other for seeds in SEEDS.values() for other in seeds])


@many
@pytest.mark.parametrize("kind", SEEDS)
def test_images(kind: str, count: int, tmp_path: Path) -> None:
    path = tmp_path / "image.bin"

    def make(rng: random.Random) -> bytes:
        data = damaged(kind, rng)
        path.write_bytes(data)
        return data

    def read(data: bytes) -> None:
        try:
            size = image_size(path, max_pixels=PIXELS)
        except ImageError:
            size = None
        image = decode(data, "image.bin", max_pixels=PIXELS)
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[0] * image.shape[1] <= PIXELS
        assert size == image.shape[:2]
        np.testing.assert_array_equal(read_image(path, max_pixels=PIXELS), image)
        for reduce in (2, 8) if kind == "JPEG" else ():
            decode(data, "image.bin", max_pixels=PIXELS, reduce=reduce)
        check_image(path, max_pixels=PIXELS)

    for seed in SEEDS[kind]:
        path.write_bytes(seed)
        read(seed)  # imports what reading this kind needs
    campaign(read, make, -(-count // len(SEEDS)) if count < 1000 else count, tmp_path)


@many
def test_pipes_of_images(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolopose.sources.stdin.MAX_PIPED", 1 << 16)
    whole = [seed for kind in ("JPEG", "PNG", "GIF", "WEBP") for seed in SEEDS[kind]]

    def make(rng: random.Random) -> bytes:
        parts = [rng.choice(whole) for _ in range(rng.randrange(1, 5))]
        return mutate(rng.choice((b"", b"\0\0", b"\r\n")).join(parts), rng, whole)

    def read(data: bytes) -> None:
        total = 0
        for number, image in enumerate(split_images(io.BytesIO(data))):
            assert image
            total += len(image)
            try:
                decode(image, f"stdin{number}.jpg", max_pixels=PIXELS)
            except ImageError:
                continue
        assert total <= len(data)

    campaign(read, make, count, tmp_path)
