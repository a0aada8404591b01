"""What is hidden in a picture, how much of it is left."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from yolopose.draw.blur import CELLS, STYLES, Blur, Blurrer, Hidden, regions_of
from yolopose.errors import UsageError
from yolopose.geometry.keypoints import COCO_17, FACE_5, default_layout

RNG = np.random.default_rng(0)
PHOTO = cv2.GaussianBlur(RNG.integers(0, 256, (400, 300, 3), np.uint8), (0, 0), 1.5)
BOX = np.array([[60.0, 40.0, 180.0, 380.0]])


def standing(score=0.9):
    """A person who stands upright in BOX, facing us: (17, 3)."""
    points = np.full((17, 3), score)
    head = {0: (120, 72), 1: (127, 65), 2: (113, 65), 3: (138, 68), 4: (102, 68)}
    body = {5: (152, 110), 6: (88, 110), 11: (140, 210), 12: (100, 210)}
    for i in range(17):
        points[i, :2] = (head | body).get(i, (120, 250))
    return points


def covers(region, points, margin=0.0):
    return (points >= region[:2] + margin).all() and (points <= region[2:] - margin).all()


@pytest.mark.parametrize("style", STYLES)
def test_the_region_changes_and_nothing_else(style):
    region = np.array([[50.0, 60.0, 130.0, 190.0]])
    found = Hidden(region, style).apply(PHOTO)
    inside = np.zeros(PHOTO.shape[:2], bool)
    inside[60:190, 50:130] = True
    np.testing.assert_array_equal(found[~inside], PHOTO[~inside])
    assert (found[inside] != PHOTO[inside]).any(1).mean() > 0.9


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [12, 40, 200])
def test_little_more_than_a_few_numbers_is_left_of_the_region(style, size):
    """Whatever the picture had within a cell is gone: its parts differ no more than a coarse grid allows."""
    image = RNG.integers(0, 256, (size, size, 3), np.uint8)
    found = Hidden(np.array([[0, 0, size, size]]), style).apply(image).astype(float)
    spectrum = np.abs(np.fft.fft2(found.mean(2) - found.mean()))[:, : size // 2]
    fine = np.abs(np.fft.fft2(image.mean(2)))[size // 2 - 1, size // 2 - 1] + 1
    assert len(np.unique(found.reshape(-1, 3), axis=0)) <= (CELLS**2 if style != "gaussian" else size**2)
    if style == "gaussian":
        assert spectrum[size // 2 - 2 : size // 2 + 2].max() < 0.5 * fine + 20
    if style == "fill":
        assert len(np.unique(found.reshape(-1, 3), axis=0)) == 1


def test_two_faces_become_alike():
    """The blurred face no longer tells which of two faces it was: their difference is mostly gone."""
    first, second = (RNG.integers(0, 256, (96, 96, 3), np.uint8) for _ in range(2))
    before = np.abs(first.astype(float) - second).mean()
    for style in STYLES:
        one, two = (Hidden(np.array([[0, 0, 96, 96]]), style).apply(i).astype(float) for i in (first, second))
        assert np.abs(one - two).mean() < 0.15 * before


@pytest.mark.parametrize(
    "region",
    [[-50, -50, 20, 20], [290, 390, 900, 900], [400, 500, 600, 700], [10.4, 10.4, 10.5, 10.5], [20, 20, 10, 10],
     [np.nan, 0, 10, 10], [0, 0, np.inf, 9]],
)  # fmt: skip
@pytest.mark.parametrize("style", STYLES)
def test_regions_at_the_edge_outside_and_empty(region, style):
    found = Hidden(np.array([region], float), style).apply(PHOTO)
    assert found.shape == PHOTO.shape
    assert PHOTO is not found


def test_the_photograph_itself_is_left_alone():
    before = PHOTO.copy()
    Hidden(BOX, "fill").apply(PHOTO)
    np.testing.assert_array_equal(PHOTO, before)


def test_a_box_is_hidden_with_a_margin():
    region = regions_of(BOX, standing()[None], COCO_17, "box")[0]
    assert (region[:2] < BOX[0, :2]).all()
    assert (region[2:] > BOX[0, 2:]).all()


def test_the_head_of_a_person_is_hidden_and_not_the_body():
    region = regions_of(BOX, standing()[None], COCO_17, "head")[0]
    assert covers(region, standing()[:5, :2], margin=8)
    assert region[1] <= 45  # crown, above the eyes by a head's half
    assert region[3] >= 90  # chin
    assert region[3] < 160


def test_a_face_model_s_box_is_the_head():
    points = np.array([[[50, 50, 0.9]] * 5], float)
    np.testing.assert_array_equal(regions_of(BOX, points, FACE_5, "head"), regions_of(BOX, points, FACE_5, "box"))


@pytest.mark.parametrize("layout", [default_layout((9, 3)), default_layout((4, 2))])
def test_points_without_names_hide_the_whole_box(layout):
    points = np.full((1, *layout.shape), 100.0)
    assert covers(regions_of(BOX, points, layout, "head")[0], BOX.reshape(2, 2))


def test_a_model_without_keypoints_hides_the_whole_box():
    assert covers(regions_of(BOX, np.empty((0, 17, 3)), COCO_17, "head")[0], BOX.reshape(2, 2))


def test_without_a_sure_head_the_region_is_beyond_the_shoulders():
    points = standing()
    points[:5, 2] = 0.1
    assert covers(regions_of(BOX, points[None], COCO_17, "head")[0], standing()[:5, :2], margin=8)


def test_wild_keypoints_do_not_hide_the_whole_picture():
    points = standing()
    points[3, :2], points[4, :2] = (60, 370), (180, 45)
    region = regions_of(BOX, points[None], COCO_17, "head")[0]
    assert (region[2:] - region[:2]).max() < 700


def test_someone_lying_is_found_by_the_trunk():
    points = standing()
    points[:5, 2] = 0.1
    lying = points.copy()
    lying[:, :2] = points[:, 1::-1]
    box = BOX[:, [1, 0, 3, 2]]
    assert covers(regions_of(box, lying[None], COCO_17, "head")[0], standing()[:5, 1::-1], margin=8)


def test_without_any_sure_point_the_top_of_an_upright_box_and_all_of_another():
    unsure = standing(0.05)
    region = regions_of(BOX, unsure[None], COCO_17, "head")[0]
    assert covers(region, standing()[:5, :2], margin=8)
    assert region[3] < 250
    flat = np.array([[0.0, 0.0, 300.0, 200.0]])
    assert covers(regions_of(flat, unsure[None], COCO_17, "head")[0], flat.reshape(2, 2))


def test_heads_of_real_people_are_covered(shared):
    """COCO's labelled noses, eyes and ears; all of them when their scores are good, nearly all when none is."""
    file = shared / "data" / "pose" / "person_keypoints_test.json"
    rows = [a for a in json.loads(file.read_text())["annotations"] if a["num_keypoints"] >= 8 and not a["iscrowd"]]
    covered = {"sure": [], "unsure": []}
    for row in rows:
        x, y, w, h = row["bbox"]
        points = np.array(row["keypoints"], float).reshape(17, 3)
        points[:, 2] = np.where(points[:, 2] > 0, 0.9, 0)
        head = points[:5][points[:5, 2] > 0, :2]
        unsure = points.copy()
        unsure[:5, 2] = 0.1
        for name, given in (("sure", points), ("unsure", unsure)):
            region = regions_of(np.array([[x, y, x + w, y + h]]), given[None], COCO_17, "head")[0]
            covered[name] += ((head > region[:2]) & (head < region[2:])).all(1).tolist()
    assert len(covered["sure"]) > 100
    assert np.mean(covered["sure"]) == 1
    assert np.mean(covered["unsure"]) > 0.9


