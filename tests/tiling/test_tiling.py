"""Detection in tiles, with a detector that finds white rectangles exactly: each once, whatever the grid."""

import random
from typing import Any

import numpy as np
import pytest
from helpers.builders import ManyBackend

from yolopose.detect import detect
from yolopose.errors import UsageError
from yolopose.geometry.boxes import iou_matrix
from yolopose.rules import REFERENCE
from yolopose.tiling import TileOptions, find
from yolopose.tiling.grid import ArrayPicture

GREY = 114
Box = tuple[int, int, int, int]


def drawn(hw: tuple[int, int], boxes: list[Box]) -> np.ndarray:
    image = np.full((*hw, 3), GREY, np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    return image


def corners(box: Any, k: int = 17) -> np.ndarray:
    """The keypoints that the detector gives to a rectangle."""
    x1, y1, x2, y2 = box
    return np.array([[(x1, x2)[i % 2], (y1, y2)[i // 2 % 2]] for i in range(k)], np.float32)


def scattered(hw: tuple[int, int], count: int, sizes: tuple[int, int], seed: int) -> list[Box]:
    """Rectangles apart from one another, anywhere, also at the edges and corners."""
    rng, boxes = random.Random(seed), []
    while len(boxes) < count:
        w, h = rng.randint(*sizes), rng.randint(*sizes)
        x = rng.choice([0, hw[1] - w, rng.randint(0, hw[1] - w)])
        y = rng.choice([0, hw[0] - h, rng.randint(0, hw[0] - h)])
        if all(x > b[2] + 8 or b[0] > x + w + 8 or y > b[3] + 8 or b[1] > y + h + 8 for b in boxes):
            boxes.append((x, y, x + w, y + h))
    return boxes


def same(found: Any, boxes: list[Box], atol: float = 0.01) -> None:
    """Each rectangle once, with its box and its points."""
    order = np.lexsort(found.boxes[:, :4].round().T)
    expected = np.array(sorted(boxes, key=lambda box: box[::-1]), np.float32).reshape(-1, 4)
    assert len(found.boxes) == len(expected)
    np.testing.assert_allclose(found.boxes[order, :4], expected, atol=atol)
    points = np.array([corners(box) for box in expected]).reshape(-1, 17, 2)
    np.testing.assert_allclose(found.keypoints[order, :, :2], points, atol=atol)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("tile", "overlap", "hw"),
    [(256, 0.2, (900, 1100)), (320, 0.25, (777, 1301)), (160, 0.5, (500, 640)), (128, 0.6, (128, 900))],
)
def test_each_rectangle_is_found_once_and_exactly(tile: int, overlap: float, hw: tuple[int, int], seed: int) -> None:
    largest = int(tile * overlap) - 12  # whole in one tile at least, off its edges
    boxes = scattered(hw, 12, (16, largest), seed)
    (found,) = find(ManyBackend(), [drawn(hw, boxes)], TileOptions(tile=tile, overlap=overlap, iou=0.5))
    same(found, boxes)


@pytest.mark.parametrize("side", [300, 520, 760])
def test_what_is_larger_than_a_tile_is_found_once_in_the_whole_picture(side: int) -> None:
    box = (100, 140, 100 + side, 140 + side)
    (found,) = find(ManyBackend(), [drawn((1000, 1000), [box])], TileOptions(tile=256))
    same(found, [box], atol=1.0)  # the whole picture is reduced to 640


def test_large_and_small_at_once() -> None:
    boxes = [(40, 40, 700, 700), (900, 100, 924, 130), (100, 900, 140, 930), (980, 980, 1000, 1000)]
    (found,) = find(ManyBackend(), [drawn((1000, 1000), boxes)], TileOptions(tile=256))
    same(found, boxes, atol=1.0)


def test_the_points_are_those_of_the_tile_in_which_the_instance_lies_furthest_inside() -> None:
    class Shifted(ManyBackend):
        """Moves all points by one pixel more for each run."""

        def infer(self, images: Any) -> Any:
            out = super().infer(images)
            out[:, 5::3] += len(self.shapes)
            return out

    box = (125, 40, 155, 70)  # tiles begin at x = 0, 96 and 128: 37 and 29 pixels from an inner edge, and cut off
    image = drawn((192, 320), [box])
    (found,) = find(Shifted(), [image], TileOptions(tile=192, overlap=0.5, batch=1))
    np.testing.assert_allclose(found.keypoints[0, :, 0] - corners(box)[:, 0], 1.0, atol=0.01)
    assert len(found.boxes) == 1


def test_a_picture_that_fits_into_a_tile_is_run_as_without_tiles() -> None:
    image = drawn((200, 300), [(10, 10, 60, 80), (250, 150, 300, 200)])
    for tile in (300, 640):
        plain, tiled = ManyBackend(), ManyBackend()
        (expected,) = detect(plain, [image], TileOptions())
        (found,) = find(tiled, [image], TileOptions(tile=tile))
        assert plain.shapes == tiled.shapes
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.keypoints, expected.keypoints)


def test_the_order_of_the_tiles_does_not_matter() -> None:
    class Shuffled(ArrayPicture):
        def order(self, regions: Any) -> list[int]:
            positions = list(range(len(regions)))
            random.Random(self.seed).shuffle(positions)
            return positions

    image = drawn((700, 900), scattered((700, 900), 15, (10, 150), 4))
    options = TileOptions(tile=200, overlap=0.3)
    (expected,) = find(ManyBackend(), [image], options)
    for seed in range(3):
        picture = Shuffled(image)
        picture.seed = seed
        (found,) = find(ManyBackend(), [picture], options)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.keypoints, expected.keypoints)


@pytest.mark.parametrize("batch", [2, 5, 100])
def test_batches_change_nothing_but_the_number_of_runs(batch: int) -> None:
    image = drawn((700, 900), scattered((700, 900), 12, (10, 120), 5))
    one, many = ManyBackend(), ManyBackend()
    (expected,) = find(one, [image], TileOptions(tile=256))
    (found,) = find(many, [image], TileOptions(tile=256, batch=batch))
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.keypoints, expected.keypoints)
    tiles = len(one.shapes) - 1  # and the whole picture
    assert len(many.shapes) == -(-tiles // batch) + 1
    assert all(shape[0] <= batch for shape in many.shapes)


def test_sizes_of_the_network_input() -> None:
    image = np.full((1000, 1500, 3), GREY, np.uint8)

    def shapes(backend: ManyBackend, **options: Any) -> set[tuple[int, ...]]:
        find(backend, [image], TileOptions(**options))
        return {shape[1:3] for shape in backend.shapes}

    assert shapes(ManyBackend(), tile=320) == {(320, 320), (448, 640)}  # tiles at their size, the whole at the model's
    assert shapes(ManyBackend(), tile=300) == {(320, 320), (448, 640)}  # to a multiple of the stride
    assert shapes(ManyBackend(), tile=320, imgsz=640) == {(640, 640), (448, 640)}
    assert shapes(ManyBackend(fixed_shape=(1, 256, 256)), tile=500) == {(256, 256)}


def test_tiles_of_another_size_than_the_input_give_the_same() -> None:
    boxes = scattered((900, 900), 8, (24, 40), 6)
    for backend, options in [(ManyBackend(), {"imgsz": 512}), (ManyBackend(fixed_shape=(2, 512, 512)), {})]:
        (found,) = find(backend, [drawn((900, 900), boxes)], TileOptions(tile=256, **options))
        same(found, boxes, atol=0.6)


def test_max_det_and_nothing_at_all() -> None:
    boxes = scattered((800, 800), 14, (20, 40), 7)
    (found,) = find(ManyBackend(), [drawn((800, 800), boxes)], TileOptions(tile=200, max_det=5))
    assert len(found.boxes) == len(found.keypoints) == 5
    (found,) = find(ManyBackend(), [drawn((800, 800), [])], TileOptions(tile=200))
    assert found.boxes.shape == (0, 6)
    assert found.keypoints.shape == (0, 17, 3)
    assert found.shape == (1, 3, 224, 224)
    assert set(found.speed) == {"preprocess", "inference", "postprocess"}


@pytest.mark.parametrize("hw", [(1, 20_000), (20_000, 1), (3, 700)])
def test_very_narrow_pictures(hw: tuple[int, int]) -> None:
    backend = ManyBackend()
    (found,) = find(backend, [np.full((*hw, 3), 255, np.uint8)], TileOptions(tile=640))
    assert (found.boxes[:, :4] >= 0).all()
    assert (found.boxes[:, :4] <= np.array([hw[1], hw[0]] * 2)).all()
    assert {shape[1:3] for shape in backend.shapes} <= {(32, 640), (640, 32)}


def test_a_piece_stays_when_nothing_shows_the_whole() -> None:
    class NoWhole(ManyBackend):
        """Finds nothing in the whole picture, the only one run at 640."""

        def infer(self, images: Any) -> Any:
            out = super().infer(images)
            return out * (images.shape[2] != 640)

    box = (100, 20, 500, 60)  # longer than any tile
    (found,) = find(NoWhole(), [drawn((100, 1000), [box])], TileOptions(tile=256, iou=0.5))
    assert len(found.boxes) >= 1
    inside = found.boxes[:, :4] - np.array([100, 20, 500, 60])
    assert (inside * (1, 1, -1, -1) >= -0.01).all()
    assert np.triu(iou_matrix(found.boxes[:, :4], found.boxes[:, :4]), 1).max(initial=0) <= 0.5


def test_progress_is_told_for_every_batch() -> None:
    told: list[tuple[int, int]] = []
    image = np.full((500, 500, 3), GREY, np.uint8)
    find(ManyBackend(), [image], TileOptions(tile=256, batch=4), show=lambda done, total: told.append((done, total)))
    assert told == [(4, 10), (8, 10), (9, 10), (10, 10)]


def test_arguments_that_do_not_go_together() -> None:
    backend = ManyBackend()
    with pytest.raises(UsageError, match="tile=16: smaller than the stride of this model, 32"):
        TileOptions(tile=16).check(backend, frozenset())
    with pytest.raises(UsageError, match="tile=640 does not go with compat=True"):
        TileOptions(tile=640, rules=REFERENCE).check(backend, frozenset())
    with pytest.raises(UsageError, match=r"overlap=0\.3 is that of tiles: name their size too"):
        TileOptions(overlap=0.3).check(backend, frozenset({"overlap"}))
    TileOptions(tile=640).check(backend, frozenset({"tile", "overlap"}))
