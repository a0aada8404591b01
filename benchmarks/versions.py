"""Time two checkouts of yolopose in alternation: `python benchmarks/versions.py OLD NEW [--rounds 3] [--threads N]`.

Every figure is taken in a fresh process by the checkout's own benchmarks/predict.py or benchmarks/train.py. Prints how
many times faster NEW is: the median over rounds, the least and the largest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from contenders import SHARED
from train import copied

PREDICT = {"torch": "{}", "torch bf16": '{"bf16": true}', "onnx": "{}"}
COLD = ("cold", "cold onnx")
TRAIN = ("loader", "loader-ram", "epoch", "epoch-bf16", "val")
START = """
import sys, time
start = time.perf_counter()
from yolopose.cli import main
main(sys.argv[1:])
print("took", time.perf_counter() - start)
"""


def command(kind: str, model: Path, data: Path, arguments: argparse.Namespace) -> list[str]:
    """What to run in a checkout to take one figure."""
    if kind in COLD:
        picture = sorted(arguments.images.glob("*.jpg"))[0]
        return ["-c", START, "predict", f"model={model}", f"source={picture}", "imgsz=640", "save=False", "device=cpu"]
    if kind in PREDICT:
        words = ["benchmarks/predict.py", "--work", "ours", "--images", str(arguments.images)]
        return [*words, "--model", str(model), "--options", PREDICT[kind]]
    options = {"workers": 2, "fraction": 0.3, "val_images": 1}
    words = ["benchmarks/train.py", "--work", f"ours:{kind}", "--data", str(data), "--model", str(model)]
    return [*words, "--options", json.dumps(options)]


def figure(checkout: Path, kind: str, model: Path, data: Path, arguments: argparse.Namespace) -> float:
    """How much one fresh process does in a unit of time; units differ by kind."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": str(arguments.threads)}
    done = subprocess.run(
        [sys.executable, *command(kind, model, data, arguments)],
        input="go\n" * 3, cwd=checkout, env=environment, text=True, check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    if kind in PREDICT:
        return 1 / min(json.loads(line)["wall_ms"] for line in lines if '"wall_ms"' in line)
    word, value = next(line.split()[-2:] for line in reversed(lines) if line.startswith(("took ", "figure ")))
    return 1 / float(value) if word == "took" else float(value)


def main() -> None:
    """Run all rounds and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--model", type=Path, default=SHARED / "golden" / "natural-n17.pt")
    parser.add_argument("--images", type=Path, default=SHARED / "data" / "demo")
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "pose" / "data.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--kinds", nargs="+", default=[*PREDICT, *COLD, *TRAIN])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "model.onnx"
        export = ["-m", "yolopose", "export", f"model={arguments.model}", "imgsz=640", f"out={onnx}", "verify=False"]
        subprocess.run([sys.executable, *export], cwd=arguments.new, check=True, stdout=subprocess.DEVNULL)
        data = copied(arguments.data.resolve(), Path(folder))
        for kind in arguments.kinds:
            model = onnx if "onnx" in kind else arguments.model.resolve()
            ratios = []
            for number in range(arguments.rounds):
                found = {}
                for side in sorted(("old", "new"), reverse=bool(number % 2)):
                    checkout = getattr(arguments, side).resolve()
                    found[side] = figure(checkout, kind, model, data, arguments)
                ratios.append(found["new"] / found["old"])
            middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
            print(f"{kind:12} new is {middle:.3f} times as fast [{low:.3f}, {high:.3f}]", flush=True)


if __name__ == "__main__":
    main()
