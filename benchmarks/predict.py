"""Time prediction beside Ultralytics' on this machine: same weights, same photographs, same threads, one run.

    python benchmarks/predict.py --peer DIR/bin/python --model MODEL.pt --images FOLDER [--threads N]

Each contender is a process of its own that predicts every photograph at 640, batch 1, whenever it is told to; rounds of
all contenders alternate, so that a machine that slows down slows all of them. After some rounds all are started anew,
because a process keeps the luck it had with its memory. The figure of a round is the median over its photographs:
`wall_ms` is what a user waits for, `cpu_ms` the processor time of all threads, which a busy machine disturbs less. The
ratio of two contenders is the median over rounds of the quotient of their figures. Contenders are asked to use the
threads given; how many the peer then takes is its own affair and stands in the result as far as it can be known.
Without --peer only our own contenders run. The result is written to benchmarks/results/predict.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OURS = {"torch": {}, "torch bf16": {"bf16": True}, "onnx": {}}
PEERS = ("torch", "onnx")
PACKAGES = (
    "torch", "onnxruntime", "openvino", "ai-edge-litert", "tensorflow", "paddlepaddle", "ncnn", "numpy",
    "opencv-python-headless",
)  # fmt: skip
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


class Contender:
    """A worker process; `round()` makes it predict all photographs once and tells the median of each of its figures."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.version = self._line()  # with the threads that its torch uses

    def _line(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"a contender stopped: {self._process.args}")

    def round(self) -> dict[str, float]:
        """Predict all photographs once; the median of each figure."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._line()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def timed(call: Any) -> tuple[Any, dict[str, float]]:
    """What `call` returns, and its milliseconds on the clock and of all threads' processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = call()
    return value, {"wall_ms": (time.perf_counter() - wall) * 1e3, "cpu_ms": (time.process_time() - cpu) * 1e3}


def serve(predict: Any, images: list[Path], version: str) -> None:
    """The worker's side: warm up, then one round per line of standard input."""
    for image in images[:3]:
        predict(image)
    threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    print(json.dumps({"version": version, "torch_threads": threads}), flush=True)
    for _ in sys.stdin:
        rows = [predict(image) for image in images]
        print(json.dumps({key: statistics.median(row[key] for row in rows) for key in rows[0]}), flush=True)


def work_peer(model: Path, images: list[Path]) -> None:
    """Ultralytics, as its users call it."""
    with contextlib.suppress(ImportError):
        import peer_shim  # noqa: F401  (prepares the environment where it is there)
    from ultralytics import YOLO, __version__

    network = YOLO(str(model), task="pose")

    def predict(image: Path) -> dict[str, float]:
        result, times = timed(lambda: network.predict(str(image), imgsz=640, verbose=False, device="cpu")[0])
        speed = result.speed
        return times | {
            "pre_post_ms": speed["preprocess"] + speed["postprocess"],
            "inference_ms": speed["inference"],
            "found": len(result),
        }

    serve(predict, images, __version__)


