"""COCO's figures in validation, and its JSON: annotations and results as arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.console import log
from yolopose.data.labels import ImageItem
from yolopose.data.spec import DataSpec
from yolopose.errors import PoseError
from yolopose.evaluate.coco import KINDS, Instances, evaluate
from yolopose.evaluate.sample import Measure, ValidatedImage
from yolopose.geometry.boxes import cxcywh_to_xyxy
from yolopose.geometry.keypoints import BODY_AREA

Array = NDArray[Any]


class CocoMeasure(Measure):
    """COCO's figures for boxes and keypoints, from the best detections of each image that its rule looks at.

    Truths come from COCO annotations where these are given, otherwise from the labels: an instance's area is then
    BODY_AREA times its box's, and the boxes to ignore are crowds of every class.
    """

    name = "coco"

    def __init__(self, annotated: Instances | None, sigmas: Sequence[float], classes: Sequence[int]) -> None:
        self.annotated, self.sigmas, self.classes = annotated, sigmas, classes
        self._truths: list[Instances] = []
        self._found: list[Instances] = []

    def add(self, sample: ValidatedImage) -> None:
        """Keep the arrays of one image."""
        truth, boxes = sample.truth, sample.found.boxes
        self._truths.append(_of_image(sample.position, truth.classes, truth.boxes, truth.keypoints, BODY_AREA))
        if len(sample.item.labels.ignore) and self.annotated is None:
            self._truths.append(_crowds(sample, self.classes))
        rank = np.zeros(len(boxes), int)
        for cls in np.unique(boxes[:, 5]):
            mine = boxes[:, 5] == cls
            rank[mine] = np.arange(mine.sum())
        keep = rank < KINDS["bbox"].max_dets[-1]
        found = _of_image(sample.position, boxes[keep, 5], boxes[keep, :4], sample.found.keypoints[keep], 1.0)
        self._found.append(replace(found, score=boxes[keep, 4]))

    def figures(self) -> dict[str, Any]:
        """AP, AR and so on, see `coco.evaluate`, of "bbox" and "keypoints"."""
        truths = _joined(self._truths) if self.annotated is None else self.annotated
        found = _joined(self._found)
        return {kind: evaluate(truths, found, kind, self.sigmas) for kind in ("bbox", "keypoints")}


def truths_of(annotations: Mapping[str, Any]) -> Instances:
    """The annotations of the images that a COCO annotation file lists."""
    known = {image["id"] for image in annotations["images"]}
    rows = [row for row in annotations["annotations"] if row["image_id"] in known]
    boxes, keypoints = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4), keypoints_of(rows)
    box_area = BODY_AREA * boxes[:, 2] * boxes[:, 3]
    marked = (keypoints[..., 2] > 0).sum(1)
    return Instances.of(
        np.array([row["image_id"] for row in rows], dtype=None if rows else int),
        np.array([row["category_id"] for row in rows], int),
        boxes,
        np.array([row.get("area", guess) for row, guess in zip(rows, box_area, strict=True)], np.float64),
        keypoints,
        labelled=np.array([row.get("num_keypoints", n) for row, n in zip(rows, marked, strict=True)], int),
        crowd=np.array([bool(row.get("iscrowd", 0)) for row in rows], bool),
        zero_id=np.array([row.get("id") == 0 for row in rows], bool),
    )


def keypoints_of(rows: Sequence[Mapping[str, Any]]) -> Array:
    """(N, K, 3) keypoints of COCO annotations or results; K = 0 where they have none."""
    points = [row.get("keypoints", ()) for row in rows]
    return np.array(points, np.float64).reshape(len(rows), len(points[0]) // 3 if rows else 0, 3)


def annotated_truths(
    spec: DataSpec,
    split: str,
    items: Sequence[ImageItem],
    names: Mapping[int, str],
    classes: Sequence[int] | None,
    single_cls: bool,
) -> Instances | None:
    """The truths of these images in the COCO file that the data YAML names for their split; None when it names none.

    Only those of `classes`, if given; with `single_cls` all are of class 0.

    Raises:
        PoseError: the file does not fit the data set.
    """
    file = spec.annotations.get(split)
    if file is None:
        return None
    if not file.is_file():
        log.warning(f"{spec.yaml}: annotations: {file} does not exist; areas are taken from the labels' boxes")
        return None
    truths = truths_for(file, [item.path for item in items], names)
    if classes is not None:
        truths = truths[np.isin(truths.category, classes)]
    return replace(truths, category=np.zeros_like(truths.category)) if single_cls else truths


def truths_for(file: Path, images: Sequence[Path], names: Mapping[int, str]) -> Instances:
    """The annotations in a COCO file of these images and classes; ids become positions in `images` and class numbers.

    Images are identified by their file names without suffix.

    Raises:
        PoseError: no such annotations, or an image or all classes are missing in them.
    """
    try:
        annotations = json.loads(file.read_text(encoding="utf-8"))
        stems = {Path(image["file_name"]).stem: image["id"] for image in annotations["images"]}
        classes = {category["id"]: category["name"] for category in annotations["categories"]}
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise PoseError(f"{file}: not readable as COCO annotations: {type(e).__name__} {e}") from None
    if missing := next((image for image in images if image.stem not in stems), None):
        raise PoseError(f"{file}: does not list the image {missing.name}")
    numbers = {name: number for number, name in names.items()}
    if not set(numbers) & set(classes.values()):
        raise PoseError(f"{file}: has the categories {sorted(classes.values())}, none of {sorted(numbers)}")
    places = {stems[image.stem]: place for place, image in enumerate(images)}
    rows = [
        row | {"image_id": places[row["image_id"]], "category_id": numbers[classes[row["category_id"]]]}
        for row in annotations["annotations"]
        if row["image_id"] in places and classes[row["category_id"]] in numbers
    ]
    return truths_of({"images": [{"id": place} for place in places.values()], "annotations": rows})


def _of_image(position: int, classes: Array, corners: Array, keypoints: Array, area: float) -> Instances:
    """Instances of one image from (N,), (N, 4) xyxy and (N, K, D); `area` is a share of the box's."""
    boxes = corners.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    keypoints = keypoints if keypoints.shape[2] == 3 else np.pad(keypoints, ((0, 0), (0, 0), (0, 1)))
    areas = area * boxes[:, 2] * boxes[:, 3]
    return Instances.of(np.full(len(classes), position), classes.astype(int), boxes, areas, keypoints)


def _crowds(sample: ValidatedImage, classes: Sequence[int]) -> Instances:
    """The boxes to ignore of an image as crowds, one for each class."""
    ignore = sample.item.labels.ignore
    h, w = sample.item.hw
    boxes = cxcywh_to_xyxy(ignore[ignore[:, 4] == 0, :4].astype(np.float64)) * (w, h, w, h)
    number = np.repeat(np.array(classes, int), len(boxes))
    boxes = np.tile(boxes, (len(classes), 1))
    points = np.zeros((len(boxes), sample.truth.keypoints.shape[1], 3))
    found = _of_image(sample.position, number, boxes, points, BODY_AREA)
    return replace(found, crowd=np.ones(len(boxes), bool))


def _joined(parts: list[Instances]) -> Instances:
    """One after the other."""
    return Instances(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})
