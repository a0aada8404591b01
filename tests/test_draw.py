import threading

import cv2
import numpy as np
import pytest

from yolopose.draw import DrawStyle, SheetTile, draw_instances, mosaic
from yolopose.draw.ignored import draw_ignored
from yolopose.draw.instances import (
    HEAD,
    LANDMARKS,
    LEFT,
    PALETTE,
    RIGHT,
    SHADE,
    TORSO,
    Font,
    Obstacles,
    Pen,
    Skeleton,
    draw_label,
    label_spots,
)
from yolopose.errors import PoseError, UsageError
from yolopose.geometry.boxes import iou_matrix
from yolopose.geometry.keypoints import COCO_17, FACE_5, KeypointLayout, default_layout

NAMES = {0: "person", 1: "dog"}
DOTS = KeypointLayout((4, 3), ("a", "b", "c", "d"), (), (0.1,) * 4)
BARE = DrawStyle(boxes=False)


def grey(h=240, w=320):
    return np.full((h, w, 3), 90, np.uint8)


def draw(boxes, points=(), layout=DOTS, style=None, image=None):
    image = grey() if image is None else image
    boxes = np.asarray(boxes, np.float32).reshape(-1, np.shape(boxes)[-1] if len(boxes) else 6)
    points = np.asarray(points, np.float32) if len(points) else np.empty((0, *layout.shape), np.float32)
    return draw_instances(image, boxes, points, layout, NAMES, style)


