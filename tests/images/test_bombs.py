import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import bombs

from yolopose.images import ImageError, check_image, decode, image_size, read_image

ROOT = Path(__file__).resolve().parents[2]
HUNDRED_MB = 100 << 20

# What one file takes: CPU seconds and bytes above those of the process at rest, in a process of its own.
MEASURE = """
import json, resource, sys, time
from yolopose.errors import PoseError
from yolopose import images
import cv2, numpy
images.decode(images.encode_jpeg(numpy.zeros((64, 64, 3), numpy.uint8)))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
rest, begin, told = peak(), time.process_time(), {}
for name in ("image_size", "check_image", "read_image"):
    try:
        told[name] = list(getattr(images, name)(sys.argv[1])[:2]) and "read"
    except PoseError as error:
        told[name] = str(error)
print(json.dumps([time.process_time() - begin, peak() - rest, told]))
"""


def cost(path):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)],
        capture_output=True, text=True, timeout=120, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", bombs.PIXELS)
def test_too_many_pixels_are_refused_before_they_are_decoded(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(bombs.PIXELS[name]())
    assert path.stat().st_size < 1 << 20
    seconds, memory, told = cost(path)
    for message in told.values():
        assert message.startswith(f"{path}: ")
        assert "max_pixels=268435456" in message or name == "x.webp"  # Pillow itself refuses such a canvas
    assert seconds < 3
    assert memory < HUNDRED_MB


@pytest.mark.parametrize("name", bombs.HEADERS)
def test_headers_take_bounded_time_and_memory(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(bombs.HEADERS[name]())
    seconds, memory, _ = cost(path)
    assert seconds < 15  # three readings of the header, on a busy machine
    assert memory < 400 << 20


def test_the_caller_alone_sets_the_bound(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(bombs.png_exif(b""))
    assert image_size(path) == check_image(path) == read_image(path).shape[:2] == (48, 64)
    for function in (image_size, check_image, read_image):
        with pytest.raises(ImageError, match=r"64x48 pixels, more than max_pixels=3000"):
            function(path, max_pixels=3000)
    assert image_size(path, max_pixels=64 * 48) == (48, 64)


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".jp2", "JPEG 2000"), (".ppm", "PNM"), (".pgm", "PNM"), (".pfm", "PFM"), (".avif", "AVIF")]
)
def test_formats_that_opencv_alone_reads_are_bounded_too(suffix, kind):
    cv2 = pytest.importorskip("cv2")
    image = np.full((48, 64, 3), 77, np.float32 if suffix == ".pfm" else np.uint8)
    if not cv2.haveImageWriter(f"x{suffix}"):
        pytest.skip(f"this OpenCV does not write {kind}")
    data = cv2.imencode(suffix, image[..., 0] if suffix == ".pgm" else image)[1].tobytes()
    assert decode(data).shape == (48, 64, 3)
    with pytest.raises(ImageError, match="64x48 pixels, more than max_pixels=3000"):
        decode(data, max_pixels=3000)
