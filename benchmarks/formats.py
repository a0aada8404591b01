"""Time whole predictions in every export format beside Ultralytics' ONNX and OpenVINO: same weights, photographs, run.

    python benchmarks/formats.py --peer DIR/bin/python --model MODEL.pt --images FOLDER [--threads N]

Needs the environment of `make test-exports`; formats whose runtime is missing, and those that this machine cannot run,
are named in the result. Method as in benchmarks/predict.py: a process per contender, alternating rounds, each
photograph once a round at 640 and batch 1, `wall_ms` the median over photographs, ratios the median over rounds of the
quotients. `rect` is a file of open shape, which gets each photograph padded to the next multiple of 32 only, as the
peer's .pt does; all others, the peer's files too, get 640 x 640. MODEL is a checkpoint that the peer reads, too.
Written to benchmarks/results/formats.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from predict import HERE, Contender, machine, serve, timed, work_peer, worker

OURS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # how to export, how to predict
    "torchscript": ({"format": "torchscript"}, {}),
    "onnx": ({"format": "onnx"}, {}),
    "onnx rect": ({"format": "onnx", "dynamic": True}, {}),
    "onnx int8": ({"format": "onnx", "int8": True}, {}),
    "openvino": ({"format": "openvino"}, {}),
    "openvino rect": ({"format": "openvino", "dynamic": True}, {}),
    "openvino bf16": ({"format": "openvino"}, {"bf16": True}),
    "openvino int8": ({"format": "openvino", "int8": True}, {}),
    "openvino int8 rect": ({"format": "openvino", "int8": True, "dynamic": True}, {}),
    "saved_model": ({"format": "saved_model"}, {}),
    "pb": ({"format": "pb"}, {}),
    "tflite": ({"format": "tflite"}, {}),
    "tflite int8": ({"format": "tflite", "int8": True}, {}),
    "paddle": ({"format": "paddle"}, {}),
    "ncnn": ({"format": "ncnn"}, {}),
}
PEERS = ("onnx", "openvino")
AIMS = (
    ("onnx", "onnx", None),
    ("onnx int8", "onnx", 1.8),
    ("openvino", "openvino", 1.15),
    ("openvino bf16", "openvino", 1.15),  # what the peer's computes in where the CPU has it, OpenVINO's default
    ("openvino", "onnx", None),
    ("openvino bf16", "onnx", 2.4),
    ("openvino int8", "onnx", 3.0),
    ("openvino int8 rect", "onnx", 4.0),
    ("tflite", "onnx", None),
    ("tflite int8", "onnx", 3.0),
)


def work_ours(model: Path, images: list[Path], options: dict[str, Any]) -> None:
    """Ours, as users call it."""
    from yolopose import YOLO, __version__

    network = YOLO(str(model))

    def predict(image: Path) -> dict[str, float]:
        arguments = {"imgsz": 640, "verbose": False, "device": "cpu", **options}
        result, times = timed(lambda: network.predict(str(image), **arguments)[0])
        return times | {"inference_ms": result.speed["inference"], "found": len(result)}

    serve(predict, images, __version__)


def export_ours(name: str, arguments: argparse.Namespace, folder: Path) -> Path | str:
    """The exported file, or why there is none. In a process of its own: the toolchains do not share one gladly."""
    options, _ = OURS[name]
    place = folder / name
    place.mkdir()
    model = place / "model.pt"
    model.write_bytes(arguments.model.read_bytes())
    words = [f"{key}={value}" for key, value in options.items()]
    words += [f"data={arguments.data}"] if options.get("int8") and arguments.data else []
    command = [sys.executable, "-m", "yolopose", "export", f"model={model}", "imgsz=640", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout if done.returncode == 0 else done.stderr
    last = said.strip().splitlines()[-1]
    return Path(last.removeprefix("saved as ")) if done.returncode == 0 else last


def export_peer(kind: str, arguments: argparse.Namespace, folder: Path, environment: dict[str, str]) -> Path:
    """The peer's own export."""
    place = folder / f"peer {kind}"
    place.mkdir()
    model = place / "peer.pt"
    model.write_bytes(arguments.model.read_bytes())
    code = (
        "import importlib.util as u\nif u.find_spec('peer_shim'): import peer_shim\n"
        f"from ultralytics import YOLO; print('file', YOLO({str(model)!r}).export(format={kind!r}, imgsz=640))"
    )
    done = subprocess.run([arguments.peer, "-c", code], check=True, capture_output=True, text=True, env=environment)
    return Path(next(line[5:] for line in done.stdout.splitlines()[::-1] if line.startswith("file ")))


