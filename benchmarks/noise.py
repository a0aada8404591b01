"""How a detector errs: box and point errors, scores, misses, false positives, and how much of it changes per frame.

    python benchmarks/noise.py --model MODEL --images FOLDER [FOLDER …] [--out benchmarks/detector_noise.json]

`benchmarks/scenes.py` draws the detections of its scenes from the numbers that this script writes. Each FOLDER is
`…/images/NAME` with labels in `…/labels/NAME`, photographs that the model was not trained on. Four measurements:

1. Against the labels: predictions with a score of at least 0.02 are paired with labels, best score first, at IoU of at
   least 0.5. By the size of the instance at the input of the network, √(w·h) in pixels: share found, median and
   deviation of the score's logit, errors of the box's sides over √(w·h). Per photograph: predictions that overlap no
   label by 0.3 (false positives, with their scores and sizes), and second predictions of an instance. Errors of visible
   points over √(w·h).
2. Small steps: the same photograph moved by a fraction of a pixel to 3 pixels, scaled by up to 3 %, and compressed as
   JPEG of quality 60 to 90, as from one frame of a video to the next. The deviation of each instance around its mean.
3. Larger changes: blurred by 3 to 9 pixels, darker or brighter, scaled by up to 20 %, as over a second of a video.
   Both on instances that no other covers, found with a score above 0.25, of at least 32 pixels at the input.
4. Cover: a fraction of an instance that overlaps no other is covered from one side by a piece of another photograph.
   The change of its score's logit, and by how much of the cover the box shrinks.

Deviations are robust: half the distance of the 16th and 84th percentile. A bin of sizes with fewer than 20 instances
found takes the numbers of the next smaller one.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from contenders import HERE
from numpy.typing import NDArray

from yolopose.detect import Detections, DetectOptions, detect
from yolopose.formats.base import Backend, OpenOptions
from yolopose.formats.table import open_backend
from yolopose.geometry.boxes import cxcywh_to_xyxy, iou_matrix
from yolopose.images.files import read_image

Array = NDArray[Any]
IMGSZ = 640
FLOOR = 0.02  # the lowest score looked at
SHOWN = 0.1  # the lowest score that a tracker gets
USUAL = 32  # the least √(w·h) at the input of the network, pixels, of the instances of measurements 2 to 4
SIZES = (0, 12, 24, 48, 96, 192, 10_000)  # bins of √(w·h) at the input of the network, pixels
COVERS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
LEAST = 20  # instances of a bin


@dataclass
class Sample:
    """What one instance of a photograph came to."""

    size: float  # √(w·h) at the input of the network, pixels
    overlap: float  # the largest share of its box that another label covers
    score: float = 0.0  # 0: not found
    sides: Array = field(default_factory=lambda: np.zeros(4))  # errors x1 y1 x2 y2 over √(w·h)
    points: Array = field(default_factory=lambda: np.zeros((0, 2)))  # errors of the visible points over √(w·h)
    doubles: int = 0  # further predictions of the same instance


def logit(score: Array | float) -> Array:
    """The logit of a score, which is kept away from 0 and 1."""
    p = np.clip(score, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(p / (1 - p)))


def spread(values: Array | Sequence[float]) -> float:
    """Half the distance of the 16th and 84th percentile: the standard deviation of a normal variable."""
    low, high = np.percentile(values, [15.87, 84.13]) if len(values) else (0.0, 0.0)
    return float((high - low) / 2)


def labels_of(path: Path, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """(G, 4) boxes x1 y1 x2 y2 and (G, K, 3) points in pixels, from the label file of a photograph."""
    file = Path(str(path.parent).replace("/images/", "/labels/")) / f"{path.stem}.txt"
    rows = np.array([line.split() for line in file.read_text().splitlines()] if file.is_file() else [], float)
    if not len(rows):
        return np.zeros((0, 4)), np.zeros((0, 0, 3))
    h, w = shape[:2]
    return cxcywh_to_xyxy(rows[:, 1:5]) * [w, h, w, h], rows[:, 5:].reshape(len(rows), -1, 3) * [w, h, 1]


def covered(boxes: Array) -> Array:
    """(G, 4) → (G,) the largest share of each box that another one covers."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    np.fill_diagonal(inter, 0)
    return np.asarray((inter / np.clip((boxes[:, 2:] - boxes[:, :2]).prod(-1), 1e-9, None)[:, None]).max(1, initial=0))


