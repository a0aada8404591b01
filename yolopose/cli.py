"""The command line: `yolo [pose] MODE key=value …`; `--key value` and `--key=value` mean the same."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from yolopose import __version__
from yolopose.config import MODES, arguments, nearest
from yolopose.console import log
from yolopose.errors import PoseError, UsageError

OTHER_TASKS = ("detect", "segment", "classify", "obb")
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
    if words and words[0] == "pose":
        words = words[1:]
    elif words and words[0] in OTHER_TASKS:
        raise UsageError(f"{words[0]}: yolopose knows the task 'pose' only")
    command = words[0].removeprefix("--") if words else "help"
    special = {"help": _help, "h": _help, "-h": _help, "version": _version, "checks": _checks, "cfg": _cfg}
    special["formats"] = _formats
    if command in special:
        log.info(special[command]())
        return 0
    mode, rest = _mode(words)
    if rest and rest[0] in ("help", "--help", "-h"):
        log.info(_mode_help(mode))
        return 0
    return run_mode(mode, read_arguments(mode, rest))


def _named(words: Sequence[str]) -> list[str]:
    """The first two words that stand alone, as a=… and b=…: the two files of `yolo verify A B`."""
    alone = [word for word in words if "=" not in word and not word.startswith("--")][:2]
    names = {word: f"{key}={word}" for key, word in zip("ab", alone, strict=False)}
    return [names.get(word, word) for word in words]


def _mode(words: list[str]) -> tuple[str, list[str]]:
    """The mode, wherever it stands, and the other words."""
    for i, word in enumerate(words):
        if word in MODES and not (i and words[i - 1].startswith("--") and "=" not in words[i - 1]):
            return word, words[:i] + words[i + 1 :]
    first = next((w for w in words if "=" not in w and not w.startswith("--")), None)
    close = nearest(first, MODES) if first else None
    what = f"unknown command {first!r}" if first else "which mode?"
    raise UsageError(
        what + (f", did you mean {close!r}?" if close else f": one of {', '.join(MODES)}; see 'yolo help'")
    )


def read_arguments(mode: str, words: Sequence[str]) -> dict[str, Any]:
    """Names and texts from `key=value`, `--key value`, `--key=value`; a boolean's bare name means True.

    Raises:
        UsageError: a word that is none of these, or a key given twice with different values.
    """
    known = arguments(MODES[mode])
    words = _named(words) if mode == "verify" else words
    out: dict[str, str] = {}
    i = 0
    while i < len(words):
        word = words[i]
        i += 1
        key, equals, value = word.removeprefix("--").partition("=")
        key = key.replace("-", "_") if word.startswith("--") else key
        boolean = key in known and bool in _members(known[key].hint)
        if not equals:
            follows = word.startswith("--") and i < len(words) and not words[i].startswith("--")
            if follows and not (boolean and ("=" in words[i] or not _is_boolean(words[i]))):
                value = words[i]
                i += 1
            elif boolean:
                value = "True"
            else:
                raise UsageError(_stray(word, known))
        if out.setdefault(key, value) != value:
            raise UsageError(f"{key} is given twice: {out[key]} and {value}")
    return out


def _stray(word: str, known: Any) -> str:
    """One line for a word that is neither a key=value nor a boolean's name."""
    if word.startswith("--"):
        return f"{word} needs a value: {word} VALUE"
    if "source" in known and ("." in word or "/" in word or word.isdigit()):
        return f"{word!r} stands alone: did you mean source={word}?"
    close = nearest(word, known)
    return f"{word!r}: expected key=value" + (f"; did you mean {close}=…?" if close else "")


def _members(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    return getattr(hint, "__args__", None) or (hint,)


def _is_boolean(word: str) -> bool:
    """Whether a word can only be the value of a boolean."""
    return word.lower() in ("true", "false", "0", "1")


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
