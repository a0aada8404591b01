"""What is found in several tiles becomes one instance: the rules one by one, and against loops in plain Python."""

import math
import random

import numpy as np
import pytest

from yolopose.detect import NmsOptions
from yolopose.geometry.keypoints import COCO_SIGMAS
from yolopose.tiling.grid import Region, tiles
from yolopose.tiling.merge import View, merge

HW = (300, 400)
SIGMAS = COCO_SIGMAS[:4]
Row = tuple[float, ...]  # x1 y1 x2 y2 score class
Found = tuple[int, Region | None, Row]  # view, its region, what was found


def points_of(row: Row) -> np.ndarray:
    x1, y1, x2, y2 = row[:4]
    return np.array([[x1, y1, 0.9], [x2, y1, 0.9], [x1, y2, 0.4], [x2, y2, 0.9]], np.float32)


def view(region: Region | None, *rows: Row) -> View:
    boxes = np.array(rows, np.float32).reshape(-1, 6)
    points = np.array([points_of(row) for row in rows], np.float32).reshape(-1, 4, 3)
    return View(region, 0.0 if region is None else 1.0, boxes, points)


def merged(*views: View, **options: object) -> list[list[float]]:
    boxes, _ = merge(views, HW, NmsOptions(conf=0.01, **options), SIGMAS)  # type: ignore[arg-type]
    return [[round(float(v), 3) for v in row] for row in boxes]


LEFT, RIGHT = (0, 0, 220, 300), (180, 0, 400, 300)


def test_a_cut_box_gives_way_to_a_whole_one_and_is_kept_with_less_certainty_without() -> None:
    piece, whole = (190, 50, 220, 90, 0.8, 0), (190, 50, 260, 90, 0.7, 0)
    assert merged(view(LEFT, piece), view(RIGHT, whole)) == [[190, 50, 260, 90, 0.7, 0]]
    assert merged(view(LEFT, piece), view(RIGHT)) == [[190, 50, 220, 90, 0.4, 0]]
    other = (190, 50, 260, 90, 0.7, 1)  # of another class
    assert len(merged(view(LEFT, piece), view(RIGHT, other))) == 2
    assert len(merged(view(LEFT, piece), view(RIGHT, other), agnostic_nms=True)) == 1
    unlikely = (190, 50, 260, 90, 0.05, 0)  # a far less certain box removes nothing
    assert merged(view(LEFT, piece), view(RIGHT, unlikely))[0] == [190, 50, 220, 90, 0.4, 0]


def test_an_edge_of_the_picture_cuts_nothing_off() -> None:
    assert merged(view(LEFT, (0, 0, 40, 40, 0.8, 0)), view(RIGHT, (360, 260, 400, 300, 0.8, 0))) == [
        [0, 0, 40, 40, 0.8, 0],
        [360, 260, 400, 300, 0.8, 0],
    ]


def test_the_box_furthest_from_the_edge_stands_with_the_best_score() -> None:
    left, right = (186, 40, 212, 80, 0.9, 0), (187, 41, 213, 81, 0.8, 0)  # 8 and 7 pixels from the edges
    assert merged(view(LEFT, left), view(RIGHT, right)) == [[186, 40, 212, 80, 0.9, 0]]
    left, right = (189, 40, 214, 80, 0.8, 0), (190, 41, 215, 81, 0.75, 0)  # 6 and 10
    assert merged(view(LEFT, left), view(RIGHT, right)) == [[190, 41, 215, 81, 0.8, 0]]
    whole = (191, 41, 215, 81, 0.85, 0)  # the whole picture shows it smaller
    assert merged(view(LEFT, left), view(RIGHT, right), view(None, whole)) == [[190, 41, 215, 81, 0.85, 0]]


def test_two_of_one_tile_stay_two() -> None:
    adult, child = (20, 20, 120, 200, 0.9, 0), (40, 100, 80, 200, 0.8, 0)  # the child is inside of the adult's box
    both = view(LEFT, adult, child)
    assert len(merged(both)) == 2
    assert len(merged(both, view((0, 0, 300, 300), adult, child))) == 2


def test_boxes_that_differ_with_the_same_points_are_one() -> None:
    narrow = np.array([[50, 50, 60, 100, 0.9, 0]], np.float32)
    wide = np.array([[50, 50, 85, 130, 0.8, 0]], np.float32)
    points = points_of((50, 50, 60, 100))[None]
    views = [View(LEFT, 1.0, narrow, points), View((0, 0, 300, 300), 1.0, wide, points)]
    assert len(merge(views, HW, NmsOptions(), SIGMAS)[0]) == 1
    apart = [views[0], View((0, 0, 300, 300), 1.0, np.array([[55, 40, 99, 99, 0.8, 0]], np.float32), points + 90)]
    assert len(merge(apart, HW, NmsOptions(), SIGMAS)[0]) == 2


def size(a: Row) -> float:
    return (a[2] - a[0]) * (a[3] - a[1])


def shared(a: Row, b: Row) -> float:
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)


def iou(a: Row, b: Row) -> float:
    return shared(a, b) / (size(a) + size(b) - shared(a, b))


