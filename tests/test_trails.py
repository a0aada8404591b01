"""Trails: which positions are remembered, and how they are drawn."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.builders import ManyBackend, make_photo

from yolopose import YOLO
from yolopose.draw.instances import PALETTE
from yolopose.draw.trails import TrailHistory, draw_trails
from yolopose.saving import Saver


def row(number: int, x: float) -> list[float]:
    return [x - 10, 20, x + 10, 60, number, 0.9, 0]


def test_positions_are_the_middles_of_the_latest_boxes() -> None:
    history = TrailHistory(length=3)
    for x in range(0, 50, 10):
        found = history.add(np.array([row(4, x), row(9, 2 * x)]))
    assert {number: list(positions) for number, positions in found.items()} == {
        4: [(20, 40), (30, 40), (40, 40)], 9: [(40, 40), (60, 40), (80, 40)],
    }  # fmt: skip


def test_lost_tracks_are_not_drawn_and_forgotten_later() -> None:
    history = TrailHistory(length=3)
    history.add(np.array([row(1, 0), row(2, 0)]))
    for x in range(4):
        assert list(history.add(np.array([row(2, x)]))) == [2]
    assert list(history.add(np.array([row(1, 5)]))[1]) == [(5, 40)]  # seen again too late
    for number in range(5000):
        history.add(np.array([row(number, 0)]))
    assert len(history._positions) <= 4


def test_a_trail_has_the_color_of_its_track_and_leaves_the_image_alone() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    drawn = draw_trails(image, {3: [(x, 50) for x in range(20, 190, 10)], 5: [(50, 20)]}, line_width=6)
    assert not image.any()
    assert tuple(drawn[49, 150].tolist()) == PALETTE[3]
    height = drawn.any(2).sum(0)
    assert height[175] > height[30] > 0  # thinner towards its end
    assert not drawn[10:30].any()  # a single position is no trail


def test_coordinates_far_outside_do_no_harm() -> None:
    assert draw_trails(np.zeros((9, 9, 3), np.uint8), {1: [(-1e30, 5), (1e30, 5)]}).shape == (9, 9, 3)


def test_trails_are_drawn_in_each_video_and_can_be_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(YOLO, "_backend", lambda *_: ManyBackend())
    seen = []
    monkeypatch.setattr(Saver, "_write", lambda _, result, frame, drawn, folder: seen.append(drawn))
    for name in ("a", "b"):
        writer = cv2.VideoWriter(f"{name}.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
        for x in range(20, 80, 20):
            writer.write(make_photo(box=(x, 60, x + 60, 180)))
        writer.release()
    for trails in (True, False):
        YOLO("yolov8n-face").track(["a.avi", "b.avi"], save=True, trails=trails, show_labels=False, verbose=False)
    assert len(seen) == 12
    differ = [not np.array_equal(on, off) for on, off in zip(seen[:6], seen[6:], strict=True)]
    assert differ == [False, True, True] * 2  # the second video begins without those of the first
