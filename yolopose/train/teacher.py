"""A teacher: a trained network that labels what is not labelled in the batches of a training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from yolopose import weights
from yolopose.console import log
from yolopose.data.batch import Batch
from yolopose.data.labels import ImageItem
from yolopose.data.rows import Labels
from yolopose.detect import Detections, NmsOptions, non_max_suppression
from yolopose.errors import PoseError, UsageError, one_line
from yolopose.files import digest
from yolopose.formats.base import Backend, OpenOptions
from yolopose.formats.pytorch import TorchBackend, load_network
from yolopose.geometry.boxes import clip_boxes
from yolopose.label import as_labels
from yolopose.label.merge import LabelOptions, merge
from yolopose.metadata import ModelInfo


class Teacher:
    """Adds its detections to the truths of batches (pseudo-labels, made anew in each augmented image).

    - Keypoints: a truth without any labelled keypoint gets those of a confident detection of it, in every image.
    - Boxes, in partly labelled images alone: a confident detection that overlaps no truth becomes one, an uncertain one
      a box to ignore. With the teacher's word on every place, the rest of such an image is background again.

    Nothing that is labelled changes. The thresholds are those of `LabelOptions`. `checksum` is the file's SHA-256.
    """

    def __init__(self, backend: Backend, classes: tuple[int, ...] | None, checksum: str) -> None:
        self.backend, self.checksum = backend, checksum
        self.options = LabelOptions()
        self._nms = NmsOptions(conf=self.options.unsure, classes=classes)

    def complete(self, batch: Batch) -> Batch:
        """The batch, which is on the CPU, with what the teacher adds."""
        images = np.ascontiguousarray(batch.images.permute(0, 2, 3, 1).numpy()[..., ::-1])  # (B, H, W, 3) BGR
        candidates = self.backend.candidates(images, self.options.unsure)
        own = _labels_of(batch)
        hw = images.shape[1], images.shape[2]
        return _with_labels(batch, [self._merged(one, rows, hw) for one, rows in zip(own, candidates, strict=True)])

    def _merged(self, own: Labels, candidates: np.ndarray, hw: tuple[int, int]) -> Labels:
        """The labels of one image of (H, W) pixels with what is found in it; `own.ignore` has cxcywh boxes."""
        boxes, points = non_max_suppression(candidates, len(self.backend.info.names), self._nms)
        boxes[:, :4] = clip_boxes(boxes[:, :4], hw)
        points = points.reshape(-1, *self.backend.info.kpt_shape)
        found, scores = as_labels(Detections(boxes, points, {}, (1, 3, *hw)), hw)
        outside = ((found.keypoints[..., :2] < 0) | (found.keypoints[..., :2] > 1)).any(-1)
        found.keypoints[outside, 2] = 0
        sure = scores >= self.options.conf
        labels, _ = merge(own, found.keep(sure), scores[sure], replace(self.options, what="points"))
        regions = own.ignore[own.ignore[:, 4] > 0]
        away = np.abs(found.boxes[:, None, :2] - regions[:, :2]) <= regions[:, 2:4] / 2  # (N, M, 2)
        within = away.all(-1).any(1)
        labels, _ = merge(labels, found.keep(within), scores[within], self.options)
        return replace(labels, ignore=labels.ignore[labels.ignore[:, 4] == 0])


def open_teacher(
    name: str, info: ModelInfo, options: OpenOptions, *, classes: tuple[int, ...] | None, single_cls: bool
) -> Teacher:
    """The teacher in a checkpoint, for a network of `info`.

    Raises:
        UsageError: the file is no checkpoint.
        PoseError: it cannot be read, or has other classes or keypoints than the network.
    """
    path = weights.find(name)
    if Path(name).suffix not in ("", ".pt"):
        raise UsageError(f"teacher={one_line(name)}: must be a checkpoint (.pt) or the name of a bundled model")
    network = load_network(path)
    if network.info.kpt_shape != info.kpt_shape:
        shapes = f"kpt_shape is {list(network.info.kpt_shape)}, the data set's {list(info.kpt_shape)}"
        raise PoseError(f"teacher={one_line(name)}: {shapes}; it must be the same")
    ours, theirs = list(info.names.values()), list(network.info.names.values())
    if ours != theirs and not (single_cls and len(theirs) == len(ours)):
        both = f"its classes are {one_line(', '.join(theirs))[:200]}, the data set's {one_line(', '.join(ours))[:200]}"
        raise PoseError(f"teacher={one_line(name)}: {both}; they must be the same")
    return Teacher(TorchBackend(network, options, shared=False), classes, digest(path))


def log_task(teacher: Teacher, name: str, items: Iterable[ImageItem]) -> None:
    """Log what there is to do for the teacher; a warning if nothing is."""
    partial = bare = 0
    for item in items:
        partial += bool((item.labels.ignore[:, 4] > 0).any())
        bare += int((~(item.labels.keypoints[..., 2] > 0).any(1)).sum())
    if partial or bare:
        log.info(f"teacher: {name} completes {partial} partly labelled images, and {bare} instances without keypoints")
    else:
        log.warning(
            f"teacher={name}: nothing to add: every instance has keypoints, and no image is partial (docs/data.md)"
        )


def _labels_of(batch: Batch) -> list[Labels]:
    """The truths of each image of a batch, normalised by it."""
    index, classes, boxes, keypoints = (
        tensor.numpy() for tensor in (batch.image_index, batch.classes, batch.boxes, batch.keypoints)
    )
    ignore = np.empty((0, 6), np.float32) if batch.ignore is None else batch.ignore.numpy()
    corners = ignore[:, 1:5]
    rows = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2], ignore[:, 5:]], 1)
    return [
        Labels(classes[index == i], boxes[index == i], keypoints[index == i], rows[ignore[:, 0] == i])
        for i in range(len(batch))
    ]


def _with_labels(batch: Batch, labels: list[Labels]) -> Batch:
    """The batch with other truths."""
    ignore = []
    for i, one in enumerate(labels):
        half = one.ignore[:, 2:4] / 2
        corners = np.concatenate([one.ignore[:, :2] - half, one.ignore[:, :2] + half, one.ignore[:, 4:]], 1)
        ignore.append(np.insert(corners, 0, i, axis=1))
    rows = np.concatenate(ignore).astype(np.float32)
    return replace(
        batch,
        image_index=torch.from_numpy(np.repeat(np.arange(len(labels)), [len(one) for one in labels])),
        classes=torch.from_numpy(np.concatenate([one.classes for one in labels])),
        boxes=torch.from_numpy(np.concatenate([one.boxes for one in labels])),
        keypoints=torch.from_numpy(np.concatenate([one.keypoints for one in labels])),
        ignore=torch.from_numpy(rows) if len(rows) else None,
    )