def work_ours(model: Path, images: list[Path], options: dict[str, Any]) -> None:
    """Ours, as users call it.

    Our `speed` counts the conversion of pixels to floats and the choice of candidates as inference; here they are timed
    once more by themselves and moved to pre- and post-processing, where the peer counts them. With torch on a CPU the
    choice of candidates is a part of the head, so that only the conversion is moved.
    """
    from yolopose import YOLO, __version__
    from yolopose.config import PredictConfig
    from yolopose.formats.base import select, to_nchw
    from yolopose.formats.table import open_backend
    from yolopose.images import read_image
    from yolopose.predict import plan

    backend = open_backend(model, device="cpu", **options)
    pixels = {image: read_image(image) for image in images}
    canvases = {
        image: plan(backend, [each.shape[:2]], PredictConfig())[0].image(each)[None] for image, each in pixels.items()
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
            select(outputs[image], classes, 0.25)
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


def cold(python: str, code: str, image: Path, environment: dict[str, str]) -> dict[str, float]:
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
    return (
        "import sys, importlib.util as u\n"
        "if u.find_spec('peer_shim'): import peer_shim\n"
        f"sys.argv = ['yolo', *{words!r}]\n"
        "from ultralytics.cfg import entrypoint; entrypoint()"
    )


def exported(model: Path, folder: Path, peer: str | None, environment: dict[str, str]) -> dict[str, Path]:
    """Static 640 ONNX files of the model: ours and, with a peer, its own."""
    from yolopose.config import ExportConfig
    from yolopose.formats.table import export

    files = {"ours": export(model, ExportConfig(imgsz=640, out=str(folder / "ours.onnx")))}
    if peer:
        copy = folder / "peer.pt"
        copy.write_bytes(model.read_bytes())
        code = (
            "import importlib.util as u\nif u.find_spec('peer_shim'): import peer_shim\n"
            f"from ultralytics import YOLO; YOLO({str(copy)!r}).export(format='onnx', imgsz=640)"
        )
        subprocess.run([peer, "-c", code], check=True, capture_output=True, env=environment)
        files["peer"] = copy.with_suffix(".onnx")
    return files


def measure(arguments: argparse.Namespace, environment: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of every contender, one per round, and the versions."""
    figures: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        onnx = exported(arguments.model, Path(temporary), arguments.peer, environment)
        for start in range(arguments.starts):
            contenders = {name: open_() for name, open_ in entries(arguments, onnx, environment).items()}
            for number in range(arguments.rounds):
                for name in sorted(contenders, reverse=bool((start + number) % 2)):
                    figures.setdefault(name, []).append(contenders[name].round())
            versions = {name: contender.version for name, contender in contenders.items()}
            for contender in contenders.values():
                contender.close()
        image = sorted(arguments.images.glob("*.jpg"))[0]
        starts = [("ours", sys.executable), *([("peer", arguments.peer)] if arguments.peer else [])]
        for _ in range(arguments.rounds * arguments.starts):
            for side, python in starts:
                for suffix, model in (("", arguments.model), (" onnx", onnx[side])):
                    told = cold(python, cold_code(side, model, image), image, environment)
                    figures.setdefault(f"{side} cold{suffix}", []).append(told)
    return figures, versions


def entries(
    arguments: argparse.Namespace, onnx: dict[str, Path], environment: dict[str, str]
) -> dict[str, Callable[[], Contender]]:
    """How to start each contender."""
    out = {}
    for name, options in OURS.items():
        model = onnx["ours"] if name == "onnx" else arguments.model
        out[f"ours {name}"] = partial(worker, sys.executable, "ours", model, arguments.images, environment, options)
    for name in PEERS if arguments.peer else ():
        model = onnx["peer"] if name == "onnx" else arguments.model
        out[f"peer {name}"] = partial(worker, arguments.peer, "peer", model, arguments.images, environment, {})
    return out


def worker(
    python: str, side: str, model: Path, images: Path, environment: dict[str, str], options: dict[str, Any],
    script: Path = Path(__file__),
) -> Contender:  # fmt: skip
    """Start a contender in its own process, which runs `script`."""
    command = [python, str(script.resolve()), "--work", side, "--model", str(model), "--images", str(images)]
    return Contender([*command, "--options", json.dumps(options)], environment)


def ratios(figures: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """How many times faster ours is, per comparison: median and quartiles over rounds."""
    out = {}
    for name, (key, ours, peer, aim) in AIMS.items():
        if ours in figures and peer in figures:
            each = [theirs[key] / mine[key] for mine, theirs in zip(figures[ours], figures[peer], strict=True)]
            low, middle, high = statistics.quantiles(each, n=4)
            out[name] = {"times_faster": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)], "aim": aim}
    return out


def machine(threads: int) -> dict[str, Any]:
    """What the figures were taken on."""
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.processor())  # fmt: skip
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False)
    return {
        "cpu": cpu, "cores": os.cpu_count(), "threads": threads, "load": os.getloadavg(),
        "python": platform.python_version(), "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"), **{d.name: d.version for d in distributions() if d.name in PACKAGES},
    }  # fmt: skip


def main() -> None:
    """Run the benchmark, or one of its workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="Python of an environment that has Ultralytics")
    parser.add_argument("--model", type=Path, default=HERE.parents[1] / "shared" / "golden" / "natural-n17.pt")
    parser.add_argument("--images", type=Path, default=HERE.parents[1] / "shared" / "data" / "demo")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=HERE / "results" / "predict.json")
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
    figures, versions = measure(arguments, environment)
    medians = {
        name: {key: round(statistics.median(row[key] for row in rounds), 3) for key in rounds[0]}
        for name, rounds in figures.items()
    }
    result = {"machine": before, "versions": versions, "images": len(images)}
    result |= {"starts": arguments.starts, "rounds": arguments.rounds}
    result |= {"ratios": ratios(figures), "medians": medians, "method": __doc__}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    for name, figure in medians.items():
        print(f"{name:16} " + "  ".join(f"{key} {value:.2f}" for key, value in figure.items()))
    for name, ratio in result["ratios"].items():
        print(f"{name:28} {ratio['times_faster']:.2f} times faster (aim {ratio['aim']})")


if __name__ == "__main__":
    main()
