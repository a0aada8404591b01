"""Detections of a synthetic scene, drawn from what a detector was measured to do (`detector_noise.json`).

The numbers come from `benchmarks/noise.py`. An error has three parts that add up to the measured deviation from the
labels: one that changes with every frame (deviation under small steps), one that changes within half a second (under
larger changes, less the first), and one that stays with a figure. A score is a logit: its median by size, the same
three parts, and the measured drop by the share of the body that is hidden; below 0.1 there is no detection. An
instance that the detector misses altogether (1 - found), or in the share of the larger changes, is missed for 0.4 s
on average. A box shrinks towards what is visible as measured. Boxes that overlap by more than 0.7 suppress each
other, as in predict.

Not measured, because no finished model of people is at hand (replace them when one is): visible points err by
POINT_ERROR times the COCO sigma times the square root of the area, as the keypoint AP published for YOLOv8n-pose
suggests (a mean similarity of about 0.75); a hidden point errs HIDDEN_ERROR times as much, has a low score, and with
probability CONFUSED lies on the same point of the figure in front, for 0.3 s on average; left and right are swapped in
SWAPPED of the time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.geometry.boxes import nms
from yolopose.geometry.keypoints import COCO_17

Array = NDArray[Any]
RATE, WIDTH, HEIGHT = 30, 1280, 720
SCALE = 0.5  # of the image at the input of the network: 1280 to 640 pixels
SLOW = 0.5  # seconds that the slower part of an error lasts
MISSED = 0.4  # seconds that a miss or a dip of the score lasts
DIP = 4.0  # how far a dip takes the logit down: to a score below 0.1 for nearly all
LEAST_FALSE = 24  # the least √(w·h) at the input of the network of a false positive: smaller ones are no people here
LOWEST = 0.1  # the score below which there is no detection
POINT_ERROR = 1.5
HIDDEN_ERROR = 3.0
CONFUSED, CONFUSED_FOR = 0.35, 0.3
SWAPPED, SWAPPED_FOR = 0.02, 0.1
POINT_LOGIT, HIDDEN_LOGIT, LOGIT_DEVIATION = 2.5, -0.7, 0.8
FACE = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Frame:
    """Truth and detections of a frame, in pixels.

    Truth: `ids` (G,), `boxes` (G, 4), `keypoints` (G, 17, 3) with v 2 visible, 1 hidden, 0 outside. Detections, best
    score first: `found` (N, 6) x1 y1 x2 y2 score class, `points` (N, 17, 3), `source` (N,) the figure's id or -1.
    """

    ids: Array
    boxes: Array
    keypoints: Array
    found: Array
    points: Array
    source: Array


@dataclass(frozen=True)
class Bodies:
    """All P figures of a frame, in pixels.

    `points` (P, 17, 2), `boxes` (P, 4), `samples` (P, S, 2) places of the body and for each of them `hider` (P, S): the
    figure that hides it, -1 for none, -2 for a wall or outside the image. `facing` (P,): -1 to the camera, 1 away.
    """

    points: Array
    boxes: Array
    samples: Array
    hider: Array
    facing: Array


class Noise:
    """The measured numbers, and interpolation in them; `worse` multiplies size and share of the points' errors."""

    def __init__(self, data: dict[str, Any], worse: float = 1.0) -> None:
        self.worse = worse
        rows = data["by_size"]
        self._from = np.array([row["from"] for row in rows])
        self._rows = {key: np.array([row[key] for row in rows]) for key in
                      ("found", "logit_mean", "logit_deviation", "sides")}  # fmt: skip
        self.small, self.larger, self.cover = data["small_steps"], data["larger_changes"], data["cover"]
        self.points, self.doubles = data["points"]["deviation"], data["doubles"]
        false = data["false_positives"]
        self._ranks = np.linspace(0, 1, len(false["logit_quantiles"]))
        self._false_logits, self._false_sizes = false["logit_quantiles"], false["size_quantiles"]
        self._small_share = float(np.interp(LEAST_FALSE, self._false_sizes, self._ranks))
        self.false_per_frame = false["per_photograph"] * (1 - self._small_share)

    @classmethod
    def read(cls, path: Path | None = None, worse: float = 1.0) -> Noise:
        """The numbers of a file of `noise.py`."""
        return cls(json.loads((path or Path(__file__).with_name("detector_noise.json")).read_text()), worse)

    def at(self, key: str, size: Array) -> Array:
        """A measured number at (P,) sizes in pixels of the network's input."""
        return np.asarray(self._rows[key][np.clip(np.searchsorted(self._from, size, "right") - 1, 0, None)])

    def covered(self, key: str, share: Array) -> Array:
        """`logit` or `shrink` where (P,) shares of a body are hidden."""
        x, y = np.array([0, *self.cover["fraction"], 1]), np.array([0, *self.cover[key], -9])
        if key == "shrink":
            y[0], y[-1] = y[1], 1
        return np.interp(share, x, y)

    def false(self, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
        """Logits and √(w·h) at the input of the network of `count` false positives."""
        logits = np.interp(rng.random(count), self._ranks, self._false_logits)
        return logits, np.interp(rng.uniform(self._small_share, 1, count), self._ranks, self._false_sizes)

    def parts(self, key: str, total: Array) -> tuple[Array, float, float]:
        """(P,) the whole deviation → the part that stays, the slower part and the part of each frame."""
        fast, larger = self.small[key], max(self.larger[key], self.small[key])
        return np.sqrt(np.clip(total**2 - larger**2, 0, None)), float(np.sqrt(larger**2 - fast**2)), fast


class Walker:
    """Standard normal values (P, …) that forget themselves: the memory of the slower errors."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...], seconds: float) -> None:
        self._rng, self._keep = rng, float(np.exp(-1 / (seconds * RATE)))
        self.value = rng.normal(size=shape)

    def step(self) -> Array:
        """The values of the next frame."""
        noise = self._rng.normal(size=self.value.shape)
        self.value = self._keep * self.value + np.sqrt(1 - self._keep**2) * noise
        return self.value


class Held:
    """Uniform values (P, …) that are drawn anew after `seconds` on average."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...], seconds: float) -> None:
        self._rng, self._anew = rng, 1 / (seconds * RATE)
        self.value = rng.random(shape)

    def step(self) -> Array:
        """The values of the next frame."""
        new = self._rng.random(self.value.shape) < self._anew
        self.value = np.where(new, self._rng.random(self.value.shape), self.value)
        return self.value


class Detector:
    """Draws the detections of one frame after another."""

    def __init__(self, noise: Noise, people: int, samples: int, rng: np.random.Generator) -> None:
        self.noise, self.rng = noise, rng
        self._still = {"logit": rng.normal(size=people), "sides": rng.normal(size=(people, 4)),
                       "points": rng.normal(size=(people, 17, 2))}  # fmt: skip
        self._slow = {key: Walker(rng, value.shape, SLOW) for key, value in self._still.items()}
        self._missed = Held(rng, (people,), MISSED)
        self._confused = Held(rng, (people,), CONFUSED_FOR)
        self._swapped = Held(rng, (people,), SWAPPED_FOR)
        self._dips = Held(rng, (people,), MISSED)
        self._false = np.zeros((0, 6))  # box, logit, √(w·h) at the input of the network

    def _error(self, key: str, total: Array) -> Array:
        """The three parts of an error, (P, …); `total` (P,) is its whole deviation."""
        still, slow, fast = self.noise.parts(key, total)
        shape = (-1,) + (1,) * (self._still[key].ndim - 1)
        part = self._still[key] * still.reshape(shape) + self._slow[key].step() * slow
        return np.asarray(part + self.rng.normal(size=part.shape) * fast)

    def frame(self, people: Bodies) -> tuple[Array, Array, Array]:
        """(N, 6) detections, (N, 17, 3) points, (N,) figures."""
        visible = (people.hider == -1).mean(1)
        root = np.sqrt((people.boxes[:, 2:] - people.boxes[:, :2]).prod(-1))  # (P,)
        noise = self.noise
        logits = noise.at("logit_mean", root * SCALE) + self._error("logit", noise.at("logit_deviation", root * SCALE))
        logits += noise.covered("logit", 1 - visible)
        logits[self._dips.step() < noise.larger["gone"]] -= DIP
        logits[self._missed.step() > noise.at("found", root * SCALE)] = -9
        boxes = self._shrunk(people, 1 - visible)
        boxes = boxes + self._error("sides", noise.at("sides", root * SCALE)) * root[:, None]
        points = self._points(people, root)
        rows = np.column_stack([boxes, 1 / (1 + np.exp(-logits)), np.zeros(len(boxes))])
        keep = (rows[:, 4] >= LOWEST) & (visible > 0.1)
        who = np.flatnonzero(keep)
        rows, points, who = self._doubled(rows[keep], points[keep], who)
        rows, points, who = self._with_false(rows, points, who)
        rows[:, :4] = np.clip(rows[:, :4], 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
        wide = ((rows[:, 2:4] - rows[:, :2]) > 2).all(1)
        rows, points, who = rows[wide], points[wide], who[wide]
        order = np.argsort(-rows[:, 4], kind="stable")
        rows, points, who = rows[order], points[order], who[order]
        kept = nms(rows[:, :4].astype(np.float32), rows[:, 4].astype(np.float32), iou=0.7) if len(rows) else []
        return rows[kept].astype(np.float32), points[kept].astype(np.float32), who[kept]

    def _shrunk(self, people: Bodies, hidden: Array) -> Array:
        """(P, 4) the boxes, drawn towards the visible part as measured."""
        free = people.hider == -1
        low = np.where(free[..., None], people.samples, np.inf).min(1)
        high = np.where(free[..., None], people.samples, -np.inf).max(1)
        margin = (people.boxes[:, 3:] - people.boxes[:, 1:2]) * 0.06
        part = np.concatenate([low - margin, high + margin], 1)
        part = np.where(np.isfinite(part), part, people.boxes)
        low, high = np.maximum(part[:, :2], people.boxes[:, :2]), np.minimum(part[:, 2:], people.boxes[:, 2:])
        inner = np.concatenate([low, high], 1)
        share = np.clip(self.noise.covered("shrink", hidden), 0, 1)[:, None] * (hidden > 0.02)[:, None]
        return np.asarray(people.boxes * (1 - share) + inner * share)

    def _points(self, people: Bodies, root: Array) -> Array:
        """(P, 17, 3) points with scores."""
        count = len(root)
        hider = people.hider[:, :17]
        unseen = hider != -1
        turned = people.facing > 0.3
        unseen = unseen | (turned[:, None] & np.isin(np.arange(17), FACE))
        sigma = np.array(COCO_17.sigmas) * POINT_ERROR * self.noise.worse
        unit = self._unit_error()
        size = sigma * np.where(unseen, HIDDEN_ERROR, 1.0) * root[:, None] * np.sqrt(0.53)
        base = people.points.copy()
        confused = (self._confused.step() < CONFUSED * self.noise.worse)[:, None] & (hider >= 0)
        base = np.where(confused[..., None], people.points[np.maximum(hider, 0), np.arange(17)], base)
        points = base + unit * size[..., None]
        logits = np.where(unseen, HIDDEN_LOGIT, POINT_LOGIT) + self.rng.normal(0, LOGIT_DEVIATION, (count, 17))
        swapped = self._swapped.step() < SWAPPED * self.noise.worse
        assert COCO_17.flip is not None
        points[swapped] = points[swapped][:, list(COCO_17.flip)]
        return np.concatenate([points, 1 / (1 + np.exp(-logits[..., None]))], -1)

    def _unit_error(self) -> Array:
        """(P, 17, 2) errors of deviation 1, split over time as the errors of the measured points are."""
        whole = self.noise.points
        still, slow, fast = self.noise.parts("points", np.array([whole]))
        parts = np.array([still[0], slow, fast])
        parts /= np.hypot.reduce(parts)
        part = self._still["points"] * parts[0] + self._slow["points"].step() * parts[1]
        return np.asarray(part + self.rng.normal(size=part.shape) * parts[2])

    def _doubled(self, rows: Array, points: Array, who: Array) -> tuple[Array, Array, Array]:
        """Now and then a second box around a part of a figure."""
        again = np.flatnonzero(self.rng.random(len(rows)) < self.noise.doubles)
        extra = rows[again].copy()
        tall = extra[:, 3] - extra[:, 1]
        extra[:, 3] -= tall * self.rng.uniform(0.2, 0.45, len(again))
        extra[:, 4] *= self.rng.uniform(0.2, 0.9, len(again))
        some = extra[:, 4] >= LOWEST
        return (np.concatenate([rows, extra[some]]), np.concatenate([points, points[again][some]]),
                np.concatenate([who, np.full(some.sum(), -1)]))  # fmt: skip

    def _with_false(self, rows: Array, points: Array, who: Array) -> tuple[Array, Array, Array]:
        """With false positives, which stay at their place for some frames."""
        stay = min(self.noise.small["false_positive_stays"], 0.98)
        old = self._false[self.rng.random(len(self._false)) < stay]
        born = self.rng.poisson(self.noise.false_per_frame * (1 - stay))
        logits, size = self.noise.false(self.rng, born)
        wide, tall = size / SCALE * 0.65, size / SCALE / 0.65
        left, top = self.rng.uniform(0, WIDTH - wide / 2), self.rng.uniform(0, np.maximum(HEIGHT - tall / 2, 1))
        self._false = np.concatenate([old, np.column_stack([left, top, left + wide, top + tall, logits, size])])
        n = len(self._false)
        logit = self._false[:, 4] + self.rng.normal(0, self.noise.small["logit"], n)
        step = self.rng.normal(0, self.noise.small["sides"], (n, 4)) * self._false[:, 5:] / SCALE
        boxes = self._false[:, :4] + step
        extra = np.column_stack([boxes, 1 / (1 + np.exp(-logit)), np.zeros(n)])
        low, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
        shape = np.concatenate([low + self.rng.random((n, 17, 2)) * size, self.rng.uniform(0.1, 0.5, (n, 17, 1))], -1)
        some = extra[:, 4] >= LOWEST
        return (np.concatenate([rows, extra[some]]), np.concatenate([points, shape[some]]),
                np.concatenate([who, np.full(some.sum(), -1)]))  # fmt: skip


def observed(people: list[Bodies], noise: Noise, rng: np.random.Generator, least_seen: float) -> list[Frame]:
    """The truth and the detections of all frames; a figure's id is its position plus 1."""
    count, samples = people[0].hider.shape
    detector = Detector(noise, count, samples, rng)
    frames = []
    for now in people:
        found, points, who = detector.frame(now)
        counts = np.flatnonzero((now.hider == -1).mean(1) >= least_seen)
        inside = (now.points >= 0).all(-1) & (now.points < [WIDTH, HEIGHT]).all(-1)
        v = np.where(inside, np.where(now.hider[:, :17] == -1, 2, 1), 0)
        keypoints = np.concatenate([now.points, v[..., None]], -1)[counts]
        boxes = np.clip(now.boxes[counts], 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
        frames.append(Frame(counts + 1, boxes, keypoints, found, points, np.where(who >= 0, who + 1, -1)))
    return frames
