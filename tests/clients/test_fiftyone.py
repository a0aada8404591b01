"""fiftyone: the functions that convert results to labels, without its database.

They import torchvision, which the package index builds for CUDA's torch only, and use nothing of it: a stand-in does.
"""

import importlib
import sys
from unittest.mock import MagicMock

import numpy as np
import pytest

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def convert():
    names = ("torchvision", "torchvision.models", "torchvision.models.feature_extraction", "torchvision.transforms")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setitem(sys.modules, name, MagicMock(__version__="0", __spec__=None))
        yield importlib.import_module("fiftyone.utils.ultralytics")


def test_detections(convert, faces):
    found = convert.to_detections(faces).detections
    assert [one.label for one in found] == ["face"] * 4
    corners = faces.boxes.numpy().xyxyn
    np.testing.assert_allclose([one.bounding_box[:2] for one in found], corners[:, :2], atol=1e-5)
    np.testing.assert_allclose([one.confidence for one in found], faces.boxes.table[:, -2], atol=1e-6)
    assert convert.to_detections([faces, faces], confidence_thresh=1.0)[1].detections == []


def test_key_points(convert, faces):
    found = convert.to_keypoints(faces).keypoints
    np.testing.assert_allclose([one.points for one in found], faces.keypoints.numpy().xyn, atol=1e-6)
    assert {one.label for one in found} == {"face"}


def test_no_detections(convert, nobody):
    assert convert.to_detections(nobody).detections == convert.to_keypoints(nobody).keypoints == []
