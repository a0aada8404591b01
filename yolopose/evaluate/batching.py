"""Which images validation runs together and at which sizes, and the labels in the same pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from yolopose.data.rows import Labels
from yolopose.data.sampler import by_aspect, rect_canvas
from yolopose.detect import Detections, DetectOptions, NmsOptions, letterboxes_for
from yolopose.errors import PoseError, UsageError
from yolopose.evaluate.precision import Truth
from yolopose.formats.base import Backend
from yolopose.geometry.boxes import Letterbox, clip_boxes, cxcywh_to_xyxy, fit, nms
from yolopose.rules import DEFAULT, Rules

HW = tuple[int, int]
CPU_BATCH = 4  # images at once on a CPU: with 16 the maps leave its caches, a quarter more time (n at 640)
FACTORS = (1.0, 1.5, 2.0)  # of imgsz with resize=multi


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How images are resized, and how many run together.

    Attributes:
        imgsz: long side of the network's input, or (H, W); None is the model's own size.
        rect: pad each image to multiples of the stride only, not to `imgsz`.
        resize: "imgsz"; "original", each image at its own size; or "multi", at `FACTORS` times `imgsz`.
        tile: side of the tiles that images are cut into, with `overlap`; None does not cut them.
        batch: the most images of a group.
        rules: the switches `val_batches` and `one_size` are used.
    """

    imgsz: int | tuple[int, int] | None = None
    rect: bool = True
    resize: str = "imgsz"
    tile: int | None = None
    overlap: float = 0.2
    batch: int = 16
    rules: Rules = DEFAULT

    def check(self, backend: Backend) -> None:
        """Raise PoseError or UsageError when the model or the rules do not go with `resize`."""
        if self.resize == "imgsz":
            return
        if self.tile is not None:
            raise UsageError(f"resize={self.resize} does not go with tile={self.tile}: leave one of them out")
        if backend.fixed_shape is not None:
            h, w = backend.fixed_shape[1:]
            raise PoseError(
                f"resize={self.resize}: this file takes {h}x{w} only; export it with dynamic=True, or use its .pt"
            )
        if self.rules.one_size:
            raise UsageError(f"resize={self.resize} does not go with compat=True: Ultralytics 8.3 has one size only")

    def describe(self, backend: Backend) -> str:
        """How an image becomes the network's input, in words."""
        fixed, stride = backend.fixed_shape, backend.info.stride
        if self.tile is not None:
            return f"tiles of {self.tile} pixels, overlap {self.overlap:g}, and the whole image; instances merged"
        if fixed is not None:
            return f"letterbox to {fixed[1]}x{fixed[2]} (height x width), the size of the exported file"
        if self.rules.val_batches and self.rect:
            return f"batches of {self.batch} by aspect ratio, letterboxed to one multiple of {stride} and half more"
        if self.resize == "original":
            return f"each image at its own size, padded to a multiple of {stride}"
        if self.resize == "multi":
            factors = ", ".join(f"{f:g}" for f in FACTORS)
            return f"letterbox, long side to {factors} times imgsz, detections merged by non-maximum suppression"
        if self.rect:
            return f"letterbox, long side to imgsz, each image to its own multiple of {stride}"
        return "letterbox to a square of imgsz"


@dataclass(frozen=True)
class Group:
    """Images that go through the network together: their positions in the data set and their letterboxes.

    `larger` has the letterboxes at each further scale of resize=multi.
    """

    positions: tuple[int, ...]
    letterboxes: tuple[Letterbox, ...]
    larger: tuple[tuple[Letterbox, ...], ...] = ()


@dataclass(frozen=True)
class HeightRatioLetterbox(Letterbox):
    """Ultralytics 8.3's letterbox in validation: the inverse divides both axes by the ratio of the heights."""

    @property
    def scale(self) -> tuple[float, float]:
        """(x, y) canvas pixels per source pixel, the same for both."""
        gain = self.size[0] / self.source[0]
        return gain, gain


