"""Record what trackeval 1.3.0 measures on generated tracks, for tests/evaluate/test_trackeval.py.

    TRACKEVAL_PYTHON benchmarks/record_trackeval.py      # an environment with trackeval==1.3.0, not ours

It reads the generated files itself, as those of MOT17, for boxes. It knows no keypoints: for poses its measures get the
OKS that is computed here, by COCO's formula, point by point. The files are generated again in the test, from the same
numbers of `random.random`; the recording has a checksum of them.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "tests" / "recordings" / "trackeval.json"
SIGMAS = (0.026, 0.079, 0.072, 0.107, 0.089)
AREA = 0.53  # of a body in its box
Rows = list[tuple[float, ...]]  # frame (from 1), id, left, top, width, height, confidence, class
FIGURES = (
    ("HOTA", ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA")),
    ("CLEAR", ("MOTA", "MOTP", "IDSW", "CLR_FP", "CLR_FN", "Frag", "MT", "PT", "ML")),
    ("Identity", ("IDF1", "IDP", "IDR")),
)


def walkers(
    seed: int,
    people: int,
    frames: int,
    *,
    drop: float = 0.1,
    wrong: float = 0.1,
    noise: float = 4.0,
    swap: float = 0.03,
) -> tuple[Rows, Rows]:
    """People who walk, leave and come back; found rows are noisy, get lost, change ids, and some are of nobody."""
    random = Random(seed)
    truth, found = [], []
    places = [[random.random() * 500, random.random() * 300] for _ in range(people)]
    steps = [[random.random() * 12 - 6, random.random() * 6 - 3] for _ in range(people)]
    sizes = [30 + random.random() * 40 for _ in range(people)]
    ids = [10 + i for i in range(people)]
    for frame in range(1, frames + 1):
        for i in range(people):
            for axis in (0, 1):
                places[i][axis] += steps[i][axis]
            if random.random() < 0.04:
                steps[i] = [random.random() * 12 - 6, random.random() * 6 - 3]
            if random.random() < swap:
                ids[i] = ids[int(random.random() * people)] if random.random() < 0.5 else 10 + int(random.random() * 90)
            if math.sin(frame / 9 + i * 2) < -0.8:
                continue
            box = (*places[i], sizes[i], 2.2 * sizes[i])
            truth.append((frame, i + 1, *box, 1, 1))
            if random.random() >= drop:
                moved = [value + (random.random() - 0.5) * noise * 2 for value in box]
                found.append((frame, ids[i], *moved, random.random(), -1))
        while random.random() < wrong:
            found.append(
                (frame, 200 + int(random.random() * 5), random.random() * 500, random.random() * 300, 40, 90, 0.3, -1)
            )
    once = {(row[0], row[1]): row for row in found}  # an id once per frame
    return [_rounded(row) for row in truth], [_rounded(row) for row in once.values()]


def _rounded(row: tuple[float, ...]) -> tuple[float, ...]:
    return (*row[:2], *(round(value, 2) for value in row[2:]))


def ties(seed: int) -> tuple[Rows, Rows]:
    """Boxes on a coarse grid, many at one place and of one size: IoUs of 0, 1/3, 1/2 and 1 only, often equal."""
    random = Random(seed)
    truth, found = [], []
    for frame in range(1, 41):
        for rows, most in ((truth, 5), (found, 6)):
            ids = list(range(1, most + 1))
            for number in ids[: int(random.random() * (most + 1))]:
                left, wide = 20 * int(random.random() * 3), 20 + 20 * int(random.random() * 2)
                rows.append((frame, number if random.random() < 0.9 else number + 10, left, 0, wide, 40, 1, 1))
    return truth, found


def crowd_of_classes(seed: int) -> tuple[Rows, Rows]:
    """People, and rows that MOTChallenge ignores: confidence 0, cars, people on vehicles, reflections."""
    random = Random(seed)
    truth, found = walkers(seed, 12, 40)
    classes = [1, 1, 1, 1, 1, 2, 7, 8, 12, 3, 13, 1]
    truth = [(*row[:6], 0 if random.random() < 0.08 else 1, classes[int(row[1]) - 1]) for row in truth]
    return truth, found


def sequences() -> dict[str, tuple[Rows, Rows]]:
    """Truth and found rows by the name of the sequence."""
    steady = [(f, 1, 10.0, 10.0, 20.0, 50.0, 1, 1) for f in range(1, 11)]
    swapped = [(f, 1 + (i + f) % 2, 10 + 60 * i, 10.0, 20.0, 50.0, 1, 1) for f in range(1, 21) for i in (0, 1)]
    straight = [(f, 1 + i, 10 + 60 * i, 10.0, 20.0, 50.0, 1, 1) for f in range(1, 21) for i in (0, 1)]
    gaps, holes = walkers(5, 4, 60, drop=0.4, wrong=0.3)
    return {
        "walkers": walkers(1, 8, 80),
        "crowd": walkers(2, 30, 30, noise=9),
        "classes": crowd_of_classes(3),
        "ties": ties(4),
        "more_ties": ties(40),
        "empty_frames": ([r for r in gaps if r[0] % 7], [r for r in holes if r[0] % 5 and r[0] % 7 != 3]),
        "ids_used_again": ([(*r[:1], 1 + r[1] % 2 + 2 * (r[0] > 20), *r[2:]) for r in straight], swapped),
        "swapped_in_every_frame": (straight, swapped),
        "exactly_half": (steady, [(*r[:3], 10 + (r[0] % 2) * 25, 20, 50 - (r[0] % 3 > 1) * 25, 1, 1) for r in steady]),
        "nothing_found": (steady, []),
        "no_truth": ([], steady),
        "nothing_at_all": ([], []),
        "one_frame": (steady[:1], steady[:1]),
        "beside": (steady, [(*r[:2], 300.0, *r[3:]) for r in steady]),
    }


def poses(seed: int = 6) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """True and found rows with `frame` (from 0), `id`, `box` (corners) and `points`, K times x, y, visibility."""
    random = Random(seed)
    sides: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for side, rows in zip(sides, walkers(seed, 6, 50), strict=True):
        for frame, number, x, y, w, h, *_ in rows:
            points = []
            for k in range(len(SIGMAS)):
                spread = 0 if side is sides[0] else w / 12
                at = [
                    x + w * (k % 2) + (random.random() - 0.5) * spread,
                    y + h * k / 4 + (random.random() - 0.5) * spread,
                ]
                points.append((round(at[0], 2), round(at[1], 2), 2 if k == 2 or random.random() < 0.8 else 0))
            box = [round(value, 2) for value in (x, y, x + w, y + h)]
            side.append({"frame": int(frame) - 1, "id": int(number), "box": box, "points": points})
    return sides


def mot_text(rows: Rows) -> str:
    """The rows as MOTChallenge text with a visibility of 1."""
    return "".join(",".join(f"{value:g}" for value in row) + ",1\n" for row in rows)


def write_poses(file: Path, rows: list[dict[str, Any]]) -> None:
    """The rows as a CSV file of save_tracks."""
    names = [f"kpt_{k}_{axis}" for k in range(len(SIGMAS)) for axis in ("x", "y", "score")]
    with file.open("w", newline="") as text:
        table = csv.writer(text)
        table.writerow(["source", "frame", "time", "id", "class", "score", "x1", "y1", "x2", "y2", *names])
        for row in rows:
            flat = [value for point in row["points"] for value in point]
            table.writerow(["clip.mp4", row["frame"], "", row["id"], 0, 0.9, *row["box"], *flat])


def checksum() -> str:
    """Of everything that is generated."""
    texts = [name + mot_text(truth) + mot_text(found) for name, (truth, found) in sequences().items()]
    return hashlib.sha256("".join([*texts, json.dumps(poses())]).encode()).hexdigest()


def _figures(results: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The figures by our names; those of HOTA are means over its limits."""
    out = {}
    for metric, names in FIGURES:
        for name in names:
            value = results[metric][name]
            out[name.removeprefix("CLR_")] = round(float(value.mean() if hasattr(value, "mean") else value), 9)
    return out


