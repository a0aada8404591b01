"""What predict does with what cannot be read: raise, leave out, or put None in its place."""

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest
from helpers.builders import FakeBackend, make_photo

from yolopose.cli import main
from yolopose.config import PredictConfig
from yolopose.errors import PoseError
from yolopose.predict import Predictor


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with two photographs and a file that is none."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "c"):
        cv2.imwrite(f"{name}.jpg", make_photo())
    Path("broken.jpg").write_bytes(b"no picture")
    return tmp_path


def run(source: Any, **arguments: Any) -> Any:
    return Predictor(FakeBackend(), source, PredictConfig(imgsz=320, **arguments))


@pytest.mark.parametrize("source", ["gone.jpg", ["a.jpg", "gone.jpg"], ["a.jpg", Path("gone.jpg"), "c.jpg"]])
def test_a_missing_file_raises_before_anything_is_run(source: Any, here: Path) -> None:
    with pytest.raises(PoseError, match=r"^gone\.jpg: no such file"):
        run(source, save=True)
    assert sorted(os.listdir()) == ["a.jpg", "broken.jpg", "c.jpg"]


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_an_unreadable_file_raises_at_its_turn(batch: int, here: Path) -> None:
    results = run(["a.jpg", "broken.jpg", "c.jpg"], batch=batch)
    assert Path(next(results).path).name == "a.jpg"
    with pytest.raises(PoseError, match=r"^broken\.jpg: not readable"):
        next(results)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_skip_puts_none_in_its_place(batch: int, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = ["gone.jpg", "a.jpg", "broken.jpg", "c.jpg", "gone too.mp4", b"bytes", make_photo()]
    results = run(sources, batch=batch, missing="skip")
    found = list(results)
    assert [result is None for result in found] == [True, False, True, False, True, True, False]
    assert [Path(result.path).name for result in found if result] == ["a.jpg", "c.jpg", "image6.jpg"]
    assert (results.done, results.failed) == (3, 4)
    err = capsys.readouterr().err
    assert err.count("WARNING") == 5
    assert "4 of 7 could not be read" in err
    assert list(run("gone.jpg", missing="skip")) == [None]


@pytest.mark.parametrize("missing", ["error", "skip"])
def test_files_that_were_found_are_left_out_and_counted(missing: str, here: Path) -> None:
    Path("list.txt").write_text("a.jpg\ngone.jpg\nbroken.jpg\n")
    for source, done, failed in ((here, 2, 1), ("*.jpg", 2, 1), ("list.txt", 1, 2), ([here], 2, 1)):
        results = run(source, missing=missing)
        assert all(result is not None for result in results)
        assert (results.done, results.failed) == (done, failed)


def test_callbacks_may_change_the_number_of_results(here: Path) -> None:
    from yolopose.callbacks import Hooks

    def twice(predictor: Any) -> None:
        predictor.results = [result for result in predictor.results for _ in range(2)]

    config = PredictConfig(imgsz=320, missing="skip", batch=3)
    hooks = Hooks({"on_predict_batch_end": [twice]})
    found = list(Predictor(FakeBackend(), ["a.jpg", "gone.jpg", "c.jpg"], config, hooks))
    assert [result and Path(result.path).name for result in found] == ["a.jpg", None, "a.jpg", "c.jpg", "c.jpg"]


def test_a_camera_or_address_that_cannot_be_opened_raises(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for source, message in (
        (63, "^63: cannot be opened"),
        ("63", "^63: cannot be opened"),
        ([62, 63], "cannot be opened"),
        ("http://127.0.0.1:9/a.jpg", "127.0.0.1:9"),
    ):
        with pytest.raises(PoseError, match=message):
            list(run(source))
    assert capfd.readouterr() == ("", "")  # OpenCV says nothing of its own


def test_a_list_of_streams_sets_aside_those_that_cannot_be_opened(here: Path) -> None:
    cv2.imwrite("film.jpg", make_photo())
    writer = cv2.VideoWriter("film.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (320, 240))
    for _ in range(3):
        writer.write(make_photo())
    writer.release()
    Path("x.streams").write_text("film.mp4\n63\n")
    results = run("x.streams")
    assert len(list(results)) == 3
    assert results.failed == 1


def test_an_empty_pipe_raises_and_a_broken_image_in_it_is_left_out(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b""), isatty=lambda: False))
    with pytest.raises(PoseError, match="standard input is empty"):
        list(run("-"))
    data = Path("a.jpg").read_bytes()
    at = data.index(b"\xff\xc0") + 5
    piped = io.BytesIO(data + data[:at] + bytes(4) + data[at + 4 :] + data)  # of no height and width
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=piped, isatty=lambda: False))
    results = run("-")
    assert (len(list(results)), results.failed) == (2, 1)


def test_no_failure_leaves_a_folder_and_says_that_results_are_there(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken folder").mkdir()
    Path("broken folder/x.jpg").write_bytes(b"no picture")
    for source, lines in (("gone.jpg", 1), ("broken.jpg", 1), ("broken folder", 1), ("63", 1)):
        assert main(["predict", f"source={source}", "imgsz=64"]) == 1
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("model: yolov8n-face (bundled): faces with 5 points\n", lines)
        assert not Path("runs").exists()
    assert main(["predict", "source=*.jpg", "imgsz=64"]) == 1
    out, err = capsys.readouterr()
    assert "Results saved to" in out
    assert "1 of 3 could not be read" in err
    assert sorted(os.listdir("runs/pose/predict")) == ["a.jpg", "c.jpg"]


def test_names_with_control_characters_stay_within_their_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    Path("a.jpg").rename("folder/a\n\x1b[31mb.jpg")
    Path("broken.jpg").rename("folder/c\n\x1b[31md.jpg")
    list(run("folder"))
    out, err = capsys.readouterr()
    assert "folder/a\\n\\x1b[31mb.jpg: " in out
    assert "folder/c\\n\\x1b[31md.jpg: not readable" in err
    assert "\x1b" not in out + err


def test_max_pixels_is_an_argument(here: Path) -> None:
    with pytest.raises(PoseError, match=r"a\.jpg: 320x240 pixels, more than max_pixels=1000"):
        list(run("a.jpg", max_pixels=1000))
    assert list(run(["a.jpg"], max_pixels=1000, missing="skip")) == [None]
