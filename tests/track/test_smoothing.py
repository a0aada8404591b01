"""The online filter against its formula, and what it does with gaps, scores, sizes and many tracks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from yolopose.errors import PoseError
from yolopose.track.smoothing import OneEuro, OneEuroOptions, low_pass

DT = 1 / 30
BOX = np.array([[0.0, 0.0, 100.0, 400.0]])  # a person of size 200


def run(path, options=None, *, boxes=BOX, dt=DT, ids=(1,)):
    """Filter (T, K, 2 or 3) points of one track; (T, K, 2 or 3)."""
    smoother = OneEuro(options)
    return np.array([smoother.update(np.array(ids), boxes, points[None], dt)[0] for points in path])


def scalar(path, options, size, dt=DT):
    """The filter of one point, (T, 2), step by step as in the paper, with our speed."""

    def alpha(cutoff):
        tau = 1 / (2 * math.pi * cutoff)
        return 1 / (1 + tau / dt)

    x, v, noise, out = path[0], np.zeros(2), 0.0, [path[0]]
    step = bend = np.zeros(2)
    for before, z in itertools.pairwise(path):
        a = alpha(options.speed_cutoff)
        v = a * (z - before) / dt / size + (1 - a) * v
        a = alpha(options.cutoff + options.gain * (v @ v) / max(1, noise / options.noise**2))
        x = a * z + (1 - a) * x
        turned = (z - before) / size - step
        most = 9 * max(noise, options.noise**2)
        sample = min(max(-(turned @ bend) / 8, -most), most)
        noise += dt / (dt + options.noise_time) * (sample - noise)
        step, bend = (z - before) / size, turned
        out.append(x)
    return np.array(out)


@pytest.mark.parametrize(("k", "d"), [(17, 3), (5, 3), (4, 2)])
def test_it_is_the_formula_for_every_point(k, d):
    rng = np.random.default_rng(0)
    path = rng.normal(300, 5, (40, k, d)) + np.arange(40)[:, None, None]
    path[..., 2:] = 0.9
    found = run(path)
    for point in range(k):
        expected = scalar(path[:, point, :2], OneEuroOptions(), 200.0)
        np.testing.assert_allclose(found[:, point, :2], expected, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(found[..., 2:], path[..., 2:])


def test_a_point_that_stands_still_is_returned_as_it_is():
    path = np.tile([[120.0, 80.0, 0.8]], (20, 1, 1))
    np.testing.assert_allclose(run(path), path, rtol=0, atol=1e-9)


def test_a_fast_step_is_followed_within_a_frame_and_a_tiny_one_slowly():
    for step, low, high in ((20.0, 0.9, 1.0), (0.5, 0.1, 0.6)):
        path = np.full((20, 1, 3), 100.0)
        path[..., 2] = 1
        path[10:, :, 0] += step
        share = (run(path)[11, 0, 0] - 100) / step
        assert low <= share <= high


def test_the_lag_of_a_steady_motion_is_that_of_its_cutoff():
    path = np.zeros((300, 1, 3))
    path[:, 0] = [500.0, 500.0, 1.0]
    path[:, 0, 0] += 2.0 * np.arange(300)
    speed = 2.0 * 30 / 200
    a = float(low_pass(OneEuroOptions().cutoff + OneEuroOptions().gain * speed**2, np.array(DT)))
    behind = path[-1, 0, 0] - run(path)[-1, 0, 0]
    assert behind == pytest.approx(2.0 * (1 - a) / a, abs=1e-6)


def test_size_and_rate_do_not_matter():
    """Twice the person moving twice as far gives twice the estimate."""
    path = np.random.default_rng(1).normal(500, 3, (30, 2, 3))
    path[..., 2] = 1
    double = path * [2, 2, 1]
    np.testing.assert_allclose(run(double, boxes=2 * BOX)[..., :2], 2 * run(path)[..., :2], atol=1e-9)


def test_slow_frames_are_smoothed_less():
    path = np.random.default_rng(2).normal(500, 1, (200, 1, 3))
    path[..., 2] = 1
    assert np.ptp(run(path, dt=1 / 60)[50:, 0, 0]) < np.ptp(run(path, dt=1 / 5)[50:, 0, 0])


def test_tracks_do_not_touch_each_other():
    rng = np.random.default_rng(3)
    paths = rng.normal(400, 4, (3, 30, 6, 3))
    paths[..., 2] = rng.uniform(0, 1, (3, 30, 6))
    boxes = rng.uniform(0, 50, (3, 4)) + np.array([0, 0, 200, 300])
    together = OneEuro()
    ids = np.array([7, 2, 900])
    for t in range(30):
        order = rng.permutation(3)
        order = order[order != t % 4]  # each is missing now and then
        found = together.update(ids[order], boxes[order], paths[order, t], DT)
        for track, points in zip(order, found, strict=True):
            alone = OneEuro()
            for s in range(t + 1):
                there = np.array([track] if s % 4 != track else [], int)
                one = alone.update(ids[there], boxes[there], paths[there, s], DT)
            np.testing.assert_allclose(points, one[0], atol=1e-9)


def test_an_unsure_point_moves_the_estimate_less():
    moves = []
    for score in (0.9, 0.5, 0.3, 0.15):
        path = np.full((11, 1, 3), 100.0)
        path[..., 2] = 0.9
        path[10, 0] = [110.0, 100.0, score]
        moves.append(run(path)[10, 0, 0] - 100)
    assert moves[0] == moves[1] > moves[2] > moves[3] > 0


def test_a_lost_point_keeps_its_place_for_a_while_then_is_raw_and_starts_anew():
    o = OneEuroOptions(hold=0.55)
    path = np.full((40, 1, 3), 100.0)
    path[..., 2] = 0.9
    path[10:30, 0] = [300.0, 10.0, 0.05]
    path[30:, 0, :2] = 200.0
    found = run(path, o, dt=0.1)
    np.testing.assert_allclose(found[10:15, 0, :2], 100.0)  # 0.1 to 0.5 s after the last measurement
    np.testing.assert_array_equal(found[15:30], path[15:30])
    np.testing.assert_allclose(found[30:, 0, :2], 200.0)  # no memory of the old place
    assert found[12, 0, 2] == 0.05


@pytest.mark.parametrize("bad", [[0.0, 0.0, 0.9], [np.nan, 100.0, 0.9], [np.inf, 100.0, 0.9], [90.0, 90.0, np.nan]])
def test_what_is_no_measurement_does_not_enter(bad):
    path = np.full((12, 2, 3), 100.0)
    path[..., 2] = 0.9
    path[6, 1] = bad
    found = run(path)
    np.testing.assert_allclose(found[..., :2], 100.0)


def test_a_track_that_comes_back_late_starts_anew():
    o = OneEuroOptions(hold=0.2, forget=1.0)
    smoother = OneEuro(o)
    none = np.empty(0, int), np.empty((0, 4)), np.empty((0, 1, 3))
    smoother.update(np.array([1]), BOX, np.array([[[10.0, 10.0, 1.0]]]), DT)
    for _ in range(9):
        smoother.update(*none, 0.1)
    assert len(smoother) == 1
    found = smoother.update(np.array([1]), BOX, np.array([[[90.0, 90.0, 1.0]]]), 0.1)
    np.testing.assert_array_equal(found[0, 0], [90.0, 90.0, 1.0])
    for _ in range(11):
        smoother.update(*none, 0.1)
    assert len(smoother) == 0


def test_memory_is_bounded():
    smoother = OneEuro(OneEuroOptions(forget=1.0))
    for t in range(300):
        smoother.update(np.array([t, t + 1]), BOX.repeat(2, 0), np.ones((2, 17, 3)), 0.1)
    assert len(smoother) <= 13
    assert smoother._state.shape == (5, len(smoother) * 17)


def test_equal_times_change_nothing_much_and_are_no_error():
    path = np.random.default_rng(4).normal(100, 2, (10, 3, 3))
    path[..., 2] = 1
    assert np.isfinite(run(path, dt=0.0)).all()


@pytest.mark.parametrize("dt", [-0.1, math.nan, math.inf])
def test_an_impossible_time_is_refused(dt):
    with pytest.raises(PoseError, match="time between two frames"):
        OneEuro().update(np.array([1]), BOX, np.ones((1, 17, 3)), dt)


def test_another_number_of_keypoints_is_refused():
    smoother = OneEuro()
    smoother.update(np.array([1]), BOX, np.ones((1, 17, 3)), DT)
    with pytest.raises(PoseError, match="17 keypoints, this frame has 5"):
        smoother.update(np.array([2]), BOX, np.ones((1, 5, 3)), DT)
    smoother.reset()
    smoother.update(np.array([2]), BOX, np.ones((1, 5, 3)), DT)


def test_the_input_is_left_alone_and_its_type_kept():
    points = np.full((1, 5, 3), 50.0, np.float32)
    smoother = OneEuro()
    smoother.update(np.array([1]), BOX, points, DT)
    found = smoother.update(np.array([1]), BOX, points + 3, DT)
    assert found.dtype == np.float32
    assert (points == 50).all()
