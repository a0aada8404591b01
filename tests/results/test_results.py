import csv
import io
import json
import pickle
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.builders import make_results

from yolopose.errors import PoseError, UsageError
from yolopose.geometry.keypoints import COCO_17, FACE_5, KeypointLayout
from yolopose.images import decode, encode_jpeg, read_image
from yolopose.results import Results

IMAGE = np.zeros((240, 320, 3), np.uint8)


def test_attributes_that_scripts_read():
    r = make_results(3, speed={"preprocess": 1.0, "inference": 2.0, "postprocess": 3.0}, save_dir="runs/x")
    assert (r.masks, r.probs, r.obb) == (None, None, None)
    assert r.orig_shape == (240, 320)
    assert r.orig_img.shape == (240, 320, 3)
    assert r.path == "folder/photo.jpg"
    assert r.save_dir == "runs/x"
    assert r.speed["inference"] == 2.0
    assert len(r) == len(r.boxes) == len(r.keypoints) == 3


def test_nothing_found_is_empty_and_never_none(tmp_path):
    for r in (Results(IMAGE, "a.jpg", {0: "person"}), make_results(3).new(), make_results(3)[[]]):
        assert r.boxes.xyxy.shape == (0, 4)
        assert r.boxes.xywhn.shape == (0, 4)
        assert r.keypoints.xy.shape == (0, 17, 2)
        assert r.keypoints.conf.shape == (0, 17)
        assert list(r) == r.summary() == json.loads(r.to_json()) == []
        assert r.to_csv() == "name,class,confidence,box,keypoints\n"
        assert r.verbose() == "(no detections), "
        assert (r.plot() == r.orig_img).all()
        r.save_crop(tmp_path)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("index", "chosen"),
    [(1, [1]), (-1, [2]), (slice(0, 2), [0, 1]), ([2, 0], [2, 0]), (np.array([True, False, True]), [0, 2])],
)
def test_indexing_keeps_tables_and_facts(index, chosen):
    r = make_results(3, speed={"inference": 5.0})
    part = r[index]
    np.testing.assert_array_equal(part.boxes.data, r.boxes.data[chosen])
    np.testing.assert_array_equal(part.keypoints.data, r.keypoints.data[chosen])
    np.testing.assert_array_equal(r.boxes[index].data, r.boxes.data[chosen])
    np.testing.assert_array_equal(r.keypoints[index].data, r.keypoints.data[chosen])
    assert (part.names, part.path, part.speed, part.layout) == (r.names, r.path, r.speed, r.layout)


def test_masks_from_the_results_choose_instances():
    r = make_results(3)
    assert len(r[r.boxes.conf > 0.5]) == 2
    assert len(r[r.boxes.conf > 2]) == 0
    assert [len(one) for one in r] == [len(one) for one in r.boxes] == [1, 1, 1]
    with pytest.raises(IndexError):
        r[3]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"boxes": np.zeros((2, 5))}, r"\(N, 6\)"),
        ({"keypoints": np.zeros((2, 17, 4))}, r"\(N, K, 3\)"),
        ({"boxes": np.zeros((3, 6)), "keypoints": np.zeros((2, 17, 3))}, "3 boxes but keypoints of 2"),
        ({"keypoints": np.zeros((0, 5, 3)), "layout": COCO_17}, "5 keypoints, but the layout has 17"),
        ({"orig_img": None}, "orig_shape"),
    ],
)
def test_arrays_of_wrong_shape_are_refused(values, word):
    with pytest.raises(PoseError, match=word):
        Results(**({"orig_img": IMAGE, "path": "a.jpg", "names": {0: "person"}} | values))


def test_layout_follows_the_keypoints_unless_given():
    assert Results(IMAGE, "a.jpg", {}, np.zeros((1, 6)), np.zeros((1, 5, 3))).layout == FACE_5
    own = KeypointLayout((4, 2), ("a", "b", "c", "d"), ((0, 1),), (0.1,) * 4)
    r = Results(IMAGE, "a.jpg", {}, layout=own)
    assert (r.layout, r.keypoints.shape) == (own, (0, 4, 2))


def test_update_replaces_or_leaves_everything():
    r = make_results(3)
    tracked = np.insert(r.boxes.table, 4, [4, 5, 6], axis=1)
    r.update(boxes=tracked)
    assert r.boxes.id.tolist() == [4, 5, 6]
    assert len(r.keypoints) == 3
    r.update(keypoints=r.keypoints.data + 1)
    with pytest.raises(PoseError, match="2 boxes but keypoints of 3"):
        r.update(boxes=tracked[:2])
    assert len(r) == 3