def changed(picture, before=None):
    """(left, top, right, bottom) of what was drawn."""
    rows, columns = np.nonzero((picture != (grey() if before is None else before)).any(2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def has(picture, color):
    return bool((picture == color).all(2).any())


def test_the_given_image_is_not_changed():
    image = grey()
    draw([[20, 20, 90, 90, 0.9, 0]], image=image)
    assert (image == 90).all()


def test_the_box_lies_where_its_coordinates_say():
    picture = draw([[40, 60, 140, 200, 0.9, 0]], style=DrawStyle(labels=False, line_width=1))
    assert changed(picture) == (40, 60, 140, 200)


@pytest.mark.parametrize("center", [(100.5, 80.5), (33.0, 47.0), (200.25, 150.75)])
def test_a_dot_lies_where_its_coordinates_say(center):
    points = np.zeros((1, 4, 3))
    points[0, 0] = [*center, 1]
    picture = draw([[10, 10, 300, 230, 0.9, 0]], points, style=DrawStyle(boxes=False, kpt_radius=6))
    weight = np.abs(picture.astype(float) - 90).sum(2)
    y, x = np.mgrid[:240, :320] + 0.5
    assert ((x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()) == pytest.approx(center, abs=0.1)


def test_small_dots_are_round():
    points = np.zeros((1, 4, 3))
    points[0, 0] = [100.5, 80.5, 1]
    picture = draw([[0, 0, 9, 9, 0.9, 0]], points, style=DrawStyle(boxes=False, kpt_radius=2.4))
    assert (picture[79, 99] != 90).any()  # OpenCV's own small circles are diamonds, without this corner
    np.testing.assert_allclose(picture[70:91, 90:111], picture[70:91, 90:111][::-1, ::-1], atol=40)


def test_keypoints_below_the_threshold_and_unlabelled_ones_stay_out():
    points = np.array([[[50, 50, 0.24], [80, 80, 0.26], [0, 0, 1], [np.nan, 9, 1]]])
    left, top, right, bottom = changed(draw([[10, 10, 200, 200, 0.9, 0]], points, style=BARE))
    assert (left > 70, top > 70, right < 90, bottom < 90) == (True,) * 4
    lenient = draw([[10, 10, 200, 200, 0.9, 0]], points, style=DrawStyle(boxes=False, kpt_conf=0.2))
    assert changed(lenient)[0] < 50


def test_keypoints_without_visibility_are_drawn():
    points = np.array([[[50, 50], [80, 80], [0, 0], [90, 20]]], np.float32)
    layout = default_layout((4, 2))
    picture = draw([[10, 10, 200, 200, 0.9, 0]], points, layout, BARE)
    assert changed(picture)[0] < 50
    assert (picture[:9, :9] == 90).all()


def test_left_and_right_limbs_have_different_colours():
    points = np.stack([np.linspace(20, 300, 17), 40 + 150 * (np.arange(17) % 3) / 2, np.ones(17)], 1)[None]
    picture = draw([[0, 0, 320, 240, 0.9, 0]], points, COCO_17, DrawStyle(boxes=False, line_width=5))
    assert all(has(picture, c) for c in (HEAD, TORSO, SHADE, *LEFT.values(), *RIGHT.values()))
    skeleton = Skeleton.of(COCO_17)
    by_name = dict(zip(COCO_17.names, skeleton.point_colors, strict=True))
    assert by_name["left_wrist"] == LEFT["arm"]
    assert by_name["right_ankle"] == RIGHT["leg"]
    assert dict(zip(COCO_17.edges, skeleton.edge_colors, strict=True))[(5, 11)] == TORSO


def test_landmarks_have_their_own_colours():
    assert Skeleton.of(FACE_5).point_colors == list(LANDMARKS[:5])
    assert len(Skeleton.of(default_layout((70, 3))).point_colors) == 70


def test_layouts_without_edges_draw_dots_only():
    points = np.array([[[50, 50, 1], [200, 200, 1], [0, 0, 0], [0, 0, 0]]])
    picture = draw([[10, 10, 300, 230, 0.9, 0]], points, style=BARE)
    assert (picture[110:140, 110:140] == 90).all()
    joined = KeypointLayout((4, 3), DOTS.names, ((0, 1),), DOTS.sigmas)
    assert (draw([[10, 10, 300, 230, 0.9, 0]], points, joined, BARE)[124:127, 124:127] != 90).any()
    plain = DrawStyle(boxes=False, kpt_line=False)
    np.testing.assert_array_equal(draw([[10, 10, 300, 230, 0.9, 0]], points, joined, plain), picture)


def test_colours_by_class_by_instance_and_by_track():
    boxes = [[10, 50, 90, 120, 0.9, 0], [150, 50, 250, 120, 0.8, 0]]
    assert not has(draw(boxes), PALETTE[1])
    assert has(draw([[*boxes[0][:5], 1]]), PALETTE[1])
    own = DrawStyle(color_mode="instance")
    assert has(draw(boxes, style=own), PALETTE[1])
    assert has(draw([[10, 50, 90, 120, 5, 0.9, 0]], style=own), PALETTE[5])


@pytest.mark.parametrize("hw", [(1, 1), (3, 40), (32, 32), (240, 320), (1500, 2000)])
@pytest.mark.parametrize("box", [[0, 0, 1, 1], [-1e6, -50, 1e6, 1e7], [0.9, 0.9, 0.91, 0.91], [5, 5, 2, 2]])
def test_any_box_on_any_image_draws(hw, box):
    points = np.array([[[*box[:2], 1], [*box[2:], 1], [-1e9, 1e9, 1], [np.inf, 0, 1]]])
    layout = KeypointLayout((4, 3), DOTS.names, ((0, 1), (1, 2), (2, 3)), DOTS.sigmas)
    picture = draw([[*box, 0.5, 0]], points, layout, image=grey(*hw))
    assert picture.shape == (*hw, 3)


def test_instances_that_are_no_numbers_are_left_out():
    assert (draw([[np.nan, 0, 50, 50, 0.9, 0]]) == 90).all()
    assert has(draw([[np.nan, 0, 50, 50, 0.9, 0], [20, 20, 80, 80, 0.5, 1]]), PALETTE[1])


@pytest.mark.parametrize("box", [[0, 0, 60, 60], [290, 200, 320, 240], [100, 0, 160, 240], [0, 0, 320, 240]])
def test_labels_stay_inside_the_picture(box):
    spots = label_spots(np.array(box, np.float32), (80, 16), 2, (240, 320))
    assert (spots >= 0).all()
    assert (spots[:, 2] <= 320).all()
    assert (spots[:, 3] <= 240).all()
    assert (spots[:, 2:] - spots[:, :2] == (80, 16)).all()


needs_typefaces = pytest.mark.skipif(not hasattr(cv2, "FontFace"), reason="OpenCV before 5 has no typefaces")


@needs_typefaces
def test_labels_keep_clear_of_one_another():
    boxes = np.array([[20 + 3 * i, 100 + i, 120 + 3 * i, 220 + i, 0.9, 0] for i in range(4)], np.float32)
    others, pen = Obstacles(boxes), Pen.fit(DrawStyle(), (240, 320))
    for box in boxes:
        draw_label(grey(), "person 0.90", box, PALETTE[0], pen, others)
    plates = np.array(others.labels, float)
    assert len(plates) == 4
    assert (iou_matrix(plates, plates) - np.eye(4)).max() < 0.05


def test_hidden_shares_count_labels_four_times():
    others = Obstacles(np.array([[100, 100, 120, 110, 0.9, 0]]), [np.array([0, 0, 10, 10])])
    plates = np.array([[50, 50, 60, 60], [0, 0, 10, 5], [110, 100, 130, 130]])
    np.testing.assert_allclose(others.hidden_by(plates), [0, 2, 0.5])


def test_a_crowd_is_not_buried_under_its_labels():
    y, x = np.divmod(np.arange(600), 30)
    crowd = np.stack([x * 10 + 5, y * 11 + 5, x * 10 + 11, y * 11 + 12, np.full(600, 0.5), x * 0], 1)
    bare = DrawStyle(labels=False)
    np.testing.assert_array_equal(draw(crowd), draw(crowd, style=bare))  # every box is narrower than its label
    wide = np.array([[10 + i, 60 + 8 * i, 200 + i, 160 + 8 * i, 0.9, 0] for i in range(6)])
    assert 0 < (draw(wide) != draw(wide, style=bare)).any(2).mean() < 0.2


@pytest.mark.parametrize(("neighbours", "labels"), [(0, True), (2, True), (3, False)])
def test_small_boxes_have_labels_where_few_stand_together(neighbours, labels):
    small = np.array([[100 + 20 * i, 100, 110 + 20 * i, 112, 0.9, 0] for i in range(neighbours + 1)])
    assert (draw(small) != draw(small, style=DrawStyle(labels=False))).any() == labels


def test_foreign_names_are_drawn_as_one_short_printable_line(monkeypatch):
    seen = []
    monkeypatch.setattr(Font, "width", lambda self, text: seen.append(text) or 40)
    names = {0: "a\x1b[31m\nb\u202ec", 1: "x" * 10**6}
    boxes = np.array([[40, 60, 140, 200, 0.9, i] for i in range(3)], np.float32)
    draw_instances(grey(), boxes, np.empty((0, 4, 3)), DOTS, names)
    assert seen == [r"2 0.90", "x" * 39 + "… 0.90", r"a\x1b[31m b\u202ec 0.90"]
    seen.clear()
    mosaic([SheetTile(grey(), caption="a\x1b\nb.jpg")], DOTS, NAMES)
    assert set(seen) == {r"a\x1b b.jpg"}


def test_line_width_and_text_grow_with_the_image():
    for h, w, thick in ((240, 320, 1), (480, 640, 2), (3000, 4000, 10)):
        box = [[w * 0.2, h * 0.2, w * 0.8, h * 0.8, 0.9, 0]]
        column = draw(box, style=DrawStyle(labels=False), image=grey(h, w))[:, w // 2]
        assert abs((column != 90).any(1)[: h // 2].sum() - thick) <= 1


def test_colour_mode_is_checked():
    with pytest.raises(UsageError, match="'class', 'instance' or 'track'"):
        DrawStyle(color_mode="clas")


@needs_typefaces
def test_fonts(tmp_path, monkeypatch):
    boxes = [[40, 60, 140, 200, 0.9, 0]]
    assert (draw(boxes, style=DrawStyle(font="Arial.ttf")) == draw(boxes)).all()
    with pytest.raises(PoseError, match=r"none\.ttf"):
        draw(boxes, style=DrawStyle(font=str(tmp_path / "none.ttf")))
    monkeypatch.delattr(cv2, "FontFace", raising=False)  # as before OpenCV 5
    stroked = draw(boxes)
    assert Font.load(None, 20).face is None
    assert Font.load(None, 20).width("person") > Font.load(None, 10).width("person") > 10
    assert has(stroked[40:60], PALETTE[0])


def test_a_label_is_readable_text_on_its_plate():
    picture = draw([[40, 60, 240, 200, 0.9, 0]], style=DrawStyle(font_size=24))
    plate = picture[30:58, 45:130]
    assert has(plate, PALETTE[0])
    assert (plate.astype(int).min(2) > 230).mean() > 0.05 or (plate.max(2) < 60).mean() > 0.05


def test_mosaic_grid():
    tiles = [SheetTile(grey(100, 200), caption=f"{i}.jpg") for i in range(5)]
    sheet = mosaic(tiles, DOTS, NAMES)
    assert sheet.shape == (2 * 104 - 4, 3 * 204 - 4, 3)
    assert (sheet[100:104] == 255).all()
    assert (sheet[104:, 408:] == 255).all()
    assert not has(sheet[:60, :60], SHADE)
    assert has(sheet[60:100, :60], SHADE)  # the caption


def test_mosaic_shrinks_and_never_enlarges():
    big = mosaic([SheetTile(grey(600, 900))] * 30, DOTS, NAMES)
    assert big.shape[1] <= 1920
    assert max(big.shape) > 1900
    assert mosaic([SheetTile(grey(30, 20))], DOTS, NAMES).shape == (30, 20, 3)
    tall = mosaic([SheetTile(grey(2000, 10)), SheetTile(grey(10, 2000))], DOTS, NAMES, max_side=500)
    assert max(tall.shape) <= 500
    assert mosaic([], DOTS, NAMES).ndim == 3


def test_mosaic_scales_what_is_drawn():
    box = np.array([[400, 400, 1200, 1200, 1, 0]], np.float32)
    points = np.array([[[800, 800, 2], [0, 0, 0], [0, 0, 0], [0, 0, 0]]], np.float32)
    tile = SheetTile(grey(1600, 1600), box, points)
    sheet = mosaic([tile] * 4, DOTS, NAMES, DrawStyle(labels=False), max_side=804)
    part = sheet[:400, :400]
    left, top, right, bottom = changed(part, grey(400, 400))
    assert (left, top, right, bottom) == pytest.approx((100, 100, 300, 300), abs=2)
    assert has(part[195:205, 195:205], LANDMARKS[0])
    assert (tile.boxes == box).all()


def test_drawing_from_many_threads_gives_the_same_picture():
    boxes = [[20, 60, 140, 200, 0.9, 0], [150, 50, 250, 120, 0.8, 1]]
    expected, wrong = draw(boxes), []

    def work():
        for _ in range(20):
            if (draw(boxes) != expected).any():
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_boxes_to_ignore_are_striped_and_leave_the_rest():
    image = np.full((60, 80, 3), 10, np.uint8)
    draw_ignored(image, np.array([[20.2, 10.4, 50, 40], [70, 50, 200, 99], [-30, -30, -5, -5]]))
    changed = (image == 128).all(-1)
    assert 0.1 < changed[10:40, 20:50].mean() < 0.15  # every eighth diagonal
    assert changed[50:, 70:].any()
    changed[10:40, 20:50] = changed[50:, 70:] = False
    assert not changed.any()
