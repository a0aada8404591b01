"""The trackers of Roboflow's `trackers` on the scenes of `scenes.py`; `tracking.py` runs it where that is installed.

Reads one JSON line per scene from standard input, {"kind", "seed", "digest"}, makes the scene again, checks that its
detections are the same, and answers with one JSON line: for each tracker the ids of every frame's detections, 0 for
none.

How options correspond, with the names of our files (left) and of `trackers` 2.6.1 (right):

| ours | ByteTrackTracker | BoTSORTTracker |
|---|---|---|
| track_high_thresh 0.25 | high_conf_det_threshold 0.25 | high_conf_det_threshold 0.25 |
| track_low_thresh 0.1 | none: what is below is taken away before | fixed 0.1 |
| new_track_thresh 0.25 | track_activation_threshold 0.25 | track_activation_threshold 0.25 |
| track_buffer 30 | lost_track_buffer 30 | lost_track_buffer 30 |
| match_thresh 0.8, a cost | minimum_iou_threshold 0.2, in both stages | minimum_iou_threshold_first_assoc 0.2 |
| second stage: cost 0.5, fixed | none of its own | minimum_iou_threshold_second_assoc 0.5 |
| a track seen once: cost 0.7, fixed | none of its own | minimum_iou_threshold_unconfirmed_assoc 0.3 |
| fuse_score True | never | always |
| confirmed by the second detection | minimum_consecutive_frames 2 | minimum_consecutive_frames 2 |
| ids at once in the first frame | never | instant_first_frame_activation True |
| gmc_method sparseOptFlow | none | enable_cmc True, cmc_method sparseOptFlow |
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from typing import Any

from scenes import RATE, Scene, make_scene

SAME = {"lost_track_buffer": 30, "frame_rate": float(RATE), "track_activation_threshold": 0.25,
        "minimum_consecutive_frames": 2, "high_conf_det_threshold": 0.25}  # fmt: skip
BYTETRACK = {**SAME, "minimum_iou_threshold": 0.2}
BOTSORT = {**SAME, "minimum_iou_threshold_first_assoc": 0.2, "minimum_iou_threshold_second_assoc": 0.5,
           "minimum_iou_threshold_unconfirmed_assoc": 0.3, "enable_cmc": True, "cmc_method": "sparseOptFlow",
           "instant_first_frame_activation": True}  # fmt: skip


def digest(scene: Scene) -> str:
    """A sum over all detections of a scene."""
    out = hashlib.sha256()
    for frame in scene.frames:
        out.update(frame.found.round(2).tobytes())
    return out.hexdigest()


def track(name: str, scene: Scene) -> dict[str, Any]:
    """The ids of every frame's detections, and milliseconds per frame."""
    import numpy as np
    import supervision as sv
    from trackers import BoTSORTTracker, ByteTrackTracker

    tracker = ByteTrackTracker(**BYTETRACK) if name == "bytetrack" else BoTSORTTracker(**BOTSORT)
    ids, spent = [], 0.0
    for t, frame in enumerate(scene.frames):
        image = scene.image(t) if name == "botsort" else None
        n = len(frame.found)
        found = sv.Detections(
            xyxy=frame.found[:, :4].astype(np.float32),
            confidence=frame.found[:, 4].astype(np.float32),
            class_id=np.zeros(n, int),
            data={"position": np.arange(n)},
        )
        begun = time.perf_counter()
        tracked = tracker.update(found, image) if image is not None else tracker.update(found)
        spent += time.perf_counter() - begun
        row = [0] * n
        for position, number in zip(tracked.data.get("position", ()), tracked.tracker_id, strict=True):
            row[int(position)] = int(number) + 1  # -1, none, becomes 0
        ids.append(row)
    return {"ids": ids, "ms": spent / len(ids) * 1e3}


def main() -> None:
    """Answer until standard input ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        scene = make_scene(asked["kind"], asked["seed"])
        if digest(scene) != asked["digest"]:
            raise SystemExit("this environment makes another scene of the same seed")
        answer = {name: track(name, scene) for name in ("bytetrack", "botsort")}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
