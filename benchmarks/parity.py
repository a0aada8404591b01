"""Largest differences between a model in torch and in every other format, on identical letterboxed photographs.

    python benchmarks/parity.py --model MODEL.pt --images FOLDER [--data DATA.yaml]

Each photograph is letterboxed once, to the full 640 x 640 that a static file takes; torch and the exported file see the
same pixels, and `evaluate.verify.compare` looks every detection of one up in the other. Float32 and, where a format has
them, 16 bit and 8 bit (ranges from DATA, or from the packaged photographs). Written to benchmarks/results/parity.json;
formats that this machine cannot make or run are named there with the reason.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contenders import HERE, SHARED

from yolopose.config import ExportConfig
from yolopose.errors import PoseError
from yolopose.evaluate.verify import compare
from yolopose.formats.base import OpenOptions
from yolopose.formats.calibration import letterboxed
from yolopose.formats.table import FORMATS, export, open_backend


def measure(arguments: argparse.Namespace, config: ExportConfig) -> dict[str, Any]:
    """Export, open and compare; or why not."""
    try:
        reference = open_backend(arguments.model, OpenOptions(device="cpu"))
        other = open_backend(export(arguments.model, config), OpenOptions(device="cpu"))
    except PoseError as e:
        return {"failure": str(e).replace(f"{Path(config.out or '').parent}/", "")}
    images = [letterboxed(path, other.info) for path in sorted(arguments.images.glob("*.jpg"))]
    return asdict(compare(reference, other, images))


def main() -> None:
    """Export, compare, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=SHARED / "golden" / "natural-n17.pt")
    parser.add_argument("--images", type=Path, default=SHARED / "data" / "demo")
    parser.add_argument("--data", help="data set to calibrate 8 bits on")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "parity.json")
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for row in (row for row in FORMATS if row.export):
            for option in ("", *sorted({"half", "int8"} & row.options)):
                out = f"{folder}/{option or 'float32'}{row.suffix}"
                kind = {option: True} if option else {}
                config = ExportConfig(format=row.argument, imgsz=640, data=arguments.data, out=out, **kind)
                name = f"{row.title} {option}".strip()
                results[name] = measure(arguments, config) | ({} if option else {"tolerance_px": row.tolerance})
                print(name, json.dumps(results[name]), flush=True)
    report = {"date": time.strftime("%Y-%m-%d"), "model": arguments.model.name, "formats": results}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
