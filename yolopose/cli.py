"""The command line: `yolo [pose] MODE key=value …`; `--key value` and `--key=value` mean the same."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from yolopose import __version__, completion, helptext
from yolopose.config import MODES
from yolopose.console import log
from yolopose.errors import PoseError, UsageError, did_you_mean, one_line, shown
from yolopose.words import joined, mode_of_cfg, read_arguments, split_mode


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 something failed, 2 wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except PoseError as e:
        log.error(str(e))
        return e.exit_code
    except OSError as e:  # a file that cannot be written, a full disk
        log.error(one_line(e))
        return 1
    except KeyboardInterrupt:
        log.error("interrupted")
        return 130


def _run(words: list[str]) -> int:
    """Dispatch to a special command or to a mode."""
    asked = [word for word in words if word in ("-h", "--help", "--h")]
    words = [word for word in words if word not in asked]
    mode, rest = split_mode(joined(words))
    mode = mode or mode_of_cfg(rest)
    bare = [word for word in rest if "=" not in word]
    if mode is None:
        command = "help" if asked or not rest else (bare or [""])[0].lstrip("-")
        if command == "completion":
            log.info(completion.script(bare[1] if len(bare) > 1 else ""))
            return 0
        topic = bare[1:2] if command == "help" and not asked else []
        if command not in SPECIAL or (topic and topic[0] not in SPECIAL):
            bare = topic or bare
            raise UsageError(_no_mode(bare))
        log.info(SPECIAL[command]())
        return 0
    if asked or "help" in bare:
        log.info(helptext.of_mode(mode))
        return 0
    return run_mode(mode, read_arguments(mode, rest))


def _no_mode(bare: Sequence[str]) -> str:
    """One line for a command line without a mode."""
    known = (*MODES, *completion.COMMANDS)
    if not bare or bare[0].startswith("--"):
        return f"which mode? one of {', '.join(MODES)}; see 'yolo help'"
    if bare[0] in ABSENT:
        return f"{bare[0]}: {ABSENT[bare[0]]}"
    hint = did_you_mean(bare[0].lstrip("-"), known) or f": one of {', '.join(MODES)}; see 'yolo help'"
    return f"unknown command {shown(bare[0])}{hint}"


def run_mode(mode: str, values: dict[str, Any]) -> int:
    """Run a mode on arguments as typed and return the exit code."""
    from yolopose.commands import COMMANDS

    return COMMANDS[mode](values)


SPECIAL: dict[str, Callable[[], str]] = {
    "help": helptext.overview,
    "version": lambda: __version__,
    "v": lambda: __version__,
    "V": lambda: __version__,
    "checks": helptext.checks,
    "cfg": helptext.all_arguments,
    "formats": helptext.formats,
}
ABSENT = {
    "track": "yolopose does not track; predict finds people frame by frame (docs/migrate.md)",
    "tune": "yolopose has no search for hyperparameters; train takes each of them (docs/migrate.md)",
    "settings": "yolopose has no settings file: everything is an argument (docs/migrate.md)",
    "copy-cfg": "yolopose has no file of defaults to copy; 'yolo cfg' lists them, and each run writes its args.yaml",
    "solutions": "yolopose has no solutions; see examples/ and docs/migrate.md",
    "hub": "yolopose has no online service, and needs none",
    "login": "yolopose has no online service, and needs none",
    "logout": "yolopose has no online service, and needs none",
}
