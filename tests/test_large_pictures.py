"""predict with tiles on pictures that are decoded in strips, beside the same picture in memory."""

from pathlib import Path

import numpy as np
import pytest

import yolopose
from yolopose import YOLO
from yolopose.errors import PoseError
from yolopose.images import read_image

pytest.importorskip("pyvips")
Image = pytest.importorskip("PIL.Image")

FEW = 100_000  # pixels, so that a small picture counts as too large
TILES = {"tile": 320, "imgsz": 320, "conf": 0.05, "verbose": False}


@pytest.fixture(scope="module")
def model():
    return YOLO("yolov8n-face.onnx")


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A photograph of 900 x 700 pixels with faces, as PNG."""
    face = next(Path(yolopose.__file__).parent.glob("assets/samples/images/*/intel_three_people.jpg"))
    path = tmp_path_factory.mktemp("large") / "crowd.png"
    Image.open(face).convert("RGB").resize((900, 700)).save(path)
    return path


def broken(path, source):
    data = bytearray(source.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path.write_bytes(data)
    return path


def test_the_same_is_found_as_in_memory(model, photo):
    (large,) = model.predict(str(photo), max_pixels=FEW, **TILES)
    (normal,) = model.predict(str(photo), **TILES)
    assert large.orig_shape == normal.orig_shape == (700, 900)
    assert len(large) == len(normal) > 0
    assert large.orig_img is None
    np.testing.assert_allclose(large.numpy().boxes.xyxy, normal.numpy().boxes.xyxy, atol=3)


def test_what_is_written(model, photo, tmp_path, monkeypatch):
    monkeypatch.setattr("yolopose.predict.OVERVIEW", 450)
    written = {"save": True, "save_txt": True, "save_crop": True, "project": str(tmp_path)}
    (large,) = model.predict(str(photo), max_pixels=FEW, name="a", **written, **TILES)
    model.predict(str(photo), name="b", save_txt=True, project=str(tmp_path), **TILES)
    drawn = read_image(tmp_path / "a" / "crowd.png")
    assert drawn.shape == (350, 450, 3)
    x1, y1, x2, y2 = (large.numpy().boxes.xyxy[0] / 2).round().astype(int)
    plain = read_image(photo)[::2, ::2].astype(int)
    changed = np.abs(drawn.astype(int) - plain).max(2) > 120
    assert changed[max(y1 - 3, 0) : y2 + 3, max(x1 - 3, 0) : x2 + 3].any(), "the box is drawn where the face is"
    ours, theirs = (np.loadtxt(tmp_path / name / "labels" / "crowd.txt", ndmin=2) for name in "ab")
    np.testing.assert_allclose(ours[:, 1:5], theirs[:, 1:5], atol=0.005)  # of the full size
    assert not (tmp_path / "a" / "crops").exists()


def test_the_reduced_picture_is_blurred(model, photo, tmp_path):
    (large,) = model.predict(
        str(photo), max_pixels=FEW, blur="box", blur_style="fill", save=True, show_boxes=False, show_labels=False,
        project=str(tmp_path), **TILES,
    )  # fmt: skip
    drawn = read_image(tmp_path / "predict" / "crowd.png")
    assert drawn.shape == (700, 900, 3)
    x1, y1, x2, y2 = large.numpy().boxes.xyxy[0].round().astype(int)
    original = read_image(photo)[y1:y2, x1:x2]
    part = drawn[y1:y2, x1:x2]
    assert np.median(part) == 60, "the colour of a filled region"
    assert np.median(np.abs(part.astype(int) - original)) > 20


def test_later_pictures_of_it_are_refused_in_one_line(model, photo, monkeypatch):
    (large,) = model.predict(str(photo), max_pixels=FEW, **TILES)
    monkeypatch.setitem(read_image.__kwdefaults__, "max_pixels", FEW)
    with pytest.raises(PoseError, match="900x700 pixels are not drawn or cropped; save=True"):
        large.plot()


def test_a_decoder_that_fails_in_the_middle(model, photo, tmp_path, caplog):
    bad = broken(tmp_path / "a.png", photo)
    with pytest.raises(PoseError, match=r"a\.png: damaged or truncated PNG"):
        model.predict(str(bad), max_pixels=FEW, **TILES)
    bad.with_name("b.png").write_bytes(photo.read_bytes())
    results = model.predict(str(tmp_path), max_pixels=FEW, **TILES)  # a folder: the others go on
    assert [result.path for result in results] == [str(tmp_path / "b.png")]
    results = model.predict([str(bad), str(photo)], max_pixels=FEW, missing="skip", **TILES)
    assert results[0] is None
    assert len(results[1]) > 0


def test_a_mixed_folder_keeps_its_order(model, photo, tmp_path):
    Image.open(photo).resize((200, 150)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(photo.read_bytes())
    Image.open(photo).resize((220, 150)).save(tmp_path / "c.png")
    results = model.predict(str(tmp_path), max_pixels=FEW, batch=8, **TILES)
    assert [result.orig_shape for result in results] == [(150, 200), (700, 900), (150, 220)]


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000)])
def test_one_pixel_wide(model, size, tmp_path):
    path = tmp_path / "thin.png"
    Image.new("RGB", size).save(path)
    (result,) = model.predict(str(path), max_pixels=1000, **TILES)
    assert result.orig_shape == size[::-1]
    assert len(result) == 0
