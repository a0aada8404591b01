"""Backends: input conversion, fixed batches, selection of candidates, threads, devices."""

import numpy as np
import pytest

from yolopose.errors import UsageError
from yolopose.formats.base import OpenOptions, candidates_above, in_batches_of, refuse_other_device, to_nchw, to_nhwc


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_input_is_rgb_from_0_to_1(dtype: type) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    given = images if dtype is np.uint8 else images.astype(np.float32) / np.float32(255)
    planes, pixels = to_nchw(given), to_nhwc(given)
    assert (planes.shape, pixels.shape) == ((2, 3, 5, 7), images.shape)
    assert planes.flags.c_contiguous
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, planes.transpose(0, 2, 3, 1))
    for b, c, i, j in np.ndindex(2, 3, 5, 7):
        assert planes[b, c, i, j] == np.float32(images[b, i, j, 2 - c]) / np.float32(255)


@pytest.mark.parametrize("classes", [1, 3])
def test_candidates_equal_brute_force(classes: int) -> None:
    output = np.random.default_rng(1).random((2, 4 + classes + 6, 50), np.float32)
    chosen = candidates_above(output, classes, 0.6)
    for image, rows in zip(output, chosen, strict=True):
        expected = [column for column in image.T if max(column[4 : 4 + classes]) > 0.6]
        np.testing.assert_array_equal(rows, np.array(expected))
        assert rows.flags.c_contiguous


def test_nothing_above_the_threshold_gives_no_rows() -> None:
    assert candidates_above(np.zeros((1, 56, 9), np.float32), 1, 0.25)[0].shape == (0, 56)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_fixed_batches_are_filled_and_cut(count: int) -> None:
    images = np.arange(count * 12, dtype=np.uint8).reshape(count, 2, 2, 3)
    seen = []

    def run(part: np.ndarray) -> np.ndarray:
        seen.append(len(part))
        return part.reshape(len(part), 1, 12).astype(np.float32)

    np.testing.assert_array_equal(in_batches_of(2, images, run), images.reshape(count, 1, 12))
    assert seen == [2] * -(-count // 2)


@pytest.mark.parametrize(
    ("text", "asked", "expected"),
    [("", None, None), ("3", None, 3), ("4,2", None, 4), ("3", 1, 1), ("many", None, None), ("0", None, None)],
)
def test_threads(monkeypatch: pytest.MonkeyPatch, text: str, asked: int | None, expected: int | None) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert OpenOptions(threads=asked).cpu_threads() == expected


def test_an_idle_gpu_is_the_cpu_for_runtimes_without_gpus(caplog: pytest.LogCaptureFixture) -> None:
    refuse_other_device("best.tflite", OpenOptions(device="-1"))
    assert "device=-1: best.tflite runs on the CPU only" in caplog.text
    with pytest.raises(UsageError, match=r"device=0: best\.tflite runs on the CPU only; leave it out"):
        refuse_other_device("best.tflite", OpenOptions(device="0"))
