"""YOLOv8-pose under Apache-2.0: find people and keypoints, train, measure, export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yolopose.telemetry import switch_off
from yolopose.version import __version__

switch_off()  # before any package that would send statistics can be loaded


__all__ = ["YOLO", "Boxes", "Keypoints", "PoseError", "Results", "__version__"]

_HOMES = {
    "YOLO": "yolopose.api",
    "Results": "yolopose.results",
    "Boxes": "yolopose.results",
    "Keypoints": "yolopose.results",
    "PoseError": "yolopose.errors",
}

if TYPE_CHECKING:
    from yolopose.api import YOLO
    from yolopose.errors import PoseError
    from yolopose.results import Boxes, Keypoints, Results


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import yolopose` stays light."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'yolopose' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return __all__
