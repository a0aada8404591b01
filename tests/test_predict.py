"""The inference loop and predict: coordinates, batches, order, failures, what is said, memory, threads."""

import logging
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.builders import FakeBackend, make_network, make_photo

from yolopose.callbacks import Hooks
from yolopose.config import ExportConfig, PredictConfig
from yolopose.detect import DetectOptions, detect
from yolopose.errors import PoseError, UsageError
from yolopose.formats.pytorch import TorchBackend
from yolopose.formats.table import export, open_backend
from yolopose.geometry.boxes import fit
from yolopose.predict import Predictor
from yolopose.rules import REFERENCE
from yolopose.sources import Frame, Source

SIZES = [(240, 320), (333, 517), (100, 640), (641, 97), (240, 320), (33, 35)]


def photo_of(hw: tuple[int, int]) -> np.ndarray:
    """A rectangle over the middle half of the image."""
    return make_photo(hw, (hw[1] // 4, hw[0] // 4, hw[1] * 3 // 4, hw[0] * 3 // 4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photographs, and between them a file that is none."""
    for name in ("a", "c", "d"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), make_photo())
    (tmp_path / "b.png").write_bytes(b"no picture")
    return tmp_path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (320, 240))
    for _ in range(8):
        writer.write(make_photo())
    writer.release()
    return path


@pytest.mark.parametrize("hw", SIZES)
def test_coordinates_are_those_of_the_image(hw: tuple[int, int]) -> None:
    found = detect(FakeBackend(), [photo_of(hw)], DetectOptions(imgsz=320))[0]
    expected = np.array([hw[1] // 4, hw[0] // 4, hw[1] * 3 // 4, hw[0] * 3 // 4])
    pixel = max(hw) / 320  # one pixel of the canvas
    np.testing.assert_allclose(found.boxes[0, :4], expected, atol=0.51 * max(pixel, 1))
    np.testing.assert_allclose(found.keypoints[0, 3, :2], expected[2:], atol=0.51 * max(pixel, 1))
    assert found.boxes[0, 4:].tolist() == [np.float32(0.9), 0]
    assert found.shape[2] % 32 == found.shape[3] % 32 == 0


def test_results_lie_within_the_image() -> None:
    backend = FakeBackend()
    found = detect(backend, [np.full((50, 70, 3), 255, np.uint8)], DetectOptions(imgsz=96))[0]
    assert found.boxes[0, :4].tolist() == [0, 0, 70, 50]


def test_neighbours_change_nothing() -> None:
    images = [photo_of(hw) for hw in SIZES]
    backend, options = FakeBackend(), DetectOptions(imgsz=320)
    together = detect(backend, images, options)
    assert backend.shapes[0][0] == 2  # the two of equal size ran as one batch
    for image, found in zip(images, together, strict=True):
        alone = detect(FakeBackend(), [image], options)[0]
        np.testing.assert_array_equal(alone.boxes, found.boxes)
        np.testing.assert_array_equal(alone.keypoints, found.keypoints)
        assert set(found.speed) == {"preprocess", "inference", "postprocess"}


def test_compat_pads_unequal_images_to_the_full_size() -> None:
    images = [photo_of(hw) for hw in SIZES[:2]]
    shapes = [found.shape for found in detect(FakeBackend(), images, DetectOptions(imgsz=320, rules=REFERENCE))]
    assert shapes == [(1, 3, 320, 320)] * 2
    assert detect(FakeBackend(), images[:1], DetectOptions(imgsz=320, rules=REFERENCE))[0].shape == (1, 3, 256, 320)


def test_rect_off_pads_to_the_full_size() -> None:
    found = detect(FakeBackend(), [photo_of((240, 320))], DetectOptions(imgsz=320, rect=False))[0]
    assert found.shape == (1, 3, 320, 320)


def test_a_file_of_fixed_size_gets_that_size() -> None:
    backend = FakeBackend(fixed_shape=(1, 160, 224))
    found = detect(backend, [photo_of((240, 320))], DetectOptions(imgsz=640))[0]
    assert backend.shapes == [(1, 160, 224, 3)]
    np.testing.assert_allclose(found.boxes[0, :4], [80, 60, 240, 180], atol=0.8)


def test_letterboxes_may_be_given() -> None:
    box = fit((240, 320), (320, 320), rect=False)
    found = detect(FakeBackend(), [photo_of((240, 320))], DetectOptions(), letterboxes=[box])[0]
    assert found.shape == (1, 3, 320, 320)
    np.testing.assert_allclose(found.boxes[0, :4], [80, 60, 240, 180], atol=0.51)


def test_two_numbers_per_keypoint_and_nothing_found() -> None:
    found = detect(
        FakeBackend(4, 2), [photo_of((64, 64)), np.zeros((64, 64, 3), np.uint8)], DetectOptions(rules=REFERENCE)
    )
    assert [f.keypoints.shape for f in found] == [(1, 4, 2), (0, 4, 2)]
    assert found[1].boxes.shape == (0, 6)


def test_observers_see_the_maps_of_every_run() -> None:
    seen: list[tuple[int, list[int]]] = []
    backend = TorchBackend(make_network())
    images = [photo_of(hw) for hw in SIZES]
    options = DetectOptions(imgsz=96, conf=0.5)
    found = detect(backend, images, options, observe=lambda maps, at: seen.append((len(maps.keypoints), at)))
    assert sorted(i for _, positions in seen for i in positions) == list(range(len(images)))
    assert all(count == len(positions) for count, positions in seen)
    for plain, observed in zip(detect(backend, images, options), found, strict=True):
        np.testing.assert_array_equal(plain.boxes, observed.boxes)
    with pytest.raises(TypeError, match="torch backend"):
        detect(FakeBackend(), images, options, observe=lambda maps, at: None)


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_many_threads_on_one_backend_equal_one(runtime: str, tmp_path: Path) -> None:
    network = make_network()
    if runtime == "torch":
        backend: Any = TorchBackend(network)
    else:
        file = tmp_path / "m.onnx"
        backend = open_backend(export(network, ExportConfig(out=str(file), dynamic=True, opset=17, imgsz=64)))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*hw, 3), dtype=np.uint8) for hw in SIZES * 4]
    options = DetectOptions(imgsz=96, conf=0.5)

    def one(image: np.ndarray) -> Any:
        return next(Predictor(backend, image, PredictConfig(imgsz=96, conf=0.5, verbose=False)))

    serial = [detect(backend, [image], options)[0] for image in images]
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(one, images))
    for expected, found in zip(serial, threaded, strict=True):
        np.testing.assert_array_equal(found.boxes.data, expected.boxes)
        np.testing.assert_array_equal(found.keypoints.data, expected.keypoints)


