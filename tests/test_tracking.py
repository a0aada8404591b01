"""Tracking through YOLO and the command line: ids, sequences, persist, files, failures. Synthetic videos."""

import copy
import csv
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.builders import ManyBackend, make_photo

from yolopose import YOLO
from yolopose.cli import main
from yolopose.draw.instances import PALETTE, DrawStyle, label_text
from yolopose.errors import PoseError, UsageError
from yolopose.sources import Frame, Source
from yolopose.track.reading import read_tracks

ROOT = Path(__file__).resolve().parents[1]


def scene(*boxes: tuple[int, int, int, int], hw: tuple[int, int] = (240, 320)) -> np.ndarray:
    """Grey with white rectangles x1 y1 x2 y2."""
    image = make_photo(hw, (0, 0, 0, 0))
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    return image


def walk(count: int = 12, *, hw: tuple[int, int] = (240, 320)) -> list[np.ndarray]:
    """One person goes right by 6 pixels a frame, another one goes left below."""
    return [scene((10 + 6 * i, 20, 60 + 6 * i, 100), (250 - 6 * i, 130, 300 - 6 * i, 220), hw=hw) for i in range(count)]


def film(path: Path, frames: Sequence[np.ndarray], fps: float = 10.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, frames[0].shape[1::-1])
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def ids(results: Any) -> list[list[int]]:
    return [result.boxes.id.int().tolist() for result in results]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> YOLO:
    monkeypatch.chdir(tmp_path)
    backend = ManyBackend()
    monkeypatch.setattr(YOLO, "_backend", lambda *_: backend)
    found = YOLO("yolov8n-face")
    found.overrides["verbose"] = False
    return found


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return film(tmp_path / "walk.avi", walk())


def test_people_keep_their_ids_and_boxes_stay_as_detected(model: YOLO, video: Path) -> None:
    tracked, found = model.track(video), model.predict(video)
    assert ids(tracked) == [[1, 2]] * 12 or ids(tracked) == [[2, 1]] * 12
    for a, b in zip(tracked, found, strict=True):
        assert a.boxes.is_track
        assert a.boxes.shape == (2, 7)
        np.testing.assert_array_equal(a.boxes.xyxy.numpy(), b.boxes.xyxy.numpy())
        np.testing.assert_array_equal(a.keypoints.data.numpy(), b.keypoints.data.numpy())
        assert a.raw_keypoints is None
        assert [row["track_id"] for row in a.summary()] == a.boxes.id.int().tolist()
        assert '"track_id": ' in a.to_json()
        assert "track_id" in a.to_csv().splitlines()[0]


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("stream", [True, False])
def test_batches_and_streaming_change_nothing(model: YOLO, video: Path, batch: int, stream: bool) -> None:
    assert ids(model.track(video, batch=batch, stream=stream)) == ids(model.track(video))


def test_frames_without_people_have_empty_ids_that_every_script_can_read(model: YOLO, tmp_path: Path) -> None:
    clip = film(tmp_path / "c.avi", [scene(), *walk(2), scene()])
    results = model.track(clip)
    assert [len(result) for result in results] == [0, 0, 2, 0]  # in later frames a track needs two detections
    for result in results:
        assert result.boxes.id is not None  # if result.boxes.id is not None: …
        assert [*map(int, result.boxes.id.int().cpu().tolist())] == [*result.boxes.id.cpu().numpy().astype(int)]
        assert (result.boxes.shape[1], result.keypoints.shape[0], result.boxes.is_track) == (7, len(result), True)
        assert [box.id.item() for box in result.boxes] == result.boxes.id.tolist()
    assert results[0].verbose() == "(no detections), "


def test_with_compat_a_frame_without_tracks_has_the_detections_and_no_ids(model: YOLO) -> None:
    frames = [scene(), scene((10, 20, 60, 100)), scene((10, 20, 60, 100)), scene()]
    for smooth in (False, True):
        results = model.track(
            frames, compat=True, tracker="bytetrack", smooth=smooth, save_tracks="t.csv", save_txt=True
        )
        assert [r.boxes.id is None or r.boxes.id.tolist() for r in results] == [True, True, [1.0], True]
        assert [len(r) for r in results] == [0, 1, 1, 0]
        assert read_tracks("t.csv").frame.tolist() == [2]


def test_no_detections_for_longer_than_the_buffer(model: YOLO, tmp_path: Path) -> None:
    """The person comes back as another one, and nothing fails meanwhile."""
    here = [scene((10, 20, 60, 100))] * 3
    clip = film(tmp_path / "c.avi", [*here, *[scene()] * 40, *here], 30)
    found = ids(model.track(clip, tracker="bytetrack"))
    assert (found[2], found[20], found[-1]) == ([1], [], [2])


