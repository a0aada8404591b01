"""Time whole predictions in every export format beside Ultralytics' ONNX and OpenVINO: same weights, photographs, run.

    python benchmarks/formats.py --peer DIR/bin/python --model MODEL.pt --images FOLDER [--threads N]

Needs the environment of `make test-exports`; formats whose runtime is missing, and those that this machine cannot run,
are named in the result. `rect` is a file of open shape, which gets each photograph padded to the next multiple of 32
only, as Ultralytics' .pt does; all others, Ultralytics' files too, get 640 x 640. MODEL is a checkpoint that
Ultralytics reads, too. Written to benchmarks/results/formats.json. How the times are taken: contenders.py.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from contenders import alternate, export_peer, parser, run, serve, start, timed

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
PAIRS = (
    ("onnx", "onnx", None),
    ("onnx int8", "onnx", 1.8),
    ("openvino", "openvino", 1.15),
    ("openvino bf16", "openvino", 1.15),  # what Ultralytics' computes in where the CPU has it, OpenVINO's default
    ("openvino", "onnx", None),
    ("openvino bf16", "onnx", 2.4),
    ("openvino int8", "onnx", 3.0),
    ("openvino int8 rect", "onnx", 4.0),
    ("tflite", "onnx", None),
    ("tflite int8", "onnx", 3.0),
)
AIMS = {f"{ours} / peer {peer}": ("wall_ms", f"ours {ours}", f"peer {peer}", aim) for ours, peer, aim in PAIRS}


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


def measure(arguments: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of every contender, one per round; and why others have none."""
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary:
        entries = {}
        for name, (_, options) in OURS.items():
            made = export_ours(name, arguments, Path(temporary))
            print(f"{name}: {made}", flush=True)
            if isinstance(made, str):
                missing[name] = made
            else:
                entries[f"ours {name}"] = partial(start, __file__, sys.executable, "ours", made, arguments, options)
        for kind in PEERS if arguments.peer else ():
            file = export_peer(kind, arguments, Path(temporary) / f"peer {kind}")
            entries[f"peer {kind}"] = partial(start, __file__, arguments.peer, "peer", file, arguments)
        figures, versions = alternate(entries, arguments)
    return figures, {"versions": versions, "missing": missing}


if __name__ == "__main__":
    asked = parser(__doc__, "formats.json")
    asked.add_argument("--data", type=Path, help="data set to calibrate int8 on; the packaged photographs without it")
    run(asked.parse_args(), work_ours, measure, AIMS, __doc__)
