"""What a validation keeps image by image: predictions.json, label files, sample pictures, arrays for COCO's rule."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from yolopose.config import ValConfig
from yolopose.data.labels import ImageItem
from yolopose.detect import Detections
from yolopose.draw import DrawStyle, Tile, mosaic
from yolopose.draw.mosaic import shrunk
from yolopose.evaluate.coco import PROTOCOLS, Instances
from yolopose.evaluate.precision import Truth
from yolopose.files import atomic_path, write_bytes
from yolopose.geometry.keypoints import BODY_AREA
from yolopose.images import encode_jpeg
from yolopose.metadata import ModelInfo
from yolopose.results import Results

Array = NDArray[Any]
SHEETS = 3  # pictures of labels, and as many of detections
TILES = 16  # images on one
TILE_SIDE = 640  # pixels kept of an image for it
DRAWN = 0.25  # confidence from which detections are drawn


@dataclass(frozen=True)
class Seen:
    """One validated image: where it stands in the data set, its truths and what was found."""

    position: int
    item: ImageItem
    image: NDArray[np.uint8]
    truth: Truth
    found: Detections


class Output(Protocol):
    """Is told of every image once, in no particular order, and finishes at the end."""

    def add(self, seen: Seen) -> None:
        """Take note of one image."""
        ...

    def finish(self) -> None:
        """Complete what is written."""
        ...


def files(folder: Path | None, config: ValConfig, info: ModelInfo, stack: ExitStack) -> list[Output]:
    """What `config` asks to be written into `folder`; `stack` completes it, or removes it after an error."""
    if folder is None:
        return []
    out: list[Output] = [PredictionsFile(folder / "predictions.json", stack)] if config.save_json else []
    if config.save_txt:
        out.append(LabelFiles(folder / "labels", info, config.save_conf))
    if config.plots:
        out.append(Pictures(folder, info, config.batch))
    return out


class PredictionsFile:
    """predictions.json in COCO's result format, written as it comes; it gets its name when `stack` is closed.

    An image's id is its file's stem, as a number where it is one; categories count from 1.
    """

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._file = stack.enter_context(stack.enter_context(atomic_path(path)).open("w", encoding="utf-8"))
        self._separator = "["

    def add(self, seen: Seen) -> None:
        """Write one image's rows."""
        stem = seen.item.path.stem
        image_id = int(stem) if stem.isascii() and stem.isdecimal() else stem
        boxes, points = seen.found.boxes.astype(np.float64), seen.found.keypoints.astype(np.float64)
        if points.shape[2] == 2:
            points = np.concatenate([points, np.ones((*points.shape[:2], 1))], 2)
        for (x1, y1, x2, y2, conf, cls), keypoints in zip(boxes.tolist(), points, strict=True):
            row = {
                "image_id": image_id,
                "category_id": int(cls) + 1,
                "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
                "keypoints": [round(v, 3) for v in keypoints.ravel().tolist()],
                "score": round(conf, 5),
            }
            self._file.write(f"{self._separator}{json.dumps(row)}")
            self._separator = ",\n"

    def finish(self) -> None:
        """Close the list."""
        self._file.write("]" if self._separator != "[" else "[]")


class LabelFiles:
    """A label file of detections per image, in the format of the data set's own."""

    def __init__(self, folder: Path, info: ModelInfo, save_conf: bool) -> None:
        self.folder, self.info, self.save_conf = folder, info, save_conf
        folder.mkdir(parents=True, exist_ok=True)
        self._written: set[Path] = set()

    def add(self, seen: Seen) -> None:
        """Write one image's file, none where nothing was found; further images of a name as name-2 and so on."""
        path, found = seen.item.path, seen.found
        target, number = self.folder / f"{path.stem}.txt", 1
        while target in self._written:
            number += 1
            target = self.folder / f"{path.stem}-{number}.txt"
        self._written.add(target)
        result = Results(None, path, self.info.names, found.boxes, found.keypoints, orig_shape=seen.item.hw,
                         layout=self.info.layout)  # fmt: skip
        target.unlink(missing_ok=True)
        result.save_txt(target, save_conf=self.save_conf)

    def finish(self) -> None:
        """Nothing is left to do."""


