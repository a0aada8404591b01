"""A frame of a source, and the options for reading one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from yolopose.images.strips import StripPicture
from yolopose.limits import MAX_PIXELS


@dataclass(slots=True)
class Frame:
    """One picture of a source (in `image`, or in `large`), or one thing that could not be read (`error`).

    `index` of `total` counts photographs of the source, or frames within the video or stream; `item` of `items` counts
    the things that the source names (a photograph, a whole video). Totals are None where they are unknown.
    """

    image: NDArray[np.uint8] | None  # (H, W, 3) BGR
    path: str  # file, URL without password and query, camera number, or a made-up name for pictures in memory
    kind: Literal["image", "video", "stream"] = "image"
    index: int = 0
    total: int | None = None
    item: int = 0
    items: int | None = None
    error: str | None = None  # one line that names the path and the reason
    stream: int = 0  # which of several streams
    fps: float | None = None  # of the frames yielded: that of the video divided by vid_stride
    file: bool = False  # `path` leads to a file of this machine
    named: bool = False  # the user named this very thing: alone, or in a Python list
    large: StripPicture | None = None  # in place of `image`: a picture that is decoded in strips
    exact: bool = False  # a tensor: the network's input as it is, imgsz does not count


@dataclass(frozen=True)
class SourceOptions:
    """How to read videos and streams.

    A stream that breaks is opened again `reconnect` times, after `backoff` seconds and then twice as long each time;
    a stream that sends nothing for `timeout` seconds counts as broken. Images and frames of more than `max_pixels`
    count as unreadable, unless `strips` is set: then files of photographs become frames with `large`. With
    `skip_missing` a path that the user named and that leads nowhere counts as unreadable too.
    """

    vid_stride: int = 1  # take every n-th frame, beginning with the first
    stream_buffer: bool = False  # False: only a stream's newest frame waits; True: up to 30, the oldest dropped
    max_pixels: int = MAX_PIXELS
    strips: bool | None = None  # None: the caller takes no such frames
    skip_missing: bool = False
    reconnect: int = 5
    backoff: float = 0.5
    timeout: float = 10.0