def test_each_video_of_a_source_begins_at_id_1_and_persist_continues(model: YOLO, tmp_path: Path) -> None:
    clips = [film(tmp_path / "a.avi", walk(4)), film(tmp_path / "b.avi", [scene((100, 20, 150, 100))] * 3)]
    alone = ids(model.track(clips[1]))
    assert alone == [[1]] * 3
    assert ids(model.track(clips))[4:] == alone
    assert ids(YOLO("yolov8n-face").track(clips, persist=True))[6] == [3]


def test_frame_by_frame_with_persist_is_like_the_video(model: YOLO, video: Path) -> None:
    frames = []
    capture = cv2.VideoCapture(str(video))
    while (frame := capture.read())[0]:
        frames.append(frame[1])
    whole = ids(model.track(video))
    assert [ids(model.track(frame, persist=True))[0] for frame in frames] == whole
    assert ids(YOLO("yolov8n-face").track(frames, persist=True)) == whole  # a list of frames is one sequence
    model.track(frames[0])  # without persist: the next ones continue this call
    assert [ids(model.track(frame, persist=True))[0] for frame in frames[1:]] == whole[1:]


def test_persist_survives_another_source_in_between(model: YOLO, video: Path) -> None:
    frames = walk(8)
    first = [ids(model.track(frame, persist=True))[0] for frame in frames[:4]]
    model.track(video)
    model.predict(frames[0])
    assert [ids(model.track(frame, persist=True))[0] for frame in frames[4:]] == first


def test_ids_go_on_when_the_frames_change_their_size(model: YOLO, caplog: pytest.LogCaptureFixture) -> None:
    found = [ids(model.track(frame, persist=True))[0] for frame in [*walk(3), *walk(3, hw=(260, 330)), *walk(2)]]
    assert sorted(found[3]) == [3, 4]
    assert sorted(found[-1]) == [5, 6]
    assert [r.message for r in caplog.records] == [
        "frames change from 320x240 to 330x260 pixels: tracks start anew, ids go on"
    ]


def test_another_tracker_with_persist_starts_anew_with_a_warning(model: YOLO, caplog: Any) -> None:
    model.track(walk(1)[0], persist=True)
    model.track(walk(1)[0], persist=True, tracker="bytetrack")
    assert "tracks start anew" in caplog.text


def test_copies_and_pickles_have_tracks_of_their_own(model: YOLO) -> None:
    first, second = scene((10, 20, 60, 100)), scene((10, 20, 60, 100), (200, 20, 260, 100))
    for _ in range(2):
        model.track(second, persist=True)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert ids(other.track(first, persist=True)) == [[1]]


def test_threads_may_share_an_object(model: YOLO, tmp_path: Path) -> None:
    """Videos in four threads have ids of their own; a shared sequence loses no frame."""
    clips = [film(tmp_path / f"{i}.avi", walk(10)) for i in range(4)]
    found: dict[int, list[list[int]]] = {}

    def work(number: int) -> None:
        found[number] = ids(model.track(clips[number], stream=True))
        for frame in walk(5):
            model.track(frame, persist=True)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sorted(found[i][-1]) for i in range(4)] == [[1, 2]] * 4


