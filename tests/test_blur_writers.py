"""Nothing unblurred leaves predict and track: every writer is looked at, pixel by pixel inside the region."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.builders import ManyBackend, make_photo

from yolopose import YOLO, saving
from yolopose.errors import UsageError

BOX = (100, 60, 160, 200)  # of the person, x1 y1 x2 y2
HIDDEN = 60  # the grey of blur_style=fill; the person is white


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> YOLO:
    monkeypatch.chdir(tmp_path)
    backend = ManyBackend()
    monkeypatch.setattr(YOLO, "_backend", lambda *_: backend)
    found = YOLO("yolov8n-face")
    found.overrides |= {"verbose": False, "blur": "box", "blur_style": "fill"}
    return found


def photo(box: tuple[int, int, int, int] = BOX, white: int = 255) -> np.ndarray:
    image = make_photo((240, 320), (0, 0, 0, 0))
    image[box[1] : box[3], box[0] : box[2]] = white
    return image


def inside(image: np.ndarray, box: tuple[int, int, int, int] = BOX) -> float:
    """How bright the person still is where no line of the skeleton is drawn: at the left between its diagonals."""
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    return float(image[y1 + round(0.42 * h) : y1 + round(0.58 * h), x1 + round(0.15 * w) : x1 + round(0.3 * w)].mean())


def film(path: Path, frames: list[np.ndarray]) -> str:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (320, 240))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return str(path)


def frames_of(path: Path) -> list[np.ndarray]:
    video, frames = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        frames.append(read[1])
    return frames


def pictures(folder: Path) -> list[np.ndarray]:
    return [cv2.imread(str(path)) for path in sorted(folder.rglob("*")) if path.suffix in (".jpg", ".png")]


@pytest.mark.parametrize("mode", ["predict", "track"])
def test_no_writer_of_a_photograph_shows_the_person(model: YOLO, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(saving, "show_picture", lambda picture, title: shown.append(picture))
    cv2.imwrite("one.png", photo())
    result = getattr(model, mode)("one.png", save=True, save_crop=True, show=True)[0]
    assert len(result) == 1
    written = pictures(Path(result.save_dir))
    assert len(written) == 2
    result.save("later.png")
    result.save_crop("crops")
    written += [cv2.imread("later.png"), *pictures(Path("crops"))]
    for picture in [*written, *shown, result.orig_img, result.plot(), result.image(), result.new().plot()]:
        where = BOX if picture.shape == (240, 320, 3) else (0, 0, picture.shape[1], picture.shape[0])
        assert inside(picture, where) < HIDDEN + 25
    assert len(shown) == 1


@pytest.mark.parametrize("mode", ["predict", "track"])
def test_an_image_that_was_not_kept_is_blurred_when_it_is_read_again(model: YOLO, mode: str) -> None:
    cv2.imwrite("one.png", photo())
    result = getattr(model, mode)("one.png", keep_image=False)[0]
    assert result.orig_img is None
    assert inside(result.plot()) < HIDDEN + 25
    assert inside(result[0].image()) < HIDDEN + 25


OPTIONS = ({}, {"smooth": True}, {"smooth": "offline"}, {"trails": False})  # of track


@pytest.mark.parametrize(("mode", "options"), [("predict", {}), *(("track", options) for options in OPTIONS)])
def test_videos_and_their_frames_and_crops(model: YOLO, mode: str, options: dict[str, Any]) -> None:
    source = film(Path("walk.avi"), [photo() for _ in range(4)])
    results = getattr(model, mode)(source, save=True, save_frames=True, save_crop=True, **options)
    folder = Path(results[0].save_dir)
    frames = frames_of(folder / "walk.mp4")
    assert len(frames) == 4
    stills, crops = pictures(folder / "walk_frames"), pictures(folder / "crops")
    assert len(stills) == len(crops) == 4
    for picture in [*frames, *stills, *(result.orig_img for result in results)]:
        assert inside(picture) < HIDDEN + 40
    for crop in crops:
        assert inside(crop, (0, 0, crop.shape[1], crop.shape[0])) < HIDDEN + 40


def test_crops_of_tracks_have_a_folder_for_each_id(model: YOLO) -> None:
    model.overrides.pop("blur"), model.overrides.pop("blur_style")
    images = [np.maximum(photo((20 + 4 * t, 40, 60 + 4 * t, 120)), photo((200, 60, 260, 200))) for t in range(3)]
    folder = Path(model.track(film(Path("two.avi"), images), save_crop=True)[0].save_dir) / "crops"
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))
    assert found == [f"person/id_{i}/two_{t}.jpg" for i in (1, 2) for t in (1, 2, 3)]


@pytest.mark.parametrize(("tracker", "smooth"), [("pose", False), ("botsort", False), ("bytetrack", "offline")])
def test_a_lost_track_and_one_not_confirmed_yet_are_hidden(model: YOLO, tracker: str, smooth: Any) -> None:
    """The person is not found in frames 5 to 7, for being too dark; another one is there in frame 9 alone."""
    images = [photo((60 + 4 * t, 60, 120 + 4 * t, 200), 150 if t in (5, 6, 7) else 255) for t in range(12)]
    images[9][100:190, 220:280] = 255
    results = model.track(film(Path("gap.avi"), images), smooth=smooth, tracker=tracker)
    assert [len(result) for result in results] == [1] * 12 if smooth else [1] * 5 + [0] * 3 + [1] * 4
    for t, result in enumerate(results):
        assert inside(result.orig_img, (60 + 4 * t, 60, 120 + 4 * t, 200)) < HIDDEN + 25
    assert inside(results[9].orig_img, (220, 100, 280, 190)) < HIDDEN + 25
    assert inside(results[11].orig_img, (220, 100, 280, 190)) > 100  # nobody is there any more


def test_without_blur_the_image_is_the_one_that_was_read(model: YOLO) -> None:
    image = photo()
    model.overrides.pop("blur"), model.overrides.pop("blur_style")
    result = model.predict(image)[0]
    assert result.hidden is None
    np.testing.assert_array_equal(result.orig_img, image)


def test_the_user_s_own_array_is_left_alone(model: YOLO) -> None:
    image = photo()
    model.predict(image)
    assert inside(image) == 255


def test_a_style_without_blur_is_refused(model: YOLO) -> None:
    model.overrides.pop("blur")
    with pytest.raises(UsageError, match="blur_style does nothing without blur"):
        model.predict(photo())


@pytest.mark.parametrize(("name", "value"), [("blur", "face"), ("blur", True), ("blur_style", "mosaic")])
def test_unknown_values_are_refused(model: YOLO, name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=name):
        model.predict(photo(), **{name: value})
