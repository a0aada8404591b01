"""Keypoint layouts (names, left/right pairs, skeleton, tolerances) and the similarity of two sets of points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError

COCO_SIGMAS = (0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062,
               0.107, 0.107, 0.087, 0.087, 0.089, 0.089)  # fmt: skip


@dataclass(frozen=True)
class KeypointLayout:
    """What the K keypoints of an instance are.

    `shape` is (K, D), D = 2 for x y or 3 for x y and a visibility score. `flip[i]` is the keypoint that takes the
    place of `i` in a mirrored image, or `flip` is None when nobody said so. `edges` are the skeleton's lines as pairs
    of indices. `sigmas` are the per-keypoint constants of OKS (COCO keypoint evaluation, 2017).
    """

    shape: tuple[int, int]
    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
    flip: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Reject a layout whose parts do not fit one another."""
        k, d = self.shape
        if k < 1 or d not in (2, 3):
            raise PoseError(f"kpt_shape must be [K, 2] or [K, 3] with K ≥ 1, got {list(self.shape)}")
        for name, values in (("kpt_names", self.names), ("kpt_oks_sigmas", self.sigmas)):
            if len(values) != k:
                raise PoseError(f"{name} has {len(values)} entries, kpt_shape {list(self.shape)} needs {k}")
        if any(not s > 0 for s in self.sigmas):
            raise PoseError(f"kpt_oks_sigmas must be positive, got {list(self.sigmas)}")
        if self.flip is not None:
            check_flip(self.flip, k)
        if any(not 0 <= end < k for edge in self.edges for end in edge):
            raise PoseError(f"skeleton names a keypoint outside 0..{k - 1}: {[list(e) for e in self.edges]}")

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
        """The layout from `kpt_shape` and whatever else is there; what is absent comes from `default_layout`."""
        shape = as_kpt_shape(values.get("kpt_shape"))
        base = default_layout(shape)
        names = values.get("kpt_names") or base.names
        if isinstance(names, Mapping):  # newer data YAMLs name the keypoints per class
            names = next(iter(names.values()))
        flip = values.get("flip_idx")
        return cls(
            shape=shape,
            names=tuple(str(n) for n in names),
            edges=tuple((int(a), int(b)) for a, b in (values.get("skeleton") or base.edges)),
            sigmas=tuple(float(s) for s in (values.get("kpt_oks_sigmas") or base.sigmas)),
            flip=tuple(int(i) for i in flip) if flip else None,
        )


def as_kpt_shape(value: Any) -> tuple[int, int]:
    """(K, D) from a YAML or metadata value. Raises PoseError for anything but two whole numbers."""
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        k, d = value
        if isinstance(k, int) and isinstance(d, int) and k >= 1 and d in (2, 3):
            return k, d
    raise PoseError(f"kpt_shape must be [K, 2] or [K, 3], got {value!r}")


def check_flip(flip: Sequence[int], k: int) -> None:
    """Raise PoseError unless `flip` is a permutation of 0..k-1 that undoes itself."""
    if sorted(flip) != list(range(k)):
        raise PoseError(f"flip_idx must hold each of 0..{k - 1} once, got {list(flip)}")
    wrong = next((i for i in range(k) if flip[flip[i]] != i), None)
    if wrong is not None:
        raise PoseError(
            f"flip_idx must undo itself: {wrong} goes to {flip[wrong]}, but {flip[wrong]} goes to {flip[flip[wrong]]}"
        )


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
    """The layout for (K, D) when nobody described it.

    17 points are COCO's, 5 are a face's. Sigmas are COCO's for 17 points and 1/K otherwise, the field's rule; 1/K is
    far more lenient than COCO's, so data sets should state their own `kpt_oks_sigmas`.
    """
    k, d = shape
    known = {17: COCO_17, 5: FACE_5}.get(k)
    if known is not None:
        return KeypointLayout((k, d), known.names, known.edges, known.sigmas, known.flip)
    return KeypointLayout((k, d), tuple(f"kpt_{i}" for i in range(k)), (), (1.0 / k,) * k)


def compat_sigmas(shape: tuple[int, int]) -> tuple[float, ...]:
    """The reference's sigmas: COCO's only for exactly [17, 3], otherwise 1/K."""
    return COCO_SIGMAS if tuple(shape) == (17, 3) else (1.0 / shape[0],) * shape[0]


def oks(
    truth: NDArray[Any], predicted: NDArray[Any], area: NDArray[Any], sigmas: Sequence[float]
) -> NDArray[np.float64]:
    """(G, K, 3), (N, K, ≥2), (G,) → (G, N) object keypoint similarity, in float64.

    Points in pixels; `area` in square pixels, already scaled by the caller's protocol; a truth's third column is its
    visibility and points with 0 do not count. A truth without a labelled point gets 0. Source: COCO keypoint
    evaluation.
    """
    gt = np.asarray(truth, np.float64)
    dt = np.asarray(predicted, np.float64)
    variance = (2.0 * np.asarray(sigmas, np.float64)) ** 2
    d2 = ((gt[:, None, :, :2] - dt[None, :, :, :2]) ** 2).sum(-1)  # (G, N, K)
    e = d2 / variance / (np.asarray(area, np.float64)[:, None, None] + np.spacing(1.0)) / 2.0
    labelled = gt[:, None, :, 2] != 0  # (G, 1, K)
    count = labelled.sum(-1)
    return np.asarray((np.exp(-e) * labelled).sum(-1) / np.maximum(count, 1), np.float64)
