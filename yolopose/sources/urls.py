"""Addresses: which ones are streams, which are files to download, and how they are shown."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from yolopose.errors import PoseError
from yolopose.sources.suffixes import IMAGE_SUFFIXES, STREAM_SUFFIXES, VIDEO_SUFFIXES

STREAM_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "tcp", "udp", "srt"})
_VIDEO_SITES = ("youtube.com", "youtu.be", "vimeo.com")
_SECONDS = 10  # to wait for an answer


def is_url(text: str) -> bool:
    """Whether the text begins like an address; the drive letter of a Windows path does not count."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def shown(url: str) -> str:
    """The address without password, query and fragment, fit for log lines and file names."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0] + (":***" if ":" in user else "")
    return urlunsplit((parts.scheme, name + at + host, parts.path, "", ""))


def surely_stream(url: str) -> bool:
    """Whether the address alone says that this is a stream."""
    return urlsplit(url).scheme.lower() in STREAM_SCHEMES or _suffix(url) in STREAM_SUFFIXES


def classify(url: str) -> Literal["image", "video", "stream"]:
    """What an address leads to: by its scheme, suffix or password, else by the content type that the server states.

    Raises PoseError for unknown schemes, web pages and servers that refuse.
    """
    scheme, suffix = urlsplit(url).scheme.lower(), _suffix(url)
    if surely_stream(url):
        return "stream"
    if scheme not in ("http", "https"):
        raise PoseError(f"{shown(url)}: unknown kind of address; use http, https, {', '.join(sorted(STREAM_SCHEMES))}")
    if (urlsplit(url).hostname or "").removeprefix("www.").removeprefix("m.") in _VIDEO_SITES:
        raise PoseError(
            f"{shown(url)}: video sites are not read; download the video first (yt-dlp), then name the file"
        )
    if suffix in IMAGE_SUFFIXES:
        return "image"
    if suffix in VIDEO_SUFFIXES:
        return "video"
    if "@" in urlsplit(url).netloc:
        return "stream"  # a camera with its password, to which FFmpeg knows how to log in
    kind, finite = _content_type(url)
    if kind.startswith("text/html"):
        raise PoseError(f"{shown(url)}: a web page, not an image, video or stream; give the address of the file itself")
    if kind.startswith("image/"):
        return "image"
    return "video" if kind.startswith("video/") and finite else "stream"


def _suffix(url: str) -> str:
    return PurePosixPath(urlsplit(url).path).suffix[1:].lower()


def _content_type(url: str) -> tuple[str, bool]:
    """The stated content type, and whether a length is stated too (a live stream has none)."""
    import http.client
    import urllib.request
    from urllib.error import HTTPError, URLError

    request = urllib.request.Request(url, headers={"User-Agent": "yolopose"})
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return answer.headers.get_content_type(), "Content-Length" in answer.headers
    except HTTPError as error:
        error.close()
        raise PoseError(f"{shown(url)}: the server answers {error.code} {error.reason}") from None
    except URLError as error:
        raise PoseError(f"{shown(url)}: cannot be reached ({error.reason}); check the address") from None
    except http.client.HTTPException:  # not quite HTTP (cameras, radio servers): FFmpeg may know better
        return "", False
    except OSError as error:
        raise PoseError(f"{shown(url)}: cannot be reached ({error}); check the address") from None
