"""Video files → frames, one in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from yolopose.console import log
from yolopose.sources.frame import Frame, SourceOptions

_MOST_FRAMES = 10**9  # OpenCV states absurd numbers where a container does not know its length


def frame_count(capture: Any) -> int | None:
    """The number of frames that an open cv2.VideoCapture states, if it knows."""
    import cv2

    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(count) if 0 < count < _MOST_FRAMES else None


def frame_rate(capture: Any, stride: int) -> float | None:
    """Frames per second of every `stride`-th frame, if the capture knows."""
    import cv2

    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate / stride if 0 < rate <= 1000 else None


def video_frames(path: str, options: SourceOptions, name: str) -> Iterator[Frame]:
    """Every `vid_stride`-th frame of a video file; `index` and `total` count the frames of the file.

    The rotation that the container asks for is applied (OpenCV does it). A file that cannot be opened, or from which no
    frame comes, gives one frame with `error`; one that ends long before its stated length is logged.
    """
    import cv2

    capture = cv2.VideoCapture(path)
    try:
        if not capture.isOpened():
            reason = "cannot be opened as a video: damaged, cut off, or of a kind that OpenCV does not read"
            yield Frame(None, name, "video", error=f"{name}: {reason}")
            return
        total, rate = frame_count(capture), frame_rate(capture, options.vid_stride)
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
