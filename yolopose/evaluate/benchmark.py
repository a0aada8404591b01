"""Every export format of one model: size, time to make, difference from torch, accuracy, speed."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from yolopose.config import BenchmarkConfig, ExportConfig, ValConfig
from yolopose.console import log
from yolopose.data.labels import Scan, scan
from yolopose.data.spec import load_data
from yolopose.detect import DetectOptions, detect
from yolopose.errors import PoseError, UsageError, one_line, shown
from yolopose.evaluate.validate import validate
from yolopose.evaluate.verify import compare, fault
from yolopose.files import write_text
from yolopose.formats.base import Backend, OpenOptions
from yolopose.formats.calibration import letterboxed, sample_photographs
from yolopose.formats.pytorch import TorchBackend, load_network
from yolopose.formats.table import FORMATS, Format, export, open_backend
from yolopose.images import read_image
from yolopose.plots.figure import can_plot
from yolopose.saving import run_folder

ROUNDS = 5  # over the packaged photographs, for the latency


@dataclass(frozen=True)
class FormatFigures:
    """The figures of one export format, or in `failure` why there are none; in the units of the names.

    `difference_px` is the worst coordinate against torch on equal pixels, `latency_ms` the median time of a whole
    prediction, one photograph at a time, from the image in memory to its detections.
    """

    format: str
    argument: str
    precision: str = ""
    size_mb: float | None = None
    export_s: float | None = None
    difference_px: float | None = None
    verified: str = ""
    box_map: float | None = None
    pose_map: float | None = None
    latency_ms: float | None = None
    fps: float | None = None
    failure: str = ""


def benchmark(config: BenchmarkConfig) -> list[FormatFigures]:
    """Export, verify, validate and time a checkpoint in every format, or in the one named.

    A format that fails has the reason in its row. The table is printed and written as results.csv, with a plot, into a
    new run folder, which keeps the exported files.

    Raises:
        UsageError: no model, an export instead of a checkpoint, or an unknown format.
        PoseError: the model or the data set cannot be read.
    """
    if config.model is None or not config.model.endswith(".pt"):
        raise UsageError("benchmark needs a checkpoint to export: model=best.pt")
    wanted = [row for row in FORMATS if config.format in (None, row.argument)]
    if not wanted:
        raise UsageError(f"format={shown(config.format)}: known are {', '.join(row.argument for row in FORMATS)}")
    path = Path(config.model)
    reference = TorchBackend(load_network(path))
    data = scan(load_data(config.data), config.split) if config.data else None
    folder = run_folder(config.project, config.name, "benchmark", exist_ok=config.exist_ok)
    rows: list[FormatFigures] = []
    for row in wanted:
        log.info(f"{row.title} …")
        rows.append(_measure(row, path, reference, data, config, folder))
        write_text(folder / "results.csv", to_csv(rows))  # after each: a runtime that crashes leaves what was measured
    for line in table(rows):
        log.info(line)
    if config.plots and can_plot():
        from yolopose.plots.benchmark import plot_formats

        plot_formats([(row.format, row.latency_ms, _bar_note(row)) for row in rows], folder / "formats.png")
    log.info(f"Results saved to {folder}")
    return rows


def _bar_note(row: FormatFigures) -> str:
    """The text at the bar of a format."""
    if row.latency_ms is None:
        return "not run" if row.failure else "not measured"
    accuracy = f", mAP {row.box_map:.3f}" if row.box_map is not None else ""
    return f"{row.latency_ms:.0f} ms, {row.precision}{accuracy}"


def _measure(
    row: Format, path: Path, reference: Backend, data: Scan | None, config: BenchmarkConfig, folder: Path
) -> FormatFigures:
    """All figures of one format of the checkpoint `path`; the first failure ends them and is logged."""
    found: dict[str, object] = {}
    try:
        start = time.perf_counter()
        if row.export is not None:
            precision = {key: getattr(config, key) for key in ("half", "int8") if key in row.options}
            out = str(folder / f"{path.stem}{row.suffix}")
            path = export(
                str(path), ExportConfig(format=row.argument, imgsz=config.imgsz, data=config.data, out=out, **precision)
            )
            found["export_s"] = round(time.perf_counter() - start, 2)
        found["size_mb"] = round(size_of(path) / 1e6, 2)
        backend = open_backend(path, OpenOptions(device=config.device, threads=config.threads))
        found["precision"] = backend.precision
        size = backend.info.input_size(config.imgsz)
        result = compare(reference, backend, [letterboxed(p, backend.info, size) for p in sample_photographs()])
        found["difference_px"] = float(f"{result.worst:.3g}")
        found["verified"] = fault(result, backend.precision, row.tolerance) or "yes"
        if data is not None:
            metrics = validate(backend, data, ValConfig(imgsz=config.imgsz, plots=False, verbose=False))
            found |= {"box_map": round(metrics.box.map, 4), "pose_map": round(metrics.pose.map, 4)}
        milliseconds = latency(backend, DetectOptions(imgsz=config.imgsz))
        found |= {"latency_ms": round(milliseconds, 2), "fps": round(1000 / milliseconds, 1)}
    except Exception as e:  # toolchains raise errors of any type, and the other formats are still to be measured
        found["failure"] = one_line(e) if isinstance(e, PoseError) else f"{type(e).__name__}: {one_line(e)}"
        log.warning(f"{row.title}: {found['failure']}")
    return FormatFigures(row.title, row.argument, **found)  # type: ignore[arg-type]


def latency(backend: Backend, options: DetectOptions) -> float:
    """The median milliseconds of a whole prediction of one photograph, after one round to warm up."""
    images = [read_image(path) for path in sample_photographs()]
    times = []
    for turn in range(ROUNDS + 1):
        for image in images:
            start = time.perf_counter()
            detect(backend, [image], options)
            times += [time.perf_counter() - start] if turn else []
    return float(np.median(times)) * 1e3


def size_of(path: Path) -> int:
    """Bytes of a file or of all files in a folder."""
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) if path.is_dir() else path.stat().st_size


def to_csv(rows: Sequence[FormatFigures]) -> str:
    """The table as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(FormatFigures)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def table(rows: Sequence[FormatFigures]) -> list[str]:
    """The table as printed."""
    shape = "{:<16}{:>10}{:>8}{:>10}{:>10}{:>9}{:>10}{:>9}{:>8}"
    lines = [shape.format("", "precision", "MB", "export s", "px off", "box mAP", "pose mAP", "ms", "FPS")]
    for row in rows:
        numbers = (row.size_mb, row.export_s, row.difference_px, row.box_map, row.pose_map, row.latency_ms, row.fps)
        lines.append(shape.format(row.format, row.precision, *("–" if n is None else f"{n:g}" for n in numbers)))
        if row.failure or row.verified not in ("", "yes"):
            lines.append(f"  failed: {row.failure or row.verified}")
    return lines
