"""The command line: `yolo [pose] MODE key=value …`; `--key value` and `--key=value` mean the same."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from yolopose import __version__
from yolopose.config import MODES, arguments
from yolopose.console import log
from yolopose.errors import PoseError, UsageError, did_you_mean, shown
from yolopose.words import joined, read_arguments, split_mode

HELP = """\
yolopose {version}: find people and keypoints with YOLOv8-pose (Apache-2.0)

  yolo [pose] MODE key=value …          --key value and --key=value mean the same

{modes}

  yolo MODE help     the arguments of a mode          yolo cfg       all arguments and their defaults
  yolo checks        versions and devices             yolo formats   what export writes
  yolo version       {version}

  yolo predict model=yolov8n-pose.pt source=photo.jpg
  yolo val model=best.pt data=coco8-pose.yaml imgsz=640
  yolo train model=yolov8n-pose.yaml data=coco8-pose.yaml epochs=100 imgsz=640
  yolo export model=best.pt format=onnx dynamic=True
  yolo verify best.pt best.onnx

Exit codes: 0 done, also without detections; 1 something failed; 2 wrong command or argument."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 something failed, 2 wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except PoseError as e:
        log.error(str(e))
        return e.exit_code
    except OSError as e:  # a file that cannot be written, a full disk
        log.error(" ".join(str(e).split()))
        return 1
    except KeyboardInterrupt:
        log.error("interrupted")
        return 130


def _run(words: list[str]) -> int:
    """Dispatch to a special command or to a mode."""
    asked = [word for word in words if word in ("-h", "--help", "--h")]
    words = [word for word in words if word not in asked]
    mode, rest = split_mode(joined(words))
    bare = [word for word in rest if "=" not in word]
    if mode is None:
        command = "help" if asked or not rest else (bare or [""])[0].lstrip("-")
        if command not in SPECIAL:
            raise UsageError(_no_mode(bare))
        log.info(SPECIAL[command]())
        return 0
    if asked or "help" in bare:
        log.info(_mode_help(mode))
        return 0
    return run_mode(mode, read_arguments(mode, rest))


def _no_mode(bare: Sequence[str]) -> str:
    """One line for a command line without a mode."""
    known = (*MODES, *SPECIAL)
    if not bare:
        return f"which mode? one of {', '.join(MODES)}; see 'yolo help'"
    if bare[0] in ABSENT:
        return f"{bare[0]}: {ABSENT[bare[0]]}"
    hint = did_you_mean(bare[0].lstrip("-"), known) or f": one of {', '.join(MODES)}; see 'yolo help'"
    return f"unknown command {shown(bare[0])}{hint}"


def run_mode(mode: str, values: dict[str, Any]) -> int:
    """Run a mode on arguments as typed and return the exit code."""
    from yolopose.commands import COMMANDS

    return COMMANDS[mode](values)


def _help() -> str:
    """The first page."""
    modes = "\n".join(f"  {mode:<15} {(cls.__doc__ or '').splitlines()[0]}" for mode, cls in MODES.items())
    return HELP.format(version=__version__, modes=modes)


def _version() -> str:
    """The version alone, for scripts."""
    return __version__


def _rows(mode: str) -> list[str]:
    """One line per argument of a mode."""
    return [f"  {a.name:<16} {a.default!s:<10} {a.doc}" for a in arguments(MODES[mode]).values()]


def _mode_help(mode: str) -> str:
    """The arguments of one mode with defaults."""
    return "\n".join([f"yolo {mode} key=value …", "", f"  {'argument':<16} {'default':<10}", *_rows(mode)])


def _cfg() -> str:
    """The arguments of all modes."""
    return "\n\n".join("\n".join([mode, *_rows(mode)]) for mode in MODES)


def _formats() -> str:
    """What export writes: formats, their files and the arguments they take."""
    from yolopose.formats.table import FORMATS

    lines = [f"  {'':<16} {'format=':<12} {'file':<24} arguments"]
    for row in FORMATS:
        taken = " ".join(sorted(row.options)) if row.export else "(the checkpoint itself)"
        lines.append(f"  {row.title:<16} {row.argument:<12} {'name' + row.suffix:<24} {taken}")
    return "\n".join(
        [*lines, "", "All take imgsz, data, verify and out; nms also conf, iou, max_det and agnostic_nms."]
    )


def _checks() -> str:
    """Versions and devices, as a bug report needs them."""
    import importlib.metadata
    import platform

    lines = [f"yolopose {__version__}", f"Python {platform.python_version()} on {platform.platform()}"]
    for name in ("numpy", "opencv-python-headless", "onnxruntime", "onnx", "torch", "matplotlib"):
        try:
            lines.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name} not installed")
    return "\n".join([*lines, _devices()])


def _devices() -> str:
    """The processors that torch would use."""
    import os

    cores = f"{os.cpu_count()} CPU cores"
    try:
        import torch
    except ModuleNotFoundError:
        return f"devices: {cores} (a GPU needs torch: pip install 'yolopose[train]')"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return "devices: " + ", ".join([cores, *gpus])


SPECIAL: dict[str, Callable[[], str]] = {
    "help": _help,
    "h": _help,
    "version": _version,
    "v": _version,
    "V": _version,
    "checks": _checks,
    "cfg": _cfg,
    "formats": _formats,
}
ABSENT = {
    "track": "yolopose does not track yet; predict finds people frame by frame (docs/migrate.md)",
    "tune": "yolopose has no search for hyperparameters; train takes each of them (docs/migrate.md)",
    "settings": "yolopose has no settings file: everything is an argument (docs/migrate.md)",
    "copy-cfg": "yolopose has no file of defaults to copy; 'yolo cfg' lists them, and each run writes its args.yaml",
    "solutions": "yolopose has no solutions; see examples/ and docs/migrate.md",
    "hub": "yolopose has no online service, and needs none",
    "login": "yolopose has no online service, and needs none",
    "logout": "yolopose has no online service, and needs none",
}
