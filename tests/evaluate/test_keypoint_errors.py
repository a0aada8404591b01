"""The table of keypoint errors against numbers worked out by hand."""

import numpy as np
import pytest

from yolopose.evaluate.keypoint_errors import KeypointErrors
from yolopose.evaluate.precision import Truth, match_image


def test_errors_count_found_and_labelled_keypoints_only() -> None:
    errors = KeypointErrors(["nose", "tail"])
    boxes = np.array([[0, 0, 50, 200], [300, 0, 400, 100], [500, 0, 600, 100]], float)
    keypoints = np.array([[[10, 10, 2], [20, 20, 1]], [[310, 10, 2], [0, 0, 0]], [[510, 10, 1], [520, 10, 1]]], float)
    truth = Truth(np.zeros(3), boxes, keypoints)
    found = np.concatenate([boxes[:2], [[0.9, 0], [0.8, 0]]], 1)
    points = np.array([[[13, 14], [20, 28]], [[322, 10], [0, 0]]], float)  # off by 5, 8; 12
    matches = match_image(found, points, truth, (0.1, 0.1), ignore_unlabelled=False)
    errors.add(points, truth, matches)
    whole, nose, tail = errors.table()
    assert [row["keypoint"] for row in (whole, nose, tail)] == ["all", "nose", "tail"]
    assert [(row["labelled"], row["found"]) for row in (whole, nose, tail)] == [(5, 3), (3, 2), (2, 1)]
    assert whole["p50_px"] == pytest.approx(8)
    assert nose["mean_px"] == pytest.approx(8.5)
    assert nose["p50_relative"] == pytest.approx((0.05 + 0.12) / 2)  # both boxes measure 100 by the root of their area
    assert (whole["pck0.05"], whole["pck0.1"]) == pytest.approx((1 / 3, 2 / 3))
    assert tail["p95_px"] == pytest.approx(8)


def test_no_detections_give_no_errors() -> None:
    rows = KeypointErrors(["nose"]).table()
    assert [row["p50_px"] for row in rows] == [None, None]
    assert [row["found"] for row in rows] == [0, 0]
