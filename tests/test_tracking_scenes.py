"""The scenes of benchmarks/tracking.py: exact truth, equal for equal seeds, detections that belong to it."""

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolopose.geometry.boxes import iou_matrix

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def scenes(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = ("scenes", "figures", "observe")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import scenes

    yield scenes
    for name in names:
        sys.modules.pop(name, None)


def test_a_scene_is_a_function_of_its_kind_and_seed(scenes: Any) -> None:
    once, again, other = (scenes.make_scene("wall", seed) for seed in (3, 3, 4))
    for a, b in zip(once.frames, again.frames, strict=True):
        assert np.array_equal(a.found, b.found)
        assert np.array_equal(a.points, b.points)
        assert np.array_equal(a.keypoints, b.keypoints)
    assert any(not np.array_equal(a.boxes, b.boxes) for a, b in zip(once.frames, other.frames, strict=False))


def test_tuning_and_reporting_share_neither_kinds_nor_seeds(scenes: Any) -> None:
    assert not set(scenes.TUNING) & set(scenes.REPORTING)
    assert not set(scenes.TUNING_SEEDS) & set(scenes.REPORTING_SEEDS)
    assert {*scenes.TUNING, *scenes.REPORTING} == set(scenes.KINDS)


@pytest.mark.parametrize("kind", ["crossing", "pan"])
def test_detections_lie_on_the_figures_they_come_from(scenes: Any, kind: str) -> None:
    frames = scenes.make_scene(kind, 0).frames
    overlaps = []
    for frame in frames:
        truth = {int(number): box for number, box in zip(frame.ids, frame.boxes, strict=True)}
        for box, source in zip(frame.found, frame.source, strict=True):
            if int(source) in truth:
                overlaps.append(iou_matrix(truth[int(source)][None], box[None, :4].astype(float))[0, 0])
        assert (frame.found[:, 4] >= 0.1).all()
        assert (np.diff(frame.found[:, 4]) <= 0).all()
        assert (frame.found[:, 2:4] > frame.found[:, :2]).all()
    assert len(overlaps) > len(frames)
    assert np.median(overlaps) > 0.75


def test_who_is_behind_a_wall_is_neither_truth_nor_found(scenes: Any) -> None:
    frames = scenes.make_scene("wall", 0).frames
    everyone = {int(number) for frame in frames for number in frame.ids}
    gone = [number for frame in frames for number in everyone - set(frame.ids.tolist())]
    assert len(gone) > 30  # frames in which somebody is hidden
    still_found = [s for frame in frames for s in frame.source if int(s) in everyone - set(frame.ids.tolist())]
    assert len(still_found) < 0.2 * len(gone)  # a little of the body still shows
    assert any(set(b.ids.tolist()) - set(a.ids.tolist()) for a, b in itertools.pairwise(frames))  # and comes back


def test_a_moving_camera_has_pictures_and_a_still_one_none(scenes: Any) -> None:
    moving, still = scenes.make_scene("handheld", 1), scenes.make_scene("edge", 1)
    assert still.image(0) is None
    first, later = moving.image(0), moving.image(40)
    assert first.shape == (720, 1280, 3)
    assert np.abs(first.astype(int) - later).mean() > 5
