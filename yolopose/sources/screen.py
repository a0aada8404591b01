"""A region of the screen → frames, as fast as they are asked for."""

from __future__ import annotations

import re
import threading
from collections.abc import Generator
from typing import Any

import numpy as np

from yolopose.errors import PoseError, UsageError, one_line
from yolopose.sources.frame import Frame

SCREEN = re.compile(r"screen(\s+-?\d+)*", re.IGNORECASE)  # alone or followed by numbers


def screen_region(text: str) -> tuple[int, tuple[int, int, int, int] | None]:
    """`screen [n] [left top width height]` → n (0: all screens together, 1: the first) and the region in pixels."""
    numbers = [int(word) for word in text.split()[1:]]
    if len(numbers) not in (0, 1, 4, 5):
        raise UsageError(f"{text}: expected 'screen [number] [left top width height]'")
    number = numbers.pop(0) if len(numbers) in (1, 5) else 0
    if not numbers:
        return number, None
    left, top, width, height = numbers
    if width < 1 or height < 1:
        raise UsageError(f"{text}: width and height must be at least 1 pixel")
    return number, (left, top, width, height)


def screen_frames(text: str, stop: threading.Event) -> Generator[Frame, None, None]:
    """Pictures of the screen until `stop` is set; needs the package mss."""
    number, region = screen_region(text)
    try:
        from mss import mss
    except ImportError:
        raise PoseError("screen: capturing the screen needs the package mss: pip install mss") from None
    try:
        with mss() as grabber:
            area = _area(grabber.monitors, number, region)
            for index, _ in enumerate(iter(stop.is_set, True)):  # until it is set
                image = np.ascontiguousarray(np.asarray(grabber.grab(area))[..., :3])  # BGRA → BGR
                yield Frame(image, text.replace(" ", "_"), "stream", index)
    except PoseError:
        raise
    except Exception as error:
        if type(error).__name__ != "ScreenShotError":  # what mss raises, such as without a display
            raise
        raise PoseError(f"{text}: the screen cannot be captured ({one_line(error)})") from None


def _area(monitors: list[dict[str, Any]], number: int, region: tuple[int, int, int, int] | None) -> dict[str, int]:
    """The region, given from the corner of screen `number`, in the coordinates of mss."""
    if not 0 <= number < len(monitors):
        raise PoseError(f"screen {number}: there are screens 0 (all) to {len(monitors) - 1}")
    screen = monitors[number]
    left, top, width, height = region or (0, 0, screen["width"], screen["height"])
    return {"left": screen["left"] + left, "top": screen["top"] + top, "width": width, "height": height}
