"""Image files and encoded bytes → HWC BGR uint8 arrays, and back."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError, one_line, printable
from yolopose.files import atomic_path, open_regular, read_bounded
from yolopose.images.headers import Header, plugin, read_header
from yolopose.limits import MAX_IMAGE_BYTES, MAX_PIXELS

Image = NDArray[np.uint8]

MIN_SIDE = 10  # pixels; data sets may not hold smaller images
TRUNCATED = "truncated: the file ends before its image does; copy or download it again"
_TURNED_HERE = ("JPEG", "PNG", "WebP")  # what of the rest has an orientation is turned by its decoder
_BY_PILLOW = ("GIF", "WebP")  # what OpenCV before 4.11 does not decode, or not when it is animated
_lock = threading.Lock()
_inside = 0  # threads within `unlogged`
_level = 0  # OpenCV's log level before the first of them
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


class ImageError(PoseError):
    """An image that cannot be used: damaged, truncated, of a foreign format, or too large; `reason` is which."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{printable(self.args[0])}: {self.reason}"


class ImageTooLarge(ImageError):
    """An image of more than `max_pixels` pixels."""


class ImageReadError(ImageError):
    """A file that cannot be read: missing, not allowed, a failing disk. The next try may succeed."""


def decode(data: bytes, name: str = "image bytes", *, max_pixels: int = MAX_PIXELS, reduce: int = 1) -> Image:
    """An encoded image → (H, W, 3) BGR, turned by its EXIF orientation.

    JPEG, PNG, WebP, BMP, TIFF, GIF, PNM, PFM, JPEG 2000 and AVIF. 16-bit samples keep their upper 8 bits,
    floating-point samples are clipped to 0..1, transparency is dropped, and of an animation the first picture counts.
    With `reduce` 2, 4 or 8 a JPEG is decoded at that fraction of its size, at a fraction of the work.

    Raises ImageError, naming `name` and the reason, for damaged or foreign data, and before anything is decoded for
    more than `max_pixels` pixels. The size is always that of `image_size`.
    """
    header = safe_header(io.BytesIO(data), name, max_pixels)
    reduce = reduce if header.kind == "JPEG" else 1
    image = _decoded(data, header, name, reduce)
    if header.kind in _TURNED_HERE:
        image = turned(image, header.orientation)
    if header.complete is None and header.kind != "GIF":
        _check_pixels(image.shape[0], image.shape[1], name, max_pixels)
    elif image.shape[:2] != tuple(-(-side // reduce) for side in header.size):
        raise ImageError(name, f"damaged {header.kind}: its header declares another size than its image has")
    return image


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, reduce: int = 1) -> Image:
    """An image file → (H, W, 3) BGR as in `decode`; ImageError names the file and the reason."""
    try:
        with read_errors(path):
            data = read_bounded(path, MAX_IMAGE_BYTES)
    except ValueError as error:
        raise ImageError(str(path), f"{error}, which is no photograph") from None
    return decode(data, str(path), max_pixels=max_pixels, reduce=reduce)


def encode_jpeg(image: Image, quality: int = 95) -> bytes:
    """(H, W, 3) BGR or (H, W) grey → the bytes of a JPEG file."""
    import cv2

    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def write_image(image: Image, path: Path) -> None:
    """Write (H, W, 3) BGR in the format of the suffix; missing folders are made.

    Raises:
        PoseError: OpenCV does not write that format, or the file cannot be written.
    """
    import cv2

    try:
        data = cv2.imencode(path.suffix, image)[1]
    except cv2.error:
        raise PoseError(f"{path}: no image format that OpenCV writes; use .jpg or .png") from None
    try:
        with atomic_path(path) as part:
            part.write_bytes(data.tobytes())
    except OSError as e:
        raise PoseError(f"{path}: cannot be written: {e.strerror or e}") from None


def image_size(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(H, W) of an image file as `read_image` would return it, from its header where that is enough.

    Raises ImageError like `read_image`, but does not look for damage behind the header.
    """
    with read_errors(path), open_regular(path) as file:
        header = safe_header(file, str(path), max_pixels)
    if header.complete is None:
        height, width = read_image(path, max_pixels=max_pixels).shape[:2]
        return height, width
    return header.size


def check_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(H, W) of a complete image file; ImageError for a truncated or foreign file or a side under 10 pixels.

    Looks at the header and the end of the file, so that a data set is scanned in moments: damage in between shows only
    when `read_image` raises ImageError. Where that does not raise, its size is the one given here. Formats other than
    JPEG, PNG, WebP, BMP, GIF and TIFF are decoded.
    """
    height, width = image_size(path, max_pixels=max_pixels)
    if min(height, width) < MIN_SIDE:
        raise ImageError(str(path), f"{width}x{height} pixels, but a side needs at least {MIN_SIDE}; leave it out")
    return height, width


def check_header(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> None:
    """Raise ImageError for an image of more than `max_pixels` pixels; a file of any other kind passes."""
    header = None
    with read_errors(path), open_regular(path) as file, suppress(EOFError, ValueError):
        header = read_header(file)
    if header is not None:
        _check_pixels(header.height, header.width, str(path), max_pixels)


def safe_header(file: BinaryIO, name: str, max_pixels: int) -> Header:
    """The header of an image that is safe to decode; raises ImageError for others."""
    try:
        header = read_header(file)
    except EOFError:
        raise ImageError(name, TRUNCATED) from None
    except ValueError as error:
        raise ImageError(name, f"not readable: {one_line(error)}") from None
    if header is None:
        file.seek(0)
        raise ImageError(name, _foreign(file.read(12)))
    if header.complete is False:
        raise ImageError(name, TRUNCATED)
    if header.preview:
        raise ImageError(name, "a DNG with raw sensor data; OpenCV reads only its preview: convert it to TIFF or JPEG")
    if header.height < 1 or header.width < 1:
        raise ImageError(name, f"not readable: damaged {header.kind} header")
    _check_pixels(header.height, header.width, name, max_pixels)
    return header


def _foreign(start: bytes) -> str:
    if not start:
        return "the file is empty"
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
        return "HEIC is not read: convert it to JPEG or PNG"
    return "not readable: no image format that is known here"


def _check_pixels(height: int, width: int, name: str, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise ImageTooLarge(
            name, f"{width}x{height} pixels, more than max_pixels={max_pixels}; raise it if you trust it"
        )


def _decoded(data: bytes, header: Header, name: str, reduce: int) -> Image:
    """The picture as it is stored, in BGR."""
    import cv2

    flags: int = cv2.IMREAD_COLOR if reduce == 1 else getattr(cv2, f"IMREAD_REDUCED_COLOR_{reduce}")
    flags |= cv2.IMREAD_IGNORE_ORIENTATION if header.kind in _TURNED_HERE else 0
    if header.floating:
        flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    image: Any = None
    try:
        if not header.animated:  # of damaged ones OpenCV 5 gives memory that it has not written to
            with nullcontext() if header.kind in ("JPEG", "PNG") else unlogged():  # these two log nothing
                image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(name, f"OpenCV refuses it ({one_line(error.err)})") from None
    if image is None and (header.animated or header.kind in _BY_PILLOW):
        image = _by_pillow(data, header)
    if image is None:
        raise ImageError(name, f"not readable: damaged {header.kind} data")
    if header.floating:
        image = (np.clip(np.nan_to_num(image), 0, 1) * 255 + 0.5).astype(np.uint8)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def _by_pillow(data: bytes, header: Header) -> Image | None:
    """The first picture, in BGR, or None."""
    try:
        with plugin(header.kind)(io.BytesIO(data)) as picture:
            return np.ascontiguousarray(np.asarray(picture.convert("RGB"))[..., ::-1])
    except Exception:  # it raises nearly anything for damaged bytes
        return None


def turned(image: Image, orientation: int) -> Image:
    """A stored picture turned by EXIF orientation 1 to 8."""
    import cv2

    if orientation >= 5:
        image = np.asarray(cv2.transpose(image), np.uint8)
    axis = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return image if axis is None else np.asarray(cv2.flip(image, axis), np.uint8)


@contextmanager
def unlogged() -> Iterator[None]:
    """Keep OpenCV from logging to standard error within the block; the caller reports failures in one line.

    The log level belongs to the process, so it is restored when no thread is in such a block any more.
    """
    import cv2

    global _inside, _level
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    with _lock:
        if not _inside:
            _level = set_level(0)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                set_level(_level)


@contextmanager
def read_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise ImageReadError for the OSError of a file that cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise ImageReadError(str(path), "no such file; check the path") from None
    except OSError as error:
        raise ImageReadError(str(path), f"cannot be read: {error.strerror or error}") from None
