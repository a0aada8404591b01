"""Pictures as HWC BGR uint8 arrays: decode, encode, convert, measure and check; EXIF orientation is always applied."""

from yolopose.images.arrays import to_bgr
from yolopose.images.files import (
    ImageError,
    ImageReadError,
    check_header,
    check_image,
    decode,
    encode_jpeg,
    image_size,
    read_image,
    unlogged,
)
from yolopose.images.headers import Header, read_header

__all__ = [
    "Header",
    "ImageError",
    "ImageReadError",
    "check_header",
    "check_image",
    "decode",
    "encode_jpeg",
    "image_size",
    "read_header",
    "read_image",
    "to_bgr",
    "unlogged",
]
