"""Image files and encoded bytes → HWC BGR uint8 arrays, and back."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError
from yolopose.images.headers import Header, read_header

MIN_SIDE = 10  # pixels; data sets may not hold smaller images
TRUNCATED = "truncated: the file ends before its image does; copy or download it again"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


def decode(data: bytes, name: str = "image bytes") -> NDArray[np.uint8]:
    """An encoded image of any format that OpenCV reads → (H, W, 3) BGR, turned as its EXIF orientation says.

    16-bit samples keep their upper 8 bits, floating-point samples are clipped to 0..1, transparency is dropped, and of
    an animation the first picture counts. Raises PoseError, naming `name` and the reason, for damaged or foreign data.
    """
    import cv2

    # the short way for nearly every photograph: a JPEG that ends with its end marker
    header = None if data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9" else read_header(io.BytesIO(data))
    if reason := _unreadable(data, header):
        raise PoseError(f"{name}: {reason}")
    floating = data[:3] in (b"PF\n", b"Pf\n") or (header is not None and header.floating)
    flags = cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if floating else 0)
    try:
        image: NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:  # such as more pixels than OpenCV allows
        raise PoseError(f"{name}: OpenCV refuses it ({error.err})") from None
    if image is None:
        kind = header.kind if header else "JPEG" if data[:2] == b"\xff\xd8" else "image"
        raise PoseError(f"{name}: not readable: damaged {kind} data, or no image format that OpenCV knows")
    if floating:
        image = (np.clip(np.nan_to_num(image), 0, 1) * 255 + 0.5).astype(np.uint8)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def _unreadable(data: bytes, header: Header | None) -> str | None:
    """Why these bytes cannot be an image, as far as can be said without decoding them."""
    if not data:
        return "the file is empty"
    if header and not header.complete:
        return TRUNCATED
    if header and header.preview:
        return "a DNG with raw sensor data, of which OpenCV reads only the preview: convert it to TIFF or JPEG"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "HEIC is not read by OpenCV: convert it to JPEG or PNG"
    return None


def read_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """An image file → (H, W, 3) BGR as in `decode`; PoseError names the file and the reason."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise PoseError(f"{path}: {_cause(error)}") from None
    return decode(data, str(path))


def encode_jpeg(image: NDArray[np.uint8], quality: int = 95) -> bytes:
    """(H, W, 3) BGR or (H, W) grey → the bytes of a JPEG file."""
    import cv2

    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(H, W) of an image file as `read_image` would return it, from its header where that is enough.

    Raises PoseError like `read_image`, but does not look for damage behind the header.
    """
    header = _file_header(path)
    if header and header.height > 0 and header.width > 0:
        return header.size
    height, width = read_image(path).shape[:2]
    return height, width


def check_image(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(H, W) of an image file that is whole; PoseError for a truncated or foreign file or a side under 10 pixels.

    Looks at the header and the end of the file; formats other than JPEG, PNG, WebP, BMP, GIF and TIFF are decoded.
    """
    header = _file_header(path)
    if header and not header.complete:
        raise PoseError(f"{path}: {TRUNCATED}")
    if header and header.height > 0 and header.width > 0 and not header.preview:
        height, width = header.size
    else:
        height, width = read_image(path).shape[:2]
    if min(height, width) < MIN_SIDE:
        raise PoseError(f"{path}: {width}x{height} pixels, but a side needs at least {MIN_SIDE}; leave it out")
    return height, width


def _file_header(path: str | os.PathLike[str]) -> Header | None:
    try:
        with open(path, "rb") as file:
            return read_header(file)
    except OSError as error:
        raise PoseError(f"{path}: {_cause(error)}") from None


def _cause(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file; check the path"
    return f"cannot be read: {error.strerror or error}"
