"""Every fast path against the same thing done naively: pasted into a large canvas and warped as a whole."""

import colorsys
import math

import cv2
import numpy as np
import pytest

from yolopose.data import augment
from yolopose.data.augment import AugmentOptions, Tile
from yolopose.data.batch import Sample
from yolopose.data.rows import Labels
from yolopose.geometry.boxes import PADDING
from yolopose.geometry.keypoints import FACE_5

SIZE = 96
VIEWS = {
    "plain": {},
    "turned": {"degrees": 40.0},
    "sheared": {"shear": 20.0},
    "deep": {"perspective": 0.001, "degrees": 10.0},
}


def smooth(hw: tuple[int, int], seed: int) -> np.ndarray:
    """An image without sharp edges, so that half a pixel changes little."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return cv2.resize(coarse, (hw[1], hw[0]), interpolation=cv2.INTER_CUBIC)


def some_labels(n: int, seed: int, k: int = 5) -> Labels:
    rng = np.random.default_rng(seed)
    boxes = rng.uniform((0.3, 0.3, 0.2, 0.2), (0.7, 0.7, 0.6, 0.6), (n, 4)).astype(np.float32)
    keypoints = rng.uniform(0, 1, (n, k, 3)).astype(np.float32)
    keypoints[..., 2] = 2
    return Labels(np.arange(n), boxes, keypoints)


def tiles(seed: int, **options: float) -> list[Tile]:
    """Four images in a mosaic seen at random."""
    rng = np.random.default_rng(seed)
    images = [smooth(hw, seed * 4 + i) for i, hw in enumerate([(60, 96), (96, 50), (96, 96), (40, 80)])]
    places = augment.mosaic_places(rng, [image.shape[:2] for image in images], SIZE)
    view = augment.random_affine(rng, AugmentOptions(**options), (SIZE, SIZE))
    return [
        Tile(image, some_labels(3, seed * 4 + i), view @ place)
        for i, (image, place) in enumerate(zip(images, places, strict=True))
    ]


def warp(image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole image into the canvas by bilinear interpolation, and how much of each pixel it covers (255: all)."""
    half = augment.scaling(1, -0.5, -0.5) @ matrix @ augment.scaling(1, 0.5, 0.5)
    size = (SIZE, SIZE)
    drawn = cv2.warpPerspective(image, half, size, borderMode=cv2.BORDER_REPLICATE)
    return drawn, cv2.warpPerspective(np.full(image.shape[:2], 255, np.uint8), half, size)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("seed", range(4))
def test_a_composed_mosaic_looks_like_a_pasted_and_warped_one(view: str, seed: int) -> None:
    parts = tiles(seed, scale=0.3, **VIEWS[view])
    sample = augment.compose(parts, (SIZE, SIZE))
    near = np.zeros((SIZE, SIZE), bool)
    around = np.ones((5, 5), np.uint8)
    compared = 0
    for part in parts:
        drawn, cover = warp(part.image, part.matrix)
        inside = cv2.erode(cover, around, borderValue=255) == 255
        difference = np.abs(sample.image.astype(int) - drawn).max(-1)[inside]
        assert difference.size == 0 or difference.max() <= 12  # half a pixel of these slopes
        compared += difference.size
        near |= cv2.dilate(cover, around) > 0
    assert compared > SIZE * SIZE / 4
    assert (sample.image[~near] == PADDING).all()


