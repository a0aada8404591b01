"""Files that validation writes image by image: predictions.json, label files and sample pictures."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from yolopose.draw import DrawStyle, SheetTile, mosaic
from yolopose.draw.mosaic import shrunk
from yolopose.evaluate.sample import Output, ValidatedImage
from yolopose.files import atomic_path
from yolopose.images.files import write_image
from yolopose.metadata import ModelInfo
from yolopose.results import Results

SHEETS = 3  # pictures of labels, and as many of detections
TILES = 16  # images on one
TILE_SIDE = 640  # pixels kept of an image for it
DRAWN = 0.25  # confidence from which detections are drawn


class PredictionsFile(Output):
    """predictions.json in COCO's result format, written image by image; it gets its name when `stack` is closed.

    An image's id is its file's stem, as a number where it is one; categories count from 1.
    """

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._file = stack.enter_context(stack.enter_context(atomic_path(path)).open("w", encoding="utf-8"))
        self._separator = "["

    def add(self, sample: ValidatedImage) -> None:
        """Write one image's rows."""
        stem = sample.item.path.stem
        image_id = int(stem) if stem.isascii() and stem.isdecimal() else stem
        boxes, points = sample.found.boxes.astype(np.float64), sample.found.keypoints.astype(np.float64)
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


class LabelFiles(Output):
    """A label file of detections per image, in the format of the data set's own."""

    def __init__(self, folder: Path, info: ModelInfo, save_conf: bool) -> None:
        self.folder, self.info, self.save_conf = folder, info, save_conf
        folder.mkdir(parents=True, exist_ok=True)
        self._written: set[Path] = set()

    def add(self, sample: ValidatedImage) -> None:
        """Write one image's file, none where nothing was found; further images of a name as name-2 and so on."""
        path, found = sample.item.path, sample.found
        target, number = self.folder / f"{path.stem}.txt", 1
        while target in self._written:
            number += 1
            target = self.folder / f"{path.stem}-{number}.txt"
        self._written.add(target)
        result = Results(None, path, self.info.names, found.boxes, found.keypoints, orig_shape=sample.item.hw,
                         layout=self.info.layout)  # fmt: skip
        target.unlink(missing_ok=True)
        result.save_txt(target, save_conf=self.save_conf)


class Pictures(Output):
    """val_batch0–2_labels.jpg and _pred.jpg: the data set's first images, as labelled and as found."""

    def __init__(self, folder: Path, info: ModelInfo, batch: int) -> None:
        self.folder, self.info = folder, info
        self.tiles = min(batch, TILES)
        self._kept: dict[int, tuple[SheetTile, SheetTile]] = {}

    def add(self, sample: ValidatedImage) -> None:
        """Keep the image, small, if it is one of the first."""
        if sample.position >= SHEETS * self.tiles:
            return
        gain = min(1.0, TILE_SIDE / max(sample.item.hw))
        name, truth = sample.item.path.name, sample.truth
        rows = np.column_stack([truth.boxes, np.ones(len(truth.boxes)), truth.classes]).astype(np.float32)
        sure = sample.found.boxes[:, 4] >= DRAWN
        labelled = SheetTile(sample.image, rows, truth.keypoints.astype(np.float32), name)
        found = SheetTile(sample.image, sample.found.boxes[sure], sample.found.keypoints[sure], name)
        self._kept[sample.position] = (shrunk(labelled, gain), shrunk(found, gain))

    def finish(self) -> None:
        """Draw the sheets."""
        positions = sorted(self._kept)
        for sheet, start in enumerate(range(0, len(positions), self.tiles)):
            part = [self._kept[i] for i in positions[start : start + self.tiles]]
            for which, name in enumerate(("labels", "pred")):
                tiles = [pair[which] for pair in part]
                picture = mosaic(tiles, self.info.layout, self.info.names, DrawStyle(conf=which == 1))
                write_image(picture, self.folder / f"val_batch{sheet}_{name}.jpg")
