"""Where tiles lie."""

from itertools import pairwise

import numpy as np
import pytest

from yolopose.errors import UsageError
from yolopose.tiling.grid import starts, tiles

GRIDS = [
    (100, 100, 0.2),
    (101, 100, 0.2),
    (1000, 100, 0.0),
    (1000, 96, 0.2),
    (999, 64, 0.5),
    (50, 64, 0.2),
    (300, 32, 0.9),
]


@pytest.mark.parametrize(("side", "tile", "overlap"), GRIDS)
def test_tiles_cover_a_side_and_overlap_enough(side: int, tile: int, overlap: float) -> None:
    first = starts(side, tile, overlap)
    covered = np.zeros(side, bool)
    for start in first:
        covered[start : start + tile] = True
    assert covered.all()
    assert first[0] == 0
    assert first[-1] + tile == max(side, tile)  # flush with the end
    assert first == sorted(set(first))
    assert all(b - a <= tile - overlap * tile + 1e-6 for a, b in pairwise(first))


def test_no_tile_more_than_needed() -> None:
    assert starts(640, 640, 0.2) == [0]
    assert starts(641, 640, 0.2) == [0, 1]
    assert starts(1152, 640, 0.2) == [0, 512]
    assert starts(1153, 640, 0.2) == [0, 512, 513]


def test_tiles_come_in_rows_and_are_cut_off_in_a_narrow_picture() -> None:
    assert tiles((100, 200), 100, 0.0) == [(0, 0, 100, 100), (100, 0, 200, 100)]
    assert tiles((1, 20_000), 10_000, 0.0) == [(0, 0, 10_000, 1), (10_000, 0, 20_000, 1)]
    assert tiles((150, 150), 100, 0.5) == [(0, 0, 100, 100), (50, 0, 150, 100), (0, 50, 100, 150), (50, 50, 150, 150)]


def test_too_many_tiles_are_refused_before_they_are_listed() -> None:
    with pytest.raises(UsageError, match=r"tile=32 with overlap=0.9: 44315649 tiles .* choose larger tiles"):
        tiles((20_000, 20_000), 32, 0.9)
