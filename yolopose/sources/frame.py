"""What a source yields, what a reader may ask of it, and the handle that closes it."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from yolopose.limits import MAX_PIXELS


@dataclass(slots=True)
class Frame:
    """One picture of a source, or (`image` None, `error` set) one thing that could not be read.

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
    fps: float | None = None  # of the frames yielded, hence divided by vid_stride
    file: bool = False  # `path` leads to a file of this machine
    named: bool = False  # the user named this very thing: alone, or in a Python list
    exact: bool = False  # a tensor: the network's input as it is, imgsz does not count

    @property
    def full_path(self) -> str:
        """`path`, of a file from the root: it still leads there when the working folder is another."""
        return os.path.abspath(self.path) if self.file else self.path


@dataclass(frozen=True)
class SourceOptions:
    """How to read videos and streams.

    A stream that breaks is opened again `reconnect` times, after `backoff` seconds and then twice as long each time; a
    stream that sends nothing for `timeout` seconds counts as broken. Images and frames of more than `max_pixels` count
    as unreadable. With `skip_missing` a path that the user named and that leads nowhere counts as unreadable too.
    """

    vid_stride: int = 1  # take every n-th frame, beginning with the first
    stream_buffer: bool = False  # False: only a stream's newest frame waits; True: up to 30, the oldest dropped
    max_pixels: int = MAX_PIXELS
    skip_missing: bool = False
    reconnect: int = 5
    backoff: float = 0.5
    timeout: float = 10.0


class Source:
    """The frames of a source, once, in order; `close()` or leaving a `with` block releases files, cameras and threads.

    `len_hint` is the number of frames where it is known beforehand; `streams` the number of live streams read at once,
    one frame of each per round, and 0 for everything else.
    """

    def __init__(
        self,
        frames: Generator[Frame, None, None],
        *,
        len_hint: int | None = None,
        streams: int = 0,
        stop: threading.Event | None = None,
    ):
        self._frames = frames
        self._stop = stop or threading.Event()
        self.len_hint = len_hint
        self.streams = streams

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        if self._stop.is_set():
            self._frames.close()
            raise StopIteration
        return next(self._frames)

    def close(self) -> None:
        """Release everything; any thread may call it, also while another one waits for a frame."""
        self._stop.set()
        try:
            self._frames.close()
        except ValueError:  # another thread is inside the generator and closes it when it asks for the next frame
            return

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
