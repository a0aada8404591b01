"""Training samples, batches, and the collation of samples into a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from yolopose.data.rows import no_ignored
from yolopose.geometry.boxes import xyxy_to_cxcywh

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Sample:
    """An augmented image and its instances, all in pixels of this image.

    image (H, W, 3) BGR uint8; classes (N,) int64; boxes (N, 4) float32 xyxy; keypoints (N, K, 3) float32 x y v, where
    v = 0 is unlabelled; ignore (M, 5) float32 boxes xyxy to ignore and their scores, see `rows.Labels`.
    """

    image: NDArray[np.uint8]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    path: str = ""
    ignore: NDArray[np.float32] = field(default_factory=no_ignored)


@dataclass(frozen=True, eq=False)
class Batch:
    """B images and the G instances in them.

    images (B, 3, H, W) RGB uint8, channels last in memory (call `.contiguous()` where planes are needed);
    image_index (G,) int64, the image each instance is in; classes (G,) int64; boxes (G, 4) cxcywh and keypoints (G,
    K, 3) x y v, float32, normalised by the images' width and height; paths (B,); ignore (M, 6) float32, the boxes to
    ignore as image, xyxy normalised, score (see `rows.Labels`), None where there are none.
    """

    images: Tensor
    image_index: Tensor
    classes: Tensor
    boxes: Tensor
    keypoints: Tensor
    paths: tuple[str, ...]
    ignore: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch with its tensors on `device`."""
        names = ("images", "image_index", "classes", "boxes", "keypoints", "ignore")
        tensors = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        moved = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in tensors.items()}
        return replace(self, **moved)


def collate(samples: Sequence[Sample], out: NDArray[np.uint8] | None = None) -> Batch:
    """Samples of one size → a batch; `out` (B, H, W, 3), if given, becomes the memory of its images."""
    import torch  # not above: the data set doctor uses samples and flips without it

    hw = samples[0].image.shape[:2]
    if out is None:
        out = np.empty((len(samples), *hw, 3), np.uint8)
    for sample, place in zip(samples, out, strict=True):
        if sample.image.shape != place.shape:
            raise ValueError(f"{sample.path}: image of shape {sample.image.shape} in a batch of {place.shape}")
        cv2.cvtColor(sample.image, cv2.COLOR_BGR2RGB, dst=place)
    size = np.array([hw[1], hw[0]], np.float32)
    boxes = xyxy_to_cxcywh(np.concatenate([s.boxes for s in samples])) / np.tile(size, 2)
    keypoints = np.concatenate([s.keypoints for s in samples])
    keypoints[..., :2] /= size
    counts = [len(s.classes) for s in samples]
    scale = np.array([1 / hw[1], 1 / hw[0]] * 2 + [1], np.float32)
    ignore = [np.insert(s.ignore * scale, 0, i, axis=1) for i, s in enumerate(samples) if len(s.ignore)]
    return Batch(
        images=torch.from_numpy(out).permute(0, 3, 1, 2),
        image_index=torch.from_numpy(np.repeat(np.arange(len(samples)), counts)),
        classes=torch.from_numpy(np.concatenate([s.classes for s in samples])),
        boxes=torch.from_numpy(boxes),
        keypoints=torch.from_numpy(keypoints),
        paths=tuple(s.path for s in samples),
        ignore=torch.from_numpy(np.concatenate(ignore)) if ignore else None,
    )
