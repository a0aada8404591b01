"""Statistics that packages of other makers send of their own accord: switched off before the packages are loaded.

`import yolopose` does it, for this process and those that it starts. What each package does, and the versions that
were examined, stand in docs/security.md.
"""

from __future__ import annotations

import os
import re
import sys

from yolopose.console import log

OFF = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime from 1.29 on: at its import, whatever is called later
    "MLFLOW_DISABLE_TELEMETRY": "true",  # MLflow 3: beside what the user logs
    "WANDB_ERROR_REPORTING": "false",  # wandb's own errors, to its maker; the run goes where the user sends it
}
ORT_SINCE = (1, 29)  # the first version that sends anything
_early: set[str] = set()  # packages loaded before yolopose that send statistics


def switch_off() -> None:
    """Set the variables of `OFF` that the user has not set, and note which packages it is too late for."""
    _early.update(name for name in ("onnxruntime", "openvino") if name in sys.modules and _sends(name))
    for variable, value in OFF.items():
        os.environ.setdefault(variable, value)


def tell_if_early(package: str) -> None:
    """Say once that `package`, about to be used, was imported before yolopose and may send statistics."""
    if package in _early:
        _early.remove(package)
        also = " or set ORT_DISABLE_TELEMETRY=1" if package == "onnxruntime" else ""
        log.warning(
            f"{package} was imported before yolopose and may send statistics of its use to its maker; "
            f"import yolopose first{also}"
        )


def _sends(package: str) -> bool:
    """Whether a package that is loaded sends statistics."""
    if package == "openvino":  # by a package of its own, which need not be installed
        return sys.modules.get("openvino_telemetry") is not None
    version = re.findall(r"\d+", str(getattr(sys.modules[package], "__version__", "")))
    return "ORT_DISABLE_TELEMETRY" not in os.environ and tuple(map(int, version[:2])) >= ORT_SINCE