@pytest.mark.parametrize("view", VIEWS)
def test_points_and_boxes_follow_the_matrix_point_by_point(view: str) -> None:
    (part, *_) = tiles(1, scale=0.3, **VIEWS[view])
    canvas = np.zeros((SIZE, SIZE, 3), np.uint8)
    matrix = augment.draw(part.image, part.matrix, canvas)
    h, w = part.image.shape[:2]

    def take(x: float, y: float) -> tuple[float, float]:
        a, b, c = matrix @ (x * w, y * h, 1)
        return a / c, b / c

    sample = augment.compose([part], (SIZE, SIZE))
    rows = []
    for cls, (cx, cy, bw, bh), points in zip(
        part.labels.classes, part.labels.boxes, part.labels.keypoints, strict=True
    ):
        corners = np.array([take(cx + i * bw / 2, cy + j * bh / 2) for i in (-1, 1) for j in (-1, 1)])
        whole = np.concatenate([corners.min(0), corners.max(0)])
        box = np.clip(whole, 0, SIZE)
        seen, total = ((b[2] - b[0]) * (b[3] - b[1]) for b in (box, whole))
        if min(box[2] - box[0], box[3] - box[1]) > 2 and seen > 0.1 * total:
            moved = [take(x, y) for x, y, _ in points]
            rows.append((cls, box, [(x, y, 2.0 * (0 <= x <= SIZE and 0 <= y <= SIZE)) for x, y in moved]))
    assert rows
    assert sample.classes.tolist() == [cls for cls, _, _ in rows]
    np.testing.assert_allclose(sample.boxes, [box for _, box, _ in rows], atol=1e-3)
    np.testing.assert_allclose(sample.keypoints, [points for _, _, points in rows], atol=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_an_upright_view_is_realised_within_half_a_pixel(seed: int) -> None:
    for part in tiles(seed, scale=0.5):
        canvas = np.zeros((SIZE, SIZE, 3), np.uint8)
        matrix = augment.draw(part.image, part.matrix, canvas)
        h, w = part.image.shape[:2]
        seen = augment.transform(np.argwhere(np.ones((h + 1, w + 1)))[:, ::-1].astype(float), part.matrix)
        points = np.argwhere(np.ones((h + 1, w + 1)))[:, ::-1].astype(float)
        inside = ((seen >= 0) & (seen <= SIZE)).all(1)
        apart = np.abs(augment.transform(points, matrix) - seen)[inside]
        gain = part.matrix[0, 0]
        assert apart.size == 0 or apart.max() <= 0.5 + 0.5 * gain + 1e-9


@pytest.mark.parametrize("view", VIEWS)
def test_a_mark_in_the_image_stays_under_its_keypoint(view: str) -> None:
    for seed in range(3):
        parts = []
        for part in tiles(seed, scale=0.2, **VIEWS[view]):
            image = np.zeros_like(part.image)
            h, w = image.shape[:2]
            image[h // 2 - 3 : h // 2 + 3, w // 2 - 3 : w // 2 + 3] = 255
            point = np.array([[[w // 2 / w, h // 2 / h, 2]]], np.float32)
            box = np.array([[0.5, 0.5, 1, 1]], np.float32)
            parts.append(Tile(image, Labels(np.zeros(1, np.int64), box, point), part.matrix))
        sample = augment.compose(parts, (SIZE, SIZE))
        grey = sample.image[..., 0].astype(float)
        grey[(sample.image == PADDING).all(-1)] = 0
        for x, y, v in sample.keypoints[:, 0]:
            if v and 12 < x < SIZE - 12 and 12 < y < SIZE - 12:
                left, top = int(x) - 8, int(y) - 8
                window = grey[top : top + 17, left : left + 17]
                ys, xs = np.mgrid[top : top + 17, left : left + 17] + 0.5
                assert np.average(xs, weights=window) == pytest.approx(x, abs=0.3)
                assert np.average(ys, weights=window) == pytest.approx(y, abs=0.3)


@pytest.mark.parametrize("view", VIEWS)
def test_images_meet_without_a_seam(view: str) -> None:
    rng = np.random.default_rng(0)
    options = AugmentOptions(scale=0.0, translate=0.0, **(VIEWS[view] | {"shear": 0.0}))
    for _ in range(10):
        places = augment.mosaic_places(rng, [(80, 80)] * 4, SIZE)
        view_matrix = augment.random_affine(rng, options, (SIZE, SIZE))
        white = np.full((80, 80, 3), 255, np.uint8)
        sample = augment.compose(
            [Tile(white, some_labels(0, 0), view_matrix @ place) for place in places], (SIZE, SIZE)
        )
        middle = sample.image[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4]
        assert (middle == 255).all()


def test_strong_perspective_keeps_a_mosaic_before_the_viewer() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        matrix = augment.random_affine(rng, AugmentOptions(perspective=0.001), (640, 640))
        corners = np.array([[x, y, 1] for x in (-960, 960) for y in (-960, 960)])
        assert (corners @ matrix.T)[:, 2].min() >= 0.25 - 1e-9


def test_small_thin_and_cut_boxes_are_dropped() -> None:
    boxes = np.float32([
        [0.5, 0.5, 0.4, 0.4],  # whole
        [0.5, 0.5, 0.019, 0.4],  # narrower than two pixels
        [0.98, 0.5, 0.4, 0.4],  # half of it is outside
        [1.17, 0.5, 0.4, 0.4],  # a twelfth of it is inside
        [0.5, 0.5, 0.03, 0.0301],
    ])  # fmt: skip
    labels = Labels(np.arange(5), boxes, np.zeros((5, 1, 3), np.float32))
    image = np.zeros((100, 100, 3), np.uint8)
    assert augment.compose([Tile(image, labels, np.eye(3))], (100, 100)).classes.tolist() == [0, 2, 4]
    thin = Labels(np.arange(1), np.float32([[0.5, 0.5, 1, 0.009]]), np.zeros((1, 1, 3), np.float32))
    wide = np.zeros((1000, 1000, 3), np.uint8)
    assert len(augment.compose([Tile(wide, thin, np.eye(3))], (1000, 1000)).classes) == 0


def test_a_letterboxed_sample_puts_content_and_labels_together() -> None:
    image = smooth((30, 60), 0)
    sample = augment.letterboxed(image, some_labels(2, 1), (64, 64), "x.jpg")
    np.testing.assert_array_equal(sample.image[16:48], cv2.resize(image, (64, 32)))
    assert (sample.image[:16] == PADDING).all()
    labels = some_labels(2, 1)
    np.testing.assert_allclose(sample.keypoints[..., 0], labels.keypoints[..., 0] * 64, atol=1e-4)
    np.testing.assert_allclose(sample.keypoints[..., 1], labels.keypoints[..., 1] * 32 + 16, atol=1e-4)
    assert sample.path == "x.jpg"


def as_sample(seed: int = 0) -> Sample:
    sample = augment.compose([Tile(smooth((SIZE, SIZE), seed), some_labels(3, seed), np.eye(3))], (SIZE, SIZE))
    return sample


def equal(a: Sample, b: Sample) -> bool:
    return all(
        np.allclose(getattr(a, name), getattr(b, name), atol=1e-4)
        for name in ("image", "classes", "boxes", "keypoints")
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_a_flip_mirrors_everything_and_undoes_itself(axis: int) -> None:
    sample = as_sample()
    flipped = augment.flip(sample, FACE_5, axis)
    np.testing.assert_array_equal(flipped.image, np.flip(sample.image, 1 - axis))
    left_eye, right_eye = sample.keypoints[:, 0], flipped.keypoints[:, 1]
    np.testing.assert_allclose(right_eye[:, axis], SIZE - left_eye[:, axis], atol=1e-4)
    np.testing.assert_allclose(right_eye[:, 1 - axis], left_eye[:, 1 - axis], atol=1e-4)
    assert (flipped.boxes[:, :2] < flipped.boxes[:, 2:]).all()
    assert not equal(flipped, sample)
    assert equal(augment.flip(flipped, FACE_5, axis), sample)


def test_flipping_both_ways_is_half_a_turn() -> None:
    """A turn leaves left and right alone, so each mirror must exchange them, the up-down one too."""
    sample = as_sample()
    both = augment.flip(augment.flip(sample, FACE_5, 0), FACE_5, 1)
    half_turn = np.array([[-1, 0, SIZE], [0, -1, SIZE], [0, 0, 1]], float)
    turned = augment.transform(sample.keypoints[..., :2].astype(float), half_turn)
    np.testing.assert_allclose(both.keypoints[..., :2], turned, atol=1e-4)
    np.testing.assert_array_equal(both.image, sample.image[::-1, ::-1])


@pytest.mark.parametrize(
    "strength", [(0.0, 0.0, 0.0), (0.01, 0.5, -0.3), (-0.015, -0.7, 0.4), (0.3, 0.2, 0.2), (0.9, 0.0, 0.0)]
)
def test_colour_jitter_is_that_of_the_textbook(strength: tuple[float, float, float]) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (1, 200, 3), dtype=np.uint8)
    image = colours.copy()
    augment.jitter(image, *strength)
    for (b, g, r), found in zip(colours[0] / 255.0, image[0] / 255.0, strict=True):
        h, s, v = (x * (1 + gain) for x, gain in zip(colorsys.rgb_to_hsv(r, g, b), strength, strict=True))
        expected = colorsys.hsv_to_rgb(h % 1, min(s, 1), min(v, 1))[::-1]
        coarse = 0.025 + 0.05 * abs(strength[0])  # OpenCV's hue has 180 steps, saturation and value 256
        np.testing.assert_allclose(found, expected, atol=coarse)


def test_nothing_changes_when_everything_is_off() -> None:
    off = dict.fromkeys(("hsv_h", "hsv_s", "hsv_v", "fliplr", "flipud", "bgr"), 0.0)
    sample = as_sample()
    done = augment.finish(np.random.default_rng(0), sample, AugmentOptions(**off), FACE_5)
    assert equal(done, as_sample())


def test_flips_and_channel_swaps_happen_with_their_probability() -> None:
    options = AugmentOptions(hsv_h=0.0, hsv_s=0.0, hsv_v=0.0, fliplr=0.5, flipud=0.25, bgr=0.1)
    plain = as_sample()
    left = up = swapped = 0
    for seed in range(400):
        done = augment.finish(np.random.default_rng(seed), as_sample(), options, FACE_5)
        corner = {tuple(plain.image[i, j]): (i, j) for i in (0, -1) for j in (0, -1)}
        pixel = tuple(done.image[0, 0])
        swapped += pixel not in corner
        i, j = corner.get(pixel) or corner[pixel[::-1]]
        up, left = up - i, left - j
    assert left / 400 == pytest.approx(0.5, abs=0.08)
    assert up / 400 == pytest.approx(0.25, abs=0.08)
    assert swapped / 400 == pytest.approx(0.1, abs=0.05)


def test_mixup_blends_about_half_and_half_and_keeps_all_instances() -> None:
    first, second = as_sample(0), as_sample(1)
    a, b = first.image.astype(float), second.image.astype(float)
    mixed = augment.mixup(np.random.default_rng(0), first, second)
    share = ((mixed.image - b) * (a - b)).sum() / ((a - b) ** 2).sum()
    assert 0.25 < share < 0.75
    np.testing.assert_allclose(mixed.image, a * share + b * (1 - share), atol=1.5)
    assert len(mixed.classes) == len(first.classes) + len(second.classes)
    assert mixed.boxes.shape[0] == mixed.keypoints.shape[0] == len(mixed.classes)


def test_random_views_cover_the_ranges_asked_for() -> None:
    rng = np.random.default_rng(0)
    options = AugmentOptions(degrees=30.0, scale=0.5, translate=0.2)
    views = np.array([augment.random_affine(rng, options, (100, 200)) for _ in range(500)])
    gains = np.sqrt(np.linalg.det(views[:, :2, :2]))
    angles = np.degrees(np.arctan2(views[:, 0, 1], views[:, 0, 0]))
    assert 0.5 <= gains.min() < 0.55
    assert 1.45 < gains.max() <= 1.5
    assert -30 <= angles.min() < -28
    assert 28 < angles.max() <= 30
    assert 60 <= views[:, 0, 2].min() < 65
    assert 135 < views[:, 0, 2].max() <= 140
    assert 30 <= views[:, 1, 2].min() < 33
    tiny = augment.random_affine(np.random.default_rng(2), AugmentOptions(scale=3.0), (100, 100))
    assert math.sqrt(np.linalg.det(tiny[:2, :2])) > 0
