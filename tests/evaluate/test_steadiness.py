"""Jitter and lag against values that can be worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from yolopose.evaluate.steadiness import delay, jitter, measure, step_lag

Array = NDArray[Any]


def moving_mean(window: int) -> Any:
    """A filter of known lag: the mean of the last `window` frames."""

    def smooth(positions: Array) -> Array:
        before = np.repeat(positions[:1], window - 1, axis=0)
        padded = np.concatenate([before, positions])
        return np.stack([padded[t : t + window].mean(0) for t in range(len(positions))])

    return smooth


def test_the_jitter_of_white_noise_is_its_deviation_times_root_12() -> None:
    """The second difference of white noise has the variance (1 + 4 + 1) σ² in x and in y."""
    noise = np.random.default_rng(0).normal(0, 0.5, (20000, 3, 2))
    assert jitter(noise) == pytest.approx(0.5 * math.sqrt(12), rel=0.01)


def test_jitter_of_three_frames() -> None:
    points = np.array([[[0.0, 0.0]], [[1.0, 0.0]], [[0.0, 2.0]]])
    assert jitter(points) == pytest.approx(math.hypot(-2, 2))


def test_constant_motion_is_no_jitter() -> None:
    ramp = np.arange(10.0)[:, None, None] * np.array([3.0, -2.0])
    assert jitter(ramp) == pytest.approx(0)


def test_only_what_is_at_rest_counts_when_the_truth_is_known() -> None:
    truth = np.zeros((10, 1, 2))
    truth[6:, 0, 0] = 50  # a jump of the subject is no jitter
    estimate = truth + np.array([0.1, -0.1] * 5)[:, None, None]
    assert jitter(estimate) > 10
    assert jitter(estimate, truth) == pytest.approx(0.4 * math.sqrt(2))


def test_missing_points_are_left_out() -> None:
    noise = np.random.default_rng(1).normal(size=(50, 2, 2))
    expected = jitter(noise[:, :1])
    noise[:, 1] = np.nan
    assert jitter(noise) == pytest.approx(expected)
    assert math.isnan(jitter(np.full((5, 1, 2), np.nan)))
    assert math.isnan(jitter(np.zeros((2, 1, 2))))


def test_visibility_is_no_position() -> None:
    points = np.zeros((5, 1, 3))
    points[:, 0, 2] = [0, 1, 0, 1, 0]
    assert jitter(points) == 0


@pytest.mark.parametrize(("window", "frames"), [(1, 0), (2, 1), (5, 4), (10, 8), (20, 17)])
def test_frames_until_a_step_is_followed(window: int, frames: int) -> None:
    """A mean of n frames has covered (i + 1) / n of the step i frames after it."""
    step = np.zeros((60, 4, 2))
    step[30:] = (12.0, -16.0)
    assert step_lag(step, moving_mean(window)(step)) == frames


def test_a_step_that_is_never_followed() -> None:
    step = np.zeros((60, 1, 2))
    step[30:] = 20
    assert step_lag(step, np.zeros_like(step)) == math.inf


def test_the_truth_of_a_step_jumps_once() -> None:
    with pytest.raises(ValueError, match="it changes in 0"):
        step_lag(np.zeros((9, 1, 2)), np.zeros((9, 1, 2)))
    with pytest.raises(ValueError, match="it changes in 8"):
        step_lag(np.arange(18.0).reshape(9, 1, 2), np.zeros((9, 1, 2)))


@pytest.mark.parametrize("velocity", [(1.0, 0.0), (-3.0, 4.0), (0.0, 20.0)])
@pytest.mark.parametrize("frames", [-1.0, 0.0, 2.5])
def test_delay_behind_constant_motion(velocity: tuple[float, float], frames: float) -> None:
    times = np.arange(40.0)[:, None, None]
    truth, estimate = times * velocity, (times - frames) * velocity
    assert delay(truth, estimate) == pytest.approx(frames)


def test_the_delay_of_a_mean_is_half_its_window() -> None:
    """Once the window is full: (n - 1) / 2 frames, whatever the speed."""
    ramp = np.arange(50.0)[:, None, None] * np.array([5.0, 0.0])
    assert delay(ramp, moving_mean(7)(ramp), skip=6) == pytest.approx(3)


def test_delay_leaves_out_rest_and_missing_points() -> None:
    truth = np.zeros((20, 2, 2))
    truth[10:, :, 0] = 5.0 * np.arange(1, 11)[:, None]
    estimate = truth.copy()
    estimate[10:, :, 0] -= 5
    estimate[12, 1] = np.nan
    assert delay(truth, estimate) == pytest.approx(1)
    assert math.isnan(delay(np.zeros((5, 1, 2)), np.zeros((5, 1, 2))))


def test_both_are_measured_with_one_setting() -> None:
    rest = np.random.default_rng(2).normal(0, 1, (3000, 2, 2))
    found = measure(moving_mean(3), rest)
    assert found.step_lag == 2
    assert set(found.delay) == {1.0, 5.0, 20.0}
    assert list(found.delay.values()) == pytest.approx([1, 1, 1], abs=0.01)  # the first frames lag less
    assert found.reduction == pytest.approx(1 - found.jitter / jitter(rest))
    assert 0.5 < found.reduction < 0.9
    same = measure(lambda positions: positions, rest)
    assert (same.reduction, same.step_lag, set(same.delay.values())) == (0, 0, {0.0})
