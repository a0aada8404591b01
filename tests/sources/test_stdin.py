import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from yolopose.errors import PoseError
from yolopose.images import decode
from yolopose.sources import open_source
from yolopose.sources.stdin import split_images

cv2 = pytest.importorskip("cv2")

NOISE = np.random.default_rng(0).integers(0, 255, (5, 90, 120, 3), dtype=np.uint8)


def encoded(suffix, index=0):
    return cv2.imencode(suffix, NOISE[index])[1].tobytes()


class Trickle(io.BytesIO):
    """Gives at most seven bytes at a time, as a slow pipe may."""

    def read1(self, size=-1):
        return super().read1(min(size, 7) if size > 0 else 7)


@pytest.mark.parametrize("stream", [io.BytesIO, Trickle])
def test_concatenated_images_are_separated(stream):
    image = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    image.fromarray(NOISE[1]).save(buffer, "JPEG", progressive=True, exif=b"Exif\0\0" + encoded(".jpg")[:900])
    files = [encoded(".jpg"), encoded(".png"), buffer.getvalue(), encoded(".jpg", 3), encoded(".png", 4)]
    assert list(split_images(stream(b"\r\n\0".join(files) + b"\0\0\n"))) == files
    assert list(split_images(stream(b"".join(files)))) == files


def test_any_other_format_is_one_image():
    for suffix in (".webp", ".bmp", ".tiff"):
        assert list(split_images(io.BytesIO(encoded(suffix)))) == [encoded(suffix)]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("keep", [1, 3, 9, 25, 0.5, 0.999])
def test_a_cut_file_comes_as_it_is(suffix, keep):
    data = encoded(suffix)
    cut = data[: keep if keep >= 1 else int(len(data) * keep)]
    assert list(split_images(io.BytesIO(data + cut))) == [data, cut]


def pipe(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False))


def test_frames_of_standard_input(monkeypatch):
    pipe(monkeypatch, encoded(".png") + encoded(".jpg", 1)[:-500])
    source = open_source("-")
    first, second = source
    assert (first.image == decode(encoded(".png"))).all()
    assert (first.path, first.index, first.kind, first.error) == ("stdin0.jpg", 0, "image", None)
    assert second.image is None
    assert "stdin1.jpg: truncated" in second.error


class Endless:
    """A pipe that never ends."""

    def __init__(self, start, then):
        self.start, self.then = start, then

    def read(self, size):
        data, self.start = self.start, b""
        return data or self.then * (size // len(self.then))


@pytest.mark.parametrize("start", [b"", b"no image", encoded(".jpg")[:3000], b"\x89PNG\r\n\x1a\n\xff\xff\xff\xf0IDAT"])
@pytest.mark.parametrize("then", [b"\0", b"y\n", b"\xff"])
def test_a_pipe_that_never_ends_is_given_up(start, then, monkeypatch):
    monkeypatch.setattr("yolopose.sources.stdin.MAX_PIPED", 1 << 20)
    with pytest.raises(PoseError, match="standard input holds no images"):
        for _ in split_images(Endless(start, then)):
            pass


def test_nothing_on_standard_input(monkeypatch):
    pipe(monkeypatch, b"")
    (frame,) = open_source("-")
    assert "empty" in frame.error
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    with pytest.raises(PoseError, match="nothing is piped in"):
        list(open_source("-"))
