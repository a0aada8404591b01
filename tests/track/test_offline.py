"""The repair of finished tracks: swaps against brute force, outliers, gaps, and the filter without lag."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from yolopose.errors import PoseError
from yolopose.geometry.keypoints import COCO_17, FACE_5
from yolopose.track import repair
from yolopose.track.local_fit import adaptive_fit, noise_of, parabolas
from yolopose.track.offline import OfflineOptions, steady_track


def walk(count, k, d=3, noise=0.5, seed=0):
    """(count, k, d) points that move to the right and sway, each on its own path."""
    rng = np.random.default_rng(seed)
    t = np.arange(count)[:, None]
    x = 100 + 40 * np.arange(k) + 3 * t + 5 * np.sin(t / 5 + np.arange(k))
    y = 200 + 15 * (np.arange(k) % 3) + 0 * t
    points = np.stack([x, y, np.full((count, k), 0.9)][:d], -1)
    points[..., :2] += rng.normal(0, noise, (count, k, 2))
    return points


def steady(points, flip=None, frames=None, **options):
    frames = np.arange(len(points)) if frames is None else frames
    boxes = np.tile([50.0, 60.0, 250.0, 360.0], (len(points), 1)) + np.asarray(frames)[:, None]
    return steady_track(frames, boxes, points, flip, OfflineOptions(**options))


@pytest.mark.parametrize("layout", [COCO_17, FACE_5], ids=["17", "5"])
def test_swapped_frames_are_put_right_and_counted(layout):
    k = layout.shape[0]
    points = walk(60, k)
    broken, (a, b) = points.copy(), repair.pairs_of(layout.flip)[-1]
    for t in (20, 33, 34, 35):
        broken[t, [a, b]] = broken[t, [b, a]]
    result = steady(broken, layout.flip)
    assert result.swaps == 4
    np.testing.assert_allclose(result.keypoints, steady(points, layout.flip).keypoints)


def test_a_whole_body_turned_over_for_a_frame():
    points = walk(40, 17)
    points[15] = points[15, list(COCO_17.flip)]
    assert steady(points, COCO_17.flip).swaps == 8


def test_without_flip_pairs_nothing_is_swapped():
    points = walk(40, 4)
    points[20, [0, 1]] = points[20, [1, 0]]
    assert steady(points).swaps == 0


def test_paths_that_cross_are_left_alone():
    """Two ankles that pass each other: their order changes, their names do not."""
    points = walk(60, 2, noise=0.4)
    t = np.arange(60)
    points[:, 0, 0], points[:, 1, 0] = 100 + 4 * t, 340 - 4 * t
    points[:, :, 1] = 200 + np.random.default_rng(1).normal(0, 0.4, (60, 2))
    assert steady(points, (1, 0)).swaps == 0


def test_a_long_exchange_is_believed():
    points = walk(80, 2)
    points[30:60] = points[30:60, ::-1]
    assert steady(points, (1, 0)).swaps == 0


@pytest.mark.parametrize("seed", range(12))
def test_the_labelling_is_the_cheapest_of_all(seed):
    rng = np.random.default_rng(seed)
    pair = rng.normal(0, 3, (9, 2, 2)) + np.array([[0, 0], [8, 0]])
    for t in rng.integers(0, 9, 3):
        pair[t] = pair[t, ::-1]
    times = np.cumsum(rng.integers(1, 3, 9))
    variance = 4.0

    def cost(states):
        z = np.array([row[::-1] if swapped else row for row, swapped in zip(pair, states, strict=True)])
        total = repair.SWAPPED * sum(states)
        for t in range(2, len(z)):
            speed = (z[t - 1] - z[t - 2]) / (times[t - 1] - times[t - 2])
            total += ((z[t] - z[t - 1] - speed * (times[t] - times[t - 1])) ** 2).sum() / (2 * variance)
        return total

    best = min(itertools.product([0, 1], repeat=9), key=cost)
    assert repair.smoothest(pair, variance, times).astype(int).tolist() == list(best)


def test_a_point_far_off_in_one_frame_is_replaced_and_counted():
    points = walk(50, 5)
    clean = steady(points).keypoints
    points[25, 2, :2] += [60, -40]
    result = steady(points)
    assert result.outliers == 1
    assert np.argwhere(result.filled).tolist() == [[25, 2]]
    np.testing.assert_allclose(result.keypoints[25, 2], clean[25, 2], atol=1.5)


def test_a_real_jump_is_no_outlier_and_is_not_rounded_off():
    points = walk(60, 1, noise=0)
    points[:, 0, :2] = [100.0, 100.0]
    points[30:, 0, 0] += 20
    points[..., :2] += np.random.default_rng(2).normal(0, 0.3, (60, 1, 2))
    result = steady(points)
    assert result.outliers == 0
    np.testing.assert_allclose(result.keypoints[:30, 0, 0], 100, atol=2)
    np.testing.assert_allclose(result.keypoints[30:, 0, 0], 120, atol=2)


def test_short_gaps_of_a_point_are_filled_and_long_ones_are_not():
    points = walk(80, 2, noise=0)
    truth = points.copy()
    points[20:26, 0] = [7, 7, 0.1]
    points[40:60, 0] = [7, 7, 0.1]
    result = steady(points, max_gap=10)
    assert np.flatnonzero(result.filled[:, 0]).tolist() == [20, 21, 22, 23, 24, 25]
    assert not result.filled[:, 1].any()
    np.testing.assert_allclose(result.keypoints[20:26, 0, :2], truth[20:26, 0, :2], atol=1)
    assert (result.keypoints[20:26, 0, 2] == 0.9).all()
    np.testing.assert_array_equal(result.keypoints[40:60, 0], points[40:60, 0])
    assert not result.added.any()


@pytest.mark.parametrize("ends", [slice(0, 5), slice(25, 30)])
def test_nothing_is_extrapolated(ends):
    points = walk(30, 3)
    points[ends, 1, 2] = 0.05
    result = steady(points)
    assert not result.filled.any()
    np.testing.assert_array_equal(result.keypoints[ends, 1], points[ends, 1])


def test_missing_frames_come_back_with_box_and_points():
    points = walk(40, 3, noise=0)
    frames = np.delete(np.arange(40), slice(12, 17)) + 1000
    result = steady(np.delete(points, slice(12, 17), 0), frames=frames, max_gap=5)
    assert result.frames.tolist() == list(range(1000, 1040))
    assert np.flatnonzero(result.added).tolist() == [12, 13, 14, 15, 16]
    assert (result.filled == result.added[:, None]).all()
    np.testing.assert_allclose(result.boxes[14], [50 + 1014, 60 + 1014, 250 + 1014, 360 + 1014])
    np.testing.assert_allclose(result.keypoints[12:17, :, :2], points[12:17, :, :2], atol=1)


def test_a_track_that_is_away_for_long_stays_away():
    points = walk(40, 3)
    frames = np.r_[:20, 26:46]
    result = steady(points, frames=frames, max_gap=5)
    assert result.frames.tolist() == frames.tolist()
    assert not result.filled.any()


@pytest.mark.parametrize("bad", [[np.nan, 5, 0.9], [np.inf, 5, 0.9], [0, 0, 0.9], [5, 5, np.nan]])
def test_points_that_are_no_numbers_are_not_measured(bad):
    points = walk(30, 2)
    points[10, 0] = bad
    result = steady(points)
    assert np.argwhere(result.filled).tolist() == [[10, 0]]
    assert np.isfinite(result.keypoints).all()


def test_points_without_scores():
    result = steady(walk(30, 4, d=2), (1, 0, 3, 2))
    assert result.keypoints.shape == (30, 4, 2)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_very_short_tracks(count):
    points = walk(count, 17)
    result = steady(points, COCO_17.flip)
    assert result.keypoints.shape == (count, 17, 3)
    np.testing.assert_allclose(result.keypoints, points, atol=3)


def test_rest_becomes_steady_and_constant_speed_has_no_lag():
    rng = np.random.default_rng(3)
    points = np.ones((400, 6, 3))
    points[..., :2] = 300
    points[:, 3:, 0] += 5 * np.arange(400)[:, None]
    truth = points.copy()
    points[..., :2] += rng.normal(0, 1, (400, 6, 2))
    found = steady(points).keypoints[..., :2]

    def shake(path):
        return np.sqrt((np.diff(path, 2, axis=0) ** 2).mean())

    assert shake(found) < 0.15 * shake(points[..., :2])
    assert abs((truth[..., :2] - found)[:, 3:, 0].mean()) < 0.1


def test_an_unsure_measurement_counts_less():
    points = walk(41, 1, noise=0)
    points[:, 0, :2] = np.random.default_rng(4).normal(100, 1, (41, 2))
    shifts = []
    for score in (0.9, 0.3):
        moved = points.copy()
        moved[20, 0] = [*(points[20, 0, :2] + 2), score]
        shifts.append(steady(moved).keypoints[20, 0, 0] - steady(points).keypoints[20, 0, 0])
    assert shifts[1] < shifts[0]


def test_the_parabola_is_the_least_squares_one():
    rng = np.random.default_rng(5)
    points, weight = rng.normal(0, 1, (15, 2, 2)), rng.uniform(0.1, 1, (15, 2))
    weight[4, 0] = 0
    fit, deviation = parabolas(points, weight, 3)
    for t, k in itertools.product(range(15), range(2)):
        rows = np.arange(max(0, t - 3), min(15, t + 4))
        design, w = np.vander(rows - t, 3, increasing=True).astype(float), np.sqrt(weight[rows, k])[:, None]
        expected = np.linalg.lstsq(w * design, w * points[rows, k], rcond=None)[0]
        np.testing.assert_allclose(fit[t, k], expected[0], atol=1e-9)
        covariance = np.linalg.inv((w * design).T @ (w * design))
        assert deviation[t, k] == pytest.approx(np.sqrt(covariance[0, 0]))


def test_the_noise_is_found_under_motion():
    rng = np.random.default_rng(6)
    t = np.arange(2000)[:, None, None]
    path = 100 * np.sin(t / 15) + rng.normal(0, 1.5, (2000, 2, 2))
    weight = np.ones((2000, 2))
    weight[:, 1] = 0.25
    np.testing.assert_allclose(noise_of(path, weight), [1.5, 0.75], rtol=0.06)


def test_without_noise_smooth_paths_stay():
    t = np.arange(60.0)[:, None, None]
    path = np.concatenate([10 * np.sin(t / 5), 3 * t, t**2 / 9], 1) * np.ones((1, 1, 2))
    np.testing.assert_allclose(adaptive_fit(path, np.ones((60, 3))), path, atol=0.1)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(PoseError, match="frames that rise"):
        steady_track(np.array([1, 1]), np.zeros((2, 4)), np.zeros((2, 5, 3)))
    with pytest.raises(PoseError, match="one box"):
        steady_track(np.arange(3), np.zeros((2, 4)), np.zeros((3, 5, 3)))