def rooms(f: Found) -> list[float]:
    if f[1] is None:
        return [math.inf] * 4
    inner = [f[1][0] > 0, f[1][1] > 0, f[1][2] < HW[1], f[1][3] < HW[0]]
    distances = [f[2][0] - f[1][0], f[2][1] - f[1][1], f[1][2] - f[2][2], f[1][3] - f[2][3]]
    return [d if i else math.inf for d, i in zip(distances, inner, strict=True)]


def is_cut(f: Found) -> bool:
    sides = (f[2][2] - f[2][0], f[2][3] - f[2][1]) * 2
    return any(d <= max(4, 0.05 * side) for d, side in zip(rooms(f), sides, strict=True))


def alike(a: Row, b: Row) -> float:
    s = 0.53 * min(size(a), size(b))
    seen = [(p, q, sigma) for p, q, sigma in zip(points_of(a), points_of(b), SIGMAS, strict=True) if p[2] > 0.5]
    terms = [math.exp(-float(((p[:2] - q[:2]) ** 2).sum()) / (2 * s * (2 * sigma) ** 2)) for p, q, sigma in seen]
    points = sum(terms) / len(terms)
    return max(iou(a, b) if iou(a, b) >= 0.5 else 0, points if points >= 0.7 else 0)


def gives_way(f: Found, found: list[Found]) -> bool:
    return any(
        f[0] != g[0] and is_cut(f) and not is_cut(g) and shared(f[2], g[2]) >= 0.7 * size(f[2])
        and g[2][4] >= 0.8 * f[2][4]
        for g in found
    )  # fmt: skip


def joined(left: list[Found]) -> list[list[Found]]:
    links = []
    for i, f in enumerate(left):
        for j, g in enumerate(left[:i]):
            part = shared(f[2], g[2]) / min(size(f[2]), size(g[2]))
            if f[0] != g[0] and part > 0 and (alike(f[2], g[2]) > 0 or part >= 0.7):
                links.append((-alike(f[2], g[2]), -part, j, i))
    groups = {i: [i] for i in range(len(left))}
    for _, _, j, i in sorted(links):
        a, b = groups[j], groups[i]
        if a is not b and not {left[m][0] for m in a} & {left[m][0] for m in b}:
            a += b
            for m in b:
                groups[m] = a
    return [[left[m] for m in sorted(group)] for group in {id(g): g for g in groups.values()}.values()]


def standing(members: list[Found]) -> list[float]:
    members = [m for m in members if m[2][4] >= 0.8 * members[0][2][4]]
    uncut = [m for m in members if not is_cut(m)]
    best = uncut[0] if uncut else max(members, key=lambda m: size(m[2]))
    like = [m for m in uncut or members if iou(m[2], best[2]) >= 0.5]
    stands = min(like, key=lambda m: (m[1] is None, -min(rooms(m))))
    return [*stands[2][:4], max(m[2][4] for m in like), 0.0]


def by_hand(found: list[Found], limit: float, max_det: int) -> list[list[float]]:
    """The rules of `merge` for one class, word by word."""
    found = [(v, r, (*row[:4], row[4] * (0.5 if is_cut((v, r, row)) else 1), row[5])) for v, r, row in found]
    left = sorted((f for f in found if not gives_way(f, found)), key=lambda f: -f[2][4])
    kept: list[list[float]] = []
    for row in sorted(map(standing, joined(left)), key=lambda row: -row[4]):
        if all(iou(tuple(row), tuple(other)) <= limit for other in kept):
            kept.append(row)
    return kept[:max_det]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("limit", "max_det"), [(0.7, 300), (0.4, 8)])
def test_equals_loops_in_plain_python(seed: int, limit: float, max_det: int) -> None:
    rng = random.Random(seed)
    regions: list[Region | None] = [*tiles(HW, 160, 0.3), None]
    found: list[Found] = []
    for _ in range(14):  # instances, seen with errors in each tile that shows a part of them
        x, y, w, h = rng.uniform(0, 340), rng.uniform(0, 240), rng.uniform(15, 140), rng.uniform(15, 140)
        for number, region in enumerate(regions):
            x1, y1, x2, y2 = region or (0, 0, HW[1], HW[0])
            moved = [a + rng.gauss(0, 2) for a in (x, y, x + w, y + h)]
            row = (max(moved[0], x1), max(moved[1], y1), min(moved[2], x2), min(moved[3], y2))
            if row[2] - row[0] > 8 and row[3] - row[1] > 8 and rng.random() < 0.9:
                exact = tuple(float(np.float32(v)) for v in (*row, rng.uniform(0.2, 1.0), 0))
                found.append((number, region, exact))
    views = [view(r, *(row for v, _, row in found if v == n)) for n, r in enumerate(regions)]
    boxes, points = merge(views, HW, NmsOptions(conf=0.0, iou=limit, max_det=max_det), SIGMAS)
    expected = by_hand(found, limit, max_det)
    assert len(expected) > 4
    np.testing.assert_allclose(boxes, np.array(expected), atol=1e-4)
    np.testing.assert_array_equal(points, [points_of(tuple(row)) for row in boxes.tolist()])