def record_boxes(folder: Path, generated: dict[str, tuple[Rows, Rows]]) -> dict[str, dict[str, float]]:
    """The figures of every sequence, and of all as COMBINED_SEQ; the files stay in `folder`, gt and all/us/data."""
    import trackeval

    lengths = {}
    for name, (truth, found) in generated.items():
        for file, rows in (
            (folder / "gt" / name / "gt" / "gt.txt", truth),
            (folder / "all" / "us" / "data" / f"{name}.txt", found),
        ):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(mot_text(rows))
        lengths[name] = int(max([1, *(row[0] for row in (*truth, *found))]))
    quiet = {"PRINT_CONFIG": False}
    data = trackeval.datasets.MotChallenge2DBox(
        {
            **quiet,
            "GT_FOLDER": str(folder / "gt"),
            "TRACKERS_FOLDER": str(folder / "all"),
            "SKIP_SPLIT_FOL": True,
            "SEQ_INFO": lengths,
        }
    )
    evaluator = trackeval.Evaluator(
        {**quiet, "USE_PARALLEL": False, "PRINT_RESULTS": False, "OUTPUT_SUMMARY": False, "OUTPUT_DETAILED": False,
         "PLOT_CURVES": False, "TIME_PROGRESS": False, "OUTPUT_EMPTY_CLASSES": True, "LOG_ON_ERROR": None}
    )  # fmt: skip
    metrics = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(quiet), trackeval.metrics.Identity(quiet)]
    results, _ = evaluator.evaluate([data], metrics)
    return {name: _figures(of["pedestrian"]) for name, of in results["MotChallenge2DBox"]["us"].items()}


