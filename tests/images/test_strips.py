"""Pictures read in strips: the same pixels as the normal reader's, in little memory, faults in one line."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest

from yolopose import images
from yolopose.errors import PoseError
from yolopose.images import strips as module
from yolopose.images.strips import StripPicture
from yolopose.sources import SourceOptions, open_source

cv2 = pytest.importorskip("cv2")
pyvips = pytest.importorskip("pyvips")
Image = pytest.importorskip("PIL.Image")

HEIGHT, WIDTH = 300, 410  # no multiples of the rows that are decoded at once


def picture(*bands, dtype=np.uint8):
    """A smooth random picture in which every part is different."""
    coarse = np.random.default_rng(7).integers(0, 256, (13, 17, *bands)).astype(np.float32)
    fine = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).clip(0, 255)
    return (fine * (257 if dtype == np.uint16 else 1)).astype(dtype)


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def whole(large, tile=(97, 130)):
    """All of a picture, tile by tile in the order of the file."""
    h, w, _ = large.shape
    out = np.zeros(large.shape, np.uint8)
    tiles = [
        (x, y, min(x + tile[1], w), min(y + tile[0], h)) for x in range(0, w, 100) for y in range(0, h, 60)
    ]  # they overlap, and are listed column by column
    order = large.order(tiles)
    assert sorted(order) == list(range(len(tiles)))
    for x1, y1, x2, y2 in (tiles[i] for i in order):
        out[y1:y2, x1:x2] = large.region(x1, y1, x2, y2)
    return out


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_pixels_are_those_of_the_normal_reader(suffix, orientation, tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x112] = orientation
    path = saved(tmp_path / f"a.{suffix}", picture(3), exif=exif, **({"quality": 95} if suffix == "jpg" else {}))
    opened = []
    monkeypatch.setattr(StripPicture, "_open", lambda self, own=StripPicture._open: opened.append(1) or own(self))
    large, expected = StripPicture(path), images.read_image(path)
    assert large.shape == expected.shape
    found = whole(large)
    assert len(opened) == 1, "in the order of the file it is decoded once"
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= (8 if suffix == "jpg" else 0)  # two decoders interpolate colour differently
    assert difference.mean() < 0.5
    small = large.reduced(100)
    oracle = cv2.resize(expected, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert max(small.shape) == 100
    assert np.abs(small.astype(int) - oracle).max() <= 3
    np.testing.assert_array_equal(large.region(5, 3, 40, 50), found[3:50, 5:40])  # above what was read last


@pytest.mark.parametrize(
    ("suffix", "array", "options"),
    [
        ("png", picture(), {}),
        ("png", picture(4), {}),
        ("png", picture(2), {}),
        ("png", picture(dtype=np.uint16), {}),
        ("png", picture() > 128, {}),
        ("jpg", picture(), {"quality": 95}),
        ("tif", picture(), {}),
        ("tif", np.dstack([picture(3), np.full((HEIGHT, WIDTH), 255, np.uint8)]), {}),
        ("tif", picture(dtype=np.uint16), {}),
        ("tif", picture(3), {"compression": "tiff_lzw"}),
        ("tif", picture().astype(np.float32) / 200 - 0.1, {}),
    ],
)
def test_other_kinds_of_samples(suffix, array, options, tmp_path):
    path = saved(tmp_path / f"a.{suffix}", array, **options)
    np.testing.assert_allclose(whole(StripPicture(path)), images.read_image(path), atol=2 if suffix == "jpg" else 0)


def test_palettes(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture(3)).quantize(64).save(path)
    np.testing.assert_array_equal(whole(StripPicture(path)), images.read_image(path))


def test_tiled_tiff_of_16_bits_a_colour(tmp_path):
    path = tmp_path / "a.tif"
    pyvips.Image.new_from_array(picture(3, dtype=np.uint16), interpretation="rgb16").tiffsave(
        path, tile=True, tile_width=64, tile_height=64, compression="deflate"
    )
    difference = whole(StripPicture(path)).astype(int) - images.read_image(path)
    assert np.abs(difference).max() <= 1  # OpenCV rounds some


@pytest.mark.parametrize(
    ("name", "save", "reason"),
    [
        ("a.jpg", {"progressive": True}, "progressive JPEG"),
        ("a.bmp", {}, "BMP is not read in strips"),
        ("a.webp", {}, "WebP is not read in strips"),
    ],
)
def test_what_needs_the_whole_picture_is_refused(name, save, reason, tmp_path):
    path = saved(tmp_path / name, picture(3), **save)
    with pytest.raises(images.ImageError, match=rf"{name}: .*{reason}.*convert"):
        StripPicture(path)


def test_interlaced_png_and_cmyk_are_refused(tmp_path):
    path = tmp_path / "a.png"
    pyvips.Image.new_from_array(picture(3)).pngsave(path, interlace=True)
    with pytest.raises(images.ImageError, match="an interlaced PNG is not read in strips"):
        StripPicture(path)
    Image.fromarray(picture(4), "CMYK").save(path.with_suffix(".jpg"))
    with pytest.raises(images.ImageError, match="cmyk colours are not read in strips: convert to RGB"):
        StripPicture(path.with_suffix(".jpg"))


def cut(data, suffix):
    """The file without the second half of its pixels, but with the end that the header check looks for."""
    if suffix == "jpg":
        return data[: len(data) // 2] + b"\xff\xd9"
    broken = bytearray(data)
    broken[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    return bytes(broken)


@pytest.mark.parametrize(("suffix", "options"), [("jpg", {}), ("png", {}), ("tif", {"compression": "tiff_lzw"})])
def test_a_decoder_that_fails_in_the_middle(suffix, options, tmp_path, capfd):
    noise = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    path = saved(tmp_path / f"a.{suffix}", noise, **options)
    path.write_bytes(cut(path.read_bytes(), suffix))
    large = StripPicture(path)
    large.region(0, 0, 100, 20)
    with pytest.raises(images.ImageError, match=rf"a\.{suffix}: damaged or truncated") as caught:
        whole(large)
    assert "\n" not in str(caught.value)
    with pytest.raises(images.ImageError, match="damaged or truncated"):
        StripPicture(path).reduced(50)
    assert capfd.readouterr() == ("", "")  # libvips does not write to the console by itself


def test_files_that_are_no_pictures(tmp_path):
    with pytest.raises(images.ImageReadError, match="no such file"):
        StripPicture(tmp_path / "none.jpg")
    path = tmp_path / "text.jpg"
    path.write_text("some text")
    with pytest.raises(images.ImageError, match="no image format that is known"):
        StripPicture(path)


def test_a_strip_has_a_bound(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", picture(3))
    monkeypatch.setattr(module, "MAX_STRIP_BYTES", 1 << 17)
    large = StripPicture(path)
    assert large.region(0, 0, 10, 100).shape == (100, 10, 3)
    with pytest.raises(images.ImageError, match=r"110 rows of 410 pixels .*choose a smaller tile"):
        large.region(0, 0, 10, 110)
    monkeypatch.setattr(module, "MAX_STRIP_PIXELS", 1000)
    with pytest.raises(images.ImageError, match="410x300 pixels, more than 1000 in strips"):
        StripPicture(path)


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (1, 1)])
def test_long_and_thin(size, tmp_path):
    array = np.random.default_rng(3).integers(0, 256, (*size, 3), np.uint8)
    large = StripPicture(saved(tmp_path / "a.png", array))
    h, w = size
    np.testing.assert_array_equal(large.region(0, 0, w, h), array[..., ::-1])
    assert large.reduced(640).shape == (min(h, 640), min(w, 640), 3)


def test_sources_give_large_pictures_only_when_asked(tmp_path):
    path = saved(tmp_path / "a.png", picture(3))
    few = HEIGHT * WIDTH - 1
    (frame,) = open_source(str(path), SourceOptions(max_pixels=few, strips=True))
    assert frame.image is None
    assert frame.error is None
    assert frame.large.shape == (HEIGHT, WIDTH, 3)
    for strips in (False, None):
        (frame,) = open_source(str(path), SourceOptions(max_pixels=few, strips=strips))
        assert frame.large is None
        assert "max_pixels" in frame.error
        assert ("tile=640" in frame.error) == (strips is False)
    (frame,) = open_source(str(path), SourceOptions(strips=True))
    assert frame.large is None
    assert frame.image.shape == (HEIGHT, WIDTH, 3)


def test_without_pyvips_the_remedy_is_named(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", picture(3))
    monkeypatch.setitem(sys.modules, "pyvips", None)
    (frame,) = open_source(str(path), SourceOptions(max_pixels=1000, strips=True))
    assert "410x300" in frame.error
    assert "pip install 'yolopose[large]'" in frame.error
    assert "\n" not in frame.error
    with pytest.raises(PoseError, match="pyvips"):
        StripPicture(path)


MEASURE = """
import json, sys
from pathlib import Path
from yolopose.images.strips import StripPicture
large = StripPicture(sys.argv[1])
h, w, _ = large.shape
tiles = [(x, y, min(x + 640, w), min(y + 640, h)) for y in range(0, h, 512) for x in range(0, w, 512)]
total = sum(int(large.region(*tiles[i])[::7, ::7].sum()) for i in large.order(tiles))
small = large.reduced(1280)
peak = next(line for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))  # KiB
print(json.dumps([large.shape, len(tiles), total, small.shape, int(peak.split()[1])]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_memory_of_20000_x_20000(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    noise = pyvips.Image.gaussnoise(1000, 1000, mean=128, sigma=20).cast("uchar").bandjoin([128, 90]).copy_memory()
    options = {"tif": {"tile": True, "compression": "deflate", "level": 1}, "png": {"compression": 1}, "jpg": {"Q": 60}}
    noise.replicate(20, 20).write_to_file(str(path), **options[suffix])
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    shape, tiles, total, small, kib = json.loads(done.stdout)
    assert (shape, tiles, small) == ([20_000, 20_000, 3], 1600, [1280, 1280, 3])
    assert total > 0
    assert kib < 500 << 10, "half a GiB"


def test_bytes_in_memory_are_not_read_in_strips():
    buffer = io.BytesIO()
    Image.fromarray(picture(3)).save(buffer, "PNG")
    (frame,) = open_source(buffer.getvalue(), SourceOptions(max_pixels=1000, strips=True))
    assert "more than max_pixels=1000" in frame.error
