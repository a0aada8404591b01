"""When tracks start, are confirmed, lost, found again and forgotten; the same for every tracker."""

import json
import tracemalloc
from collections.abc import Sequence as Rows
from pathlib import Path

import numpy as np
import pytest

from yolopose.geometry.keypoints import COCO_17
from yolopose.rules import DEFAULT, REFERENCE, Rules
from yolopose.track.options import TYPES, TrackerOptions, read_tracker
from yolopose.track.sequence import Sequence, SequenceOptions
from yolopose.track.tracker import MAX_LOST, Tracker, open_tracker

Frame = Rows[tuple[float, float, float]]  # of each person: x, y, score


def tracker(kind: str, *, rules: Rules = DEFAULT, frame_rate: float = 30.0, **values: object) -> Tracker:
    options = TrackerOptions(**{**vars(read_tracker(kind)), **values})
    return open_tracker(options, layout=COCO_17, rules=rules, frame_rate=frame_rate)


def people(frame: Frame, size: float = 100.0, classes: Rows[int] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 6) of people with 0.4 size by size around x, y, and their points (N, 17, 3) with scores of 0.9."""
    boxes = np.zeros((len(frame), 6))
    points = np.full((len(frame), 17, 3), 0.9)
    shape = np.random.default_rng(7).uniform(-0.4, 0.4, (17, 2)) * (0.4, 1.0)  # the same for all
    for i, (x, y, score) in enumerate(frame):
        boxes[i, :5] = x - 0.2 * size, y - size / 2, x + 0.2 * size, y + size / 2, score
        points[i, :, :2] = (x, y) + shape * size
    boxes[:, 5] = list(classes) or 0
    return boxes, points


def ids(tracker: Tracker, frame: Frame, **more: object) -> dict[int, int]:
    """The ids of a frame's people, by position."""
    tracked = tracker.update(*people(frame), **more)
    return dict(zip(tracked.index.tolist(), tracked.ids.tolist(), strict=True))


@pytest.mark.parametrize("kind", TYPES)
def test_ids_start_at_one_and_stay(kind: str) -> None:
    t = tracker(kind)
    for frame in range(30):
        now = ids(t, [(100 + 3 * frame, 200, 0.8), (900 - 3 * frame, 300, 0.8)])
        assert now == {0: 1, 1: 2}
        now = ids(t, [(901 - 3 * frame, 300, 0.8), (101 + 3 * frame, 200, 0.8)])
        assert now == {0: 2, 1: 1}


@pytest.mark.parametrize("kind", TYPES)
def test_a_track_that_starts_later_is_confirmed_by_its_second_detection(kind: str) -> None:
    t = tracker(kind)
    assert ids(t, []) == {}
    assert ids(t, [(100, 200, 0.9)]) == {}
    assert ids(t, [(100, 200, 0.9), (500, 200, 0.9)]) == {0: 1}
    assert ids(t, [(100, 200, 0.9)]) == {0: 1}  # the one at 500 was a mistake of the detector,
    assert ids(t, [(500, 200, 0.9), (100, 200, 0.9)]) == {1: 1}  # and is forgotten: this is its first detection
    assert ids(t, [(500, 200, 0.9), (100, 200, 0.9)]) == {0: 2, 1: 1}


@pytest.mark.parametrize("kind", TYPES)
def test_low_scores_keep_a_track_and_start_none(kind: str) -> None:
    t = tracker(kind)
    ids(t, [(100, 200, 0.9)])
    for _ in range(5):
        assert ids(t, [(100, 200, 0.15), (600, 200, 0.15)]) == {0: 1}
    assert ids(t, [(100, 200, 0.05)]) == {}  # below track_low_thresh
    assert t.lost.ids.tolist() == [1]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    ("rules", "frame_rate", "remembered"), [(DEFAULT, 30, 30), (DEFAULT, 10, 10), (REFERENCE, 10, 30)]
)
def test_a_lost_track_is_remembered_for_the_buffer(kind: str, rules: Rules, frame_rate: float, remembered: int) -> None:
    for gap, found in ((remembered, {0: 1}), (remembered + 2, {})):
        t = tracker(kind, rules=rules, frame_rate=frame_rate, track_buffer=30)
        for _ in range(3):
            ids(t, [(100, 200, 0.9)])
        for _ in range(gap):
            ids(t, [])
        assert t.lost.ids.tolist() == list(found.values())
        assert ids(t, [(100, 200, 0.9)]) == found


@pytest.mark.parametrize("kind", TYPES)
def test_the_last_box_of_a_lost_track_is_told(kind: str) -> None:
    t = tracker(kind)
    ids(t, [(100, 200, 0.9), (500, 200, 0.9)])
    ids(t, [(500, 200, 0.9)])
    np.testing.assert_allclose(t.lost.boxes, [[80, 150, 120, 250]])
    assert t.lost.ids.tolist() == [1]


@pytest.mark.parametrize("kind", TYPES)
def test_ids_are_not_given_again_until_reset(kind: str) -> None:
    t = tracker(kind, track_buffer=2)
    seen: set[int] = set()
    for visit in range(4):
        now = [ids(t, [(100 + 300 * visit, 200, 0.9)]) for _ in range(3)][-1]
        assert not seen & set(now.values())
        seen |= set(now.values())
        for _ in range(8):
            ids(t, [])
    assert seen == {1, 2, 3, 4}
    t.reset()
    assert ids(t, [(100, 200, 0.9)]) == {0: 1}
    assert len(t.lost.ids) == 0


