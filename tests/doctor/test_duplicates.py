"""Copies of images: found when re-encoded, scaled or with other tones; different images are no copies."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from yolopose.doctor.duplicates import MAX_CANDIDATES, find_pairs, fingerprint
from yolopose.errors import PoseError
from yolopose.images import encode_jpeg, image_size


def picture(seed: int, hw: tuple[int, int] = (300, 400)) -> np.ndarray:
    """A picture with structure of several sizes, unlike any of another seed."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.uniform(0, 255, (n, n, 3)), hw[::-1], interpolation=cv2.INTER_CUBIC) for n in (4, 9, 25)]
    return np.clip(np.mean(layers, 0), 0, 255).astype(np.uint8)


def printed(image: np.ndarray, quality: int = 92, name: str = "x.jpg"):
    return fingerprint(encode_jpeg(image, quality), name, image.shape[:2])


COPIES = {
    "quality": lambda image: cv2.imdecode(np.frombuffer(encode_jpeg(image, 30), np.uint8), 1),
    "half size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brighter": lambda image: cv2.convertScaleAbs(image, alpha=1.15, beta=12),
    "grey": lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR),
    "cropped": lambda image: image[3:-3, 4:-4],
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES.keys())
def test_a_changed_copy_is_found_and_nothing_else(change) -> None:
    originals = [printed(picture(seed)) for seed in range(8)]
    copies = [printed(change(picture(seed))) for seed in (5, 2, 100)]
    pairs = find_pairs(copies, originals)
    assert [(pair.i, pair.j, pair.identical) for pair in pairs] == [(0, 5, False), (1, 2, False)]
    assert all(0.7 <= pair.likeness <= 1 for pair in pairs)


def test_identical_files_and_near_ones_within_a_set() -> None:
    a, b = picture(0), picture(1)
    prints = [printed(a), printed(b), printed(a), printed(a, 40), printed(b)]
    pairs = {(pair.i, pair.j, pair.identical) for pair in find_pairs(prints)}
    assert pairs == {(0, 2, True), (1, 4, True), (0, 3, False)}


def test_flat_and_different_pictures_match_nothing() -> None:
    flat = [printed(np.full((90, 120, 3), level, np.uint8)) for level in (0, 128, 255)]
    others = [printed(picture(seed, (64, 200))) for seed in range(40)]
    assert find_pairs(flat + others) == []
    assert find_pairs([], others) == find_pairs(others, []) == []


def test_a_still_camera_gives_few_pairs() -> None:
    rng = np.random.default_rng(0)
    frames = [np.clip(picture(0) + rng.normal(0, 6, (300, 400, 3)), 0, 255).astype(np.uint8) for _ in range(30)]
    pairs = find_pairs([printed(frame) for frame in frames])
    assert {pair.i for pair in pairs} == set(range(29))
    assert max(np.bincount([pair.i for pair in pairs])) <= MAX_CANDIDATES


def test_damaged_images_are_named() -> None:
    with pytest.raises(PoseError, match=r"bad\.jpg"):
        fingerprint(b"\xff\xd8\xff no picture \xff\xd9", "bad.jpg", (100, 100))


def test_real_photographs_hold_no_copies(shared: Path) -> None:
    files = sorted((shared / "data" / "pose" / "images" / "test").glob("*.jpg"))
    prints = [fingerprint(file.read_bytes(), str(file), image_size(file)) for file in files]
    assert len(prints) > 100
    assert find_pairs(prints) == []
