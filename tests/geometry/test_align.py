"""Similarity transforms."""

import numpy as np
import pytest

from yolopose.geometry.align import FACE_TEMPLATE, similarity


@pytest.mark.parametrize("seed", range(5))
def test_a_similarity_is_recovered(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angle, scale, shift = rng.uniform(-3, 3), rng.uniform(0.1, 5), rng.uniform(-100, 100, 2)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = rng.uniform(0, 200, (5, 2))
    found = similarity(points, points @ linear.T + shift)
    assert found == pytest.approx(np.column_stack([linear, shift]), abs=1e-9)


def test_align_is_the_least_squares_solution_without_mirroring() -> None:
    """Against the linear least-squares problem in a, b, x, y of [[a, -b, x], [b, a, y]]."""
    rng = np.random.default_rng(0)
    mirrored = FACE_TEMPLATE * (-1, 1) + rng.normal(0, 3, (5, 2))
    for points in (rng.uniform(0, 200, (5, 2)), mirrored):
        x, y, one, zero = points[:, 0], points[:, 1], np.ones(5), np.zeros(5)
        rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
        a, b, u, v = np.linalg.lstsq(rows, FACE_TEMPLATE.T.ravel(), rcond=None)[0]
        found = similarity(points, FACE_TEMPLATE)
        assert found == pytest.approx(np.array([[a, -b, u], [b, a, v]]), abs=1e-9)
        assert np.linalg.det(found[:, :2]) > 0


@pytest.mark.parametrize("points", [np.ones((5, 2)), np.full((5, 2), np.nan)])
def test_points_without_extent_are_refused(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="coincide"):
        similarity(points, FACE_TEMPLATE)
