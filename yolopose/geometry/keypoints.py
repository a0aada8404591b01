"""Keypoint layouts (names, left/right pairs, skeleton, tolerances) and the similarity of two sets of points."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError, shown
from yolopose.limits import MAX_EDGES, MAX_KEYPOINTS, MAX_SIGMA, float_of, int_of, list_of, text_of

COCO_SIGMAS = (0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062,
               0.107, 0.107, 0.087, 0.087, 0.089, 0.089)  # fmt: skip
BODY_AREA = 0.53  # an instance's area over its box's: OKS is defined on mask areas, label files have boxes only
SIDES = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}
SIDE = re.compile(r"(?<![A-Za-z])(?:left|right|LEFT|RIGHT)(?![a-z])|(?:Left|Right)(?![a-z])")  # left_eye, eyeLeft


@dataclass(frozen=True)
class KeypointLayout:
    """What the K keypoints of an instance are.

    `shape` is (K, D), D = 2 for x y or 3 for x y and a visibility score. `flip[i]` is the keypoint that takes the
    place of `i` in a mirrored image, or `flip` is None when unknown. `edges` are the skeleton's lines as pairs
    of indices. `sigmas` are the per-keypoint constants of OKS (COCO keypoint evaluation, 2017).
    """

    shape: tuple[int, int]
    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
    flip: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Raise PoseError for a layout whose parts do not agree."""
        k = as_kpt_shape(self.shape)[0]
        for name, values in (("kpt_names", self.names), ("kpt_oks_sigmas", self.sigmas)):
            if len(values) != k:
                raise PoseError(f"{name} has {len(values)} entries, kpt_shape {list(self.shape)} needs {k}")
        if any(not 0 < s < math.inf for s in self.sigmas):
            raise PoseError(f"kpt_oks_sigmas must be positive, got {shown(list(self.sigmas), 1000)}")
        if self.flip is not None:
            check_flip(self.flip, k)
        if any(not 0 <= end < k for edge in self.edges for end in edge):
            raise PoseError(
                f"skeleton names a keypoint outside 0..{k - 1}: {shown([list(e) for e in self.edges], 1000)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """The layout in JSON types, as stored in checkpoints and exported files."""
        return {
            "kpt_shape": list(self.shape),
            "kpt_names": list(self.names),
            "skeleton": [list(edge) for edge in self.edges],
            "kpt_oks_sigmas": list(self.sigmas),
            "flip_idx": None if self.flip is None else list(self.flip),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KeypointLayout:
        """The layout from `kpt_shape` and the other entries; missing ones come from `default_layout`.

        Raises:
            PoseError: an entry of another type or size than it should have, named in the message.
        """
        shape = as_kpt_shape(values.get("kpt_shape"))
        k, base = shape[0], default_layout(shape)
        names, edges, sigmas, flip = (
            _given(values, key) for key in ("kpt_names", "skeleton", "kpt_oks_sigmas", "flip_idx")
        )
        if isinstance(names, Mapping):  # newer data YAMLs name the keypoints per class
            names = next(iter(names.values()))
        return cls(
            shape=shape,
            names=base.names
            if names is None
            else tuple(text_of(n, "kpt_names") for n in list_of(names, "kpt_names", k, k)),
            edges=base.edges if edges is None else tuple(_edge(e, k) for e in list_of(edges, "skeleton", 0, MAX_EDGES)),
            sigmas=base.sigmas
            if sigmas is None
            else tuple(float_of(s, "kpt_oks_sigmas", 0, MAX_SIGMA) for s in list_of(sigmas, "kpt_oks_sigmas", k, k)),
            flip=None
            if flip is None
            else tuple(int_of(i, "flip_idx", 0, k - 1) for i in list_of(flip, "flip_idx", k, k)),
        )


def _given(values: Mapping[str, Any], key: str) -> Any:
    """An entry, or None where there is none or an empty one."""
    value = values.get(key)
    return None if isinstance(value, list | tuple | Mapping) and not value else value


def _edge(value: Any, k: int) -> tuple[int, int]:
    """A line of the skeleton: the indices of two of `k` keypoints."""
    a, b = list_of(value, "a line of skeleton", 2, 2)
    return int_of(a, "an index in skeleton", 0, k - 1), int_of(b, "an index in skeleton", 0, k - 1)


def as_kpt_shape(value: Any) -> tuple[int, int]:
    """(K, D) from a YAML or metadata value. Raises PoseError for anything but two whole numbers."""
    k, d = value if isinstance(value, list | tuple) and len(value) == 2 else (None, None)
    if type(k) is not int or type(d) is not int or k < 1 or d not in (2, 3):
        raise PoseError(f"kpt_shape must be [K, 2] or [K, 3], got {shown(value)}")
    return int_of(k, "K of kpt_shape", 1, MAX_KEYPOINTS), d


def check_flip(flip: Sequence[int], k: int) -> None:
    """Raise PoseError unless `flip` is a permutation of 0..k-1 that undoes itself."""
    if sorted(flip) != list(range(k)):
        raise PoseError(f"flip_idx must hold each of 0..{k - 1} once, got {shown(list(flip), 1000)}")
    wrong = next((i for i in range(k) if flip[flip[i]] != i), None)
    if wrong is not None:
        raise PoseError(
            f"flip_idx must undo itself: {wrong} goes to {flip[wrong]}, but {flip[wrong]} goes to {flip[flip[wrong]]}"
        )


def flip_from_names(names: Sequence[str]) -> tuple[int, ...] | None:
    """flip_idx from keypoint names: for each keypoint the one of the other side, or itself.

    None when no name has a left or right in it, or when one side has no partner.
    """
    index = {name: i for i, name in enumerate(names)}
    partners = [SIDE.sub(lambda side: SIDES[side[0]], name) for name in names]
    if partners == list(names) or any(partner not in index for partner in partners):
        return None
    return tuple(index[partner] for partner in partners)


COCO_17 = KeypointLayout(
    shape=(17, 3),
    names=("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
           "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
           "right_ankle"),
    edges=((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
           (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    sigmas=COCO_SIGMAS,
    flip=(0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15),
)  # fmt: skip

FACE_5 = KeypointLayout(
    shape=(5, 3),
    names=("left_eye", "right_eye", "nose", "left_mouth", "right_mouth"),
    edges=((0, 1), (0, 2), (1, 2), (2, 3), (2, 4), (3, 4)),
    sigmas=(0.2,) * 5,
    flip=(1, 0, 2, 4, 3),
)


def default_layout(shape: tuple[int, int]) -> KeypointLayout:
    """The layout for (K, D) without a description.

    17 points are COCO's, 5 are a face's. Sigmas are COCO's for 17 points and 1/K otherwise, as in Ultralytics 8.3; 1/K
    is far more lenient than COCO's, so data sets should state their own `kpt_oks_sigmas`.
    """
    k, d = as_kpt_shape(shape)
    if known := {17: COCO_17, 5: FACE_5}.get(k):
        return replace(known, shape=(k, d))
    return KeypointLayout((k, d), tuple(f"kpt_{i}" for i in range(k)), (), (1.0 / k,) * k)


def fixed_sigmas(shape: tuple[int, int]) -> tuple[float, ...]:
    """Ultralytics 8.3's sigmas: COCO's only for exactly [17, 3], otherwise 1/K."""
    return COCO_SIGMAS if tuple(shape) == (17, 3) else (1.0 / shape[0],) * shape[0]


def oks(
    truth: NDArray[Any], predicted: NDArray[Any], area: NDArray[Any], sigmas: Sequence[float]
) -> NDArray[np.float64]:
    """(G, K, 3), (N, K, ≥2), (G,) → (G, N) object keypoint similarity, in float64.

    Points in pixels; `area` in square pixels, already scaled by the caller's protocol; a truth's third column is its
    visibility and points with 0 do not count. A truth without a labelled point gets 0. Source: COCO keypoint
    evaluation.
    """
    gt = np.asarray(truth, np.float64)[:, None]
    dt = np.asarray(predicted, np.float64)[None]
    return oks_of_pairs(gt, dt, np.asarray(area)[:, None], sigmas)


def oks_of_pairs(
    truth: NDArray[Any], predicted: NDArray[Any], area: NDArray[Any], sigmas: Sequence[float]
) -> NDArray[np.float64]:
    """(..., K, 3), (..., K, ≥2), (...) → (...) similarity of each truth with the prediction at its place, see `oks`."""
    gt = np.asarray(truth, np.float64)
    dt = np.asarray(predicted, np.float64)
    variance = (2.0 * np.asarray(sigmas, np.float64)) ** 2
    d2 = ((gt[..., :2] - dt[..., :2]) ** 2).sum(-1)
    e = d2 / variance / (np.asarray(area, np.float64)[..., None] + np.spacing(1.0)) / 2.0
    labelled = gt[..., 2] != 0
    count = labelled.sum(-1)
    return np.asarray((np.exp(-e) * labelled).sum(-1) / np.maximum(count, 1), np.float64)
