"""Time training and validation beside Ultralytics' on this machine: same data, same weights, same threads, one run.

    python benchmarks/train.py --peer DIR/bin/python --model MODEL.pt --data DATA.yaml [--rounds 3] [--threads N]

Figures are images per second: of the augmented loader at 640, batch 16, without and with a RAM cache (second epoch,
after its first batch); of a training epoch at 320, batch 16 (the second one, validation off), ours in float32 and with
bfloat16 autocast, Ultralytics' in float32; and of `val` at 640 (second call). Every measurement is a process of its
own; both alternate within a round, so that a machine that slows down slows both, and a ratio is the median
over rounds of their quotients. Both work on copies of the data, since Ultralytics writes into its data set. Without
--peer only ours are timed. The result is written to benchmarks/results/train.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from contenders import HERE, SHARED, labelled, machine

BATCHES = 30  # of the loader, at most
AIMS = {  # our figure, Ultralytics', the ratio we want
    "loader": ("loader", "loader", 1.5),
    "loader, RAM cache": ("loader-ram", "loader-ram", 2.0),
    "epoch, float32": ("epoch", "epoch", 1.6),
    "epoch, bfloat16": ("epoch-bf16", "epoch", 3.0),
    "val": ("val", "val", 1.5),
}


def rate(batches: Any, count: int) -> float:
    """Images per second over `count` batches after the first; `batches` are numbers of images."""
    iterator = iter(batches)
    next(iterator)
    start, images = time.perf_counter(), 0
    for _ in range(count):
        images += next(iterator)
    return images / (time.perf_counter() - start)


def ours(kind: str, model: str, data: str, options: dict[str, Any]) -> float:
    """One of our figures."""
    from yolopose import YOLO
    from yolopose.data.dataset import PoseDataset, SampleOptions
    from yolopose.data.labels import scan
    from yolopose.data.loader import Loader
    from yolopose.data.spec import load_data

    workers, fraction = options["workers"], options["fraction"]
    if kind.startswith("loader"):
        options = SampleOptions(cache="ram" if kind.endswith("ram") else False)
        dataset = PoseDataset(scan(load_data(data), "train"), options)
        loader = Loader(dataset, 16, workers=workers)
        for _ in loader:
            pass
        dataset.set_epoch(1)
        return rate((len(batch.images) for batch in loader), min(len(loader) - 2, BATCHES))
    with tempfile.TemporaryDirectory() as folder:
        if kind == "val":
            network = YOLO(model)
            call = {"data": data, "imgsz": 640, "plots": False, "workers": workers, "project": folder, "verbose": False}
            network.val(**call)
            start = time.perf_counter()
            network.val(**call)
            return options["val_images"] / (time.perf_counter() - start)
        network = YOLO(model)
        stamps, images = [], []
        network.add_callback("on_train_epoch_start", lambda run: stamps.append(time.perf_counter()))
        network.add_callback("on_train_epoch_end", lambda run: stamps.append(time.perf_counter()))
        network.add_callback("on_train_epoch_end", lambda run: images.append(len(run.loader.dataset)))
        network.train(
            data=data, epochs=2, imgsz=320, batch=16, workers=workers, fraction=fraction, bf16=kind.endswith("bf16"),
            device="cpu", val=False, plots=False, save=False, verbose=False, project=folder,
        )  # fmt: skip
        return images[-1] / (stamps[-1] - stamps[-2])


def peer(kind: str, model: str, data: str, options: dict[str, Any]) -> float:
    """One of Ultralytics' figures, by its public interface."""
    with contextlib.suppress(ImportError):
        import peer_shim  # noqa: F401  (prepares the environment where it is there)
    from ultralytics import YOLO

    workers, fraction = options["workers"], options["fraction"]
    if kind.startswith("loader"):
        from ultralytics.cfg import get_cfg
        from ultralytics.data import build_dataloader, build_yolo_dataset
        from ultralytics.data.utils import check_det_dataset

        described = check_det_dataset(data)
        cfg = get_cfg(overrides={"task": "pose", "imgsz": 640, "cache": "ram" if kind.endswith("ram") else False})
        dataset = build_yolo_dataset(cfg, described["train"], 16, described, mode="train")
        loader = build_dataloader(dataset, 16, workers, shuffle=True, rank=-1)
        for _ in loader:
            pass
        return rate((len(batch["img"]) for batch in loader), min(len(loader) - 2, BATCHES))
    with tempfile.TemporaryDirectory() as folder:
        network = YOLO(model)
        common = {"data": data, "workers": workers, "device": "cpu", "plots": False, "verbose": False}
        common |= {"project": folder, "exist_ok": True}
        if kind == "val":
            network.val(imgsz=640, batch=16, **common)
            start = time.perf_counter()
            network.val(imgsz=640, batch=16, **common)
            return options["val_images"] / (time.perf_counter() - start)
        stamps, images = [], []
        network.add_callback("on_train_epoch_start", lambda run: stamps.append(time.perf_counter()))
        network.add_callback("on_train_epoch_end", lambda run: stamps.append(time.perf_counter()))
        network.add_callback("on_train_epoch_end", lambda run: images.append(len(run.train_loader.dataset)))
        network.train(epochs=2, imgsz=320, batch=16, fraction=fraction, amp=False, val=False, **common)
        return images[-1] / (stamps[-1] - stamps[-2])


