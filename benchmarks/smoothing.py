"""How steady `smooth=True` and `smooth=offline` make keypoints, and what it costs in lag and similarity to the truth.

    python benchmarks/smoothing.py [--json FILE]

A person of 200 px (root of the box's area) at 30 frames a second, 17 points whose true places are known. The noise of a
coordinate has a white part and one that lasts (correlation 0.85 from frame to frame, half as large), both in proportion
to the point's COCO sigma; its whole deviation is given in percent of the person's size. In 5 % of the frames a point
has a score of 0.3 and four times the noise. On the clip of three faces in the demo data the bundled model's landmarks
show 0.4 to 0.7 % while the faces rest.

Four filters with one setting each: none; One-Euro as in the paper, with the setting that is steadiest at 0.8 % noise
among 60 of at most one frame of lag; ours online; ours offline. The figures: jitter at rest (RMS of the acceleration,
px per frame²) and by how much it shrinks; frames until 90 % of a step of 20 px and the mean delay at 1, 5 and 20 px a
frame, without noise (`steadiness.measure`) and, for the step, under noise; the gain of mean OKS over the unfiltered
points by speed, on swings of 0.5 to 3 Hz.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.evaluate.steadiness import jitter, measure, step_lag
from yolopose.geometry.keypoints import BODY_AREA, COCO_SIGMAS
from yolopose.track.offline import steady_track
from yolopose.track.smoothing import OneEuro

Array = NDArray[Any]
RATE, SIZE = 30, 200.0
LEVELS = (0.004, 0.008, 0.016, 0.032)  # deviation of a coordinate, in sizes
SHOWN = ("0.4%", "1.6%")  # levels of the second table
SWINGS = ((0.5, 20), (0.5, 60), (1, 40), (1, 80), (2, 30), (2, 60), (3, 60))  # Hz, px
BOX = np.array([[0, 0, SIZE, SIZE]])
OFFSET = 1000.0  # (0, 0) would mean "not found"


def noise(level: float, frames: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Errors (T, 17, 2) in pixels and scores (T, 17)."""
    sigma = np.array(COCO_SIGMAS) / np.mean(COCO_SIGMAS)
    keep, lasting = 0.85, np.zeros((frames, 17, 2))
    lasting[0] = rng.normal(size=(17, 2))
    for t in range(1, frames):
        lasting[t] = keep * lasting[t - 1] + math.sqrt(1 - keep**2) * rng.normal(size=(17, 2))
    unsure = rng.random((frames, 17)) < 0.05
    errors = math.sqrt(0.8) * rng.normal(size=lasting.shape) + math.sqrt(0.2) * lasting
    errors *= level * SIZE * sigma[:, None] * np.where(unsure, 4.0, 1.0)[..., None]
    return errors, np.where(unsure, 0.3, 0.9)


Filter = Callable[[Array, Array | None], Array]  # (T, K, 2) and scores (T, K) → (T, K, 2)


def unfiltered(points: Array, score: Array | None = None) -> Array:
    """The points as they are."""
    return points


def paper(points: Array, score: Array | None = None, least: float = 0.3, beta: float = 0.2, d: float = 0.5) -> Array:
    """One-Euro as published: x and y apart, speeds in px per second, scores without effect."""

    def share(cutoff: Any) -> Any:
        r = 2 * math.pi * cutoff / RATE
        return r / (r + 1)

    estimate, speed, out = points[0], np.zeros_like(points[0]), [points[0]]
    for before, now in pairwise(points):
        speed = speed + share(d) * ((now - before) * RATE - speed)
        estimate = estimate + share(least + beta * np.abs(speed)) * (now - estimate)
        out.append(estimate)
    return np.array(out)


def scored(points: Array, score: Array | None) -> Array:
    """(T, K, 3) away from (0, 0)."""
    score = np.full(points.shape[:2], 0.9) if score is None else score
    return np.concatenate([points + OFFSET, score[..., None]], -1)


def online(points: Array, score: Array | None = None) -> Array:
    """`smooth=True`."""
    smoother, ids = OneEuro(), np.array([1])
    rows = [smoother.update(ids, BOX, row[None], 1 / RATE)[0] for row in scored(points, score)]
    return np.array(rows)[..., :2] - OFFSET


