"""Switches off the usage statistics of other packages before they are loaded.

`import yolopose` does it, for this process and those that it starts. docs/security.md lists what each package sends and
the versions that were examined.
"""

from __future__ import annotations

import os
import re
import sys

from yolopose.console import log

OFF = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime from 1.29 on, at its import
    "MLFLOW_DISABLE_TELEMETRY": "true",  # MLflow 3, in addition to what the user logs
    "WANDB_ERROR_REPORTING": "false",  # errors of wandb itself; the run still goes where the user sends it
}
ORT_SINCE = (1, 29)  # the first version that sends anything
loaded_before: set[str] = set()  # packages that were loaded before yolopose and send statistics


def switch_off() -> None:
    """Set the variables of `OFF` that the user has not set, and note the packages that are loaded already."""
    loaded_before.update(name for name in ("onnxruntime", "openvino") if name in sys.modules and _sends(name))
    for variable, value in OFF.items():
        os.environ.setdefault(variable, value)


def warn_loaded_before(package: str) -> None:
    """Warn once that `package`, one of `loaded_before`, may send statistics."""
    loaded_before.remove(package)
    also = " or set ORT_DISABLE_TELEMETRY=1" if package == "onnxruntime" else ""
    log.warning(
        f"{package} was imported before yolopose and may send statistics of its use to its maker; "
        f"import yolopose first{also}"
    )


def _sends(package: str) -> bool:
    """Whether a package that is loaded sends statistics."""
    if package == "openvino":  # through a separate package, which may not be installed
        return sys.modules.get("openvino_telemetry") is not None
    version = re.findall(r"\d+", str(getattr(sys.modules[package], "__version__", "")))
    return "ORT_DISABLE_TELEMETRY" not in os.environ and tuple(map(int, version[:2])) >= ORT_SINCE
