"""The one resize geometry, checked through real pixels and by round trips."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolopose.geometry.boxes import PADDING, Letterbox, fit
from yolopose.rules import DEFAULT, REFERENCE

sides = st.integers(10, 3000)


@pytest.mark.parametrize("source", [(480, 640), (333, 517), (1081, 719), (97, 641), (640, 480), (51, 49), (1999, 87)])
@pytest.mark.parametrize("rect", [True, False])
def test_a_marker_is_found_where_it_was_drawn(source: tuple[int, int], rect: bool) -> None:
    h, w = source
    size = max(1, round(max(h, w) / 60))  # survives the scaling
    for fx, fy in [(0.2, 0.3), (0.5, 0.5), (0.9, 0.8), (0.02, 0.95)]:
        image = np.zeros((h, w, 3), np.uint8)
        x, y = int(fx * (w - size)), int(fy * (h - size))
        image[y : y + size, x : x + size] = 255
        box = fit(source, (320, 320), rect=rect)
        canvas = box.image(image)[box.top : box.top + box.size[0], box.left : box.left + box.size[1], 0].astype(float)
        ys, xs = np.mgrid[: box.size[0], : box.size[1]] + 0.5
        centre = np.array([(canvas * xs).sum() + canvas.sum() * box.left, (canvas * ys).sum() + canvas.sum() * box.top])
        found = box.points_to_source(centre / canvas.sum())
        drawn = np.array([x + size / 2, y + size / 2])
        # a resampled square keeps its centre to a fraction of the coarser of the two pixels
        assert np.abs(found - drawn).max() <= 0.5 * max(1.0, 0.5 / min(box.scale))


@given(sides, sides, st.sampled_from([32, 64]), st.booleans(), st.booleans())
def test_mapping_to_the_letterbox_and_back_is_the_identity(
    h: int, w: int, stride: int, rect: bool, scaleup: bool
) -> None:
    box = fit((h, w), (640, 448), stride=stride, rect=rect, scaleup=scaleup)
    corners = np.array([[0.0, 0.0, w, h], [w / 3, h / 7, w / 2, h / 2]])
    there = corners * np.tile(box.scale, 2) + np.tile(box.offset, 2)
    np.testing.assert_allclose(box.boxes_to_source(there), corners, atol=1e-9 * max(h, w))
    # the image's own corners land on the corners of the scaled picture: nothing of it is cut, nothing is left over
    np.testing.assert_allclose(there[0], [box.left, box.top, box.left + box.size[1], box.top + box.size[0]])
    assert box.canvas[0] >= box.top + box.size[0]
    assert box.canvas[1] >= box.left + box.size[1]
    if rect:
        assert box.canvas[0] - box.size[0] < stride
        assert box.canvas[1] - box.size[1] < stride
    else:
        assert box.canvas == (640, 448)


def test_padding_is_grey_and_split_evenly() -> None:
    box = fit((100, 200), (320, 320), rect=False)
    out = box.image(np.full((100, 200, 3), 7, np.uint8))
    assert (box.size, box.top, box.left) == ((160, 320), 80, 0)
    assert (out[:80] == PADDING).all()
    assert (out[80:240] == 7).all()
    assert (out[240:] == PADDING).all()


def test_an_odd_pixel_of_padding_goes_below() -> None:
    box = fit((101, 200), (200, 200), rect=False)
    assert (box.size[0], box.top, box.canvas[0] - box.top - box.size[0]) == (101, 49, 50)


def test_compat_uses_the_nominal_gain() -> None:
    exact, compat = (fit((333, 517), (320, 320), rules=r) for r in (DEFAULT, REFERENCE))
    assert exact.canvas == compat.canvas
    point = np.array([[160.0, 100.0]])
    difference = np.abs(exact.points_to_source(point) - compat.points_to_source(point)).max()
    assert 0 < difference < 1.0
    assert compat.scale == (320 / 517, 320 / 517)


def test_extra_columns_stay() -> None:
    box = fit((480, 640), (320, 320))
    points = np.array([[[10.0, 20.0, 0.7]]], np.float32)
    assert box.points_to_source(points)[0, 0, 2] == np.float32(0.7)
    assert box.points_to_source(points).dtype == np.float32


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="made for"):
        Letterbox((4, 4), (4, 4), (4, 4), 0, 0).image(np.zeros((5, 4, 3), np.uint8))