def pair(found: Detections, boxes: Array, least: float = 0.5) -> Array:
    """(G,) the prediction of each label, best score first at IoU of at least `least`, or -1."""
    mine = np.full(len(boxes), -1)
    overlap = iou_matrix(boxes, found.boxes[:, :4].astype(float)) if len(boxes) else np.zeros((0, len(found.boxes)))
    for n in np.argsort(-found.boxes[:, 4]):
        free = np.where(mine < 0, overlap[:, n] if len(boxes) else 0, 0)
        if len(free) and free.max() >= least:
            mine[free.argmax()] = n
    return mine


def compared(found: Detections, boxes: Array, points: Array, gain: float) -> tuple[list[Sample], Array]:
    """The samples of one photograph, and (F, 2) score and √(w·h) at the input of the predictions of nothing."""
    mine = pair(found, boxes)
    overlap = iou_matrix(boxes, found.boxes[:, :4].astype(float)) if len(boxes) else np.zeros((0, len(found.boxes)))
    size = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(-1))
    samples = []
    for g, (n, cover) in enumerate(zip(mine, covered(boxes), strict=True)):
        sample = Sample(float(size[g] * gain), float(cover))
        if n >= 0:
            sample.score = float(found.boxes[n, 4])
            sample.sides = (found.boxes[n, :4] - boxes[g]) / size[g]
            seen = points[g, :, 2] > 0
            sample.points = (found.keypoints[n, :, :2] - points[g, :, :2])[seen] / size[g]
            others = np.setdiff1d(np.arange(len(found.boxes)), mine)
            sample.doubles = int(((overlap[g, others] >= 0.5) & (found.boxes[others, 4] >= SHOWN)).sum())
        samples.append(sample)
    false = overlap.max(0, initial=0) < 0.3
    side = np.sqrt((found.boxes[:, 2:4] - found.boxes[:, :2]).prod(-1))
    return samples, np.stack([found.boxes[:, 4], side * gain], 1)[false]


def small_steps(image: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """The photograph as in a next frame, and the (2, 3) map of its coordinates."""
    map_ = about_centre(image, 1 + rng.uniform(-0.03, 0.03), rng.uniform(-3, 3, 2))
    moved = cv2.warpAffine(image, map_, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    code = cv2.imencode(".jpg", moved, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 91))])[1]
    return cv2.imdecode(code, cv2.IMREAD_COLOR), map_


