"""What a validation of a face model keeps image by image: WIDER FACE's figures and files, landmark errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from yolopose.config import ValConfig
from yolopose.config import replace as change
from yolopose.console import log
from yolopose.errors import PoseError, UsageError
from yolopose.evaluate import landmarks, widerface
from yolopose.evaluate.landmarks import Faces, LandmarkErrors
from yolopose.evaluate.widerface import Photo, Score
from yolopose.evaluate.writers import Output, Seen
from yolopose.files import write_text
from yolopose.metadata import ModelInfo

DECIMALS, SCORE_DECIMALS = 2, 6  # of pixels and scores in prediction files; figures are of what the files say
WIDER_RULES = {"iou": 0.6, "max_det": 1000}  # customary for WIDER FACE: its images hold up to 2,000 faces


class FaceOutput(Output, Protocol):
    """An output with figures at the end; `name` is the metric's."""

    name: str

    def figures(self) -> dict[str, Any]:
        """Everything measured, in JSON types."""
        ...

    def lines(self) -> list[str]:
        """The figures as printed."""
        ...

    def draw(self, folder: Path) -> None:
        """Write the plots."""
        ...


def protocol(config: ValConfig) -> ValConfig:
    """With metric=widerface its customary iou and max_det, unless the user gave others.

    Raises:
        UsageError: no ground truth is named.
    """
    if config.metric != "widerface":
        return config
    if config.gt is None:
        raise UsageError("gt is missing: metric=widerface needs gt=FOLDER of the ground truth .mat files")
    return change(config, **{name: value for name, value in WIDER_RULES.items() if name not in config.given})


def measures(config: ValConfig, info: ModelInfo) -> list[FaceOutput]:
    """What `config.metric` asks for besides precision, recall and mAP.

    Raises:
        PoseError: the ground truth cannot be read, or the model's layout has no eyes.
    """
    if config.metric == "widerface":
        return [WiderFaces(widerface.read_truth(str(config.gt)))]
    return [Landmarks(info)] if config.metric == "landmarks" else []


def files(folder: Path | None, config: ValConfig, measures: Sequence[FaceOutput]) -> list[Output]:
    """WIDER FACE's prediction files in `folder`/widerface, when asked for."""
    if folder is None or not config.save_widerface:
        return []
    events = next((m.events for m in measures if isinstance(m, WiderFaces)), {})
    return [WiderFiles(folder / "widerface", events)]


def official_rows(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """(N, 6) x1 y1 x2 y2 score class → (N, 5) x y w h score, rounded as they are written."""
    rows = np.empty((len(boxes), 5))
    corners = boxes[:, :4].astype(np.float64)
    rows[:, :2], rows[:, 2:4] = corners[:, :2], corners[:, 2:] - corners[:, :2]
    rows[:, :4], rows[:, 4] = rows[:, :4].round(DECIMALS), boxes[:, 4].astype(np.float64).round(SCORE_DECIMALS)
    return rows


class WiderFaces:
    """Easy, medium and hard of the images that are WIDER FACE's, told by file name."""

    name = "widerface"

    def __init__(self, truth: list[Photo]) -> None:
        self.events = {photo.name: photo.event for photo in truth}
        self._truth = {photo.name: photo for photo in truth}
        self._found: dict[str, NDArray[np.float64]] = {}
        self._foreign = 0
        self._resized: list[Path] = []
        self._scores: dict[str, Score] = {}

    def add(self, seen: Seen) -> None:
        """Keep the detections of an official image; look whether it has its official size."""
        photo = self._truth.get(seen.item.path.stem)
        if photo is None:
            self._foreign += 1
            return
        self._found[photo.name] = official_rows(seen.found.boxes)
        h, w = seen.item.hw
        if (photo.faces[:, :2] + photo.faces[:, 2:] / 2 > (w, h)).any():  # a face's centre
            self._resized.append(seen.item.path)

    def finish(self) -> None:
        """Evaluate. Raises PoseError when no image is an official one."""
        if not self._found:
            raise PoseError("metric=widerface: none of the images is one of WIDER FACE's validation set, by file name")
        if self._resized:
            log.warning(
                f"{self._resized[0]}: a face of the ground truth lies outside it, as in {len(self._resized)} of "
                f"{len(self._found)} images: WIDER FACE's images must have their official size"
            )
        self._scores = widerface.evaluate([self._truth[name] for name in self._found], self._found)

    def figures(self) -> dict[str, Any]:
        """AP and faces by setting, images evaluated and left out."""
        settings = {name: {"ap": score.ap, "faces": score.faces} for name, score in self._scores.items()}
        return settings | {"images": len(self._found), "images_left_out": self._foreign}

    def lines(self) -> list[str]:
        """One line."""
        rest = f", {self._foreign} others left out" if self._foreign else ""
        return [f"{widerface.describe(self._scores)}; {len(self._found)} official images{rest}"]

    def draw(self, folder: Path) -> None:
        """Nothing to draw."""


class WiderFiles:
    """A prediction file per image in WIDER FACE's form, `EVENT/NAME.txt`; the event is the image's folder."""

    def __init__(self, folder: Path, events: dict[str, str]) -> None:
        self.folder, self.events = folder, events

    def add(self, seen: Seen) -> None:
        """Write one file."""
        path, rows = seen.item.path, official_rows(seen.found.boxes)
        file = self.folder / self.events.get(path.stem, path.parent.name) / f"{path.stem}.txt"
        body = "".join(f"{x:.2f} {y:.2f} {w:.2f} {h:.2f} {score:.6f}\n" for x, y, w, h, score in rows.tolist())
        write_text(file, f"{path.stem}\n{len(rows)}\n{body}")

    def finish(self) -> None:
        """Nothing is left to do."""


class Landmarks:
    """Landmark errors of all labelled faces."""

    name = "landmarks"

    def __init__(self, info: ModelInfo) -> None:
        self._errors = LandmarkErrors(info.layout)
        self._faces: Faces = self._errors.faces()
        self._summary: dict[str, Any] = {}

    def add(self, seen: Seen) -> None:
        """Measure the faces of one image."""
        self._errors.add(seen.truth, seen.found.boxes, seen.found.keypoints)

    def finish(self) -> None:
        """Add up. Raises PoseError when no face has a labelled landmark."""
        self._faces = self._errors.faces()
        if not len(self._faces.size):
            raise PoseError("metric=landmarks: no face of these images has a labelled landmark")
        self._summary = landmarks.summarise(self._faces, self._errors.names)

    def figures(self) -> dict[str, Any]:
        """See `landmarks.summarise`."""
        return self._summary

    def lines(self) -> list[str]:
        """Tables of means, by landmark and by face size."""
        return list(landmarks.lines(self._summary))

    def draw(self, folder: Path) -> None:
        """landmarks_curve.png."""
        from yolopose.plots.curves import plot_cumulative

        words = {"interocular": "by interocular distance", "size": "by √(w·h) of the box"}
        notes = {}
        for norm, word in words.items():
            row = self._summary[norm]
            mean = "-" if row["nme"] is None else f"{row['nme']:.4f}"
            notes[norm] = f"{word}: mean {mean} of the faces found, {self._summary['detection_rate']:.1%} found"
        plot_cumulative({norm: self._faces.nme(norm) for norm in words}, notes, folder / "landmarks_curve.png")
