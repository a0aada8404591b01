"""supervision: detections, key points, annotators, slices; trackers through it."""

import numpy as np
import pytest
import supervision as sv
import trackers

pytestmark = pytest.mark.clients


def test_detections(faces):
    found = sv.Detections.from_ultralytics(faces)
    np.testing.assert_array_equal(found.xyxy, faces.boxes.table[:, :4])
    np.testing.assert_array_equal(found.confidence, faces.boxes.table[:, -2])
    assert found.class_id.tolist() == [0] * 4
    assert found.data["class_name"].tolist() == ["face"] * 4
    assert found.tracker_id is None


def test_track_numbers(faces):
    faces.update(boxes=np.insert(faces.boxes.table, 4, [7, 8, 9, 10], axis=1))
    assert sv.Detections.from_ultralytics(faces).tracker_id.tolist() == [7, 8, 9, 10]


def test_key_points(faces):
    points = sv.KeyPoints.from_ultralytics(faces)
    np.testing.assert_array_equal(points.xy, faces.keypoints.table[..., :2])
    assert points.data["class_name"].tolist() == ["face"] * 4


def test_no_detections(nobody):
    assert len(sv.Detections.from_ultralytics(nobody)) == 0
    assert len(sv.KeyPoints.from_ultralytics(nobody)) == 0


@pytest.mark.parametrize(
    ("annotator", "points"),
    [
        (sv.BoxAnnotator(), False),
        (sv.LabelAnnotator(), False),
        (sv.VertexAnnotator(), True),
        (sv.EdgeAnnotator(edges=[(1, 2), (2, 3)]), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_annotators(faces, annotator, points):
    kind = sv.KeyPoints if points else sv.Detections
    drawn = annotator.annotate(faces.orig_img.copy(), kind.from_ultralytics(faces))
    assert (drawn != faces.orig_img).any()


def test_slices(model, faces):
    def find(image):
        return sv.Detections.from_ultralytics(model(image, verbose=False)[0])

    assert len(sv.InferenceSlicer(callback=find, slice_wh=320, overlap_wh=160)(faces.orig_img)) >= 3


@pytest.mark.parametrize("tracker", [trackers.SORTTracker, trackers.ByteTrackTracker], ids=lambda t: t.__name__)
def test_trackers(faces, tracker):
    tracks, found = tracker(), sv.Detections.from_ultralytics(faces)
    for _ in range(4):
        tracked = tracks.update(found)
    assert len(set(tracked.tracker_id.tolist()) - {-1}) == 4
