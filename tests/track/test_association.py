"""Pairs of tracks and detections against every possible choice, and against SciPy."""

import itertools

import numpy as np
import pytest

from yolopose.track.association import FLICKER, OTHER_CLASS, Pairs, assign, separate_classes


def best_sum(cost: np.ndarray, limit: float) -> float:
    """The largest sum of `limit - cost` over all choices of pairs, by trying them all."""
    m, n = cost.shape
    wide = np.concatenate((cost, np.full((m, m), limit)), axis=1)  # each row may take a column of its own, worth 0
    return max(
        sum(max(limit - wide[row, column], 0) for row, column in enumerate(choice))
        for choice in itertools.permutations(range(n + m), m)
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (3, 3), (2, 4), (4, 2), (3, 4)])
@pytest.mark.parametrize("limit", [0.2, 0.5, 0.8, 1.0])
def test_no_choice_of_pairs_is_better(shape: tuple[int, int], limit: float) -> None:
    rng = np.random.default_rng(shape[0] * 10 + shape[1])
    for _ in range(10):
        cost = rng.uniform(0, 1, shape)
        rows, columns = assign(cost, limit)
        assert len(set(rows)) == len(set(columns)) == len(rows)
        assert (cost[rows, columns] < limit).all()
        assert (limit - cost[rows, columns]).sum() == pytest.approx(best_sum(cost, limit))
        assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize("shape", [(60, 60), (80, 50), (50, 80)])
def test_large_crowds_are_paired_as_scipy_does(shape: tuple[int, int]) -> None:
    scipy = pytest.importorskip("scipy.optimize")
    cost = np.random.default_rng(1).uniform(0, 3, shape)
    saved = np.minimum(cost - 0.8, 0)
    rows, columns = assign(cost, 0.8)
    assert saved[rows, columns].sum() == pytest.approx(saved[scipy.linear_sum_assignment(saved)].sum())


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_pair(shape: tuple[int, int]) -> None:
    rows, columns = assign(np.zeros(shape), 0.5)
    assert len(rows) == len(columns) == 0


def test_the_limit_itself_is_no_pair_and_one_sum_beats_two_poor_pairs() -> None:
    assert len(assign(np.array([[0.5]]), 0.5)[0]) == 0
    rows, columns = assign(np.array([[0.0, 0.45], [0.45, 0.9]]), 0.5)  # 0.5 saved by one pair, 0.1 by two
    assert list(zip(rows, columns, strict=True)) == [(0, 0)]


def test_stages_leave_earlier_pairs_alone() -> None:
    pairs = Pairs(2, 3)
    every, cost = np.ones(2, bool), np.array([[0.1, 0.2, 0.3], [0.1, 0.9, 0.9]])
    pairs.add(cost, np.array([True, False]), np.array([False, True, True]), 0.5)
    pairs.add(cost, every, np.ones(3, bool), 0.5)
    assert (list(pairs.rows), list(pairs.columns)) == ([0, 1], [1, 0])
    assert (list(pairs.free_rows), list(pairs.free_columns)) == ([False, False], [False, False, True])


def test_another_class_is_a_pair_only_where_the_boxes_are_nearly_the_same() -> None:
    overlap = np.array([[0.9, 0.6], [FLICKER + 0.01, 1.0]])
    apart = separate_classes(overlap, overlap, np.array([0.0, 1]), np.array([1.0, 1]))
    np.testing.assert_allclose(apart, [[0.9 * OTHER_CLASS, 0], [FLICKER + 0.01, 1.0]])
