"""Pictures as HWC BGR uint8 arrays: decode, encode, convert, measure and check; EXIF orientation is always applied."""

from yolopose.images.arrays import to_bgr
from yolopose.images.files import (
    ImageError,
    ImageReadError,
    ImageTooLarge,
    check_header,
    check_image,
    decode,
    encode_jpeg,
    image_size,
    read_image,
    unlogged,
)

__all__ = [
    "ImageError",
    "ImageReadError",
    "ImageTooLarge",
    "check_header",
    "check_image",
    "decode",
    "encode_jpeg",
    "image_size",
    "read_image",
    "to_bgr",
    "unlogged",
]
