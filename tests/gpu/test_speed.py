"""Speed and memory on a GPU, beside Ultralytics where it is installed, or in the Python that PEER names."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.builders import make_dataset

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("package", ["yolopose", "ultralytics"])
def test_speed_and_memory(package, tmp_path, note):
    python = sys.executable
    if package == "ultralytics" and importlib.util.find_spec(package) is None:
        if "PEER" not in os.environ:
            pytest.skip("ultralytics is not installed, and PEER names no Python that has it")
        python = os.environ["PEER"]
    data = make_dataset(tmp_path / "data", 128, 17, hw=(480, 640))
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [python, str(Path(__file__).with_name("speed.py")), package, str(data)], text=True, capture_output=True,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    note(package, figures)
    assert min(figures.values()) > 0
