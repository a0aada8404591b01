"""norfair: boxes and key points as its detections, through its tracker."""

import norfair
import numpy as np
import pytest

pytestmark = pytest.mark.clients


def test_boxes(faces):
    tracker = norfair.Tracker(distance_function="iou", distance_threshold=0.7, initialization_delay=0)
    for _ in range(3):
        found = [
            norfair.Detection(points=box.xyxy[0].cpu().numpy().reshape(2, 2), scores=np.array([box.conf.item()] * 2))
            for box in faces.boxes
        ]
        tracked = tracker.update(found)
    assert len({track.id for track in tracked}) == 4


def test_key_points(faces):
    tracker = norfair.Tracker(distance_function="euclidean", distance_threshold=20, initialization_delay=0)
    for _ in range(3):
        points, conf = faces.keypoints.xy.cpu().numpy(), faces.keypoints.conf
        scores = np.ones(points.shape[:2]) if conf is None else conf.cpu().numpy()
        tracked = tracker.update([norfair.Detection(p, s) for p, s in zip(points, scores, strict=True)])
    picture = norfair.draw_points(faces.orig_img.copy(), tracked)
    assert len(tracked) == 4
    assert picture.shape == faces.orig_img.shape
