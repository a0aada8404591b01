import sys
from types import SimpleNamespace

import numpy as np
import pytest

from yolopose.errors import PoseError, UsageError
from yolopose.sources import open_source
from yolopose.sources.screen import SCREEN, screen_region


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("screen", (0, None)),
        ("screen 2", (2, None)),
        ("screen 10 20 300 200", (0, (10, 20, 300, 200))),
        ("Screen 1 -10 20 300 200", (1, (-10, 20, 300, 200))),
    ],
)
def test_screen_regions(text, expected):
    assert SCREEN.fullmatch(text)
    assert screen_region(text) == expected


def test_texts_that_are_no_screen_region():
    assert not SCREEN.fullmatch("screenshot.png")
    assert not SCREEN.fullmatch("screen/a.jpg")
    for text in ("screen 1 2", "screen 1 2 3 4 5 6", "screen 0 0 0 100"):
        with pytest.raises(UsageError, match=r"^screen"):
            open_source(text)


class Grabber:
    """Stands for mss: two screens side by side, each pixel's blue its column and green its row."""

    monitors = (
        {"left": 0, "top": 0, "width": 50, "height": 20},
        {"left": 0, "top": 0, "width": 30, "height": 20},
        {"left": 30, "top": 0, "width": 20, "height": 10},
    )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def grab(self, area):
        rows, columns = np.mgrid[: area["height"], : area["width"]]
        picture = np.zeros((area["height"], area["width"], 4), np.uint8)
        picture[..., 0], picture[..., 1], picture[..., 3] = columns + area["left"], rows + area["top"], 255
        return picture


def test_region_of_the_second_screen(monkeypatch):
    monkeypatch.setitem(sys.modules, "mss", SimpleNamespace(mss=Grabber))
    with open_source("screen 2 5 3 10 4") as source:
        first, second = next(iter(source)), next(iter(source))
    assert first.image.shape == (4, 10, 3)
    assert first.image[0, 0].tolist() == [35, 3, 0]
    assert (first.kind, first.index, second.index) == ("stream", 0, 1)
    assert next(iter(open_source("screen"))).image.shape == (20, 50, 3)
    with pytest.raises(PoseError, match=r"screen 3: there are screens 0 \(all\) to 2"):
        next(iter(open_source("screen 3")))


def test_without_mss_or_without_a_display(monkeypatch):
    monkeypatch.setitem(sys.modules, "mss", None)
    with pytest.raises(PoseError, match="pip install mss"):
        next(iter(open_source("screen")))

    class ScreenShotError(Exception):
        pass

    def refuse():
        raise ScreenShotError("no display")

    monkeypatch.setitem(sys.modules, "mss", SimpleNamespace(mss=refuse))
    with pytest.raises(PoseError, match="no display"):
        next(iter(open_source("screen")))
