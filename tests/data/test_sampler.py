import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolopose.data.sampler import BLOCK, block, by_aspect, global_batches, rect_canvas, sample_generator, shuffled
from yolopose.rules import DEFAULT, REFERENCE


def test_an_order_is_a_permutation_that_seed_and_epoch_decide() -> None:
    first = shuffled(100, 3, 7)
    assert sorted(first) == list(range(100))
    np.testing.assert_array_equal(first, shuffled(100, 3, 7))
    assert (first != shuffled(100, 3, 8)).any()
    assert (first != shuffled(100, 4, 7)).any()


def test_samples_have_random_numbers_of_their_own() -> None:
    addresses = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1), (2**40, 0, 0)]
    streams = [tuple(sample_generator(*address).random(4)) for address in addresses]
    assert len(set(streams)) == len(streams)
    assert streams == [tuple(sample_generator(*address).random(4)) for address in addresses]


@given(st.integers(1, 300))
def test_blocks_part_the_order_and_are_never_small(count: int) -> None:
    found = [block(position, count) for position in range(count)]
    assert all(start <= position < end for position, (start, end) in enumerate(found))
    distinct = sorted(set(found))
    assert [start for start, _ in distinct] == [0, *(end for _, end in distinct[:-1])]
    assert distinct[-1][1] == count
    if count >= BLOCK // 2:
        assert min(end - start for start, end in distinct) >= BLOCK // 2


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4))
def test_batches_hold_every_position_and_part_evenly(count: int, batch: int, world: int) -> None:
    batches = global_batches(count, batch, world)
    assert all(len(b) % world == 0 for b in batches)
    assert all(len(b) == batch * world for b in batches[:-1])
    flat = np.concatenate(batches)
    assert flat[:count].tolist() == list(range(count))
    assert len(flat) - count < world


def test_by_aspect_puts_wide_images_first() -> None:
    assert by_aspect([(10, 10), (10, 30), (30, 10), (10, 20)], DEFAULT).tolist() == [1, 3, 0, 2]


def test_by_aspect_keeps_the_order_of_equal_ratios_and_in_compat_mode_numpys() -> None:
    sizes = [(48, 64), (64, 48), (100, 100)] * 50
    ratios = np.array([h / w for h, w in sizes])
    assert by_aspect(sizes, DEFAULT).tolist() == sorted(range(150), key=lambda i: ratios[i])
    assert by_aspect(sizes, REFERENCE).tolist() == np.argsort(ratios).tolist()


@pytest.mark.parametrize(
    ("sizes", "default", "compat"),
    [
        ([(480, 640)], (480, 640), (480, 640)),
        ([(427, 640), (480, 640)], (480, 640), (480, 640)),
        ([(640, 427)], (640, 448), (640, 448)),
        ([(640, 427), (480, 640)], (640, 640), (640, 640)),
        ([(100, 100)], (640, 640), (640, 640)),
        ([(300, 1000), (900, 1000)], (576, 640), (576, 640)),
    ],
)
def test_rect_canvas(sizes, default, compat) -> None:
    assert rect_canvas(sizes, 640, 32) == default
    assert rect_canvas(sizes, 640, 32, REFERENCE) == compat
