"""smooth="offline": two passes over a recorded source, gaps filled, everything on disk after a failure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.builders import ManyBackend, make_photo

from yolopose import YOLO
from yolopose.cli import main
from yolopose.errors import UsageError
from yolopose.sources import Source
from yolopose.track.reading import read_tracks


def scene(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    image = make_photo((240, 320), (0, 0, 0, 0))
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    return image


def frames(missing: Sequence[int] = (6, 7)) -> list[np.ndarray]:
    """A person goes right by 4 pixels a frame and is not seen in some of the frames."""
    return [scene() if i in missing else scene((10 + 4 * i, 20, 60 + 4 * i, 120)) for i in range(16)]


@pytest.fixture
def backend() -> ManyBackend:
    return ManyBackend()


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: ManyBackend) -> YOLO:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(YOLO, "_backend", lambda *_: backend)
    return YOLO("yolov8n-face")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    for frame in frames():
        writer.write(frame)
    writer.release()
    return path


def test_a_gap_is_filled_and_says_so(model: YOLO, video: Path, backend: ManyBackend) -> None:
    results = model.track(video, smooth="offline", save=True, save_tracks="t.csv", batch=4, verbose=False)
    assert sum(shape[0] for shape in backend.shapes) == 16  # every frame went through the network once
    assert [r.boxes.id.int().tolist() for r in results] == [[1]] * 16
    assert [bool(r.filled.all()) for r in results] == [i in (6, 7) for i in range(16)]
    assert results[0].filled.shape == (1, 17)
    assert np.isnan(results[6].raw_keypoints.xy.numpy()).all()
    assert results[3].speed["inference"] > 0
    np.testing.assert_allclose(results[6].boxes.xyxy.numpy(), [[34, 20, 84, 120]], atol=1.5)
    np.testing.assert_allclose(results[6].keypoints.xy.numpy()[0, 1], [84, 20], atol=1.5)
    table = read_tracks("t.csv")
    assert (table.frame.tolist(), table.filled.all(1).tolist()) == ([*range(16)], [i in (6, 7) for i in range(16)])
    assert np.isnan(table.raw[6, :, :2]).all()
    capture = cv2.VideoCapture("runs/pose/track/walk.mp4")
    assert sum(capture.read()[0] for _ in range(17)) == 16


def test_indexing_a_result_takes_along_what_was_filled(model: YOLO, video: Path) -> None:
    result = model.track(video, smooth="offline", verbose=False)[6]
    for part in (result[0], result[:1], result[np.array([True])], result[result.boxes.conf > 0]):
        assert (part.filled.shape, part.raw_keypoints.shape) == ((1, 17), (1, 17, 3))
    assert (result.new().filled.shape, result.numpy().raw_keypoints.shape) == ((0, 17), (1, 17, 3))


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet", "txt"])
def test_a_failure_in_the_first_pass_loses_nothing(
    model: YOLO, video: Path, backend: ManyBackend, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    infer = backend.infer

    def fail(images: Any) -> Any:
        if len(backend.shapes) == 12:
            raise KeyboardInterrupt
        return infer(images)

    monkeypatch.setattr(backend, "infer", fail)
    with pytest.raises(KeyboardInterrupt):
        model.track(video, smooth="offline", save_tracks=f"t.{suffix}", verbose=False)
    assert read_tracks(f"t.{suffix}").frame.tolist() == [*range(12)]


def test_stride_photographs_and_arrays(model: YOLO, video: Path, tmp_path: Path) -> None:
    results = model.track(video, smooth="offline", vid_stride=2, save_tracks="t.csv", verbose=False)
    assert [len(r) for r in results] == [1] * 8
    assert read_tracks("t.csv").frame.tolist() == [*range(0, 16, 2)]
    (tmp_path / "shots").mkdir()
    for i, frame in enumerate(frames()):
        cv2.imwrite(str(tmp_path / "shots" / f"{i:02}.png"), frame)
    for source in (tmp_path / "shots", frames()):
        results = model.track(source, smooth="offline", vid_stride=2, verbose=False)  # no stride in photographs
        assert [bool(r.filled.any()) for r in results] == [i in (6, 7) for i in range(16)]


def test_photographs_around_a_video_get_no_rows_in_its_place(model: YOLO, video: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), frames()[0])
    source = [tmp_path / "a.png", video, tmp_path / "a.png"]
    results = model.track(source, smooth="offline", save_tracks="t.csv", verbose=False)
    assert len(read_tracks("t.csv")) == sum(map(len, results)) == 18


def test_two_videos_are_two_tables(model: YOLO, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = model.track([video, video], smooth="offline", save_tracks="t.txt", stream=True)
    assert [r.boxes.id.int().tolist() for r in results] == [[1]] * 32
    assert (len(read_tracks("t.txt")), len(read_tracks("t-2.txt"))) == (16, 16)
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0]
        == f"{video}: 0 swapped pairs put right, 0 points far off left out, 34 points filled in, 2 of the rows added"
    )
    assert lines[-1] == "2 tracks, 32 rows saved to t.txt, t-2.txt"


def test_what_cannot_be_read_twice_is_refused(
    model: YOLO, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("yolopose.predict.open_source", lambda *_: Source((f for f in ()), streams=1))
    for source in (0, "rtsp://camera", "-"):
        with pytest.raises(UsageError, match=r"smooth=offline reads the source twice, .*; use smooth=True"):
            model.track(source, smooth="offline")
    assert main(["track", "source=0", "smooth=offline"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_source_without_anyone(model: YOLO) -> None:
    results = model.track([scene()] * 3, smooth="offline", save_tracks="t.parquet", verbose=False)
    assert [(len(r), r.boxes.shape) for r in results] == [(0, (0, 7))] * 3
    assert len(read_tracks("t.parquet")) == 0