def run(python: str, side: str, kind: str, arguments: argparse.Namespace, data: Path) -> float:
    """One measurement in a process of its own."""
    command = [python, str(Path(__file__).resolve()), "--work", f"{side}:{kind}", "--model", str(arguments.model)]
    options = {"workers": arguments.workers, "fraction": arguments.fraction, "val_images": arguments.val_images}
    told = subprocess.run(
        [*command, "--data", str(data), "--options", json.dumps(options)],
        env=os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    figure = next((line for line in told.stdout.splitlines() if line.startswith("figure ")), None)
    if figure is None:
        raise SystemExit(f"{side} {kind} failed:\n{told.stdout[-2000:]}{told.stderr[-2000:]}")
    return float(figure.split()[1])


def copied(data: Path, folder: Path) -> Path:
    """A copy of the data set around a YAML, and the YAML in it."""
    target = folder / data.parent.name
    shutil.copytree(data.parent, target, copy_function=shutil.copyfile)
    text = (target / data.name).read_text().splitlines()
    lines = [f"path: {target}" if line.startswith("path:") else line for line in text]  # it takes no relative one
    (target / data.name).write_text("\n".join(lines) + "\n")
    return target / data.name


def measure(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Every figure, one per round."""
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        sides = {"ours": sys.executable} | ({"peer": arguments.peer} if arguments.peer else {})
        data = {side: copied(arguments.data, Path(temporary) / side) for side in sides}
        arguments.val_images = len(list((data["ours"].parent / "images" / "val").glob("*.jpg")))
        for number in range(arguments.rounds):
            for kind in arguments.kinds:
                for side in sorted(sides, reverse=bool(number % 2)):
                    if side == "ours" or kind != "epoch-bf16":
                        figure = run(sides[side], side, kind, arguments, data[side])
                        figures.setdefault(f"{side} {kind}", []).append(round(figure, 2))
                        print(f"round {number + 1}: {side} {kind}: {figure:.1f} images/s", flush=True)
    return figures


def ratios(figures: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """How many times faster ours is: the median over rounds, the least and the largest."""
    out = {}
    for name, (mine, theirs, aim) in AIMS.items():
        pairs = zip(figures.get(f"ours {mine}", []), figures.get(f"peer {theirs}", []), strict=True)
        if each := [a / b for a, b in pairs]:
            spread = [round(min(each), 2), round(max(each), 2)]
            out[name] = {"times_faster": round(statistics.median(each), 2), "range": spread, "aim": aim}
    return out


def main() -> None:
    """Run the benchmark, or one of its measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="Python of an environment that has Ultralytics")
    parser.add_argument("--model", type=Path, default=SHARED / "golden" / "natural-n17.pt")
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "pose" / "data.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fraction", type=float, default=0.3, help="of the training images, for the epochs")
    parser.add_argument("--kinds", nargs="+", default=["loader", "loader-ram", "epoch", "epoch-bf16", "val"])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "train.json")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--options", type=json.loads, default={}, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        side, kind = arguments.work.split(":")
        figure = {"ours": ours, "peer": peer}[side](kind, str(arguments.model), str(arguments.data), arguments.options)
        print(f"figure {figure}", flush=True)
        return
    before = machine(arguments.threads)
    figures = measure(arguments)
    result = {"machine": before, "workers": arguments.workers, "fraction": arguments.fraction}
    result |= {"ratios": ratios(figures), "images_per_s": figures, "method": __doc__}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    for name, ratio in result["ratios"].items():
        print(f"{labelled(name):20} {ratio['times_faster']:.2f} times faster {ratio['range']} (aim {ratio['aim']})")


if __name__ == "__main__":
    main()
