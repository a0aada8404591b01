"""Checks before an export begins: packages, tools, calibration data, the path to write."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen

from yolopose.errors import PoseError, one_line, shown
from yolopose.formats.base import ExportOptions


def check_packages(format: str, packages: str, extra: str, options: ExportOptions) -> None:
    """Raise PoseError for the first of `packages` that is not installed; `extra` is what pip installs for them all.

    `packages` is module names separated by blanks; one such as `int8:nncf` is needed with that argument only.
    """
    for word in packages.split():
        option, _, package = word.rpartition(":")
        if (not option or getattr(options, option)) and find_spec(package) is None:
            raise PoseError(f"format={format}: needs {package}: pip install '{extra}'")


def check_place(target: Path, files: Sequence[str]) -> None:
    """Raise PoseError where `target` cannot be written, or holds other files of the user.

    `files` are patterns of the names that an export writes into a folder; empty when it writes a file.
    """
    if files and target.is_dir():
        foreign = sorted(path.name for path in target.iterdir() if not any(fnmatch(path.name, name) for name in files))
        if foreign:
            raise PoseError(f"{target}: has files of no export: {shown(foreign)}; move them, or give another out=")
    elif target.exists() and target.is_dir() != bool(files):
        raise PoseError(f"{target}: is a {'folder' if target.is_dir() else 'file'} already; move it, or give out=")
    place = next(folder for folder in (target.absolute().parent, *target.absolute().parents) if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise PoseError(f"{target}: cannot be written: {place} is {'not writable' if place.is_dir() else 'no folder'}")


def tool(name: str) -> str | None:
    """The path of a program on the PATH, absolute folders only: nothing in the current folder is ever run."""
    found = shutil.which(name)
    return found if found and os.path.isabs(found) else None


def run_tool(command: list[str], folder: str) -> tuple[int, str]:
    """Run a program in `folder` and return its exit status and the last line that it printed."""
    with Popen(command, stdout=PIPE, stderr=STDOUT, cwd=folder) as process:
        lines = process.communicate()[0].decode(errors="replace").strip().splitlines()
    return process.returncode, one_line(lines[-1]) if lines else "it printed nothing"