def test_streams_have_a_tracker_each(model: YOLO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four cameras whose people stand at the same place: a shared tracker would give them the same ids in turn."""

    def frames() -> Iterator[Frame]:
        for index in range(6):
            for stream in range(4):
                boxes = [(10 + 70 * j + 3 * index, 20, 60 + 70 * j + 3 * index, 100) for j in range(stream + 1)]
                yield Frame(scene(*boxes), f"rtsp://c{stream}", "stream", index, items=4, stream=stream, fps=20.0)

    monkeypatch.setattr("yolopose.predict.open_source", lambda *_: Source(frames(), streams=4))
    run = model.track("cameras", stream=True, save_tracks="t.csv")
    found: dict[str, list[list[int]]] = {}
    for result in run:
        found.setdefault(result.path, []).append(sorted(result.boxes.id.int().tolist()))
    assert found == {f"rtsp://c{i}": [list(range(1, i + 2))] * 6 for i in range(4)}
    table = read_tracks("t.csv")
    assert table.sources == tuple(found)
    assert table.time[table.frame == 5].tolist() == [0.25] * 10


def test_vid_stride_keeps_the_numbers_and_times_of_the_frames(model: YOLO, video: Path) -> None:
    model.track(video, vid_stride=3, save_tracks="t.csv")
    table = read_tracks("t.csv")
    assert sorted(set(table.frame.tolist())) == [0, 3, 6, 9]
    np.testing.assert_allclose(table.time, table.frame / 10, atol=1e-6)


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet", "txt"])
def test_the_file_of_tracks_is_what_the_results_say(model: YOLO, video: Path, suffix: str) -> None:
    results = model.track(video, save_tracks=f"out/t.{suffix}")
    table = read_tracks(f"out/t.{suffix}")
    assert table.id.tolist() == [number for row in ids(results) for number in row]
    np.testing.assert_allclose(table.box, np.concatenate([r.boxes.xyxy.numpy() for r in results]), atol=2e-3)
    if suffix != "txt":
        assert table.sources == (str(video),)
        np.testing.assert_allclose(
            table.keypoints, np.concatenate([r.keypoints.data.numpy() for r in results]), atol=1e-3
        )


def test_smoothed_keypoints_and_raw_ones(model: YOLO, video: Path) -> None:
    raw = model.track(video)
    smooth = model.track(video, smooth=True, save_tracks="t.json")
    for a, b in zip(raw, smooth, strict=True):
        np.testing.assert_array_equal(a.keypoints.data.numpy(), b.raw_keypoints.data.numpy())
        assert b[0].raw_keypoints.shape == (1, 17, 3)
    assert any(not np.array_equal(r.keypoints.xy.numpy(), r.raw_keypoints.xy.numpy()) for r in smooth)
    table = read_tracks("t.json")
    np.testing.assert_allclose(table.raw, np.concatenate([r.raw_keypoints.data.numpy() for r in smooth]), atol=1e-3)


def test_label_rows_end_with_the_id_and_the_video_is_written(model: YOLO, video: Path) -> None:
    model.track(video, save=True, save_txt=True, save_conf=True, save_crop=True)
    folder = Path("runs/pose/track")
    rows = (folder / "labels" / "walk_12.txt").read_text().splitlines()
    assert sorted(row.split()[-1] for row in rows) == ["1", "2"]
    assert {len(row.split()) for row in rows} == {5 + 17 * 3 + 2}
    capture = cv2.VideoCapture(str(folder / "walk.mp4"))
    assert sum(capture.read()[0] for _ in range(13)) == 12


def test_boxes_have_the_color_of_their_id_and_labels_name_it(model: YOLO) -> None:
    cv2.imwrite("a.png", walk(1)[0])
    result = model.track("a.png", save=True)[0]
    drawn = cv2.imread("runs/pose/track/a.png")
    painted = {n: int((drawn == PALETTE[n]).all(2).sum()) for n in range(4)}
    assert [n for n, count in painted.items() if count > 100] == sorted(result.boxes.id.int().tolist())
    labels = [label_text(row, result.names, DrawStyle()) for row in result.boxes.table]
    assert sorted(labels) == ["id:1 person 0.90", "id:2 person 0.90"]


def test_the_command_line(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(YOLO, "_backend", lambda *_: ManyBackend())
    for words in (["track"], ["pose", "track"]):
        assert main([*words, f"source={video}", "tracker=bytetrack.yaml", "save_tracks=t.csv", "exist_ok"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["Results saved to runs/pose/track", "2 tracks, 24 rows saved to t.csv"]
    assert len(list(csv.reader(Path("t.csv").read_text().splitlines()))) == 25


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("tracker=ocsort.yaml", "ocsort is not one of our trackers"),
        ("tracker=botsrot", "did you mean 'botsort'"),
        ("tracker=bad.yaml", "bad.yaml: unknown entry 'track_hihg_thresh'; did you mean 'track_high_thresh'"),
        ("save_tracks=t.xlsx", "save_tracks=t.xlsx: the suffix says what to write, one of .csv"),
        ("smooth=ofline", "smooth='ofline': expected one of False, True, offline; did you mean 'offline'"),
        ("source=nowhere.mp4", "nowhere.mp4: no such file or folder"),
        ("with_reid=True", "unknown argument 'with_reid'"),
        ("augment=True", "augment='True': not implemented in yolopose"),
    ],
)
def test_wrong_arguments_are_one_line(
    tmp_path: Path, video: Path, words: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(YOLO, "_backend", lambda *_: ManyBackend())
    Path("bad.yaml").write_text("tracker_type: bytetrack\ntrack_hihg_thresh: 0.3\n")
    source = [] if words.startswith("source") else [f"source={video}"]
    assert main(["track", *source, *words.split()]) in (1, 2)
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert line in errors[0]
    assert not Path("runs").exists()


def test_predict_names_track(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "source=a.jpg", "tracker=bytetrack.yaml"]) == 2
    assert "predict does not do this (identities over the frames of a video); use yolo track" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"persist=True: .*use model\.track"):
        YOLO("yolov8n-face").predict("a.jpg", persist=True)


def test_the_list_of_sources_is_not_replaced(model: YOLO, video: Path) -> None:
    Path("list.txt").write_text("walk.avi\n")
    with pytest.raises(UsageError, match=r"save_tracks=list.txt would replace the source"):
        model.track(str(Path("list.txt").absolute()), save_tracks="list.txt")
    assert Path("list.txt").read_text() == "walk.avi\n"


def test_a_file_of_tracks_and_single_frames_do_not_fit(model: YOLO) -> None:
    with pytest.raises(UsageError, match="every call would replace the file"):
        model.track(walk(1)[0], persist=True, save_tracks="t.csv")


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet", "txt"])
def test_what_was_tracked_before_a_failure_is_on_disk(model: YOLO, video: Path, suffix: str) -> None:
    """Ctrl-C and an exception in the caller's loop, a callback that fails, an iterator that nobody finishes."""

    def fail(run: Any) -> None:
        if run.seen == 5:
            raise KeyboardInterrupt

    model.add_callback("on_predict_batch_end", fail)
    with pytest.raises(KeyboardInterrupt):
        model.track(video, save_tracks=f"a.{suffix}", save=True)
    model.reset_callbacks()
    assert len(read_tracks(f"a.{suffix}")) == 10
    assert cv2.VideoCapture("runs/pose/track/walk.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 5
    run = model.track(video, stream=True, save_tracks=f"b.{suffix}")
    for _ in range(3):
        next(run)
    run.close()
    assert len(read_tracks(f"b.{suffix}")) == 6


def test_a_video_that_ends_early(model: YOLO, video: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut = Path("cut.avi")
    cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    results = model.track(cut, save_tracks="t.json")
    assert 2 < len(results) < 10
    assert len(json.loads(Path("t.json").read_text())) == 2 * len(results)


def test_a_second_video_that_cannot_be_read_keeps_the_tracks_of_the_first(model: YOLO, video: Path) -> None:
    Path("bad.avi").write_bytes(b"RIFF")
    with pytest.raises(PoseError, match=r"bad\.avi: "):
        model.track([video, "bad.avi"], save_tracks="t.csv")
    assert len(read_tracks("t.csv")) == 24


def test_photographs_of_a_folder_are_one_sequence(model: YOLO, tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    for i, frame in enumerate(walk(4)):
        cv2.imwrite(str(tmp_path / "shots" / f"{i}.png"), frame)
    assert len({tuple(row) for row in ids(model.track(tmp_path / "shots", save_tracks="t.csv"))}) == 1
    table = read_tracks("t.csv")
    assert table.sources == (str(tmp_path / "shots"),)
    assert np.isnan(table.time).all()
    assert sorted(set(table.frame.tolist())) == [0, 1, 2, 3]


def test_callbacks_get_the_predictor_and_its_trackers(model: YOLO, video: Path) -> None:
    seen = []
    model.add_callback("on_predict_postprocess_end", lambda run: seen.append(run.results[0].boxes.is_track))
    run = model.track(video, stream=True)
    next(run)
    assert seen == [True]
    run.trackers[0].reset()
    assert sorted(ids([next(run)])[0]) == [1, 2]
    assert model.predictor is run


@pytest.mark.parametrize(("number", "code", "says"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated; ")])
def test_a_signal_ends_the_command_with_complete_files(tmp_path: Path, number: str, code: int, says: str) -> None:
    film(tmp_path / "long.avi", walk(10) * 100)
    program = "import signal, sys; from helpers.builders import ManyBackend; from yolopose import YOLO, cli\n"
    program += "signal.signal(signal.SIGINT, signal.default_int_handler); YOLO._backend = lambda *_: ManyBackend()\n"
    program += "sys.exit(cli.main('track source=long.avi save_tracks=t.csv imgsz=320'.split()))"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("video 1/1 (frame 5/"))
        process.send_signal(getattr(signal, number))
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err.startswith(f"ERROR: {says}")
    assert out.splitlines()[-1].endswith(" rows saved to t.csv")
    frames = len(set(read_tracks(tmp_path / "t.csv").frame.tolist()))
    assert 5 <= frames < 1000
    written = cv2.VideoCapture(str(tmp_path / "runs/pose/track/long.mp4")).get(cv2.CAP_PROP_FRAME_COUNT)
    assert frames - 1 <= written <= frames
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
