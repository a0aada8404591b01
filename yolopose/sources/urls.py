"""Addresses: which ones are streams, and which are files to download."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from yolopose.errors import PoseError, one_line
from yolopose.sources.suffixes import IMAGE_SUFFIXES, STREAM_SUFFIXES, VIDEO_SUFFIXES
from yolopose.web import masked, open_url

STREAM_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "tcp", "udp", "srt"})
_VIDEO_SITES = ("youtube.com", "youtu.be", "vimeo.com")


def is_url(text: str) -> bool:
    """Whether the text begins like an address; the drive letter of a Windows path does not count."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def surely_stream(url: str) -> bool:
    """Whether the address alone says that this is a stream."""
    return _parts(url).scheme.lower() in STREAM_SCHEMES or suffix_of_url(url) in STREAM_SUFFIXES


def classify(url: str) -> Literal["image", "video", "stream"]:
    """What an address leads to: by its scheme, suffix or password, else by the content type that the server states.

    Raises PoseError for unknown schemes, web pages and servers that refuse.
    """
    parts, suffix = _parts(url), suffix_of_url(url)
    scheme = parts.scheme.lower()
    if surely_stream(url):
        return "stream"
    if scheme not in ("http", "https"):
        raise PoseError(f"{masked(url)}: unknown kind of address; use http, https, {', '.join(sorted(STREAM_SCHEMES))}")
    if (parts.hostname or "").removeprefix("www.").removeprefix("m.") in _VIDEO_SITES:
        raise PoseError(
            f"{masked(url)}: video sites are not read; download the video first (yt-dlp), then name the file"
        )
    if suffix in IMAGE_SUFFIXES:
        return "image"
    if suffix in VIDEO_SUFFIXES:
        return "video"
    if "@" in parts.netloc:
        return "stream"  # a camera with its password, to which FFmpeg knows how to log in
    kind, finite = _content_type(url)
    if kind.startswith("text/html"):
        raise PoseError(
            f"{masked(url)}: a web page, not an image, video or stream; give the address of the file itself"
        )
    if kind.startswith("image/"):
        return "image"
    return "video" if kind.startswith("video/") and finite else "stream"


def suffix_of_url(url: str) -> str:
    """The suffix of the file that an address names, in lower case and without its dot."""
    return PurePosixPath(_parts(url).path).suffix[1:].lower()


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise PoseError(f"{masked(url)}: not a web address that can be read") from None


def _content_type(url: str) -> tuple[str, bool]:
    """The stated content type, and whether a length is stated too (a live stream has none)."""
    import http.client
    from urllib.error import HTTPError, URLError

    try:
        with open_url(url) as answer:
            return answer.headers.get_content_type(), "Content-Length" in answer.headers
    except HTTPError as error:
        error.close()
        raise PoseError(f"{masked(url)}: the server answers {error.code} {one_line(error.reason)}") from None
    except URLError as error:
        reason = one_line(error.reason)
        raise PoseError(f"{masked(url)}: cannot be reached ({reason}); check the address") from None
    except http.client.HTTPException:  # not quite HTTP (cameras, radio servers): FFmpeg may know better
        return "", False
    except OSError as error:
        raise PoseError(f"{masked(url)}: cannot be reached ({one_line(error)}); check the address") from None
