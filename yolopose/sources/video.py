"""Video files → frames, one in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from yolopose.console import log
from yolopose.images import ImageError, check_header, unlogged
from yolopose.sources.frame import Frame, SourceOptions

_MOST_FRAMES = 10**9  # OpenCV states absurd numbers where a container does not know its length


def length_and_rate(capture: Any, stride: int) -> tuple[int | None, float | None]:
    """The number of frames that an open cv2.VideoCapture states, and every `stride`-th frame's per second, if known."""
    import cv2

    count, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    return int(count) if 0 < count < _MOST_FRAMES else None, rate / stride if 0 < rate <= 1000 else None


def open_capture(*arguments: Any) -> Any:
    """A cv2.VideoCapture, opened without OpenCV's own log lines.

    They would show the passwords of addresses; the caller reports a failure.
    """
    import cv2

    with unlogged():
        return cv2.VideoCapture(*arguments)


def check_frames(capture: Any, max_pixels: int) -> str | None:
    """Why the frames of an open cv2.VideoCapture are not to be decoded, by the size that it states, or None."""
    import cv2

    width, height = (capture.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > max_pixels:
        return f"frames of {width:.0f}x{height:.0f} pixels, more than max_pixels={max_pixels}; raise it if you trust it"
    return None


def video_frames(path: str, options: SourceOptions, name: str) -> Iterator[Frame]:
    """Every `vid_stride`-th frame of a video file; `index` and `total` count the frames of the file.

    The rotation that the container asks for is applied (OpenCV does it). A file that cannot be opened, or from which no
    frame comes, gives one frame with `error`; one that ends long before its stated length is logged.
    """
    try:
        check_header(path, max_pixels=options.max_pixels)  # FFmpeg decodes a frame when it opens a GIF
    except ImageError as error:
        yield Frame(None, name, "video", error=f"{name}: {error.reason}")
        return
    capture = open_capture(path)
    try:
        reason = check_frames(capture, options.max_pixels)
        if not capture.isOpened():
            reason = "cannot be opened as a video: damaged, cut off, or of a kind that OpenCV does not read"
        if reason:
            yield Frame(None, name, "video", error=f"{name}: {reason}")
            return
        total, rate = length_and_rate(capture, options.vid_stride)
        index = 0
        while capture.grab():
            if index % options.vid_stride == 0:
                good, image = capture.retrieve()
                if good:
                    yield Frame(image, name, "video", index, total, fps=rate)
            index += 1
        if index == 0:
            yield Frame(None, name, "video", error=f"{name}: no frame of this video can be decoded")
        elif total and index < 0.9 * total:
            log.warning(f"{name}: ends after frame {index} of {total}; the rest is missing or damaged")
    finally:
        capture.release()