@pytest.mark.parametrize(
    ("classes", "text"),
    [([0], "1 person, "), ([0] * 4, "4 persons, "), ([1, 0, 0], "2 persons, 1 dog, "), ([9, 9], "2 9s, ")],
)
def test_verbose(classes, text):
    boxes = [[0, 0, 9, 9, 0.5, c] for c in classes]
    assert Results(IMAGE, "a.jpg", {0: "person", 1: "dog"}, boxes).verbose() == text


def test_a_class_name_forges_no_line_of_a_log():
    assert Results(IMAGE, "a.jpg", {0: "a\nERROR: b\x1b[2J"}, [[0, 0, 9, 9, 0.5, 0]]).verbose().isprintable()


def test_save_txt_replaces_a_link_and_does_not_follow_it(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "a.txt").symlink_to(tmp_path / "mine.txt")
    Results(IMAGE, "a.jpg", {0: "person"}, [[0, 0, 9, 9, 0.5, 0]]).save_txt(tmp_path / "a.txt")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "a.txt").is_symlink()


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("d", [2, 3])
def test_summary(d, tracked):
    r = make_results(2, 5, d, tracked=tracked)
    row = r.summary(decimals=2)[1]
    assert list(row) == ["name", "class", "confidence", "box", *(["track_id"] if tracked else []), "keypoints"]
    assert (row["name"], row["class"], row.get("track_id")) == ("dog", 1, 8 if tracked else None)
    assert list(row["keypoints"]) == (["x", "y", "visible"] if d == 3 else ["x", "y"])
    np.testing.assert_allclose(list(row["box"].values()), r.boxes.xyxy[1], atol=0.0051)
    np.testing.assert_allclose(row["keypoints"]["y"], r.keypoints.xy[1, :, 1], atol=0.0051)
    share = r.summary(normalize=True)[1]
    np.testing.assert_allclose(list(share["box"].values()), r.boxes.xyxyn[1], atol=6e-6)
    np.testing.assert_allclose(share["keypoints"]["x"], r.keypoints.xyn[1, :, 0], atol=6e-6)


def test_json_csv_and_table_equal_the_summary():
    r = make_results(2, 5)
    assert json.loads(r.to_json()) == json.loads(r.tojson()) == r.summary()
    assert r.to_json().startswith('[\n  {\n    "name": "person"')
    rows = list(csv.DictReader(io.StringIO(r.to_csv(decimals=3))))
    assert [row["box"] for row in rows] == [str(row["box"]) for row in r.summary(decimals=3)]
    pytest.importorskip("pandas")
    assert r.to_df().to_dict("records") == r.summary()
    assert list(r.new().to_df().columns) == r.new().to_csv().strip().split(",")


def test_a_class_name_is_no_formula_of_a_spreadsheet():
    r = make_results(1, 5, names={0: "=HYPERLINK(1)", 1: "b"})
    assert next(csv.DictReader(io.StringIO(r.to_csv())))["name"] == "'=HYPERLINK(1)"


def test_xml_and_sqlite_equal_the_summary(tmp_path, monkeypatch):
    pytest.importorskip("pandas")
    r = make_results(2, 5, names={0: "a<\x1b>", 1: "b"})
    rows = ElementTree.fromstring(r.to_xml(decimals=2)).findall("row")
    assert [row.findtext("name") for row in rows] == [r"a<\x1b>", "b"]
    assert rows[1].findtext("box") == str(r.summary(decimals=2)[1]["box"])
    assert len(ElementTree.fromstring(r.new().to_xml())) == 0
    monkeypatch.chdir(tmp_path)
    r.new().to_sql()
    r.to_sql(decimals=3)
    r.to_sql("faces'; drop table results", db_path=tmp_path / "results.db")
    with closing(sqlite3.connect("results.db")) as database:
        found = database.execute("select name, class, confidence, box, keypoints from results").fetchall()
    assert [(*row[:3], *map(json.loads, row[3:])) for row in found] == [
        tuple(row.values()) for row in r.summary(decimals=3)
    ]
    with pytest.raises(PoseError, match=r"'results': .*track_id"):
        make_results(1, 5, tracked=True).to_sql()
    (tmp_path / "no.db").write_text("no database" * 100)
    with pytest.raises(PoseError, match="not a database"):
        r.to_sql(db_path=tmp_path / "no.db")


def test_to_df_without_pandas_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(PoseError, match="pip install pandas"):
        make_results(1).to_df()


