"""The tracker `pose`: what the points decide, and where lost people are found again."""

import numpy as np
import pytest

from yolopose.geometry.keypoints import BODY_AREA, COCO_17, default_layout
from yolopose.rules import DEFAULT
from yolopose.track import pose
from yolopose.track.options import read_tracker
from yolopose.track.pose import PoseTracking
from yolopose.track.state import Detections, no_tracks
from yolopose.track.tracker import Tracker, open_tracker

STANDING = np.random.default_rng(5).uniform(-0.4, 0.4, (17, 2)) * (0.4, 1.0)  # a pose in a box of height 1
WALKING = STANDING * (-1, 1)  # seen from the other side


def person(x: float, y: float, shape: np.ndarray = STANDING, *, tall: float = 200, score: float = 0.9) -> np.ndarray:
    """A row: box of 0.4 by 1 `tall`, score, class, then 17 points with scores of 0.9."""
    points = np.column_stack((np.array([x, y]) + tall * shape, np.full(17, 0.9)))
    return np.concatenate(([x - 0.2 * tall, y - tall / 2, x + 0.2 * tall, y + tall / 2, score, 0], points.ravel()))


def opened() -> Tracker:
    return open_tracker(read_tracker("pose"), layout=COCO_17, rules=DEFAULT)


def ids(tracker: Tracker, *rows: np.ndarray, time: float | None = None) -> list[int]:
    """The ids of the rows, 0 for none."""
    table = np.array(rows).reshape(-1, 57)
    tracked = tracker.update(table[:, :6], table[:, 6:].reshape(-1, 17, 3), time=time)
    out = np.zeros(len(table), int)
    out[tracked.index] = tracked.ids
    return out.tolist()


def similarity(track: np.ndarray, found: np.ndarray) -> float:
    """Of a track that stands still and a detection."""
    method = PoseTracking(read_tracker("pose"), COCO_17)
    tracks = np.zeros(1, no_tracks(17).dtype)
    tracks["state"] = method.motion.start(track[None, :4])
    tracks["points"] = track[6:].reshape(17, 3)
    row = Detections.of(found[None, :6], found[6:].reshape(1, 17, 3))
    return float(method.similarity(tracks, row)[0, 0])


def test_the_similarity_is_that_of_the_formula() -> None:
    a, b = person(100, 200), person(130, 190)
    b[6:].reshape(17, 3)[:, 2] = np.linspace(0.1, 1, 17)
    iou = (50 * 190) / (2 * 80 * 200 - 50 * 190)
    weight = 0.9 * np.linspace(0.1, 1, 17)
    spread = (2 * np.array(COCO_17.sigmas) * pose.TOLERANCE) ** 2
    oks = (weight * np.exp(-(30**2 + 10**2) / (2 * spread * 80 * 200 * BODY_AREA))).sum() / weight.sum()
    assert weight.sum() > pose.SURE
    assert similarity(a, b) == pytest.approx((1 - pose.POINTS) * iou + pose.POINTS * oks)


def test_without_sure_points_only_the_boxes_count() -> None:
    a, b = person(100, 200), person(110, 200, WALKING)
    b[6:].reshape(17, 3)[:, 2] = 0
    assert similarity(a, b) == pytest.approx(70 / 90)
    b[6:].reshape(17, 3)[:2, 2] = 0.9  # two sure points count a little
    assert 0.5 < similarity(a, b) < 70 / 90


def test_people_who_cross_keep_their_ids() -> None:
    """They swap places from one frame to the next. By the boxes they would stay; the poses tell who is who."""
    tracker = opened()
    for _ in range(4):
        assert ids(tracker, person(500, 300), person(512, 300, WALKING)) == [1, 2]
    assert ids(tracker, person(500, 300, WALKING), person(512, 300)) == [2, 1]


def test_a_person_hidden_behind_another_comes_out_with_the_same_id() -> None:
    tracker = opened()
    for frame in range(60):
        left, right = person(300 + 8 * frame, 300), person(780 - 8 * frame, 300, WALKING)
        hidden = abs((300 + 8 * frame) - (780 - 8 * frame)) < 60
        now = ids(tracker, left) if hidden else ids(tracker, left, right)
        assert now == ([1] if hidden else [1, 2]), frame


