"""`make test-gpu`: run the tests marked `gpu` where there is a GPU; elsewhere say why not, and end with 0."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def missing() -> str | None:
    """What this Python lacks to run them."""
    for name in ("torch", "pytest", "cv2", "onnxruntime", "yaml", "rich"):
        if importlib.util.find_spec(name) is None:
            return f"{sys.executable} has no {name}"
    import torch

    return None if torch.cuda.is_available() else f"torch {torch.__version__} sees no GPU"


def main() -> int:
    """The exit code of pytest, 0 when nothing can be run."""
    if reason := missing():
        print(f"test-gpu: nothing was run: {reason} (GPU_PYTHON=… names another Python)")
        return 0
    # torch for CUDA warns of much that is not ours; pytest-timeout may be absent
    words = ["-m", "gpu", "-rs", "-W", "default", "-W", "ignore::pytest.PytestConfigWarning", "-p", "no:cacheprovider"]
    # by name: collecting the others would need all that they import
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")]
    return subprocess.call([sys.executable, "-m", "pytest", *words, *map(str, files)], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
