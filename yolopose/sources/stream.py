"""Read live streams and cameras: a daemon thread and a bounded buffer for each, reconnection after a break."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator
from typing import Any, Literal

from yolopose.console import log
from yolopose.sources.files import is_url
from yolopose.sources.frame import Frame, SourceOptions
from yolopose.sources.video import check_frames, length_and_rate, open_capture
from yolopose.web import masked

BUFFER = 30  # frames that may wait with stream_buffer=True
_LONGEST_BACKOFF = 30.0  # seconds
_JOIN = 1.0  # seconds that close() waits for the threads; one may wait in a network read until its timeout


def stream_frames(
    addresses: list[str | int], options: SourceOptions, stop: threading.Event, *, named: bool = True
) -> Generator[Frame, None, None]:
    """The frames of several streams (URLs, camera numbers or video files), in rounds: one of each per round.

    A round waits for every stream that is connected and leaves out those that are lost or have ended, so the slowest
    connected stream sets the rate. A stream that cannot be opened, or not again after a break, yields one frame with
    `error`. Ends when all streams have ended or `stop` is set.
    """
    wake = threading.Condition()
    readers = [StreamReader(address, number, options, wake, stop) for number, address in enumerate(addresses)]
    try:
        for reader in readers:
            reader.thread.start()
        while not stop.is_set():
            with wake:
                # the time limit lets Ctrl-C through where waiting for a lock would not
                if not wake.wait_for(lambda: stop.is_set() or _round_is_due(readers), timeout=0.5):
                    continue
                frames = [reader.buffer.popleft() for reader in readers if reader.buffer]
                wake.notify_all()
            for reader in readers:
                if reader.failure:
                    raise reader.failure
            if not frames:
                return
            for frame in frames:
                frame.items = len(addresses)
                frame.named = named
                yield frame
    finally:
        stop.set()
        with wake:
            wake.notify_all()
        deadline = time.monotonic() + _JOIN
        for reader in readers:
            if reader.thread.ident is not None:
                reader.thread.join(max(0.0, deadline - time.monotonic()))


def _round_is_due(readers: list[StreamReader]) -> bool:
    """Whether every live stream has a frame and there is one at all, or all streams have ended."""
    settled = all(reader.buffer or reader.state != "live" for reader in readers)
    return settled and (any(reader.buffer for reader in readers) or all(reader.state == "ended" for reader in readers))


class StreamReader:
    """Reads one stream in a daemon thread into `buffer`; `wake` guards `buffer` and `state` and announces changes.

    Of a live stream the buffer keeps the newest frame, or with `stream_buffer` the newest 30. A file is not live: its
    reader waits until the buffer has room, so that no frame is lost.
    """

    def __init__(
        self, address: str | int, number: int, options: SourceOptions, wake: threading.Condition, stop: threading.Event
    ):
        self.address, self.number, self.options, self.wake, self.stop = address, number, options, wake, stop
        self.is_file = isinstance(address, str) and not is_url(address)
        self.name = masked(address) if isinstance(address, str) and not self.is_file else str(address)
        self.buffer: deque[Frame] = deque()
        self.state: Literal["live", "lost", "ended"] = "live"
        self.failure: BaseException | None = None  # a bug in the thread, to be raised by the consumer
        self.excess: str | None = None  # why its frames are not read: too large
        self.index = 0  # frames received, including those that vid_stride leaves out
        self.dropping = False
        self.thread = threading.Thread(target=self._run, name=f"yolopose stream {number}", daemon=True)

    def _run(self) -> None:
        try:
            self._read_until_ended()
        except BaseException as error:
            self.failure = error
        with self.wake:
            self.state = "ended"
            self.wake.notify_all()

    def _read_until_ended(self) -> None:
        """Open, read, and open again after each break until the stream ends or the attempts are used up."""
        attempts, wait = 0, self.options.backoff
        while not self.stop.is_set():
            before = self.index
            if self._read_once() or self.stop.is_set():
                return
            if self.index > before:
                attempts, wait = 0, self.options.backoff
            if self.excess:
                return self._give_up(self.excess)
            if self.index == 0:
                return self._give_up("cannot be opened, or sends no frames; check the address and that it is running")
            if attempts == self.options.reconnect:
                return self._give_up(f"lost after frame {self.index}; gave up after {attempts} attempts to reconnect")
            if attempts == 0:
                self._change("lost", f"lost after frame {self.index}, reconnecting")
            self.stop.wait(wait)
            attempts, wait = attempts + 1, min(2 * wait, _LONGEST_BACKOFF)

    def _read_once(self) -> bool:
        """Read one connection to its end; True when the stream has ended rather than broken."""
        capture = self._open()
        try:
            if not capture.isOpened():
                return self.is_file and self.index > 0
            self.excess = check_frames(capture, self.options.max_pixels)
            if self.excess:
                return False
            total, rate = length_and_rate(capture, self.options.vid_stride)
            first = self.index
            while not self.stop.is_set() and capture.grab():
                if self.state == "lost":
                    self._change("live", "reconnected")
                if self.index % self.options.vid_stride == 0:
                    good, image = capture.retrieve()
                    if good:
                        self._put(Frame(image, self.name, "stream", self.index, total, fps=rate))
                self.index += 1
            # a recording that is sent as a stream states its length, though not always exactly
            received = self.index - first
            return received > 0 and (self.is_file or (total is not None and received >= 0.9 * total))
        finally:
            capture.release()

    def _open(self) -> Any:
        import cv2

        if isinstance(self.address, int) or self.is_file:
            return open_capture(self.address)
        milliseconds = int(self.options.timeout * 1000)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds, cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds]
        return open_capture(self.address, cv2.CAP_FFMPEG, limits)

    def _put(self, frame: Frame) -> None:
        size = BUFFER if self.options.stream_buffer else 1
        with self.wake:
            if self.is_file:
                self.wake.wait_for(lambda: self.stop.is_set() or len(self.buffer) < size)
            while len(self.buffer) >= size:
                self.buffer.popleft()
                if self.options.stream_buffer and not self.dropping:
                    self.dropping = True
                    self._log(f"{BUFFER} frames are waiting, dropping the oldest from now on")
            self._append(frame)

    def _change(self, state: Literal["live", "lost"], event: str) -> None:
        self._log(event)
        with self.wake:
            self.state = state
            self.wake.notify_all()

    def _log(self, event: str) -> None:
        log.warning(f"stream {self.number} ({self.name}): {event}")

    def _append(self, frame: Frame) -> None:
        """Hand a frame over; the caller holds `wake`."""
        frame.item = frame.stream = self.number
        self.buffer.append(frame)
        self.wake.notify_all()

    def _give_up(self, reason: str) -> None:
        with self.wake:
            self._append(Frame(None, self.name, "stream", self.index, error=f"{self.name}: {reason}"))