def offline(points: Array, score: Array | None = None) -> Array:
    """`smooth=offline`."""
    boxes = np.repeat(BOX, len(points), 0)
    track = steady_track(np.arange(len(points)), boxes, scored(points, score))
    return np.asarray(track.keypoints[..., :2] - OFFSET)


FILTERS: dict[str, Filter] = {"none": unfiltered, "One-Euro": paper, "online": online, "offline": offline}


def similarity(truth: Array, estimate: Array) -> float:
    """Mean OKS of (T, 17, 2), the first second left out."""
    variance = (2 * np.array(COCO_SIGMAS)) ** 2 * BODY_AREA * SIZE**2
    squares = ((truth - estimate) ** 2).sum(-1)[RATE:]
    return float(np.exp(-squares / variance / 2).mean())


def swing(rate: float, reach: float, frames: int, rng: np.random.Generator) -> Array:
    """(T, 17, 2): every point swings to and fro and half as far up and down; mean speed 4 * rate * reach / RATE."""
    phase = 2 * math.pi * (rate * np.arange(frames)[:, None] / RATE + rng.random(17))
    return np.stack([reach * np.sin(phase), reach / 2 * np.cos(phase)], -1)


def noisy_step(function: Filter, level: float, rng: np.random.Generator) -> float:
    """Frames until the mean over 340 points of a step of 20 px under noise is at 90 %."""
    truth = np.zeros((90, 17, 2))
    truth[45:, :, 0] = 20
    runs = []
    for _ in range(20):
        error, score = noise(level, 90, rng)
        runs.append(function(truth + error, score))
    return step_lag(truth[:, :1], np.mean(runs, axis=0).mean(1, keepdims=True))


def figures(function: Filter, level: float) -> dict[str, Any]:
    """All figures of one filter at one level of noise."""
    rng = np.random.default_rng(0)
    rest, score = noise(level, 900, rng)
    found: dict[str, Any] = {"jitter": jitter(function(rest, score)[RATE:])}
    found["less"] = 1 - found["jitter"] / jitter(rest[RATE:])
    still = measure(lambda points: function(points, None), rest)
    found |= {"step": still.step_lag, "noisy_step": noisy_step(function, level, rng)}
    found["delay"] = {f"{speed:g}": value for speed, value in still.delay.items()}
    found["oks"], found["oks_gain"] = {}, {}
    for rate, reach in ((0, 0), *SWINGS):
        truth = swing(rate, reach, 600, rng)
        error, score = noise(level, 600, rng)
        speed = np.linalg.norm(np.diff(truth, axis=0), axis=-1).mean()
        name = f"{speed:.0f} px a frame ({rate:g} Hz)" if rate else "at rest"
        found["oks"][name] = similarity(truth, truth + error)
        found["oks_gain"][name] = similarity(truth, function(truth + error, score)) - found["oks"][name]
    return found


def tables(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The figures as two Markdown tables: jitter and lag, and mean OKS (its change where there is a filter)."""
    lines = [
        "| noise | filter | jitter at rest | less | step, frames | under noise | delay at 1, 5, 20 px a frame |",
        "|---|---|---|---|---|---|---|",
    ]
    for level, rows in found.items():
        for name, row in rows.items():
            delays = ", ".join(f"{abs(round(value, 2)):.2f}" for value in row["delay"].values())
            lines.append(
                f"| {level} | {name} | {row['jitter']:.2f} px | {row['less']:.0%} | {row['step']:.0f} | "
                f"{row['noisy_step']:.0f} | {delays} |"
            )
    columns = [(level, name) for level in SHOWN for name in FILTERS]
    lines += ["", "| mean speed | " + " | ".join(f"{level}: {name}" for level, name in columns) + " |"]
    lines.append("|---" * (1 + len(columns)) + "|")
    for speed in found[SHOWN[0]]["none"]["oks"]:
        cells = [
            f"{found[level][name]['oks' if name == 'none' else 'oks_gain'][speed]:{'' if name == 'none' else '+'}.4f}"
            for level, name in columns
        ]
        lines.append(f"| {speed} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    args = parser.parse_args()
    found = {f"{level:.1%}": {name: figures(f, level) for name, f in FILTERS.items()} for level in LEVELS}
    print(tables(found))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