@pytest.mark.parametrize("d", [2, 3])
def test_save_txt_columns(tmp_path, d):
    r = make_results(2, 5, d, tracked=True)
    path = r.save_txt(tmp_path / "labels" / "photo.txt", save_conf=True)
    values = np.loadtxt(path)
    assert values.shape == (2, 5 + 5 * d + 2)
    np.testing.assert_allclose(values[:, 0], r.boxes.cls)
    np.testing.assert_allclose(values[:, 1:5], r.boxes.xywhn, rtol=1e-5)
    points = values[:, 5 : 5 + 5 * d].reshape(2, 5, d)
    np.testing.assert_allclose(points[..., :2], r.keypoints.xyn, rtol=1e-5)
    np.testing.assert_allclose(values[:, -2:], np.stack([r.boxes.conf, r.boxes.id], 1), rtol=1e-5)
    r.save_txt(path)
    assert np.loadtxt(path).shape == (2, 5 + 5 * d + 1)  # replaced, not appended to; without scores


def test_save_txt_of_nothing(tmp_path):
    path = tmp_path / "a.txt"
    make_results(2).new().save_txt(path)
    assert not path.exists()
    path.write_text("0 0.5 0.5 1 1\n")
    make_results(2).new().save_txt(path)
    assert path.read_text() == ""


def test_save_txt_as_the_reference_writes_it(golden, tmp_path):
    recorded = json.loads((golden / "natural-n17-predict.json").read_text())
    found = recorded['000000193245.jpg|{"conf": 0.25, "imgsz": 320}']
    shape = tuple(found["orig_shape"])
    r = Results(None, "a.jpg", {0: "person"}, found["boxes"], found["keypoints"], orig_shape=shape)
    ours = Path(r.save_txt(tmp_path / "a.txt", save_conf=True)).read_text().splitlines()[0].split()
    line = "0 0.232868 0.731626 0.136087 0.503496 0.228588 0.513054 0.623829 0 0 0.199162 0 0 0.342211 0 0 0.365963"
    assert len(ours) == 5 + 51 + 1
    np.testing.assert_allclose(np.array(ours[:17], float), np.array(line.split(), float), atol=4e-5)


def test_save_txt_number_format(tmp_path):
    boxes, points = [[0, 0, 160, 240, 0.87654321, 1]], [[[160, 24, 0.5], [1e-4, 0, 1]]]
    r = Results(IMAGE, "a.jpg", {}, boxes, points)
    text = Path(r.save_txt(tmp_path / "a.txt", save_conf=True)).read_text()
    assert text == "1 0.25 0.5 0.5 1 0.5 0.1 0.5 3.125e-07 0 1 0.876543\n"


def test_save_crop_cuts_inside_the_image_and_numbers(tmp_path):
    image = np.arange(240 * 320 * 3, dtype=np.uint32).reshape(240, 320, 3).astype(np.uint8)
    boxes = [[10.2, 20.2, 50.5, 80.5, 0.9, 0], [-5, -5, 999, 30, 0.8, 0], [400, 300, 500, 310, 0.7, 1]]
    r = Results(image, "a.jpg", {0: "../person", 1: "dog"}, boxes)
    for _ in range(3):
        r.save_crop(tmp_path, "im.jpg")
    names = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.jpg"))
    people = ["im.jpg", *(f"im{i}.jpg" for i in range(2, 7))]
    assert names == sorted([f"__person/{n}" for n in people] + [f"dog/{n}" for n in people[:3]])
    sizes = [read_image(tmp_path / "__person" / n).shape[:2] for n in people[:2]]
    assert sizes == [(61, 41), (30, 320)]
    assert read_image(tmp_path / "dog" / "im.jpg").shape[:2] == (1, 1)


def test_save_crop_of_a_class_with_a_hostile_name(tmp_path):
    names = {0: "a\x1b\n/b" + "x" * 1000, 1: ""}
    make_results(2, names=names).save_crop(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.jpg")) == [
        "a___b" + "x" * 55 + "/im.jpg",
        "im.jpg",
    ]


def test_save_crop_from_many_threads_loses_none(tmp_path):
    r = make_results(2)
    threads = [threading.Thread(target=r.save_crop, args=(tmp_path, "frame.jpg")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.rglob("*.jpg"))) == 16