def larger_changes(image: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """The photograph as some frames later: blurred along a line, brighter or darker, nearer or farther."""
    map_ = about_centre(image, 1 + rng.uniform(-0.2, 0.2), rng.uniform(-20, 20, 2))
    moved = cv2.warpAffine(image, map_, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    length = int(rng.integers(1, 10))
    kernel = np.zeros((9, 9), np.float32)
    turn = rng.uniform(0, np.pi)
    end = np.round([4 + np.cos(turn) * length / 2, 4 + np.sin(turn) * length / 2]).astype(int)
    cv2.line(kernel, tuple(8 - end), tuple(end), 1.0)
    moved = cv2.filter2D(moved, -1, kernel / kernel.sum())
    return np.clip(moved * rng.uniform(0.6, 1.3) + rng.uniform(-20, 20), 0, 255).astype(np.uint8), map_


def about_centre(image: Array, gain: float, shift: Array) -> Array:
    """(2, 3) map: scaled by `gain` about the centre, then shifted."""
    centre = np.array(image.shape[1::-1]) / 2
    return np.column_stack([np.eye(2) * gain, centre * (1 - gain) + shift])


class Measurement:
    """A model and the photographs that it is measured on."""

    def __init__(self, backend: Backend, folders: Sequence[Path], seed: int) -> None:
        self._backend = backend
        self.paths = sorted(path for folder in folders for path in folder.glob("*.jpg"))
        self.rng = np.random.default_rng(seed)

    def find(self, image: Array) -> Detections:
        """Predict one image at IMGSZ."""
        return detect(self._backend, [image], DetectOptions(conf=FLOOR, imgsz=IMGSZ, max_det=1000))[0]

    def against_labels(self) -> tuple[list[Sample], list[Array]]:
        """Measurement 1."""
        samples, false = [], []
        for path in self.paths:
            image = read_image(path)
            some, nothing = compared(self.find(image), *labels_of(path, image.shape), IMGSZ / max(image.shape[:2]))
            samples += some
            false.append(nothing)
        return samples, false

    def chosen(self, count: int) -> Iterator[tuple[Array, Array, Detections, Array]]:
        """`count` photographs: image, label boxes, predictions, and the labels that were found surely."""
        done = 0
        for path in self.rng.permutation(np.array(self.paths, object)):
            image = read_image(path)
            boxes, _ = labels_of(path, image.shape)
            found = self.find(image)
            mine = pair(found, boxes)
            good = np.flatnonzero((mine >= 0) & (covered(boxes) < 0.05)) if len(boxes) else np.zeros(0, int)
            size = np.sqrt((boxes[good, 2:] - boxes[good, :2]).prod(-1)) * IMGSZ / max(image.shape[:2])
            good = good[(found.boxes[mine[good], 4] > 0.25) & (size >= USUAL)]
            if len(good):
                done += 1
                yield image, boxes, found, good[:8]
            if done == count:
                return

    def changes(self, change: Callable[..., tuple[Array, Array]], count: int, times: int) -> dict[str, float]:
        """Measurements 2 and 3: deviations of an instance around its own mean."""
        logits, sides, points, gone, false = [], [], [], [], []
        for image, boxes, first, good in self.chosen(count):
            size = np.sqrt((boxes[good, 2:] - boxes[good, :2]).prod(-1))
            score = np.full((times, len(good)), FLOOR / 2)
            side = np.full((times, len(good), 4), np.nan)
            point = np.full((times, len(good), first.keypoints.shape[1], 2), np.nan)
            for t in range(times):
                moved, map_ = change(image, self.rng)
                found = self.find(moved)
                gain, shift = map_[0, 0], map_[:, 2]
                found.boxes[:, :4] = (found.boxes[:, :4] - np.tile(shift, 2)) / gain
                mine = pair(found, boxes)[good]
                some = mine >= 0
                score[t, some] = found.boxes[mine[some], 4]
                side[t, some] = found.boxes[mine[some], :4] / size[some, None]
                point[t, some] = (found.keypoints[mine[some], :, :2] - shift) / gain / size[some, None, None]
                false.append(kept_false(first, found, boxes))
            some = np.isfinite(side).all((0, 2))
            logits.append((logit(score) - logit(score).mean(0)).ravel())
            gone.append((score < SHOWN).ravel())
            sides.append((side - side.mean(0))[:, some].ravel())
            points.append((point - point.mean(0))[:, some].ravel())
        return {
            "logit": spread(np.concatenate(logits)),
            "gone": float(np.concatenate(gone).mean()),
            "sides": spread(np.concatenate(sides)),
            "points": spread(np.concatenate(points)),
            "false_positive_stays": float(np.nanmean(np.concatenate(false))) if false else 0.0,
        }

    def cover(self, count: int) -> dict[str, list[float]]:
        """Measurement 4: by fraction covered, the change of the logit, the share found, and how the box shrinks."""
        drop: list[list[float]] = [[] for _ in COVERS]
        shrink: list[list[float]] = [[] for _ in COVERS]
        gone: list[list[float]] = [[] for _ in COVERS]
        other = read_image(self.paths[0])
        for image, boxes, first, good in self.chosen(count):
            g = good[np.argmax((boxes[good, 2:] - boxes[good, :2]).prod(-1))]
            start = first.boxes[pair(first, boxes)[g]]
            for i, fraction in enumerate(COVERS):
                covered_, side = self._covered(image, boxes[g], fraction, other)
                found = self.find(covered_)
                n = pair(found, boxes[g : g + 1], least=0.1)[0]
                gone[i].append(float(n < 0 or found.boxes[n, 4] < SHOWN))
                drop[i].append(float(logit(found.boxes[n, 4] if n >= 0 else FLOOR / 2) - logit(start[4])))
                if n >= 0:
                    hidden = fraction * (boxes[g, 2] - boxes[g, 0])
                    shrink[i].append(float(abs(found.boxes[n, side] - start[side]) / hidden))
        return {
            "fraction": list(COVERS),
            "logit": [round(float(np.median(x)), 3) for x in drop],
            "gone": [round(float(np.mean(x)), 3) for x in gone],
            "shrink": [round(float(np.median(x)), 3) if x else 1.0 for x in shrink],
            "instances": [len(x) for x in drop],
        }

    def _covered(self, image: Array, box: Array, fraction: float, other: Array) -> tuple[Array, int]:
        """The image with a fraction of the box covered from the left or right, and the index of that side."""
        x1, y1, x2, y2 = box
        from_left = bool(self.rng.integers(2))
        edge = x1 + (x2 - x1) * (fraction if from_left else 1 - fraction)
        margin = (x2 - x1) * 0.6
        left, right = (x1 - margin, edge) if from_left else (edge, x2 + margin)
        area = np.array([left, y1 - (y2 - y1) * 0.5, right, y2 + (y2 - y1) * 0.5])
        a, b, c, d = np.clip(area, 0, np.tile(image.shape[1::-1], 2)).astype(int)
        out = image.copy()
        if c > a and d > b:
            out[b:d, a:c] = cv2.resize(other, (c - a, d - b))
        return out, 0 if from_left else 2


def kept_false(first: Detections, later: Detections, boxes: Array) -> Array:
    """For each false positive above 0.25 of the first picture, is there one above 0.1 at its place in the later one?"""
    a, b = first.boxes[first.boxes[:, 4] > 0.25, :4], later.boxes[later.boxes[:, 4] > SHOWN, :4]
    a = a[iou_matrix(a, boxes).max(1, initial=0) < 0.3] if len(boxes) and len(a) else a
    return np.asarray(iou_matrix(a, b).max(1, initial=0) > 0.5, float) if len(a) and len(b) else np.zeros(len(a))


def by_size(samples: list[Sample]) -> list[dict[str, float]]:
    """Measurement 1 for each bin of sizes, of instances that no other covers by a tenth."""
    rows: list[dict[str, float]] = []
    for low, high in itertools.pairwise(SIZES):
        some = [s for s in samples if low <= s.size < high and s.overlap < 0.1]
        found = [s for s in some if s.score]
        if len(found) < LEAST and rows:
            rows.append({**rows[-1], "from": low, "instances": len(some), "as_next_smaller": 1})
            continue
        logits = logit(np.array([s.score for s in found]))
        sides = np.array([s.sides for s in found]).reshape(-1, 4)
        rows.append({
            "from": low, "instances": len(some), "found": len(found) / max(len(some), 1),
            "logit_mean": float(np.median(logits)) if len(found) else -4.0, "logit_deviation": spread(logits),
            "sides": spread((sides - np.median(sides, 0)).ravel()),
        })  # fmt: skip
    return rows


def point_errors(samples: list[Sample]) -> dict[str, float]:
    """Of the points of instances found: deviation, share of errors above five deviations."""
    errors = np.concatenate([s.points for s in samples if s.score] or [np.zeros((0, 2))])
    deviation = spread(errors.ravel()) if len(errors) else 0.0
    far = np.hypot(*errors.T) > 5 * deviation if len(errors) else np.zeros(1)
    return {"deviation": deviation, "far": float(far.mean()), "points": len(errors)}


def report(measurement: Measurement, count: int) -> dict[str, Any]:
    """All four measurements."""
    samples, false = measurement.against_labels()
    every = np.concatenate(false)
    sure = every[every[:, 0] >= SHOWN]
    return {
        "photographs": len(false),
        "by_size": by_size(samples),
        "doubles": float(np.mean([s.doubles for s in samples if s.score])),
        "points": point_errors(samples),
        "false_positives": {
            "per_photograph": len(sure) / len(false),
            "logit_quantiles": np.quantile(logit(sure[:, 0]), np.linspace(0, 1, 11)).round(3).tolist(),
            "size_quantiles": np.quantile(sure[:, 1], np.linspace(0, 1, 11)).round(1).tolist(),
        },
        "small_steps": measurement.changes(small_steps, count, 10),
        "larger_changes": measurement.changes(larger_changes, count, 10),
        "cover": measurement.cover(count),
    }


def rounded(value: Any) -> Any:
    """The same with four digits behind the point."""
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=60, help="photographs of measurements 2 to 4")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "detector_noise.json")
    arguments = parser.parse_args()
    backend = open_backend(arguments.model, OpenOptions(device="cpu"))
    data = report(Measurement(backend, arguments.images, arguments.seed), arguments.count)
    sets = ["/".join(folder.parts[-3:]) for folder in arguments.images]
    head = {"model": Path(arguments.model).name, "images": sets, "imgsz": IMGSZ, "seed": arguments.seed}
    arguments.out.write_text(json.dumps(rounded(head | data), indent=1) + "\n")
    print(arguments.out.read_text())


if __name__ == "__main__":
    main()
