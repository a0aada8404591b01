"""The assignment against SciPy, in value and in the choice among equals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from yolopose.evaluate.assignment import assign


@pytest.mark.parametrize("levels", [None, 1, 2, 4])
def test_the_choice_of_scipy_also_among_equals(levels: int | None) -> None:
    """Scores of few levels have many equally good assignments."""
    rng = np.random.default_rng(levels or 0)
    several = 0
    for _ in range(600):
        score = rng.random(rng.integers(0, 8, 2))
        if levels:
            score = np.round(score * levels) / levels
        score *= rng.random(score.shape) < 0.6
        rows, columns = linear_sum_assignment(-score)
        counts = score[rows, columns] > 0
        found = assign(score)
        assert set(zip(*found, strict=True)) == set(zip(rows[counts], columns[counts], strict=True)), score
        several += len(set(score.ravel().tolist())) < score.size
    assert several > 300


def test_a_crowd() -> None:
    rng = np.random.default_rng(9)
    score = rng.random((90, 70)) ** 3
    rows, columns = assign(score)
    best = linear_sum_assignment(-score)
    assert score[rows, columns].sum() == pytest.approx(score[best].sum(), abs=1e-12)
    assert len(set(rows)) == len(set(columns)) == 70


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 1), (2, 5)])
def test_nothing_to_assign(shape: tuple[int, int]) -> None:
    rows, columns = assign(np.zeros(shape))
    assert len(rows) == len(columns) == 0
