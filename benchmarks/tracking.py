"""Trackers on identical detections of synthetic scenes with exact truth: HOTA, IDF1, MOTA, ID switches; and their cost.

    python benchmarks/tracking.py             # the reporting half: kinds and seeds that nothing was tuned on
    python benchmarks/tracking.py --tuning    # the half that parameters may be tuned on
    python benchmarks/tracking.py --cost      # milliseconds per frame for 30 and 100 people
    python benchmarks/tracking.py --long      # memory over 20,000 frames

The scenes are those of `scenes.py`, the detections those of `observe.py`; all trackers get the same. --peer
names an environment with Roboflow's `trackers` (2.6.1); `tracking_peer.py` says how its options correspond to ours.
--ultralytics names one with Ultralytics (8.4.190), run as a black box (`tracking_ultralytics.py`). `bytetrack`
is run with our file as it is, and "as trackers", with `fuse_score` False, which corresponds to theirs; `pose` and
`bytetrack` with each other's buffer, too. Figures of a
group are counted over all its scenes; intervals (95 %) are bootstraps over scenes, 2000 times, paired where two
trackers are compared.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from contenders import HERE, machine
from numpy.typing import NDArray
from observe import WIDTH, Noise
from scenes import KINDS, RATE, REPORTING, REPORTING_SEEDS, SITUATIONS, TUNING, TUNING_SEEDS, Scene, make_scene
from tracking_peer import digest

from yolopose.evaluate.tracking import Counts, Frame, count
from yolopose.geometry.boxes import iou_matrix
from yolopose.geometry.keypoints import COCO_17
from yolopose.rules import DEFAULT
from yolopose.track.options import TrackerOptions, read_tracker
from yolopose.track.tracker import Tracker, open_tracker

Array = NDArray[Any]
SHOWN = ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW")
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {  # of our trackers: file, and what is changed in it
    "pose": ("pose", {}),
    "pose, buffer 30": ("pose", {"track_buffer": 30}),
    "bytetrack": ("bytetrack", {}),
    "bytetrack, buffer 60": ("bytetrack", {"track_buffer": 60}),
    "bytetrack as trackers": ("bytetrack", {"fuse_score": False}),
    "botsort": ("botsort", {}),
}
FEWER = {"crowd100": 3, "crowd30": 6, "crowd30b": 6}  # seeds of the larger kinds
RESAMPLED = 2000
PAIRS = (
    ("pose", "bytetrack"), ("pose, buffer 30", "bytetrack"), ("pose", "bytetrack, buffer 60"), ("pose", "botsort"),
    ("bytetrack as trackers", "trackers bytetrack"), ("bytetrack", "trackers bytetrack"),
    ("botsort", "trackers botsort"), ("pose", "trackers bytetrack"), ("pose", "trackers botsort"),
    ("bytetrack", "Ultralytics bytetrack"), ("botsort", "Ultralytics botsort"), ("pose", "Ultralytics botsort"),
)  # fmt: skip


def options_of(name: str, changes: dict[str, Any] | None = None) -> TrackerOptions:
    """The options of one of VARIANTS, or of a user's file; `changes` are those of pose."""
    file, own = VARIANTS.get(name, (name, {}))
    return dataclasses.replace(read_tracker(file), **{**own, **(changes or {} if name == "pose" else {})})


def opened(options: TrackerOptions) -> Tracker:
    """A tracker for one scene."""
    return open_tracker(options, layout=COCO_17, rules=DEFAULT, frame_rate=float(RATE))


def track(options: TrackerOptions, scene: Scene) -> dict[str, Any]:
    """The ids of every frame's detections, 0 for none, and milliseconds per frame."""
    tracker = opened(options)
    ids, spent = [], 0.0
    for t, frame in enumerate(scene.frames):
        image = scene.image(t) if options.gmc_method != "none" else None
        begun = time.perf_counter()
        tracked = tracker.update(frame.found, frame.points, image, time=t / RATE)
        spent += time.perf_counter() - begun
        row = np.zeros(len(frame.found), int)
        row[tracked.index] = tracked.ids
        ids.append(row.tolist())
    return {"ids": ids, "ms": spent / len(ids) * 1e3}


def counted(scene: Scene, ids: list[list[int]]) -> Counts:
    """The counts of a scene from the ids of its detections."""
    frames = []
    numbers: dict[int, int] = {}
    truths = {number: i for i, number in enumerate(sorted({int(n) for frame in scene.frames for n in frame.ids}))}
    for frame, row in zip(scene.frames, ids, strict=True):
        shown = np.flatnonzero(row)
        found = np.array([numbers.setdefault(row[i], len(numbers)) for i in shown], int)
        truth = np.array([truths[int(n)] for n in frame.ids], int)
        boxes = frame.found[shown, :4].astype(float)
        similarity = iou_matrix(frame.boxes, boxes) if len(truth) and len(shown) else np.zeros((len(truth), len(shown)))
        frames.append(Frame(truth, found, similarity))
    return count(frames)


