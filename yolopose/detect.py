"""Detection: images through the network, candidates through non-maximum suppression, results in image pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import UsageError
from yolopose.formats.base import Backend
from yolopose.geometry.boxes import Letterbox, clip_boxes, cxcywh_to_xyxy, fit, nms
from yolopose.rules import DEFAULT, Rules

if TYPE_CHECKING:
    from yolopose.nn.head import Maps

MOST_CANDIDATES = 30_000  # the bound of Ultralytics 8.3 on what suppression looks at; the best are taken
CLASS_OFFSET = 7680  # pixels; with the rule `class_offset` boxes of class c are shifted by that times c
FAR = 1e9  # larger than any coordinate in pixels; candidates with larger numbers or NaN are dropped
Image = NDArray[np.uint8]
Float = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class NmsOptions:
    """Which candidates become detections.

    Attributes:
        conf: lowest score of a class.
        iou: overlap above which the box of the lower score is dropped.
        max_det: the most detections of an image.
        classes: the classes to keep; None keeps all.
        agnostic_nms: boxes of different classes suppress one another too.
        multi_label: a candidate becomes a detection of every class with a score above `conf`, not only of its best.
        rules: the switch `class_offset` is used.
    """

    conf: float = 0.25
    iou: float = 0.7
    max_det: int = 300
    classes: tuple[int, ...] | None = None
    agnostic_nms: bool = False
    multi_label: bool = False
    rules: Rules = DEFAULT


@dataclass(frozen=True, kw_only=True)
class DetectOptions(NmsOptions):
    """How `detect` letterboxes images and chooses detections.

    Attributes:
        imgsz: long side of the network's input, or (H, W); None is the model's own size.
        rect: pad each image to multiples of the stride only, not to `imgsz`.
        rules: `class_offset`, `nominal_gain`, `square_if_mixed` and `zero_unsure` are used.
    """

    imgsz: int | tuple[int, int] | None = None
    rect: bool = True


@dataclass(frozen=True)
class Detections:
    """The instances found in one image: `boxes` (N, 6) x1 y1 x2 y2 score class and `keypoints` (N, K, D).

    Coordinates are pixels of the image and lie within it. `speed` is in milliseconds, `shape` (1, 3, H, W) that of the
    input of the network.
    """

    boxes: Float
    keypoints: Float
    speed: dict[str, float]
    shape: tuple[int, int, int, int]


def detect(
    backend: Backend,
    images: Sequence[Image],
    options: DetectOptions,
    *,
    letterboxes: Sequence[Letterbox] | None = None,
    observe: Callable[[Maps, list[int]], None] | None = None,
) -> list[Detections]:
    """Find the instances in (H, W, 3) BGR images; the only inference loop of the project.

    Images of equal canvas run together. Each gets its own smallest canvas unless `letterboxes` are given, so that a
    result does not depend on its neighbours. `observe` is called with the raw maps of every run and the positions of
    its images; only a torch backend has them.
    """
    if letterboxes is None:
        letterboxes = letterboxes_for(backend, [(image.shape[0], image.shape[1]) for image in images], options)
    groups: dict[tuple[int, int], list[int]] = {}  # canvas: positions of its images
    for i, box in enumerate(letterboxes):
        groups.setdefault(box.canvas, []).append(i)
    found: dict[int, Detections] = {}
    for canvas, positions in groups.items():
        start = time.perf_counter()
        boxes = [letterboxes[i] for i in positions]
        batch = np.empty((len(positions), *canvas, 3), np.uint8)
        for i, box, out in zip(positions, boxes, batch, strict=True):
            box.image(images[i], out=out)
        middle = time.perf_counter()
        rows = _run(backend, batch, positions, options.conf, observe)
        end = time.perf_counter()
        found |= zip(positions, _detections(backend, rows, boxes, options), strict=True)
        times = np.diff([start, middle, end, time.perf_counter()]) * 1e3 / len(positions)
        for i in positions:
            found[i].speed.update(zip(("preprocess", "inference", "postprocess"), times.tolist(), strict=True))
    return [found[i] for i in range(len(images))]


def letterboxes_for(backend: Backend, sizes: Sequence[tuple[int, int]], options: DetectOptions) -> list[Letterbox]:
    """The letterbox of each image (H, W): its own multiple of the stride, or the one size that the file takes.

    With the rule `square_if_mixed` images of unequal size in one call are all padded to the full input size.
    """
    stride, fixed, rules = backend.info.stride, backend.fixed_shape, options.rules
    imgsz = fixed[1:] if fixed else backend.info.input_size(options.imgsz)
    rect = options.rect and not fixed and (not rules.square_if_mixed or len(set(sizes)) == 1)
    return [fit(hw, imgsz, stride=stride, rect=rect, rules=rules) for hw in sizes]


def unscaled_letterbox(backend: Backend, source: tuple[int, int]) -> Letterbox:
    """The letterbox that leaves an image (H, W) as it is.

    Raises:
        UsageError: the network, or the file, does not take that size.
    """
    (h, w), stride, fixed = source, backend.info.stride, backend.fixed_shape
    if fixed and source != fixed[1:]:
        raise UsageError(f"a tensor of {h}x{w} runs as it is: this file takes {fixed[1]}x{fixed[2]} only; resize it")
    if h % stride or w % stride:
        raise UsageError(
            f"a tensor of {h}x{w} runs as it is: both sides must be multiples of the stride {stride}; "
            "resize or pad it, or pass a NumPy array, which is letterboxed"
        )
    return fit(source, source, stride=stride)


def _run(
    backend: Backend,
    batch: Image,
    positions: list[int],
    conf: float,
    observe: Callable[[Maps, list[int]], None] | None,
) -> list[Float]:
    """The candidate rows of each image of a batch; the raw maps go to `observe`."""
    if observe is None:
        return backend.candidates(batch, conf)
    from yolopose.formats.pytorch import TorchBackend

    if not isinstance(backend, TorchBackend):
        raise TypeError("only a torch backend has raw maps to observe")
    output, maps = backend.infer_maps(batch)
    observe(maps, positions)
    return backend.candidates_above(output, conf)


def _detections(
    backend: Backend, rows: Sequence[Float], letterboxes: Sequence[Letterbox], options: DetectOptions
) -> list[Detections]:
    """Candidate rows in canvas pixels → detections in pixels of each image; rows that are not finite are dropped."""
    (k, d), classes = backend.info.kpt_shape, len(backend.info.names)
    out = []
    for candidates, box in zip(rows, letterboxes, strict=True):
        candidates = candidates[(np.abs(candidates) < FAR).all(1)]
        boxes, flat = non_max_suppression(candidates, classes, options)
        boxes[:, :4] = clip_boxes(box.boxes_to_source(boxes[:, :4]), box.bounds)
        points = box.points_to_source(flat.reshape(-1, k, d))
        points[..., :2] = points[..., :2].clip(0, box.bounds[::-1])
        if options.rules.zero_unsure and d == 3:
            points[..., :2] *= points[..., 2:] >= 0.5
        out.append(Detections(boxes, points, {}, (1, 3, *box.canvas)))
    return out


def non_max_suppression(rows: Float, classes: int, options: NmsOptions) -> tuple[Float, Float]:
    """(M, 4+C+K·D) → boxes (N, 6) x1 y1 x2 y2 score class, keypoints (N, K·D); input pixels, best first.

    A candidate belongs to its best class, the lower index among equals. Suppression is per class unless
    `agnostic_nms`; among equal scores the candidate with the lower row wins. There is no time limit.
    """
    if not len(rows):
        return np.empty((0, 6), np.float32), rows[:, 4 + classes :]
    scores = rows[:, 4 : 4 + classes]
    if options.multi_label and classes > 1:
        row, labels = np.nonzero(scores > options.conf)
        rows, best = rows[row], scores[row, labels]
    else:
        labels = scores.argmax(1) if classes > 1 else np.zeros(len(rows), np.intp)
        best = scores[np.arange(len(rows)), labels]
    if options.classes is not None:
        wanted = np.isin(labels, options.classes)
        rows, labels, best = rows[wanted], labels[wanted], best[wanted]
    if len(rows) > MOST_CANDIDATES:
        top = np.argsort(-best, kind="stable")[:MOST_CANDIDATES]
        rows, labels, best = rows[top], labels[top], best[top]
    boxes = compared = cxcywh_to_xyxy(rows[:, :4])
    groups = None if options.agnostic_nms else labels
    if options.rules.class_offset and groups is not None:
        compared, groups = boxes + (labels[:, None] * CLASS_OFFSET).astype(np.float32), None
    kept = nms(compared, best, options.iou, options.max_det, groups)
    out = np.empty((len(kept), 6), np.float32)
    out[:, :4], out[:, 4], out[:, 5] = boxes[kept], best[kept], labels[kept]
    return out, rows[kept, 4 + classes :]