def test_plot_options(tmp_path, monkeypatch):
    pil = pytest.importorskip("PIL.Image")
    r = make_results(3)
    full = r.plot()
    assert full.shape == r.orig_img.shape
    assert (r.orig_img == 128).all()
    for option in ({"boxes": False}, {"labels": False}, {"conf": False}, {"kpt_line": False}, {"kpt_radius": 0},
                   {"line_width": 5}, {"font_size": 30}, {"kpt_conf": 0.9}, {"color_mode": "instance"}):  # fmt: skip
        assert (r.plot(**option) != full).any(), option
    assert isinstance(r.plot(pil=True), pil.Image)
    np.testing.assert_array_equal(np.asarray(r.plot(pil=True)), full[..., ::-1])
    assert r.plot(img=np.zeros((240, 320, 3), np.uint8))[0, 319].tolist() == [0, 0, 0]
    assert (r.plot(masks=False, probs=False, im_gpu=None, txt_color=(0, 0, 0)) == full).all()
    order = (
        True,
        None,
        None,
        None,
        False,
        None,
        None,
        None,
        True,
        False,
        True,
        True,
        True,
        False,
        False,
        None,
        "class",
    )
    np.testing.assert_array_equal(r.plot(*order, (255, 255, 255)), r.plot(labels=False))
    with pytest.raises(TypeError, match="colour"):
        r.plot(colour=1)
    with pytest.raises(UsageError, match="color_mode"):
        r.plot(color_mode="rainbow")


def test_save_writes_the_plot(tmp_path, monkeypatch):
    r = make_results(2)
    path = r.save(tmp_path / "new" / "out.png", line_width=3)
    assert path == str(tmp_path / "new" / "out.png")
    np.testing.assert_array_equal(read_image(path), r.plot(line_width=3))
    monkeypatch.chdir(tmp_path)
    assert r.save() == "results_photo.jpg"
    r.path = "clip.mp4"
    assert r.save() == "results_clip.jpg"
    assert sorted(p.name for p in tmp_path.glob("results_*")) == ["results_clip.jpg", "results_photo.jpg"]
    with pytest.raises(PoseError, match=r"\.jpg or \.png"):
        r.save("picture.xyz")
    with pytest.raises(PoseError, match="cannot be written"):
        r.save(tmp_path / "results_clip.jpg" / "picture.jpg")


def test_show_without_a_display_names_the_remedy(monkeypatch):
    import cv2

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(PoseError, match=r"no display.*\.save\('picture\.jpg'\)"):
        make_results(1).show()
    monkeypatch.setenv("DISPLAY", ":0")

    def headless(*_):
        raise cv2.error("not implemented")

    monkeypatch.setattr(cv2, "imshow", headless)
    with pytest.raises(PoseError, match=r"headless.*\.save\('picture\.jpg'\)"):
        make_results(1).show()


def test_show_opens_a_window_where_there_is_one(monkeypatch):
    import cv2

    seen = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "imshow", lambda title, image: seen.append((title, image.shape)))
    monkeypatch.setattr(cv2, "waitKey", seen.append)
    make_results(1).show(labels=False)
    make_results(1, path="clip.mp4").show()
    assert seen == [("folder/photo.jpg", (240, 320, 3)), 0, ("clip.mp4", (240, 320, 3)), 1]


def test_show_in_a_notebook_puts_the_picture_into_the_page(monkeypatch):
    pages = []
    display = SimpleNamespace(display=pages.append, Image=lambda data: decode(data, "page"))
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    r = make_results(1)
    r.show(labels=False)
    np.testing.assert_array_equal(pages[0], r.plot(labels=False))


def test_without_the_image_the_file_is_read_again(tmp_path):
    kept = make_results(2, path=tmp_path / "photo.png")
    light = make_results(2, path=tmp_path / "photo.png")
    light.orig_img = None
    with pytest.raises(PoseError, match=r"photo\.png.*keep_image=True"):
        light.plot()
    kept.save(kept.path, boxes=False, kpt_radius=0, kpt_line=False)
    assert light.orig_shape == (240, 320)
    np.testing.assert_array_equal(light.plot(), kept.plot())
    light.save_crop(tmp_path / "crops")
    Path(light.path).write_bytes(encode_jpeg(IMAGE[:100]))
    with pytest.raises(PoseError, match="from 320x240 to 320x100"):
        light.plot()
    light.path = "clip.mp4"
    with pytest.raises(PoseError, match=r"clip\.mp4: the image was not kept"):
        light.save_crop(tmp_path)


def test_pickles_and_prints():
    r = make_results(2)
    again = pickle.loads(pickle.dumps(r))
    np.testing.assert_array_equal(again.boxes.data, r.boxes.data)
    assert again.summary() == r.summary()
    assert "boxes=(2, 6)" in repr(r)
    assert "orig_shape=(240, 320)" in repr(r.boxes)