class Peer:
    """The process with the other package's trackers."""

    def __init__(self, python: str, script: str, title: str, cache: Path | None) -> None:
        self._title, self._cache = title, cache
        self._process = subprocess.Popen(
            [python, str(HERE / script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def track(self, scene: Scene) -> dict[str, Any]:
        """The answers of all its trackers, from the cache where they are there."""
        sum_ = digest(scene)
        kept = self._cache / f"{self._title}-{scene.kind}-{scene.seed}-{sum_[:16]}.json" if self._cache else None
        if kept is not None and kept.is_file():
            line = kept.read_text()
        else:
            line = self._ask({"kind": scene.kind, "seed": scene.seed, "digest": sum_})
            if kept is not None:
                kept.write_text(line)
        return {f"{self._title} {name}": answer for name, answer in json.loads(line).items()}

    def _ask(self, asked: dict[str, Any]) -> str:
        """The line that the process answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the process with {self._title} stopped")
        return line

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def group(counts: Iterable[Counts]) -> dict[str, float]:
    """The figures of several scenes together."""
    every = list(counts)
    figures = sum(every[1:], start=every[0]).figures()
    return {key: round(float(figures[key]) * (1 if key == "IDSW" else 100), 2) for key in SHOWN}


def interval(values: Array) -> list[float]:
    """The middle 95 %."""
    return np.percentile(values, [2.5, 97.5]).round(2).tolist()


def compared(a: list[Counts], b: list[Counts], rng: np.random.Generator) -> dict[str, Any]:
    """How far `a` is above `b`: HOTA, IDF1 in points, ID switches as the share that is fewer; with intervals."""
    rows = []
    for draw in range(RESAMPLED + 1):
        pick = rng.integers(0, len(a), len(a)) if draw else np.arange(len(a))
        x, y = totals([a[i] for i in pick]), totals([b[i] for i in pick])
        rows.append([x[0] - y[0], x[1] - y[1], 100 * (1 - x[2] / max(y[2], 1))])
    values = np.array(rows)
    names = ("HOTA", "IDF1", "fewer_ID_switches_percent")
    return {name: {"is": round(float(values[0, i]), 2), "interval": interval(values[1:, i])}
            for i, name in enumerate(names)}  # fmt: skip


def totals(counts: list[Counts]) -> tuple[float, float, int]:
    """HOTA and IDF1 in points, and ID switches; faster than `group` because only these are computed."""
    tp, fn, fp, ass = (np.sum([getattr(c, key) for c in counts], axis=0) for key in ("tp", "fn", "fp", "ass"))
    hota = np.sqrt(tp / np.maximum(tp + fn + fp, 1) * ass / np.maximum(tp, 1)).mean()
    idtp, idfn, idfp, idsw = (sum(getattr(c, key) for c in counts) for key in ("idtp", "idfn", "idfp", "idsw"))
    return 100 * float(hota), 100 * idtp / max(idtp + 0.5 * (idfn + idfp), 1), idsw


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All trackers on all scenes: (tracker, kind) → counts per scene, and milliseconds."""
    kinds = arguments.kinds or (TUNING if arguments.tuning else REPORTING)
    seeds = TUNING_SEEDS if arguments.tuning else REPORTING_SEEDS
    peers = [Peer(arguments.peer, "tracking_peer.py", "trackers", arguments.cache)] if arguments.peer else []
    if arguments.ultralytics:
        peers.append(Peer(arguments.ultralytics, "tracking_ultralytics.py", "Ultralytics", arguments.cache))
    noise = Noise.read(worse=arguments.worse_points)
    counts: dict[str, dict[str, list[Counts]]] = {}
    spent: dict[str, dict[str, list[float]]] = {}
    for kind in kinds:
        for seed in list(seeds)[: min(arguments.seeds, FEWER.get(kind, arguments.seeds))]:
            scene = make_scene(kind, seed, noise)
            answers = {name: track(options_of(name, arguments.set), scene) for name in arguments.trackers}
            for peer in peers:
                answers |= peer.track(scene)
            for name, answer in answers.items():
                counts.setdefault(name, {}).setdefault(kind, []).append(counted(scene, answer["ids"]))
                spent.setdefault(name, {}).setdefault(kind, []).append(answer["ms"])
        print_kind(kind, {name: per_kind[kind] for name, per_kind in counts.items()})
    for peer in peers:
        peer.close()
    return report(counts, spent)


def print_kind(title: str, counts: dict[str, list[Counts]]) -> None:
    """One line per tracker."""
    for name, some in counts.items():
        figures = group(some)
        print(f"{title:14} {name:24}" + "".join(f"{key} {figures[key]:7.2f}  " for key in SHOWN), flush=True)


def report(counts: dict[str, dict[str, list[Counts]]], spent: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Figures by kind, by situation and over all, and the comparisons."""
    kinds = list(next(iter(counts.values())))
    groups = {name: [k for k in some if k in kinds] for name, some in SITUATIONS.items()}
    groups["crossings and re-entry"] = groups["crossings"] + groups["re-entry"]
    groups["all"] = kinds
    groups = {name: some for name, some in groups.items() if some}
    rng = np.random.default_rng(0)
    out: dict[str, Any] = {"groups": groups, "by_kind": {}, "by_group": {}, "compared": {}}
    for kind in kinds:
        out["by_kind"][kind] = {
            name: {**group(per[kind]), "scenes": len(per[kind]), "ms": round(float(np.median(spent[name][kind])), 3)}
            for name, per in counts.items()
        }
    for title, some in groups.items():
        flat = {name: [c for kind in some for c in per[kind]] for name, per in counts.items()}
        out["by_group"][title] = {name: group(every) for name, every in flat.items()}
        out["compared"][title] = {f"{a} against {b}": compared(flat[a], flat[b], rng)
                                  for a, b in PAIRS if a in flat and b in flat}  # fmt: skip
        print_kind(title, flat)
    return out


def cost(arguments: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of processor time per frame: the least of `--rounds` rounds, each the median over frames."""
    out: dict[str, Any] = {}
    for people, kind in ((30, "crowd30"), (100, "crowd100")):
        frames = crowded(kind, people)
        row: dict[str, Any] = {"detections": float(np.median([len(f.found) for f in frames]))}
        for name in arguments.trackers:
            options = dataclasses.replace(options_of(name), gmc_method="none")
            row[name] = round(min(one_cost(options, frames, smooth=False) for _ in range(arguments.rounds)), 3)
        if "pose" in arguments.trackers:
            options = dataclasses.replace(options_of("pose"), gmc_method="none")
            row["pose and smoothing"] = round(min(one_cost(options, frames, smooth=True)
                                                  for _ in range(arguments.rounds)), 3)  # fmt: skip
        out[f"{people} people"] = row
        print(people, "people", row, flush=True)
    return out


def crowded(kind: str, people: int) -> list[Any]:
    """Frames with `people` detections each: the best ones of two scenes of a kind, put side by side."""
    first, second = make_scene(kind, 0).frames, make_scene(kind, 1).frames
    frames = []
    for a, b in zip(first, second, strict=True):
        found, points = np.concatenate([a.found, b.found]), np.concatenate([a.points, b.points])
        found[len(a.found) :, [0, 2]] += WIDTH
        points[len(a.found) :, :, 0] += WIDTH
        best = np.sort(np.argsort(-found[:, 4])[:people])
        frames.append(dataclasses.replace(a, found=found[best], points=points[best]))
    return frames


def one_cost(options: TrackerOptions, frames: list[Any], smooth: bool) -> float:
    """The median of the frames' milliseconds; of the processor, which a busy machine disturbs less than the clock's."""
    from yolopose.track.smoothing import OneEuro

    tracker, filter_ = opened(options), OneEuro()
    times = []
    for t, frame in enumerate(frames):
        begun = time.process_time()
        tracked = tracker.update(frame.found, frame.points, None, time=t / RATE)
        if smooth:
            filter_.update(tracked.ids, frame.found[tracked.index, :4], frame.points[tracked.index], 1 / RATE)
        times.append(time.process_time() - begun)
    return float(np.median(times)) * 1e3


def resident() -> float:
    """Megabytes of memory of this process."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def long(arguments: argparse.Namespace) -> dict[str, Any]:
    """Growth of memory from frame 2,000 to frame 20,000, a crowd of 30 over and over at other places."""
    from yolopose.track.smoothing import OneEuro

    out: dict[str, Any] = {}
    scene = make_scene("crowd30", 0)
    for name in arguments.trackers:
        tracker, filter_, start, highest = opened(options_of(name)), OneEuro(), 0.0, 0
        for t in range(20_000):
            frame = scene.frames[t % len(scene.frames)]
            shift = (t // len(scene.frames)) % 7 * 150  # other places: every scene brings new tracks
            boxes, points = frame.found.copy(), frame.points.copy()
            boxes[:, :4] += shift
            points[..., :2] += shift
            tracked = tracker.update(boxes, points, None, time=t / RATE)
            filter_.update(tracked.ids, boxes[tracked.index, :4], points[tracked.index], 1 / RATE)
            highest = max(highest, int(tracked.ids.max(initial=0)))
            start = resident() if t == 2000 else start
        out[name] = {"grown_mb": round(resident() - start, 2), "tracks": highest}
        print(name, out[name], flush=True)
    return out


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="Python of an environment that has `trackers` 2.6.1")
    parser.add_argument("--ultralytics", help="Python of an environment that has Ultralytics")
    parser.add_argument("--worse-points", type=float, default=1.0, help="multiply size and share of points' errors")
    parser.add_argument("--cache", type=Path, help="folder that keeps the answers of other packages")
    parser.add_argument("--tuning", action="store_true", help="the half that parameters may be tuned on")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS))
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trackers", nargs="+", default=list(VARIANTS))
    parser.add_argument("--set", type=json.loads, default={}, help="JSON of options of pose, to try them")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    before = machine(1)
    name = "cost" if arguments.cost else "long" if arguments.long else "tuning" if arguments.tuning else "reporting"
    data = {"cost": cost, "long": long}.get(name, run)(arguments)
    if arguments.out:
        result = {"machine": before, "what": name, **data, "method": __doc__}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
