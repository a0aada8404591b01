"""What the benchmarks share: contenders in processes of their own, alternating rounds, ratios, and the machine.

Each contender is a process of its own that predicts every photograph, batch 1, whenever it is told to; rounds of all
contenders alternate, so that a machine that slows down slows all of them. After some rounds all are started anew,
because a process keeps the luck it had with its memory. The figure of a round is the median over its photographs:
`wall_ms` is what a user waits for, `cpu_ms` the processor time of all threads, which a busy machine disturbs less. The
ratio of two contenders is the median over rounds of the quotient of their figures. Contenders are asked to use the
threads given; how many Ultralytics then takes is its own affair and stands in the result as far as it can be known.
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
import time
from collections.abc import Callable, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared"
PEER_FIRST = "import importlib.util\nif importlib.util.find_spec('peer_shim'): import peer_shim\n"
PACKAGES = (
    "torch", "onnxruntime", "openvino", "ai-edge-litert", "tensorflow", "paddlepaddle", "ncnn", "numpy",
    "opencv-python-headless",
)  # fmt: skip

Figures = dict[str, list[dict[str, float]]]  # of each contender, one row per round
Aims = Mapping[str, tuple[str, str, str, float | None]]  # name: figure, our contender, Ultralytics', the ratio we want


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


def start(
    script: str, python: str, side: str, model: Path, arguments: argparse.Namespace,
    options: dict[str, Any] | None = None,
) -> Contender:  # fmt: skip
    """Start a contender: `script` in a process of its own, told by --work which side it is."""
    command = [python, script, "--work", side, "--model", str(model), "--images", str(arguments.images)]
    return Contender([*command, "--options", json.dumps(options or {})], environment(arguments))


def environment(arguments: argparse.Namespace) -> dict[str, str]:
    """The environment of every process that is timed."""
    return os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}


def export_peer(kind: str, arguments: argparse.Namespace, folder: Path) -> Path:
    """Ultralytics' own static 640 export of the model, in `folder`, which is made."""
    folder.mkdir()
    model = folder / "peer.pt"
    model.write_bytes(arguments.model.read_bytes())
    export = f"from ultralytics import YOLO; print('file', YOLO({str(model)!r}).export(format={kind!r}, imgsz=640))"
    done = subprocess.run(
        [arguments.peer, "-c", PEER_FIRST + export],
        check=True, capture_output=True, text=True, env=environment(arguments),
    )  # fmt: skip
    return Path(next(line[5:] for line in done.stdout.splitlines()[::-1] if line.startswith("file ")))


def alternate(entries: Mapping[str, Callable[[], Contender]], arguments: argparse.Namespace) -> tuple[Figures, Any]:
    """All rounds of all contenders; their figures and versions."""
    figures: Figures = {}
    versions: dict[str, Any] = {}
    for begun in range(arguments.starts):
        contenders = {name: open_() for name, open_ in entries.items()}
        for number in range(arguments.rounds):
            for name in sorted(contenders, reverse=bool((begun + number) % 2)):
                figures.setdefault(name, []).append(contenders[name].round())
        for name, contender in contenders.items():
            versions[name] = contender.version
            contender.close()
    return figures, versions


def ratios(figures: Figures, aims: Aims) -> dict[str, dict[str, Any]]:
    """How many times faster ours is, per comparison: median and quartiles over rounds."""
    out = {}
    for name, (key, ours, peer, aim) in aims.items():
        if ours in figures and peer in figures:
            each = [theirs[key] / mine[key] for mine, theirs in zip(figures[ours], figures[peer], strict=True)]
            low, middle, high = statistics.quantiles(each, n=4)
            out[name] = {"times_faster": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)], "aim": aim}
    return out


def labelled(name: str) -> str:
    """A name of the results as it is printed: they call Ultralytics the peer, as `--peer` does."""
    return name.replace("peer", "Ultralytics")


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


def parser(description: str | None, result: str) -> argparse.ArgumentParser:
    """What every benchmark of predictions is asked; its workers are asked by --work."""
    out = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--peer", help="Python of an environment that has Ultralytics and the runtimes of its exports")
    out.add_argument("--model", type=Path, default=SHARED / "golden" / "natural-n17.pt")
    out.add_argument("--images", type=Path, default=SHARED / "data" / "demo")
    out.add_argument("--rounds", type=int, default=3)
    out.add_argument("--starts", type=int, default=4)
    out.add_argument("--threads", type=int, default=os.cpu_count())
    out.add_argument("--out", type=Path, default=HERE / "results" / result)
    out.add_argument("--work", choices=("ours", "peer"), help=argparse.SUPPRESS)
    out.add_argument("--options", type=json.loads, default={}, help=argparse.SUPPRESS)
    return out


def run(
    arguments: argparse.Namespace,
    work_ours: Callable[[Path, list[Path], dict[str, Any]], None],
    measure: Callable[[argparse.Namespace], tuple[Figures, dict[str, Any]]],
    aims: Aims,
    method: str | None,
) -> None:
    """Be the worker that --work names; or measure, write the result, and print it."""
    images = sorted(arguments.images.glob("*.jpg"))
    if arguments.work == "peer":
        return work_peer(arguments.model, images)
    if arguments.work == "ours":
        return work_ours(arguments.model, images, arguments.options)
    before = machine(arguments.threads)
    figures, notes = measure(arguments)
    medians = {
        name: {key: round(statistics.median(row[key] for row in rounds), 3) for key in rounds[0]}
        for name, rounds in sorted(figures.items())
    }
    result = {"machine": before, "images": len(images), "starts": arguments.starts, "rounds": arguments.rounds}
    result |= {"ratios": ratios(figures, aims), "medians": medians, **notes, "method": f"{method}\n{__doc__}"}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    for name, figure in medians.items():
        print(f"{labelled(name):24} " + "  ".join(f"{key} {value:.2f}" for key, value in figure.items()))
    for name, ratio in result["ratios"].items():
        print(f"{labelled(name):36} {ratio['times_faster']:.2f} times faster (aim {ratio['aim']})")