def test_lines_are_those_of_ultralytics(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Predictor(FakeBackend(), str(folder), PredictConfig(imgsz=320))
    results = list(run)
    assert [Path(r.path).name for r in results] == ["a.png", "c.png", "d.png"]
    assert (run.done, run.failed, run.save_dir) == (3, 1, None)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith(f"image 1/4 {folder}/a.png: 256x320 1 person, ")
    assert lines[0].endswith("ms")
    assert lines[1].startswith(f"image 3/4 {folder}/c.png: ")
    assert lines[3].startswith("Speed: ")
    assert lines[3].endswith("ms postprocess per image at shape (1, 3, 256, 320), float32 on cpu")
    assert len(lines) == 4
    assert err.count("b.png") == 1


def test_a_video_counts_frames(video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = list(Predictor(FakeBackend(), str(video), PredictConfig(imgsz=320, batch=3, vid_stride=2)))
    assert len(results) == 4
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"video 1/1 (frame 3/8) {video}: 256x320 1 person, ")
    assert lines[-1].endswith("at shape (3, 3, 256, 320), float32 on cpu")


def test_quiet_and_without_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = PredictConfig(imgsz=320, verbose=False, keep_image=False)
    results = list(Predictor(FakeBackend(), [str(folder / "a.png"), make_photo()], config))
    assert capsys.readouterr().out == ""
    assert [r.orig_img for r in results] == [None, None]
    assert results[0].orig_shape == (240, 320)
    assert results[0].plot().shape == (240, 320, 3)


def test_a_missing_source_is_reported_before_anything_is_run() -> None:
    with pytest.raises(PoseError, match=r"nowhere\.jpg"):
        Predictor(FakeBackend(), "nowhere.jpg", PredictConfig())


def test_results_come_one_by_one_and_are_not_held(video: Path) -> None:
    run = Predictor(FakeBackend(), str(video), PredictConfig(imgsz=320, verbose=False))
    seen = []
    for result in run:
        seen.append(weakref.ref(result.orig_img))
        del result
        assert sum(ref() is not None for ref in seen) <= 1
    assert len(seen) == 8


def stream_frame(stream: int, index: int, error: str | None = None) -> Frame:
    image = None if error else make_photo()
    return Frame(image, f"rtsp://camera{stream}", "stream", index, items=2, stream=stream, error=error)


def test_streams_run_together_one_frame_of_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rounds of two streams; then stream 0 misses a round; then stream 1 is lost, and nobody waits for it."""
    asked: list[tuple[int, int]] = []

    def frames() -> Any:
        for stream, index in ((0, 0), (1, 0), (0, 1), (1, 1), (1, 2), (0, 3), (1, 3)):
            asked.append((stream, index))
            yield stream_frame(stream, index)
        yield stream_frame(1, 4, "rtsp://camera1: lost")
        for index in (4, 5):
            asked.append((0, index))
            yield stream_frame(0, index)

    monkeypatch.setattr("yolopose.predict.open_source", lambda *_: Source(frames(), streams=2))
    backend = FakeBackend()
    run = Predictor(backend, "cameras", PredictConfig(imgsz=320))
    seen = []
    for result in run:
        seen.append((result.path[-1], asked[-1]))
    assert [shape[0] for shape in backend.shapes] == [2, 2, 1, 2, 1, 1]
    assert "".join(path for path, _ in seen) == "010110100"
    assert seen[-2:] == [("0", (0, 4)), ("0", (0, 5))]  # each as soon as it came
    assert (run.done, run.failed) == (9, 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("0: rtsp://camera0: 256x320 1 person, ")
    assert lines[1].startswith("1: rtsp://camera1: ")


def test_a_long_source_shows_a_bar_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [make_photo((64, 64), (8, 8, 40, 40))] * 25
    config = PredictConfig(imgsz=64)
    list(Predictor(FakeBackend(), images, config))
    assert "25/25" in capsys.readouterr().out.splitlines()[24]  # the line, and no bar
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    list(Predictor(FakeBackend(), images[:5], config))
    assert "━" not in capsys.readouterr().out
    list(Predictor(FakeBackend(), images, config))
    out = capsys.readouterr().out
    assert "━" in out
    assert out.count(": 64x64 ") == 25


@pytest.mark.slow
def test_ten_thousand_frames_in_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (160, 120))
    frame = make_photo((120, 160), (20, 20, 100, 90))
    for _ in range(10_000):
        writer.write(frame)
    writer.release()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    backend = TorchBackend(make_network())
    start = 0
    for number, _ in enumerate(Predictor(backend, str(path), PredictConfig(imgsz=96, conf=0.5, verbose=False)), 1):
        if number == 500:
            start = resident()
    assert number == 10_000
    assert resident() - start < 20e6


def test_stopping_early_releases_the_source(video: Path) -> None:
    run = Predictor(FakeBackend(), str(video), PredictConfig(imgsz=320, verbose=False))
    next(run)
    run.close()
    assert list(run) == []


def test_any_thread_may_close_a_run(video: Path) -> None:
    """The thread that is inside goes on to the next frame, where the closed source ends it."""
    inside, closed, seen = threading.Event(), threading.Event(), []

    def wait(run: Any) -> None:
        inside.set()
        assert closed.wait(60)

    hooks = Hooks({"on_predict_batch_start": [wait]})
    run = Predictor(FakeBackend(), str(video), PredictConfig(imgsz=320, verbose=False), hooks)
    thread = threading.Thread(target=lambda: seen.extend(run))
    thread.start()
    assert inside.wait(60)
    run.close()
    closed.set()
    thread.join(60)
    assert len(seen) == 1


def test_compat_takes_a_list_as_one_batch() -> None:
    images = [photo_of(hw) for hw in SIZES[:2]]
    backend = FakeBackend()
    assert len(list(Predictor(backend, images, PredictConfig(imgsz=320, compat=True, verbose=False)))) == 2
    assert backend.shapes == [(2, 320, 320, 3)]


def test_a_class_that_the_model_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    config = PredictConfig(imgsz=320, verbose=False, classes=(0, 5))
    list(Predictor(FakeBackend(), photo_of((240, 320)), config))
    assert "classes=5: this model has only class 0, so nothing is found of them" in capsys.readouterr().err


@pytest.mark.parametrize(("imgsz", "told"), [(100, "rounded up to 128x128"), (320, None)])
def test_rounding_imgsz_is_logged(imgsz: int, told: str | None, caplog: Any) -> None:
    config = PredictConfig(imgsz=imgsz, given=frozenset({"imgsz"}), verbose=False)
    with caplog.at_level(logging.WARNING, "yolopose"):
        list(Predictor(FakeBackend(), make_photo(), config))
    assert (told in caplog.text) if told else not caplog.text


def test_a_size_that_a_file_does_not_take_is_refused() -> None:
    config = PredictConfig(imgsz=320, given=frozenset({"imgsz"}), verbose=False)
    with pytest.raises(UsageError, match="takes 640x640 only, not 320x320"):
        Predictor(FakeBackend(fixed_shape=(1, 640, 640)), make_photo(), config)


def test_paths_of_files_lead_there_from_any_folder(
    folder: Path, video: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(folder)
    config = PredictConfig(keep_image=False)
    (photo,) = Predictor(FakeBackend(), "a.png", config)
    frame = next(Predictor(FakeBackend(), "film.mp4", config))
    (listed,) = Predictor(FakeBackend(), ["./c.png"], config)
    assert [photo.path, frame.path, listed.path] == [str(folder / name) for name in ("a.png", "film.mp4", "c.png")]
    (folder / "image0.jpg").write_bytes(b"another")
    (memory,) = Predictor(FakeBackend(), make_photo(), config)
    assert memory.path == "image0.jpg"
    monkeypatch.chdir(folder.parent)
    assert photo.image().shape == photo.plot().shape


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
def test_a_row_of_damaged_weights_is_no_detection(value: float) -> None:
    class Damaged(FakeBackend):
        def infer(self, images: Any) -> Any:
            out = super().infer(images)
            out[:, 2, 1] = value  # the width of the box that is there
            return out

    image = np.zeros((64, 64, 3), np.uint8)
    image[10:50, 10:50] = 255
    options = DetectOptions(imgsz=64)
    assert len(detect(FakeBackend(), [image], options)[0].boxes) == 1
    assert len(detect(Damaged(), [image], options)[0].boxes) == 0