def test_a_lost_track_stays_hidden_larger_than_before():
    blurrer = Blurrer(Blur("head"), COCO_17)
    first = blurrer(BOX, standing()[None], np.array([7])).regions[0]
    gone = blurrer(np.empty((0, 4)), np.empty((0, 17, 3)), np.empty(0, int), {7: BOX[0] + 20}).regions
    assert len(gone) == 1
    assert (gone[0][:2] < first[:2] + 20).all()
    assert (gone[0][2:] > first[2:] + 20).all()
    again = blurrer(np.empty((0, 4)), np.empty((0, 17, 3)), np.empty(0, int), {7: BOX[0] + 20}).regions
    np.testing.assert_array_equal(again, gone)
    assert not len(blurrer(np.empty((0, 4)), np.empty((0, 17, 3)), np.empty(0, int), {}).regions)
    assert not blurrer._places


def test_a_lost_track_never_seen_is_hidden_whole():
    found = Blurrer(Blur("head"), COCO_17)(np.empty((0, 4)), np.empty((0, 17, 3)), None, {3: BOX[0]}).regions
    assert covers(found[0], BOX.reshape(2, 2))


def test_detections_without_a_track_are_hidden_too():
    found = Blurrer(Blur("box"), COCO_17)(BOX.repeat(2, 0), np.empty((0, 17, 3)), np.array([-1, 4])).regions
    assert len(found) == 2


@pytest.mark.parametrize(("wrong", "message"), [(("face", "fill"), "blur must be"), (("box", "mosaic"), "blur_style")])
def test_unknown_names_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        Blur(*wrong)
