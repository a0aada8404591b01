"""Keypoint layouts out of foreign values: right, or refused by name."""

import re

import numpy as np
import pytest

from yolopose.errors import PoseError
from yolopose.geometry.keypoints import COCO_17, KeypointLayout, default_layout

GOOD = {"kpt_shape": [2, 3], "kpt_names": ["a", "b"], "skeleton": [[0, 1]], "kpt_oks_sigmas": [0.1, 0.2],
        "flip_idx": [1, 0]}  # fmt: skip


def test_a_layout_from_a_dict_has_defaults_for_what_is_missing() -> None:
    layout = KeypointLayout.from_dict(GOOD)
    assert layout == KeypointLayout((2, 3), ("a", "b"), ((0, 1),), (0.1, 0.2), (1, 0))
    assert KeypointLayout.from_dict(layout.to_dict()) == layout
    assert KeypointLayout.from_dict({"kpt_shape": [17, 3]}) == KeypointLayout(
        (17, 3), COCO_17.names, COCO_17.edges, COCO_17.sigmas, None
    )
    assert KeypointLayout.from_dict(GOOD | dict.fromkeys(GOOD.keys() - {"kpt_shape"})).names == ("kpt_0", "kpt_1")
    assert KeypointLayout.from_dict(GOOD | {"flip_idx": [], "kpt_names": {}}).flip is None


def test_names_per_class_and_names_that_yaml_reads_as_something_else() -> None:
    assert KeypointLayout.from_dict(GOOD | {"kpt_names": {0: ["x", "y"]}}).names == ("x", "y")
    assert KeypointLayout.from_dict(GOOD | {"kpt_names": [1, True]}).names == ("1", "True")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"flip_idx": 3}, "flip_idx must be a list, got 3"),
        ({"flip_idx": ["a", "b"]}, "flip_idx must be a whole number, got 'a'"),
        ({"flip_idx": [1e400, 0]}, "flip_idx must be a whole number, got inf"),
        ({"flip_idx": [0]}, "flip_idx must have 2 entries, has 1"),
        ({"flip_idx": [0, 0]}, "flip_idx must hold each of 0..1 once"),
        ({"flip_idx": np.array([1, 0])}, "flip_idx must be a list, got ndarray of shape (2,)"),
        ({"skeleton": [[0]]}, "a line of skeleton must have 2 entries, has 1"),
        ({"skeleton": 5}, "skeleton must be a list, got 5"),
        ({"skeleton": [[0, 2]]}, "an index in skeleton must be from 0 to 1, got 2"),
        ({"kpt_oks_sigmas": 0.1}, "kpt_oks_sigmas must be a list, got 0.1"),
        ({"kpt_oks_sigmas": [0.1, "x"]}, "kpt_oks_sigmas must be a number"),
        ({"kpt_oks_sigmas": [0.1, float("nan")]}, "kpt_oks_sigmas must be a number"),
        ({"kpt_oks_sigmas": [0.1, 0]}, "kpt_oks_sigmas must be positive"),
        ({"kpt_names": 5}, "kpt_names must be a list, got 5"),
        ({"kpt_names": "ab"}, "kpt_names must be a list, got 'ab'"),
        ({"kpt_names": [[], []]}, "kpt_names must be text"),
        ({"kpt_shape": None}, "kpt_shape must be [K, 2] or [K, 3], got None"),
        ({"kpt_shape": [3, np.ones(3)]}, "kpt_shape must be"),
        ({"kpt_shape": [True, 3]}, "kpt_shape must be"),
        ({"kpt_shape": [10**9, 3]}, "K of kpt_shape must be from 1 to 10000, got 1000000000"),
        ({"kpt_shape": [10**5000, 3]}, "K of kpt_shape must be from 1 to 10000, got an integer of"),
    ],
)
def test_every_foreign_value_is_refused_in_one_line(changes: dict[str, object], told: str) -> None:
    with pytest.raises(PoseError, match=re.escape(told)):
        KeypointLayout.from_dict(GOOD | changes)


def test_a_layout_is_never_made_for_more_points_than_there_may_be() -> None:
    with pytest.raises(PoseError, match="from 1 to"):
        default_layout((10**9, 3))
