"""What predict writes: where, under which names, and that nothing is overwritten."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.builders import FakeBackend, make_photo

from yolopose.config import PredictConfig
from yolopose.errors import PoseError
from yolopose.predict import Predictor
from yolopose.saving import run_folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(source: Any, **options: Any) -> Any:
    made = Predictor(FakeBackend(), source, PredictConfig(imgsz=320, **options))
    list(made)
    return made


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def write_video(path: Path, frames: int) -> str:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (320, 240))
    for _ in range(frames):
        writer.write(make_photo())
    writer.release()
    return str(path)


def test_run_folders_are_numbered(home: Path) -> None:
    made = [run_folder(None, None, "predict") for _ in range(3)]
    assert made == [Path("runs/pose") / name for name in ("predict", "predict2", "predict3")]
    assert run_folder(None, None, "predict", exist_ok=True) == made[0]
    assert run_folder("p", "n", "predict") == Path("p/n")
    assert run_folder("p", "n", "predict") == Path("p/n2")
    assert all(folder.is_dir() for folder in made)


def test_a_folder_that_cannot_be_made_is_named(home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(PoseError, match="file"):
        run_folder("file", None, "predict")
    with pytest.raises(PoseError, match="not a folder"):
        run_folder(str(home), "file", "predict", exist_ok=True)


def test_pictures_labels_and_crops(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite("one.png", make_photo())
    cv2.imwrite("none.png", np.zeros((240, 320, 3), np.uint8))
    made = run(["one.png", "none.png"], save=True, save_txt=True, save_conf=True, save_crop=True)
    assert made.save_dir == Path("runs/pose/predict")
    assert files(made.save_dir) == ["crops/person/one.jpg", "labels/one.txt", "none.png", "one.png"]
    assert not np.array_equal(cv2.imread(str(made.save_dir / "one.png")), make_photo())
    row = (made.save_dir / "labels/one.txt").read_text().split()
    assert len(row) == 1 + 4 + 51 + 1
    assert [float(v) for v in row[1:5]] == pytest.approx([0.375, 0.5, 0.5, 0.5], abs=1e-3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["1 label saved to runs/pose/predict/labels", "Results saved to runs/pose/predict"]


def test_predict_without_save_writes_no_file(home: Path) -> None:
    assert run(make_photo()).save_dir is None
    assert files(home) == []


def test_sources_of_one_stem_do_not_overwrite_each_other(home: Path) -> None:
    sources = ["x/a.png", "y/a.png", "y/A.jpg", "y/a-2.png"]
    for source in sources:
        Path(source).parent.mkdir(exist_ok=True)
        cv2.imwrite(source, make_photo())
    made = run(sources, save=True, save_txt=True)
    assert files(made.save_dir) == [
        "A-3.jpg", "a-2-2.png", "a-2.png", "a.png",
        "labels/A-3.txt", "labels/a-2-2.txt", "labels/a-2.txt", "labels/a.txt",
    ]  # fmt: skip


def test_arrays_get_names_of_their_own(home: Path) -> None:
    made = run([make_photo()] * 3, save=True)
    assert len(files(made.save_dir)) == 3


def test_videos_and_their_frames(home: Path) -> None:
    sources = [write_video(home / "one.mp4", 5), write_video(home / "two.avi.mp4", 3)]
    made = run(sources, save=True, save_frames=True, save_txt=True, keep_image=False)
    names = files(made.save_dir)
    assert [n for n in names if n.endswith(".mp4")] == ["one.mp4", "two.avi.mp4"]
    assert [n for n in names if n.startswith("two.avi_frames/")] == [f"two.avi_frames/{i}.jpg" for i in (1, 2, 3)]
    assert sum(n.startswith("labels/one_") for n in names) == 5
    capture = cv2.VideoCapture(str(made.save_dir / "one.mp4"))
    assert (capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)) == (5, 10)
    capture.release()


def test_a_link_in_an_existing_run_is_replaced_and_not_followed(home: Path) -> None:
    (home / "mine.txt").write_text("mine")
    folder = home / "runs" / "pose" / "predict"
    names = ("one.mp4", "labels/one_1.txt", "one_frames/1.jpg")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(home / "mine.txt")
    run(write_video(home / "one.mp4", 2), save=True, save_frames=True, save_txt=True, exist_ok=True)
    assert (home / "mine.txt").read_text() == "mine"
    assert not any((folder / name).is_symlink() for name in names)
    assert sorted(p.name for p in folder.iterdir()) == ["labels", "one.mp4", "one_frames"]


def test_an_existing_run_is_written_into_only_when_asked(home: Path) -> None:
    cv2.imwrite("a.png", make_photo())
    first = run("a.png", save_txt=True)
    again = run("a.png", save_txt=True, exist_ok=True)
    assert again.save_dir == first.save_dir
    assert files(again.save_dir) == ["labels/a.txt"]
    assert len((first.save_dir / "labels/a.txt").read_text().splitlines()) == 1
    assert run("a.png", save_txt=True).save_dir != first.save_dir


def test_a_full_disk_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(PoseError, match="No space left"):
        run(make_photo(), save=True)


def test_names_as_long_as_the_file_system_takes_them(home: Path) -> None:
    names = ["x" * 250, "x" * 251, "图" * 83]
    for name in names:
        (home / f"{name}.jpg").write_bytes(cv2.imencode(".jpg", make_photo())[1].tobytes())
    done = run(home, save=True, save_txt=True, save_crop=True)
    written = files(done.save_dir)
    assert len(written) == 3 * len(names)
    assert all(len(Path(name).name.encode()) < 200 for name in written)
    assert {"x" * 180 + ".jpg", "x" * 180 + "-2.jpg", "图" * 60 + ".jpg"} < set(written)