def oks(truth: dict[str, Any], found: dict[str, Any]) -> float:
    """COCO's object keypoint similarity of two rows, one labelled point after the other."""
    x1, y1, x2, y2 = truth["box"]
    area = AREA * (x2 - x1) * (y2 - y1)
    terms = []
    for (x, y, visible), (u, v, _), sigma in zip(truth["points"], found["points"], SIGMAS, strict=True):
        if visible:
            terms.append(math.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * area * (2 * sigma) ** 2)))
    return sum(terms) / len(terms)


def record_poses(sides: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> dict[str, float]:
    """The figures of generated poses by OKS."""
    import numpy as np
    import trackeval

    numbers = [{number: i for i, number in enumerate(sorted({row["id"] for row in rows}))} for rows in sides]
    data: dict[str, Any] = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    for frame in range(1 + max(row["frame"] for rows in sides for row in rows)):
        truth, found = ([row for row in rows if row["frame"] == frame] for rows in sides)
        for key, rows, number in (("gt_ids", truth, numbers[0]), ("tracker_ids", found, numbers[1])):
            data[key].append(np.array([number[row["id"]] for row in rows], int))
        similar = [[oks(a, b) for b in found] for a in truth]
        data["similarity_scores"].append(np.array(similar, float).reshape(len(truth), len(found)))
    data |= {"num_timesteps": len(data["gt_ids"]), "num_gt_dets": len(sides[0]), "num_tracker_dets": len(sides[1])}
    data |= {"num_gt_ids": len(numbers[0]), "num_tracker_ids": len(numbers[1])}
    quiet = {"PRINT_CONFIG": False}
    metrics = (trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(quiet), trackeval.metrics.Identity(quiet))
    return _figures({metric.get_name(): metric.eval_sequence(data) for metric in metrics})


def main() -> None:
    """Write the recording."""
    with tempfile.TemporaryDirectory() as folder:
        boxes = record_boxes(Path(folder), sequences())
    recorded = {"package": "trackeval 1.3.0", "checksum": checksum(), "boxes": boxes, "poses": record_poses(poses())}
    OUT.write_text(json.dumps(recorded, indent=1) + "\n")
    print(OUT, len(boxes), "sequences")


if __name__ == "__main__":
    sys.exit(main())