@pytest.mark.parametrize(
    ("back", "expected"),
    [
        (person(1010, 300), 1),  # turned round outside of the image
        (person(1010, 300, -STANDING), 2),  # upside down
        (person(500, 300), 2),  # too far away
        (person(1010, 300, tall=100), 2),  # half as tall
    ],
)
def test_who_leaves_and_comes_back_is_found_again_by_place_size_and_pose(back: np.ndarray, expected: int) -> None:
    tracker = opened()
    for frame in range(20):
        ids(tracker, person(880 + 8 * frame, 300))
    for _ in range(20):
        ids(tracker)
    assert ids(tracker, back) in ([0], [1])
    assert ids(tracker, back) == [expected]
    assert ids(tracker, back) == [expected]
    assert (tracker.lost.ids.tolist() == []) == (expected == 1)


def test_two_who_come_back_at_once_are_told_apart_by_their_poses() -> None:
    tracker = opened()
    for _ in range(5):
        ids(tracker, person(500, 300), person(620, 300, -STANDING))
    for _ in range(15):
        ids(tracker)
    for _ in range(3):
        now = ids(tracker, person(700, 300), person(420, 300, -STANDING))
    assert now == [1, 2]


def test_a_double_starts_no_track_and_a_neighbour_does() -> None:
    tracker = opened()
    half = person(500, 300, score=0.6)
    half[3] -= 60
    for _ in range(5):
        now = ids(tracker, person(500, 300), half, person(540, 300, WALKING, score=0.7))
    assert now == [1, 0, 2]


def test_doubles_need_sure_points_and_the_same_class() -> None:
    method = PoseTracking(read_tracker("pose"), COCO_17)
    rows = np.array([person(500, 300), person(503, 300, score=0.5)])
    points = rows[:, 6:].reshape(-1, 17, 3)
    assert method.doubles(Detections.of(rows[:, :6], points)).tolist() == [1]
    assert len(method.doubles(Detections.of(rows[:, :6], points * (1, 1, 0.1)))) == 0
    rows[1, 5] = 1
    assert len(method.doubles(Detections.of(rows[:, :6], points))) == 0


def test_frames_that_a_stream_drops_count_as_time() -> None:
    """A person moves 4 px a frame; of each 12 frames one arrives. Without times nothing overlaps."""
    for rate, expected in ((30.0, [1]), (None, [2])):
        tracker, now = opened(), [0]
        for frame in [*range(20), *range(20, 200, 24)]:
            x = 100 + 8 * frame
            now = ids(tracker, person(x, 300, tall=100), time=None if rate is None else frame / rate)
            if now == [0]:
                break
        assert (now == [1]) == (expected == [1])


def test_a_pause_longer_than_the_buffer_forgets_and_time_that_stands_still_does_not_harm() -> None:
    tracker = opened()
    for time in (0.0, 0.1, 0.1, 0.05):
        assert ids(tracker, person(500, 300), time=time) == [1]
    assert ids(tracker, person(500, 300), time=60.0) == [0]
    assert ids(tracker, person(500, 300), time=60.1) == [2]


@pytest.mark.parametrize("k", [1, 5, 33])
def test_any_layout_will_do(k: int) -> None:
    tracker = open_tracker(read_tracker("pose"), layout=default_layout((k, 3)), rules=DEFAULT)
    rng = np.random.default_rng(0)
    shape = rng.uniform(0, 60, (k, 2))
    for frame in range(10):
        boxes = np.array([[x, 50, x + 60, 110, 0.9, 0] for x in (100 + 2 * frame, 150 - 2 * frame)])  # faces that touch
        points = np.concatenate((boxes[:, None, :2] + shape, np.full((2, k, 1), 0.9)), axis=2)
        assert tracker.update(boxes, points).ids.tolist() == [1, 2]
