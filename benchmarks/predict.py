"""Time prediction beside Ultralytics' on this machine: same weights, same photographs, same threads, one run.

    python benchmarks/predict.py --peer DIR/bin/python --model MODEL.pt --images FOLDER [--threads N]

Whole predictions per photograph at 640: torch in float32 and bfloat16, and ONNX Runtime on each side's own file; pre-
and post-processing by itself; and cold starts, from the command line to the first result. Without --peer only our own
contenders run. The result is written to benchmarks/results/predict.json. How the times are taken: contenders.py.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from contenders import PEER_FIRST, Contender, alternate, environment, export_peer, parser, run, serve, start, timed

OURS: dict[str, dict[str, Any]] = {"torch": {}, "torch bf16": {"bf16": True}, "onnx": {}}
PEERS = ("torch", "onnx")
AIMS = {
    "torch": ("wall_ms", "ours torch", "peer torch", 1.3),
    "torch bf16": ("wall_ms", "ours torch bf16", "peer torch", 2.5),
    "onnx": ("wall_ms", "ours onnx", "peer onnx", None),
    "torch, processor time": ("cpu_ms", "ours torch", "peer torch", 1.3),
    "torch bf16, processor time": ("cpu_ms", "ours torch bf16", "peer torch", 2.5),
    "onnx, processor time": ("cpu_ms", "ours onnx", "peer onnx", None),
    "pre and post, torch": ("pre_post_ms", "ours torch", "peer torch", 2.0),
    "pre and post, onnx": ("pre_post_ms", "ours onnx", "peer onnx", 2.0),
    "cold start": ("first_line_s", "ours cold", "peer cold", 2.0),
    "cold start, onnx": ("first_line_s", "ours cold onnx", "peer cold onnx", 2.0),
}


def work_ours(model: Path, images: list[Path], options: dict[str, Any]) -> None:
    """Ours, as users call it.

    Our `speed` counts the conversion of pixels to floats and the choice of candidates as inference; here they are timed
    once more by themselves and moved to pre- and post-processing, where Ultralytics counts them. With torch on a CPU
    the choice of candidates is a part of the head, so that only the conversion is moved.
    """
    from yolopose import YOLO, __version__
    from yolopose.detect import DetectOptions, letterboxes_for
    from yolopose.formats.base import OpenOptions, candidates_above, to_nchw
    from yolopose.formats.table import open_backend
    from yolopose.images import read_image

    backend = open_backend(model, OpenOptions(device="cpu", **options))
    pixels = {image: read_image(image) for image in images}
    canvases = {
        image: letterboxes_for(backend, [each.shape[:2]], DetectOptions())[0].image(each)[None]
        for image, each in pixels.items()
    }
    outputs = {image: backend.infer(canvas) for image, canvas in canvases.items()}
    classes, to_tensor = len(backend.info.names), getattr(backend, "_tensor", None)
    if to_tensor is None:
        del backend  # the threads of a second session would stand in the way of the first one's
    network = YOLO(str(model))

    def conversions(image: Path) -> float:
        start = time.perf_counter()
        if to_tensor:
            to_tensor(canvases[image])
        else:
            to_nchw(canvases[image])
            candidates_above(outputs[image], classes, 0.25)
        return (time.perf_counter() - start) * 1e3

    def predict(image: Path) -> dict[str, float]:
        arguments = {"imgsz": 640, "verbose": False, "device": "cpu", **options}
        result, times = timed(lambda: network.predict(str(image), **arguments)[0])
        speed, moved = result.speed, conversions(image)
        return times | {
            "pre_post_ms": speed["preprocess"] + speed["postprocess"] + moved,
            "inference_ms": speed["inference"] - moved,
            "found": len(result),
        }

    serve(predict, images, __version__)


def cold(python: str, code: str, environment: dict[str, str]) -> dict[str, float]:
    """Seconds from starting the command line to the line of its first result, and to its end."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    first = next((time.perf_counter() - start for line in process.stdout if line.startswith("image 1/1 ")), None)
    process.communicate()
    if first is None:
        raise SystemExit(f"no result from {python}: {code}")
    return {"first_line_s": first, "end_s": time.perf_counter() - start}


def cold_code(side: str, model: Path, image: Path) -> str:
    """Python that does what the command `yolo predict …` does."""
    words = ["pose", "predict", f"model={model}", f"source={image}", "imgsz=640", "save=False", "device=cpu"]
    if side == "ours":
        return f"import sys; from yolopose.cli import main; sys.exit(main({words!r}))"
    command = f"import sys; sys.argv = ['yolo', *{words!r}]\nfrom ultralytics.cfg import entrypoint; entrypoint()"
    return PEER_FIRST + command


def exported(arguments: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """Static 640 ONNX files of the model: ours and, with --peer, Ultralytics' own."""
    from yolopose.config import ExportConfig
    from yolopose.formats.table import export

    files = {"ours": export(arguments.model, ExportConfig(imgsz=640, out=str(folder / "ours.onnx")))}
    return files | ({"peer": export_peer("onnx", arguments, folder / "peer")} if arguments.peer else {})


def measure(arguments: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of every contender, one per round, and the versions."""
    with tempfile.TemporaryDirectory() as temporary:
        onnx = exported(arguments, Path(temporary))
        figures, versions = alternate(entries(arguments, onnx), arguments)
        image = sorted(arguments.images.glob("*.jpg"))[0]
        sides = [("ours", sys.executable), *([("peer", arguments.peer)] if arguments.peer else [])]
        for _ in range(arguments.rounds * arguments.starts):
            for side, python in sides:
                for suffix, model in (("", arguments.model), (" onnx", onnx[side])):
                    told = cold(python, cold_code(side, model, image), environment(arguments))
                    figures.setdefault(f"{side} cold{suffix}", []).append(told)
    return figures, {"versions": versions}


def entries(arguments: argparse.Namespace, onnx: dict[str, Path]) -> dict[str, Callable[[], Contender]]:
    """How to start each contender."""
    out = {}
    for name, options in OURS.items():
        model = onnx["ours"] if name == "onnx" else arguments.model
        out[f"ours {name}"] = partial(start, __file__, sys.executable, "ours", model, arguments, options)
    for name in PEERS if arguments.peer else ():
        model = onnx["peer"] if name == "onnx" else arguments.model
        out[f"peer {name}"] = partial(start, __file__, arguments.peer, "peer", model, arguments)
    return out


if __name__ == "__main__":
    run(parser(__doc__, "predict.json").parse_args(), work_ours, measure, AIMS, __doc__)
