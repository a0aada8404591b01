"""The camera's motion, and trackers that take it out."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from yolopose.geometry.keypoints import COCO_17
from yolopose.rules import DEFAULT
from yolopose.track.camera import CameraMotion
from yolopose.track.kalman import BoxFilter
from yolopose.track.options import TrackerOptions, read_tracker
from yolopose.track.tracker import open_tracker

PHOTOGRAPH = Path(__file__).resolve().parents[2] / "yolopose/assets/samples/images/val/coco_000000000544.jpg"
NOTHING = np.zeros((0, 4))


def seen(matrix: np.ndarray, size: tuple[int, int] = (600, 800)) -> np.ndarray:
    """The photograph as an image of (H, W), moved by a (2, 3) matrix of pixel coordinates."""
    photograph = cv2.resize(cv2.imread(str(PHOTOGRAPH)), (size[1] + 400, size[0] + 400))
    shift = np.array([[1, 0, -200.0], [0, 1, -200], [0, 0, 1]])
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    whole = np.linalg.inv(half) @ np.vstack((matrix, [0, 0, 1])) @ half @ shift
    return cv2.warpAffine(photograph, whole[:2], (size[1], size[0]))


def matrix(turn: float = 0.0, zoom: float = 1.0, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    c, s = zoom * np.cos(turn), zoom * np.sin(turn)
    return np.array([[c, -s, x], [s, c, y]])


@pytest.mark.parametrize("size", [(600, 800), (1000, 1600), (240, 320)])
@pytest.mark.parametrize(
    "motion", [matrix(), matrix(x=9, y=-4), matrix(turn=0.01, x=6), matrix(zoom=1.02, x=-8, y=-6), matrix(0.01, 0.99)]
)
def test_the_motion_of_a_photograph_is_found(size: tuple[int, int], motion: np.ndarray) -> None:
    camera = CameraMotion()
    assert camera.estimate(seen(matrix(), size), NOTHING) is None  # the first image
    found = camera.estimate(seen(motion, size), NOTHING)
    assert found is not None
    h, w = size
    corners = np.array([[0, 0, 1], [w, 0, 1], [0, h, 1], [w, h, 1]]).T
    assert np.abs(found @ corners - motion @ corners).max() < 0.5


def test_what_moves_by_itself_is_masked() -> None:
    """A large moving picture in front hides most of the background; its box takes it out."""
    before, after = seen(matrix()), seen(matrix(x=3))
    front = cv2.resize(cv2.imread(str(PHOTOGRAPH)), (520, 420))
    before[90:510, 100:620], after[90:510, 112:632] = front, front
    box = np.array([[100.0, 90, 632, 510]])
    for boxes, expected in ((box, 3), (NOTHING, 12)):
        camera = CameraMotion()
        camera.estimate(before, boxes)
        found = camera.estimate(after, boxes)
        assert found is not None
        assert found[0, 2] == pytest.approx(expected, abs=0.5)


def test_nothing_is_said_where_nothing_can_be_seen() -> None:
    camera, flat = CameraMotion(), np.full((200, 300, 3), 90, np.uint8)
    assert camera.estimate(flat, NOTHING) is None
    assert camera.estimate(flat, NOTHING) is None
    assert camera.estimate(seen(matrix()), NOTHING) is None  # another size
    noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8)
    assert camera.estimate(noise, NOTHING) is None  # a cut to another scene
    assert camera.estimate(noise, np.array([[-9.0, -9, 900, 900]])) is not None
    assert camera.estimate(noise, NOTHING) is None  # the image before was masked as a whole


@pytest.mark.parametrize("aspect", [False, True])
def test_a_state_moves_as_its_box_does(aspect: bool) -> None:
    filter_ = BoxFilter(aspect=aspect)
    boxes = np.array([[100.0, 200, 180, 400], [5, 5, 45, 105]])
    state = filter_.start(boxes)
    state[:, :2, 1] = (3, 4)
    filter_.transform(state, matrix(turn=np.pi / 2, zoom=2, x=7, y=9))
    centre = np.array([[140.0, 300], [25, 55]])
    side = 2 * (boxes[:, 2:] - boxes[:, :2])
    turned = np.column_stack((-2 * centre[:, 1] + 7, 2 * centre[:, 0] + 9))
    np.testing.assert_allclose(filter_.boxes(state), np.hstack((turned - side / 2, turned + side / 2)))
    np.testing.assert_allclose(state[:, :2, 1], [[-8, 6]] * 2)
    wide = filter_.start(np.hstack((turned - side / 2, turned + side / 2)))
    np.testing.assert_allclose(state[..., 2:], wide[..., 2:])


@pytest.mark.parametrize("kind", ["botsort", "pose"])
@pytest.mark.parametrize(("method", "kept"), [("sparseOptFlow", True), ("none", False)])
def test_a_pan_keeps_the_ids(kind: str, method: str, kept: bool) -> None:
    """Two people stand; the camera jumps by 60 px every third frame, which is more than their boxes are wide."""
    options = TrackerOptions(**{**vars(read_tracker(kind)), "gmc_method": method})
    tracker = open_tracker(options, layout=COCO_17, rules=DEFAULT)
    people = np.array([[300.0, 300, 330, 380, 0.9, 0], [390, 300, 420, 380, 0.9, 0]])
    shape = np.random.default_rng(0).uniform(0, 1, (17, 2)) * (30, 80)
    ids = []
    for frame in range(9):
        jump = 60.0 * (frame // 3)
        boxes = people + np.array([jump, 0, jump, 0, 0, 0])
        points = np.concatenate((boxes[:, None, :2] + shape, np.full((2, 17, 1), 0.9)), axis=2)
        ids.append(tracker.update(boxes, points, seen(matrix(x=jump))).ids.tolist())
    assert (ids == [[1, 2]] * 9) == kept
