"""No export, and no opening of what it wrote, reaches for the network or writes where it has no business."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import watched
from helpers.builders import make_network

from yolopose.formats.table import FORMATS

pytestmark = pytest.mark.exports
NEEDED = {
    "openvino": "nncf", "coreml": "coremltools", "saved_model": "tensorflow", "pb": "tensorflow",
    "tflite": "litert_torch", "edgetpu": "tensorflow", "tfjs": "tensorflowjs", "paddle": "paddle", "ncnn": "pnnx",
}  # fmt: skip
MODULES = Path(__file__).parent / "node_modules"
MAIN = """
import sys, numpy as np
from yolopose.cli import main
from yolopose.formats.table import open_backend
assert main(["export", *sys.argv[2:], f"out={sys.argv[1]}"]) == 0
open_backend(sys.argv[1]).infer(np.zeros((1, 64, 64, 3), np.uint8))
"""


def runs() -> list[tuple[str, str]]:
    """Every format, and those with 8 bits once more, where calibration is another package's work."""
    rows = [row for row in FORMATS if row.export and row.argument != "engine"]
    return [(row.argument, word) for row in rows for word in ("", "int8=True") if not word or "int8" in row.options]


@pytest.mark.parametrize(("kind", "option"), runs())
def test_an_export_sends_nothing_and_writes_nothing_elsewhere(kind: str, option: str, tmp_path: Path) -> None:
    from yolopose.checkpoint import Checkpoint, save_checkpoint

    watched.require()
    package = NEEDED.get(kind, "onnx")
    if find_spec(package) is None:
        pytest.skip(f"no {package}")
    if kind == "tfjs" and not (shutil.which("node") and MODULES.is_dir()):
        pytest.skip("no node, or no TF.js: npm ci --ignore-scripts in tests/exports")
    network = make_network()
    save_checkpoint(tmp_path / "m.pt", Checkpoint(network.state_dict(), network.spec, network.info))
    row = next(row for row in FORMATS if row.argument == kind)
    out = tmp_path / "run" / f"m{row.also or row.suffix}"
    words = [
        str(out),
        f"model={tmp_path / 'm.pt'}",
        f"format={kind}",
        "imgsz=64",
        "verify=False",
        option or "half=False",
    ]
    seen = watched.watch(MAIN, tmp_path, words, NODE_PATH=str(MODULES))
    assert seen.code == 0, seen.output
    assert seen.network == []
    assert seen.outside == []
    assert out in seen.writes or out.exists()