class Pictures:
    """val_batch0–2_labels.jpg and _pred.jpg: the data set's first images, as labelled and as found."""

    def __init__(self, folder: Path, info: ModelInfo, batch: int) -> None:
        self.folder, self.info = folder, info
        self.tiles = min(batch, TILES)
        self._kept: dict[int, tuple[Tile, Tile]] = {}

    def add(self, seen: Seen) -> None:
        """Keep the image, small, if it is one of the first."""
        if seen.position >= SHEETS * self.tiles:
            return
        gain = min(1.0, TILE_SIDE / max(seen.item.hw))
        name, truth = seen.item.path.name, seen.truth
        rows = np.ones((len(truth.classes), 6), np.float32)
        rows[:, :4], rows[:, 5] = truth.boxes, truth.classes
        sure = seen.found.boxes[:, 4] >= DRAWN
        labelled = Tile(seen.image, rows, truth.keypoints.astype(np.float32), name)
        found = Tile(seen.image, seen.found.boxes[sure], seen.found.keypoints[sure], name)
        self._kept[seen.position] = (shrunk(labelled, gain), shrunk(found, gain))

    def finish(self) -> None:
        """Draw the sheets."""
        positions = sorted(self._kept)
        for sheet, start in enumerate(range(0, len(positions), self.tiles)):
            part = [self._kept[i] for i in positions[start : start + self.tiles]]
            for which, name in enumerate(("labels", "pred")):
                tiles = [pair[which] for pair in part]
                picture = mosaic(tiles, self.info.layout, self.info.names, DrawStyle(conf=which == 1))
                write_bytes(self.folder / f"val_batch{sheet}_{name}.jpg", encode_jpeg(picture))


class CocoSets:
    """Truths and detections of all images for `evaluate.coco`; of detections the best that COCO's rule looks at.

    Truths come from COCO annotations where these are given, otherwise from the labels: an instance's area is then
    BODY_AREA times its box's, and there are no crowds.
    """

    def __init__(self, annotated: Instances | None = None) -> None:
        self.annotated = annotated
        self._truths: list[Instances] = []
        self._found: list[Instances] = []

    def add(self, seen: Seen) -> None:
        """Take over one image's arrays."""
        truth, boxes = seen.truth, seen.found.boxes
        self._truths.append(_instances(seen.position, truth.classes, truth.boxes, truth.keypoints, BODY_AREA))
        rank = np.zeros(len(boxes), int)
        for cls in np.unique(boxes[:, 5]):
            mine = boxes[:, 5] == cls
            rank[mine] = np.arange(mine.sum())
        keep = rank < PROTOCOLS["bbox"].most[-1]
        rows = _instances(seen.position, boxes[keep, 5], boxes[keep, :4], seen.found.keypoints[keep], 1.0)
        self._found.append(Instances(**{**vars(rows), "score": boxes[keep, 4]}))

    def finish(self) -> None:
        """Nothing is left to do."""

    def sets(self) -> tuple[Instances, Instances]:
        """All truths, all detections."""
        truths = _joined(self._truths) if self.annotated is None else self.annotated
        return truths, _joined(self._found)


def _instances(position: int, classes: Array, corners: Array, keypoints: Array, area: float) -> Instances:
    """Rows of one image in COCO's form from (N,), (N, 4) xyxy and (N, K, D); `area` is a share of the box's."""
    n, boxes = len(classes), corners.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return Instances(
        image=np.full(n, position),
        category=classes.astype(int),
        boxes=boxes,
        area=area * boxes[:, 2] * boxes[:, 3],
        keypoints=keypoints if keypoints.shape[2] == 3 else np.pad(keypoints, ((0, 0), (0, 0), (0, 1))),
        labelled=(keypoints[..., 2:] > 0).any(-1).sum(1),
        score=np.ones(n),
        crowd=np.zeros(n, bool),
        unseen=np.zeros(n, bool),
    )


def _joined(parts: list[Instances]) -> Instances:
    """One after the other."""
    return Instances(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})
