from dataclasses import replace

import numpy as np
import pytest

from yolopose.data.flips import audit_flip
from yolopose.data.labels import scan
from yolopose.data.rows import Labels
from yolopose.data.spec import load_data
from yolopose.geometry.keypoints import COCO_17, FACE_5, KeypointLayout

FACE = np.array([[-0.2, -0.15], [0.2, -0.15], [0, 0.05], [-0.15, 0.25], [0.15, 0.25]])  # of the box, image-left first


def faces(count: int = 60, swapped: int = 0, order: tuple[int, ...] = (0, 1, 2, 3, 4)) -> list[Labels]:
    """Faces turned by up to 40 degrees; the first `swapped` ones have left and right exchanged."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(count):
        angle = np.radians(rng.uniform(-40, 40))
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        points = FACE @ turn + rng.normal(0, 0.02, (5, 2))
        points = points[list(FACE_5.flip)] if i < swapped else points
        xy = 0.5 + 0.3 * points[list(order)]
        keypoints = np.concatenate([xy, np.full((5, 1), 2.0)], 1)[None].astype(np.float32)
        found.append(Labels(np.zeros(1, np.int64), np.array([[0.5, 0.5, 0.3, 0.3]], np.float32), keypoints))
    return found


def test_no_warning_for_labels_that_fit_flip_idx() -> None:
    assert audit_flip(faces(), FACE_5) == []


@pytest.mark.parametrize("labels", [[], faces(5)])
def test_no_warning_for_too_few_labels(labels: list[Labels]) -> None:
    assert audit_flip(labels, replace(FACE_5, flip=(0, 1, 2, 3, 4))) == []


def test_no_warning_without_flip_idx() -> None:
    assert audit_flip(faces(), replace(FACE_5, flip=None)) == []


@pytest.mark.parametrize("flip", [(0, 1, 2, 3, 4), (3, 4, 2, 0, 1), (4, 3, 2, 1, 0)])
def test_a_flip_idx_that_does_not_mirror_the_shape_is_found(flip: tuple[int, ...]) -> None:
    warnings = audit_flip(faces(), replace(FACE_5, flip=flip))
    assert any("flip_idx does not fit: mirrored, left_eye near right_eye" in w for w in warnings)


def test_a_pair_written_the_wrong_way_round_is_found() -> None:
    warnings = audit_flip(faces(order=(1, 0, 2, 3, 4)), FACE_5)
    assert any("left_eye and right_eye look swapped" in w for w in warnings)


def test_some_instances_with_left_and_right_exchanged_are_found() -> None:
    assert audit_flip(faces(swapped=12), FACE_5) == [
        "left and right look swapped in 20% of 60 instances, compared with the rest"
    ]


def test_labels_without_points_do_not_matter() -> None:
    empty = [replace(labels, keypoints=labels.keypoints * 0) for labels in faces()]
    assert audit_flip(empty, FACE_5) == []


@pytest.mark.parametrize(("name", "layout"), [("pose", COCO_17), ("face", FACE_5)])
def test_flip_idx_of_real_labels_passes_and_a_changed_one_fails(shared, name: str, layout: KeypointLayout) -> None:
    found = scan(load_data(shared / "data" / name / "data.yaml"), "test", cache=False)
    labels = [item.labels for item in found.items]
    assert audit_flip(labels, layout) == []
    assert audit_flip(labels, replace(layout, flip=tuple(range(layout.shape[0]))))
