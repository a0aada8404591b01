"""Which file names are images, videos and stream addresses (lower case, without the dot)."""

from pathlib import PurePath

IMAGE_SUFFIXES = frozenset(
    {"bmp", "dng", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp", "pfm", "heic", "avif", "jp2", "pgm", "ppm"}
)
VIDEO_SUFFIXES = frozenset({"asf", "avi", "gif", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ts", "wmv", "webm"})
STREAM_SUFFIXES = frozenset({"m3u8", "mjpeg", "mjpg", "mpd", "sdp"})


def is_image(path: str | PurePath) -> bool:
    """Whether the suffix is that of an image file."""
    return suffix_of(path) in IMAGE_SUFFIXES


def suffix_of(path: str | PurePath) -> str:
    """The suffix in lower case and without its dot."""
    return PurePath(path).suffix[1:].lower()
