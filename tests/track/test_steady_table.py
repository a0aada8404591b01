"""Tables of tracks in, steady tables out: every track by itself, nothing lost."""

from __future__ import annotations

import numpy as np
import pytest

from yolopose.track.offline import steady_track
from yolopose.track.steady_table import steady_table
from yolopose.track.table import TrackTable


def table(tracks, source="a.mp4", rate=30.0):
    """Rows by frame of {id: {frame: (5, 3) keypoints}}."""
    frames = sorted({frame for rows in tracks.values() for frame in rows})
    parts = []
    for frame in frames:
        ids = [i for i, rows in tracks.items() if frame in rows]
        boxes = np.array([[10 * i, frame, 10 * i + 50, frame + 90, 0.5 + 0.01 * (frame % 7), 0] for i in ids])
        points = np.array([tracks[i][frame] for i in ids])
        parts.append(TrackTable.of_frame(frame, frame / rate, np.array(ids), boxes, points, source=source))
    return TrackTable.join(parts)


def noisy(seed, frames):
    rng = np.random.default_rng(seed)
    return {f: np.column_stack([rng.normal(100, 1, (5, 2)), np.full(5, 0.9)]) for f in frames}


def test_each_track_of_each_source_is_repaired_by_itself():
    first = table({3: noisy(0, range(40)), 1: noisy(1, range(5, 30))})
    second = table({3: noisy(2, range(20))}, "b.mp4")
    both = TrackTable.join([first, second])
    found = steady_table(both).table
    assert len(found) == len(both)
    np.testing.assert_array_equal(np.diff(found.sequence * 1000 + found.frame) >= 0, True)
    for name, number in (("a.mp4", 3), ("a.mp4", 1), ("b.mp4", 3)):
        source = both.sources.index(name)
        old = both[(both.sequence == source) & (both.id == number)]
        new = found[(found.sequence == source) & (found.id == number)]
        expected = steady_track(old.frame, old.box, old.keypoints)
        np.testing.assert_allclose(new.keypoints, expected.keypoints)
        np.testing.assert_array_equal(new.raw, old.keypoints)
        for column in ("frame", "time", "score", "box", "cls"):
            np.testing.assert_array_equal(getattr(new, column), getattr(old, column))


@pytest.mark.parametrize("step", [1, 3])
def test_missing_frames_become_rows(step):
    frames = [step * f + 2 for f in range(30) if f not in (12, 13)]
    given = table({5: noisy(0, frames)})
    found = steady_table(given, step=step)
    new = found.table
    assert new.frame.tolist() == [step * f + 2 for f in range(30)]
    assert found.added == 2
    rows = np.flatnonzero(new.filled.all(1))
    assert rows.tolist() == [12, 13]
    np.testing.assert_allclose(new.time, new.frame / 30)
    assert np.isnan(new.raw[rows]).all()
    assert (new.score[rows] == min(given.score[11], given.score[12])).all()
    assert (new.id == 5).all()
    assert "2 of the rows added" in str(found)


def test_swaps_and_outliers_are_counted_over_all_tracks():
    apart = np.array([[0, 0, 0], [40, 0, 0], [80, 0, 0], [120, 0, 0], [160, 0, 0]])
    moving = {f: p + apart for f, p in noisy(3, range(40)).items()}
    other = {f: p.copy() for f, p in moving.items()}
    moving[20] = moving[20][[1, 0, 2, 4, 3]]
    other[10][2, :2] += 70
    found = steady_table(table({1: moving, 2: other}), (1, 0, 2, 4, 3))
    assert (found.swaps, found.outliers) == (2, 1)
    assert found.table.filled.sum() == 1


def test_an_empty_table_stays_empty():
    given = table({1: noisy(0, range(3))})[:0]
    found = steady_table(given)
    assert len(found.table) == 0
    assert (found.swaps, found.outliers, found.added) == (0, 0, 0)
