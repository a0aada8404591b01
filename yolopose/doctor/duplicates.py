"""Copies among images: the same file, or the same picture re-encoded, scaled, with other tones or slightly cropped.

Identical files have the same SHA-256. Near-identical ones are found in two steps: a 64-bit perceptual hash (pHash: the
signs of the lowest frequencies of a small grey image's cosine transform against their median) selects candidates, and
the correlation of the two images' grey gradients decides. Unlike brightness, gradients of different pictures hardly
correlate: in 796 COCO and sports photographs no candidate reached 0.4, where 0.7 is required.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolopose.images import decode

Array = NDArray[Any]

GREY_SIDE = 64  # of the small grey image
HASH_SIDE = 32  # of the one that is transformed
BITS = 64
MAX_DIFFERENT_BITS = 14  # of a candidate; copies differ in up to 12
MIN_LIKENESS = 0.7
FLAT = 3.0  # grey levels of standard deviation: a picture with less has no structure to compare
MAX_CANDIDATES = 8  # compared per image: the frames of a still camera would give millions
BLOCK = 1024  # images compared at once
REDUCED = {8: cv2.IMREAD_REDUCED_GRAYSCALE_8, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 2: cv2.IMREAD_REDUCED_GRAYSCALE_2}


class Fingerprint(NamedTuple):
    """What images are compared by: SHA-256 of the file, hash (64,) float32 ±1 (0 for a flat picture), grey (64, 64)."""

    digest: bytes
    hash: Array
    grey: Array


@dataclass(frozen=True)
class Pair:
    """Images i and j (positions in the two sets compared) show the same; likeness is 1 for identical files."""

    i: int
    j: int
    identical: bool
    likeness: float


def fingerprint(data: bytes, name: str, hw: tuple[int, int]) -> Fingerprint:
    """The fingerprint of the bytes of an image file, (H, W) pixels in size; JPEGs are decoded at reduced scale.

    Raises:
        PoseError: naming `name`, when it cannot be decoded.
    """
    flag = next((flag for factor, flag in REDUCED.items() if min(hw) >= factor * GREY_SIDE), cv2.IMREAD_GRAYSCALE)
    try:
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        grey = None
    if grey is None:  # `decode` has other decoders, or raises the error with its reason
        grey = cv2.cvtColor(decode(data, name), cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (GREY_SIDE, GREY_SIDE), interpolation=cv2.INTER_AREA)
    return Fingerprint(hashlib.sha256(data).digest(), _perceptual_hash(small), small)


def find_pairs(first: Sequence[Fingerprint], second: Sequence[Fingerprint] | None = None) -> list[Pair]:
    """Copies of images of `first` in `second`, or within `first`.

    Of near-identical copies at most `MAX_CANDIDATES` are found per image of `first`. An image that has an identical
    copy is not compared any further.
    """
    others = first if second is None else second
    places: dict[bytes, int] = {}  # digest → the first image with it
    for j, other in enumerate(others):
        places.setdefault(other.digest, j)
    if second is None:
        pairs = [Pair(places[p.digest], i, True, 1.0) for i, p in enumerate(first) if places[p.digest] != i]
        rows = list(places.values())
    else:
        pairs = [Pair(i, places[p.digest], True, 1.0) for i, p in enumerate(first) if p.digest in places]
        rows = [i for i, p in enumerate(first) if p.digest not in places]
    columns = list(places.values())
    if not rows or not columns:
        return pairs
    hashes = np.stack([others[j].hash for j in columns])
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        products = np.stack([first[i].hash for i in block]) @ hashes.T  # 64 - 2 · different bits
        if second is None:  # each pair once
            products[np.arange(len(columns)) <= np.arange(start, start + len(block))[:, None]] = 0
        near = products >= BITS - 2 * MAX_DIFFERENT_BITS
        for row in np.flatnonzero(near.any(1)).tolist():
            candidates = np.flatnonzero(near[row])
            nearest = candidates[np.argsort(-products[row, candidates], kind="stable")][:MAX_CANDIDATES]
            gradients = _gradients(first[block[row]].grey)
            for j in (columns[c] for c in nearest.tolist()):
                likeness = float(gradients @ _gradients(others[j].grey))
                if likeness >= MIN_LIKENESS:
                    pairs.append(Pair(block[row], j, False, round(likeness, 3)))
    return pairs


def _perceptual_hash(grey: Array) -> Array:
    """(64, 64) grey → (64,) ±1; zeros for a flat picture, which matches no other."""
    if grey.std() < FLAT:
        return np.zeros(BITS, np.float32)
    tiny = cv2.resize(grey, (HASH_SIDE, HASH_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(tiny)[:9, :9].ravel()[1 : BITS + 1]  # without the mean brightness
    return np.where(low > np.median(low), np.float32(1), np.float32(-1))


def _gradients(grey: Array) -> Array:
    """(64, 64) → the horizontal and vertical differences as one vector of length 1."""
    steps = [cv2.Sobel(grey, cv2.CV_32F, dx, dy, ksize=3)[1:-1, 1:-1] for dx, dy in ((1, 0), (0, 1))]
    vector = np.stack(steps).ravel()
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-6))