def groups(backend: Backend, sizes: Sequence[HW], options: BatchOptions) -> list[Group]:
    """Every image (H, W) once, at most `options.batch` together.

    The letterbox of an image does not depend on the others; images of equal canvas share a group because that is fast,
    up to CPU_BATCH on a CPU. With the rule `val_batches` the groups are those of `reference_groups`.
    """
    info = backend.info
    if options.rules.val_batches and backend.fixed_shape is None:
        h, w = info.input_size(options.imgsz)
        if h != w:
            raise UsageError(f"imgsz={h},{w}: compat=True takes one number, as Ultralytics 8.3 does in val")
        return list(reference_groups(sizes, h, info.stride, options))
    scales = _letterboxes(backend, sizes, options)
    canvases = [box.canvas for box in scales[0]]
    most = min(options.batch, CPU_BATCH) if backend.device == "cpu" else options.batch
    out = []
    for _, same in groupby(sorted(range(len(sizes)), key=canvases.__getitem__), key=canvases.__getitem__):
        equal = tuple(same)
        for start in range(0, len(equal), most):
            part = equal[start : start + most]
            boxes, *larger = (tuple(scale[i] for i in part) for scale in scales)
            out.append(Group(part, boxes, tuple(larger)))
    return out


def _letterboxes(backend: Backend, sizes: Sequence[HW], options: BatchOptions) -> list[list[Letterbox]]:
    """The letterboxes of all images at each scale."""
    info = backend.info
    if options.resize == "original":
        return [[fit(hw, info.input_size(hw), stride=info.stride, scaleup=False) for hw in sizes]]
    h, w = info.input_size(options.imgsz)
    imgsz = [(round(h * f), round(w * f)) for f in (FACTORS if options.resize == "multi" else (1.0,))]
    sized = [DetectOptions(imgsz=size, rect=options.rect, rules=options.rules) for size in imgsz]
    return [letterboxes_for(backend, sizes, one) for one in sized]


def reference_groups(sizes: Sequence[HW], imgsz: int, stride: int, options: BatchOptions) -> Iterator[Group]:
    """Ultralytics 8.3's batches.

    An image's long side becomes `imgsz`, the other is rounded up. With `rect` images go by aspect ratio, and a batch
    has the canvas of `rect_canvas` with half a stride more; otherwise it is a square. The image lies in the middle of
    its canvas, an odd pixel of padding below or to the right.
    """
    order = by_aspect(sizes, options.rules) if options.rect else np.arange(len(sizes))
    for start in range(0, len(order), options.batch):
        positions = order[start : start + options.batch].tolist()
        canvas = (imgsz, imgsz)
        if options.rect:
            canvas = rect_canvas([sizes[i] for i in positions], imgsz, stride, options.rules, pad=0.5)
        boxes = []
        for source in (sizes[i] for i in positions):
            gain = imgsz / max(source)
            h, w = (min(math.ceil(side * gain), imgsz) for side in source)
            top, left = (round((outer - inner) / 2 - 0.1) for outer, inner in zip(canvas, (h, w), strict=True))
            boxes.append(HeightRatioLetterbox(source, (h, w), canvas, top, left))
        yield Group(tuple(positions), tuple(boxes))


def merge_scales(parts: Sequence[Detections], options: NmsOptions) -> Detections:
    """The detections of one image at several scales, merged by non-maximum suppression; times are added up."""
    boxes = np.concatenate([part.boxes for part in parts])
    classes = None if options.agnostic_nms else boxes[:, 5]
    kept = nms(boxes[:, :4].astype(np.float64), boxes[:, 4], options.iou, options.max_det, classes)
    keypoints = np.concatenate([part.keypoints for part in parts])[kept]
    speed = {step: sum(part.speed[step] for part in parts) for step in parts[0].speed}
    return Detections(boxes[kept], keypoints, speed, parts[-1].shape)


def truth_of(labels: Labels, box: Letterbox) -> Truth:
    """An image's labels in its pixels, mapped to the canvas and back as detections are: both have the same rounding."""
    boxes, keypoints = on_canvas(labels, box)
    keypoints = box.points_to_source(keypoints)
    return Truth(labels.classes, clip_boxes(box.boxes_to_source(boxes), box.source), keypoints)


def on_canvas(labels: Labels, box: Letterbox) -> tuple[np.ndarray, np.ndarray]:
    """(G, 4) xyxy and (G, K, 3) x y v in canvas pixels, float64."""
    h, w = box.size
    boxes = cxcywh_to_xyxy(labels.boxes.astype(np.float64)) * (w, h, w, h) + (box.left, box.top) * 2
    keypoints = labels.keypoints.astype(np.float64) * (w, h, 1) + (box.left, box.top, 0)
    return boxes, keypoints
