"""Pseudo-labels: what a model finds in photographs as a data set, or as an addition to a labelled one."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolopose.config import LabelConfig, pick
from yolopose.console import log, progress
from yolopose.data.labels import ImageItem, scan
from yolopose.data.rows import Labels, no_labels
from yolopose.data.spec import DataSpec, load_data
from yolopose.detect import Detections
from yolopose.errors import PoseError, UsageError, one_line, printable
from yolopose.files import digest, write_text
from yolopose.formats.base import Backend
from yolopose.geometry.boxes import xyxy_to_cxcywh
from yolopose.images import read_image
from yolopose.label.merge import LabelOptions, merge
from yolopose.label.write import BY_MODEL, Labelled, check_free, plan, write_data_set
from yolopose.metadata import ModelInfo
from yolopose.sources import SourceOptions, open_source
from yolopose.tiling import TileOptions, find
from yolopose.version import __version__

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Photograph:
    """An image file, its pixels (H, W, 3) BGR and its labels."""

    path: Path
    image: Image
    labels: Labels


def make_labels(backend: Backend, config: LabelConfig, model: Path | None) -> Path:
    """Label the photographs of `config.source`, or complete the labels of `config.data`; → the new data.yaml.

    Writes `images` (links, or copies), `labels` with `NAME.ignore.txt` for uncertain detections, data.yaml and
    labels_by_model.json (the model's SHA-256, thresholds, counts) into `config.out`. What is labelled is not changed.
    `model` is the file of the model, None for one that is in memory only.

    Raises:
        UsageError: arguments that do not go together.
        PoseError: a photograph or the data set cannot be read, does not fit the model, or `out` has such files.
    """
    options = pick(LabelOptions, config)
    _check(config, backend.info)
    out, info = Path(str(config.out)), backend.info
    check_free(out, config.exist_ok)
    spec = load_data(config.data, data_dir=config.data_dir) if config.data else None
    if spec is not None:
        check_layout(spec, info)
        if spec.yaml.resolve() == (out / "data.yaml").resolve():
            raise PoseError(f"{spec.yaml} would be overwritten; choose another out")
        plan(out, spec.split(config.split))  # before hours of labelling
    photographs, total = _of_data(spec, config) if spec is not None else _of_source(config, info)
    counts: Counter[str] = Counter()
    labelled: list[Labelled] = []
    found_by = pick(TileOptions, config, conf=min(config.unsure, config.conf))
    found_by.check(backend, config.given)
    with progress(config.verbose, "labelling") as bar:
        while group := list(islice(photographs, config.batch)):
            found = find(backend, [photo.image for photo in group], found_by)
            for photo, one in zip(group, found, strict=True):
                labels, added = merge(photo.labels, *as_labels(one, photo.image.shape), options)
                counts.update(added, images=1)
                labelled.append(Labelled(photo.path, labels))
            bar(len(labelled), total)
    if not labelled:
        raise PoseError(f"source={one_line(config.source)}: no photographs that can be read")
    source = {
        "version": __version__,
        "model": model.name if model else None,
        "sha256": digest(model) if model else None,
    }
    used = {name: getattr(config, name) for name in ("what", "conf", "unsure", "kpt_conf", "iou", "tile", "overlap")}
    completed = {"data": spec.yaml.name, "split": config.split} if spec else {}
    facts = {**source, **used, "imgsz": info.size_for(config.imgsz), **completed, **counts}
    plan(out, [one.path for one in labelled])
    write_text(out / BY_MODEL, json.dumps(facts, indent=1) + "\n")  # first: `exist_ok` asks for it
    file = write_data_set(out, labelled, spec, info, config.split, copy=config.copy, partial=config.what == "points")
    log.info(printable(f"{file}: {_summary(counts)}"))
    return file


def _check(config: LabelConfig, info: ModelInfo) -> None:
    """Raise UsageError for arguments that do not go together, or classes that the model does not have."""
    unknown = next((index for index in config.classes or () if index not in info.names), None)
    if unknown is not None:  # every image would become background
        raise UsageError(f"classes={unknown}: the model has classes 0 to {len(info.names) - 1} only")
    if (config.source is None) == (config.data is None):
        raise UsageError("name what to label: source=PHOTOGRAPHS, or data=DATA.yaml, whose labels are completed")
    if config.what == "points" and config.data is None:
        raise UsageError("what=points adds keypoints to labelled boxes: name their data set with data=")
    if config.unsure > config.conf:
        raise UsageError(f"unsure={config.unsure}: must not be above conf={config.conf}")


def check_layout(spec: DataSpec, info: ModelInfo) -> None:
    """Raise PoseError unless the model has the classes and keypoints of the data set."""
    if spec.layout.shape != info.kpt_shape:
        raise PoseError(f"{spec.yaml}: kpt_shape is {list(spec.layout.shape)}, the model's {list(info.kpt_shape)}")
    if list(spec.names.values()) != list(info.names.values()):
        ours, theirs = (one_line(", ".join(names.values()))[:200] for names in (spec.names, info.names))
        raise PoseError(f"{spec.yaml}: the classes are {ours}, the model's {theirs}")


def _of_data(spec: DataSpec, config: LabelConfig) -> tuple[Iterator[Photograph], int]:
    """The images of a split with their labels, and how many there are."""
    items: Sequence[ImageItem] = scan(spec, config.split, max_pixels=config.max_pixels, verbose=config.verbose).items
    read = (Photograph(i.path, read_image(i.path, max_pixels=config.max_pixels), i.labels) for i in items)
    return read, len(items)


def _of_source(config: LabelConfig, info: ModelInfo) -> tuple[Iterator[Photograph], int | None]:
    """The photographs of a source, without labels, and how many there are if that is known."""
    source = open_source(config.source, SourceOptions(max_pixels=config.max_pixels))
    name = one_line(config.source)
    if source.streams:
        source.close()
        raise PoseError(f"source={name}: is a stream; label takes files of photographs")
    if source.len_hint is None:  # refused before hours of labelling, not when it is that file's turn
        source.close()
        raise PoseError(
            f"source={name}: has videos or addresses; label takes files of photographs (predict save_frames=True makes "
            "some of a video)"
        )

    def photographs() -> Iterator[Photograph]:
        with source:
            for frame in source:
                if frame.error is not None and frame.named:
                    raise PoseError(frame.error)
                if frame.error is not None:
                    log.warning(frame.error)
                    continue
                if frame.kind != "image" or not frame.file or frame.image is None:
                    hint = "predict save_frames=True makes photographs of a video" if frame.kind == "video" else ""
                    raise PoseError(f"{frame.path}: label takes files of photographs{'; ' * bool(hint)}{hint}")
                yield Photograph(Path(os.path.abspath(frame.path)), frame.image, no_labels(info.kpt_shape[0]))

    return photographs(), source.len_hint


def as_labels(found: Detections, shape: Sequence[int]) -> tuple[Labels, NDArray[np.float32]]:
    """Detections of an image of (H, W, …) pixels as labels, with the score of each keypoint as v, and their scores.

    A point without a score counts as certain.
    """
    size = np.array([shape[1], shape[0]], np.float32)
    boxes = xyxy_to_cxcywh(found.boxes[:, :4] / np.tile(size, 2)).astype(np.float32)
    points = found.keypoints
    if points.shape[2] == 2:
        points = np.pad(points, ((0, 0), (0, 0), (0, 1)), constant_values=1)
    points = (points / [*size, 1]).astype(np.float32)
    good = (boxes[:, 2:] > 0).all(1)
    labels = Labels(found.boxes[good, 5].astype(np.int64), boxes[good], points[good])
    return labels, found.boxes[good, 4]


def _summary(counts: Counter[str]) -> str:
    """What was added, in words."""
    return (
        f"{counts['images']} images, by the model: {counts['boxes']} boxes, "
        f"keypoints of {counts['points']} labelled boxes, {counts['ignored']} boxes to ignore"
    )
