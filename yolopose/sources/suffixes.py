"""Which file names are images, videos and stream addresses (lower case, without the dot)."""

from pathlib import PurePath

IMAGE_SUFFIXES = frozenset(
    {"bmp", "dng", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp", "pfm", "heic", "avif", "jp2", "pgm", "ppm"}
)
VIDEO_SUFFIXES = frozenset({"asf", "avi", "gif", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ts", "wmv", "webm"})
STREAM_SUFFIXES = frozenset({"m3u8", "mjpeg", "mjpg", "mpd", "sdp"})


def suffix_of(path: str | PurePath) -> str:
    """The suffix in lower case and without its dot."""
    return PurePath(path).suffix[1:].lower()
