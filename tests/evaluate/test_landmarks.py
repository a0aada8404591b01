"""Landmark errors against a plain loop, and what counts as found."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from yolopose.errors import PoseError
from yolopose.evaluate.keypoint_errors import EDGES, LandmarkErrors
from yolopose.evaluate.precision import Truth
from yolopose.geometry.keypoints import COCO_17, FACE_5, default_layout


def truth(*faces: tuple[list[float], list[list[float]]]) -> Truth:
    """Faces as (box xyxy, five x y v)."""
    boxes, points = (np.array([face[i] for face in faces], float) for i in (0, 1))
    return Truth(np.zeros(len(faces), int), boxes.reshape(-1, 4), points.reshape(-1, 5, 3))


SQUARE = [[20, 20, 2], [60, 20, 2], [40, 40, 2], [25, 60, 2], [55, 60, 2]]
NONE = [[0, 0, 0]] * 5
BOX = [0, 0, 80, 80]


def sample(image: Truth, boxes: object, points: object) -> Any:
    found = SimpleNamespace(boxes=np.array(boxes, float).reshape(-1, 6), keypoints=np.array(points).reshape(-1, 5, 3))
    return SimpleNamespace(truth=image, found=found)


def errors_of(image: Truth, boxes: list[list[float]], points: list[list[list[float]]]) -> LandmarkErrors:
    errors = LandmarkErrors(FACE_5)
    errors.add(sample(image, boxes, points))
    return errors


def measured(image: Truth, boxes: list[list[float]], points: list[list[list[float]]]) -> dict:
    return errors_of(image, boxes, points).figures()


def shifted(by: float) -> list[list[float]]:
    return [[x + by, y, 0.9] for x, y, _ in SQUARE]


def test_the_error_of_known_landmarks() -> None:
    got = measured(truth((BOX, SQUARE)), [[*BOX, 0.9, 0]], [shifted(2)])
    assert got["interocular"]["nme"] == pytest.approx(2 / 40)
    assert got["size"]["nme"] == pytest.approx(2 / 80)
    assert got["interocular"]["auc"] == pytest.approx(0.5)
    assert (got["interocular"]["pck0.05"], got["interocular"]["failure_rate"]) == (1, 0)
    assert (got["faces"], got["found"], got["detection_rate"]) == (1, 1, 1)
    assert [row["faces"] for row in got["sizes"]] == [0, 0, 1, 0, 0]


def test_the_confident_detection_of_most_overlap_counts() -> None:
    boxes = [[2, 0, 82, 80, 0.9, 0], [0, 0, 80, 80, 0.25, 0], [0, 0, 80, 80, 0.249, 0]]
    assert measured(truth((BOX, SQUARE)), boxes, [shifted(8), shifted(4), shifted(0)])["size"]["nme"] == 0.05


def test_a_face_that_is_not_found_is_a_failure_and_its_landmarks_are_wrong() -> None:
    other = [100.0, 0, 180, 80]
    far = [[x + 100, y, v] for x, y, v in SQUARE]
    missed = [100.0, 45, 180, 125]  # IoU 35 / 125
    got = measured(truth((BOX, SQUARE), (other, far)), [[*BOX, 0.9, 0], [*missed, 0.9, 0]], [shifted(0), shifted(100)])
    assert (got["faces"], got["found"], got["detection_rate"]) == (2, 1, 0.5)
    row = got["interocular"]
    assert (row["nme"], row["median"], row["failure_rate"], row["auc"], row["pck0.1"]) == (0, 0, 0.5, 0.5, 0.5)
    assert got["landmarks"][0] == {
        "landmark": "left_eye", "labelled": 2, "nme_interocular": 0, "pck0.1_interocular": 0.5,
        "nme_size": 0, "pck0.1_size": 0.5,
    }  # fmt: skip


def test_only_labelled_landmarks_count_and_eyes_must_be_labelled_for_their_distance() -> None:
    part = [[20, 20, 2], [0, 0, 0], [40, 40, 1], [0, 0, 0], [0, 0, 0]]
    boxes = [[*BOX, 0.9, 0]]
    errors = errors_of(truth((BOX, part), (BOX, NONE)), boxes, [shifted(4)])
    got = errors.figures()
    assert (got["faces"], got["interocular"]["faces"], got["size"]["faces"]) == (1, 0, 1)
    assert got["size"]["nme"] == 0.05
    assert got["interocular"]["nme"] is None
    assert [row["labelled"] for row in got["landmarks"]] == [1, 0, 1, 0, 0]
    assert any("left_eye" in line and "-" in line for line in errors.lines())


def test_random_faces_equal_a_loop() -> None:
    rng = np.random.default_rng(1)
    errors = LandmarkErrors(FACE_5)
    nme: dict[str, list[float]] = {"interocular": [], "size": []}
    for _ in range(30):
        n, m = rng.integers(0, 4), rng.integers(0, 6)
        low = rng.uniform(0, 200, (n, 2))
        boxes = np.concatenate([low, low + rng.uniform(20, 300, (n, 2))], 1)
        points = np.concatenate([rng.uniform(0, 300, (n, 5, 2)), rng.integers(0, 3, (n, 5, 1))], 2)
        pick = rng.integers(0, max(n, 1), m if n else 0)
        found = np.column_stack([boxes[pick] + rng.normal(0, 15, (len(pick), 4)), rng.uniform(0, 1, (len(pick), 2))])
        dots = points[pick] + rng.normal(0, 5, (len(pick), 5, 3))
        errors.add(sample(Truth(np.zeros(n, int), boxes, points), found, dots))
        for box, face in zip(boxes, points, strict=True):
            best, chosen = 0.0, -1
            for j, other in enumerate(found):
                w, h = (max(min(box[2 + a], other[2 + a]) - max(box[a], other[a]), 0) for a in (0, 1))
                union = np.prod(box[2:] - box[:2]) + np.prod(other[2:4] - other[:2]) - w * h
                if other[4] >= 0.25 and w * h / union > best:
                    best, chosen = w * h / union, j
            marked = [k for k in range(5) if face[k, 2] > 0]
            if not marked:
                continue
            error = np.inf
            if best >= 0.5:
                error = sum(np.hypot(*(dots[chosen, k, :2] - face[k, :2])) for k in marked) / len(marked)
            nme["size"].append(error / np.sqrt(np.prod(box[2:] - box[:2])))
            if face[0, 2] > 0 and face[1, 2] > 0:
                nme["interocular"].append(error / np.hypot(*(face[0, :2] - face[1, :2])))
    faces = errors.faces()
    got = errors.figures()
    for norm, limit in (("interocular", 0.1), ("size", 0.05)):
        want = np.array(nme[norm])
        assert faces.nme(norm) == pytest.approx(want)
        assert got[norm]["nme"] == pytest.approx(want[np.isfinite(want)].mean())
        assert got[norm]["failure_rate"] == pytest.approx((want > limit).mean())
        grid = np.linspace(0, limit, 200001)
        area = np.mean(np.searchsorted(np.sort(want), grid, side="right") / len(want))
        assert got[norm]["auc"] == pytest.approx(area, abs=1e-4)
    assert sum(row["faces"] for row in got["sizes"]) == got["faces"] == len(nme["size"])
    assert 0 < got["detection_rate"] < 1


def test_sizes_leave_no_face_out() -> None:
    assert EDGES[0] == 0
    assert np.isinf(EDGES[-1])


def test_layouts_without_eyes_are_refused() -> None:
    assert LandmarkErrors(COCO_17).eyes == [1, 2]
    with pytest.raises(PoseError, match="needs kpt_names with left_eye and right_eye in the data YAML, it has kpt_0"):
        LandmarkErrors(default_layout((4, 3)))
