"""Batching and letterboxing for validation, and the labels in the same pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from yolopose.config import ValConfig
from yolopose.data.rows import Labels
from yolopose.data.sampler import by_aspect
from yolopose.errors import UsageError
from yolopose.evaluate import scales
from yolopose.evaluate.precision import Truth
from yolopose.formats.base import Backend
from yolopose.geometry.boxes import clip_boxes, cxcywh_to_xyxy, xyxy_to_cxcywh
from yolopose.geometry.letterbox import Letterbox
from yolopose.metadata import ModelInfo
from yolopose.rules import rules_of

if TYPE_CHECKING:
    from yolopose.data.batch import Batch

HW = tuple[int, int]
CPU_BATCH = 4  # images at once on a CPU: with 16 the maps leave its caches, a quarter more time (n at 640)


@dataclass(frozen=True)
class Group:
    """Images that go through the network together: their positions in the data set, and their letterboxes."""

    positions: tuple[int, ...]
    letterboxes: tuple[Letterbox, ...]


@dataclass(frozen=True)
class CompatLetterbox(Letterbox):
    """Ultralytics 8.3's letterbox in validation: the inverse divides both axes by the ratio of the heights."""

    @property
    def scale(self) -> tuple[float, float]:
        """(x, y) canvas pixels per source pixel, the same twice."""
        gain = self.size[0] / self.source[0]
        return gain, gain

    @property
    def offset(self) -> tuple[float, float]:
        """(x, y) of the image's corner in the canvas."""
        return self.left, self.top

    @property
    def point_offset(self) -> tuple[float, float]:
        """The same for points."""
        return self.left, self.top


def groups(backend: Backend, sizes: Sequence[HW], config: ValConfig) -> list[Group]:
    """Every image once, at most `config.batch` together.

    Each has a letterbox of its own that does not depend on the others; images of equal canvas share a group because
    that is fast, up to CPU_BATCH on a CPU. With the rule `val_batches` they are those of `compat_groups`.
    """
    if rules_of(config.compat).val_batches and backend.fixed_shape is None:
        return list(compat_groups(sizes, config, backend.info))
    boxes = scales.letterboxes(backend, sizes, config)
    order = sorted(range(len(boxes)), key=lambda i: boxes[i].canvas)
    size = min(config.batch, CPU_BATCH) if backend.device == "cpu" else config.batch
    out: list[list[int]] = []
    for i in order:
        if not out or len(out[-1]) == size or boxes[out[-1][0]].canvas != boxes[i].canvas:
            out.append([])
        out[-1].append(i)
    return [Group(tuple(part), tuple(boxes[i] for i in part)) for part in out]


def compat_groups(sizes: Sequence[HW], config: ValConfig, info: ModelInfo) -> Iterator[Group]:
    """Ultralytics 8.3's batches.

    An image's long side becomes `imgsz`, the other is rounded up. With `rect` images go by aspect ratio, and a batch's
    canvas has one side `imgsz`, the other by the most extreme ratio where all are wider or all higher than a square;
    each side is then rounded up to the stride, after half a stride is added. Without `rect` the canvas is a square.

    Raises:
        UsageError: `imgsz` is not one number.
    """
    (imgsz, w), stride = info.input_size(config.imgsz), info.stride
    if imgsz != w:
        raise UsageError(f"imgsz={imgsz},{w}: compat=True takes one number, as Ultralytics 8.3 does in val")
    ratios = np.array([h / w for h, w in sizes])
    order = by_aspect(sizes, rules_of(config.compat)) if config.rect else np.arange(len(sizes))
    for start in range(0, len(order), config.batch):
        positions = order[start : start + config.batch].tolist()
        low, high = ratios[positions].min(), ratios[positions].max()
        shape = (high, 1.0) if high < 1 else (1.0, 1 / low) if low > 1 else (1.0, 1.0)
        padded = tuple(math.ceil(side * imgsz / stride + 0.5) * stride for side in shape)
        canvas = (padded[0], padded[1]) if config.rect else (imgsz, imgsz)
        yield Group(tuple(positions), tuple(compat_letterbox(sizes[i], imgsz, canvas) for i in positions))


def compat_letterbox(source: HW, imgsz: int, canvas: HW) -> CompatLetterbox:
    """The image with its long side at `imgsz` in the middle of a canvas, the odd pixel below or to the right."""
    gain = imgsz / max(source)
    h, w = (min(math.ceil(side * gain), imgsz) for side in source)
    top, left = (round((outer - inner) / 2 - 0.1) for outer, inner in zip(canvas, (h, w), strict=True))
    return CompatLetterbox(source, (h, w), canvas, top, left)


def truth_of(labels: Labels, box: Letterbox) -> Truth:
    """An image's labels in its pixels, by the same way there and back as its detections, so that they compare."""
    boxes, keypoints = _on_canvas(labels, box)
    keypoints = box.points_to_source(keypoints)
    return Truth(labels.classes, clip_boxes(box.boxes_to_source(boxes), box.source), keypoints)


def batch_of(labels: Sequence[Labels], boxes: Sequence[Letterbox]) -> Batch:
    """The truths of a group as the loss wants them: normalised by the canvas that the images share; no images."""
    import torch

    from yolopose.data.batch import Batch

    placed = [_on_canvas(own, box) for own, box in zip(labels, boxes, strict=True)]
    h, w = boxes[0].canvas
    truths = xyxy_to_cxcywh(np.concatenate([b for b, _ in placed])) / (w, h, w, h)
    keypoints = np.concatenate([k for _, k in placed]) / (w, h, 1)
    counts = [len(own) for own in labels]
    return Batch(
        images=torch.empty(len(labels), 3, 0, 0, dtype=torch.uint8),
        image_index=torch.from_numpy(np.repeat(np.arange(len(labels)), counts)),
        classes=torch.from_numpy(np.concatenate([own.classes for own in labels])),
        boxes=torch.from_numpy(truths.astype(np.float32)),
        keypoints=torch.from_numpy(keypoints.astype(np.float32)),
        paths=("",) * len(labels),
    )


def _on_canvas(labels: Labels, box: Letterbox) -> tuple[np.ndarray, np.ndarray]:
    """(G, 4) xyxy and (G, K, 3) x y v in canvas pixels, float64."""
    h, w = box.size
    boxes = cxcywh_to_xyxy(labels.boxes.astype(np.float64)) * (w, h, w, h) + (box.left, box.top) * 2
    keypoints = labels.keypoints.astype(np.float64) * (w, h, 1) + (box.left, box.top, 0)
    return boxes, keypoints