def measure(arguments: argparse.Namespace, environment: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of every contender, one per round; and why others have none."""
    figures: dict[str, list[dict[str, float]]] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary:
        starts = {}
        script = Path(__file__).resolve()
        for name, (_, options) in OURS.items():
            made = export_ours(name, arguments, Path(temporary))
            print(f"{name}: {made}", flush=True)
            if isinstance(made, str):
                missing[name] = made
            else:
                starts[f"ours {name}"] = partial(
                    worker, sys.executable, "ours", made, arguments.images, environment, options, script
                )
        for kind in PEERS if arguments.peer else ():
            file = export_peer(kind, arguments, Path(temporary), environment)
            starts[f"peer {kind}"] = partial(
                worker, arguments.peer, "peer", file, arguments.images, environment, {}, script
            )
        for start in range(arguments.starts):
            contenders: dict[str, Contender] = {name: open_() for name, open_ in starts.items()}
            for number in range(arguments.rounds):
                for name in sorted(contenders, reverse=bool((start + number) % 2)):
                    figures.setdefault(name, []).append(contenders[name].round())
            for contender in contenders.values():
                contender.close()
    return figures, missing


def ratios(figures: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """How many times faster ours is, per comparison: median and quartiles over rounds."""
    out = {}
    for ours, peer, aim in AIMS:
        mine, theirs = figures.get(f"ours {ours}"), figures.get(f"peer {peer}")
        if mine and theirs:
            each = [b["wall_ms"] / a["wall_ms"] for a, b in zip(mine, theirs, strict=True)]
            low, middle, high = statistics.quantiles(each, n=4)
            quartiles = [round(low, 3), round(high, 3)]
            out[f"{ours} / peer {peer}"] = {"times_faster": round(middle, 3), "quartiles": quartiles, "aim": aim}
    return out


def main() -> None:
    """Run the benchmark, or one of its workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = HERE.parents[1] / "shared"
    parser.add_argument("--peer", help="Python of an environment that has Ultralytics, ONNX Runtime and OpenVINO")
    parser.add_argument("--model", type=Path, default=shared / "golden" / "natural-n17.pt")
    parser.add_argument("--images", type=Path, default=shared / "data" / "demo")
    parser.add_argument("--data", type=Path, help="data set to calibrate int8 on; the packaged photographs without it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=HERE / "results" / "formats.json")
    parser.add_argument("--work", choices=("ours", "peer"), help=argparse.SUPPRESS)
    parser.add_argument("--options", type=json.loads, default={}, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    images = sorted(arguments.images.glob("*.jpg"))
    if arguments.work == "peer":
        return work_peer(arguments.model, images)
    if arguments.work == "ours":
        return work_ours(arguments.model, images, arguments.options)
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    before = machine(arguments.threads)
    figures, missing = measure(arguments, environment)
    medians = {
        name: {key: round(statistics.median(row[key] for row in rounds), 3) for key in rounds[0]}
        for name, rounds in sorted(figures.items())
    }
    result = {"machine": before, "images": len(images), "starts": arguments.starts, "rounds": arguments.rounds}
    result |= {"ratios": ratios(figures), "medians": medians, "missing": missing, "method": __doc__}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    for name, figure in medians.items():
        print(f"{name:24} " + "  ".join(f"{key} {value:.2f}" for key, value in figure.items()))
    for name, ratio in result["ratios"].items():
        print(f"{name:36} {ratio['times_faster']:.2f} times faster (aim {ratio['aim']})")


if __name__ == "__main__":
    main()