@pytest.mark.parametrize("kind", TYPES)
def test_several_trackers_are_apart(kind: str) -> None:
    alone, one, other = tracker(kind), tracker(kind), tracker(kind)
    rng = np.random.default_rng(0)
    for _ in range(20):
        frame = [(x, 200, 0.9) for x in rng.uniform(0, 3000, rng.integers(0, 6))]
        expected = ids(alone, frame)
        ids(other, [(x, y + 77, s) for x, y, s in frame[::-1]])
        assert ids(one, frame) == expected


@pytest.mark.parametrize("kind", TYPES)
def test_a_flicker_of_the_class_keeps_the_id_and_another_object_does_not(kind: str) -> None:
    t = tracker(kind)
    for name in (0, 0, 1, 0, 0):
        assert t.update(*people([(100, 200, 0.9)], classes=[name])).ids.tolist() == [1]
    t.update(*people([(112, 200, 0.9)], classes=[1]))  # overlaps by a half
    assert t.update(*people([(112, 200, 0.9)], classes=[1])).ids.tolist() == [2]


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_no_box_is_left_out_and_the_rest_keeps_its_position(kind: str) -> None:
    t = tracker(kind)
    boxes, points = people([(100, 200, 0.9), (300, 200, 0.9), (500, 200, 0.9), (700, 200, 0.9)])
    boxes[0, 0] = np.nan
    boxes[2, 2] = boxes[2, 0]
    points[1, 3] = np.nan
    for _ in range(3):
        tracked = t.update(boxes.astype(np.float32), points.astype(np.float32))
        assert (tracked.index.tolist(), tracked.ids.tolist()) == ([1, 3], [1, 2])


@pytest.mark.parametrize("kind", TYPES)
def test_points_without_scores(kind: str) -> None:
    t = tracker(kind)
    for step in range(3):
        boxes, points = people([(100 + step, 200, 0.9)])
        assert t.update(boxes, points[..., :2]).ids.tolist() == [1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES)
def test_hours_of_video_do_not_fill_the_memory(kind: str) -> None:
    t = tracker(kind, gmc_method="none")
    rng = np.random.default_rng(0)
    sizes = []
    tracemalloc.start()
    for frame in range(20_000):
        t.update(*people([(x, y, 0.9) for x, y in rng.uniform(0, 2000, (5, 2))]))
        if frame in (500, 19_999):
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[1] - sizes[0] < 2e6


@pytest.mark.parametrize("kind", TYPES)
def test_of_too_many_lost_tracks_those_seen_last_are_remembered(kind: str) -> None:
    many = tracker(kind, track_buffer=1000, gmc_method="none")
    for row in range(3):  # three times 400 people, far from each other
        for _ in range(2):
            found = ids(many, [(100.0 * i, 1000.0 * row, 0.9) for i in range(400)])
            assert len(found) == 400 or (row and not found)
    for _ in range(2):
        ids(many, [])
    lost = many.lost.ids.tolist()
    assert len(lost) == MAX_LOST
    assert set(range(401, 1201)) <= set(lost)  # of the first 400 those that there was room for


def test_compat_returns_the_boxes_and_ids_of_ultralytics() -> None:
    recorded = json.loads((Path(__file__).parents[1] / "recordings" / "tracks.json").read_text())
    options = read_tracker("bytetrack")
    compat, plain = (Sequence(SequenceOptions(tracker=options, layout=COCO_17, rules=r)) for r in (REFERENCE, DEFAULT))
    image = np.zeros((270, 480, 3), np.uint8)
    moved = []
    for found, expected in zip(recorded["detections"], recorded["bytetrack"], strict=True):
        boxes = np.array([[*row, 0] for row in found])
        points = np.zeros((len(boxes), 17, 3))
        ours = {int(row[4]): row[:4] for row in compat.update(boxes, points, image).boxes}
        theirs = {row[4]: row[:4] for row in expected}
        assert ours.keys() == theirs.keys()
        for number, box in theirs.items():
            np.testing.assert_allclose(ours[number], box, atol=0.2)
        rows = plain.update(boxes, points, image).boxes
        assert {int(number) for number in rows[:, 4]} == theirs.keys()
        assert {tuple(row) for row in rows[:, :4].tolist()} <= {tuple(np.float32(row[:4]).tolist()) for row in found}
        moved += [np.abs(row[:4] - theirs[int(row[4])]).max() for row in rows]
    assert max(moved) > 5  # so that the two rules differ


@pytest.mark.parametrize(("rules", "expected"), [(DEFAULT, 2), (REFERENCE, 4)])
def test_with_compat_a_track_that_is_never_confirmed_uses_up_a_number(rules: Rules, expected: int) -> None:
    t = tracker("bytetrack", rules=rules)
    assert ids(t, [(100, 200, 0.9)]) == {0: 1}
    for x in (300, 500, 700):  # each seen once, but for the last
        ids(t, [(100, 200, 0.9), (x, 200, 0.9)])
    assert ids(t, [(100, 200, 0.9), (700, 200, 0.9)]) == {0: 1, 1: expected}
