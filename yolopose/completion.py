"""`yolo completion SHELL`: a script, made from the table of arguments, that completes `yolo` in bash, zsh or fish."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from yolopose.config import MODES, Argument, arguments
from yolopose.config.groups import grouped
from yolopose.config.parse import members_of
from yolopose.errors import UsageError, did_you_mean, shown

COMMANDS = ("help", "checks", "formats", "cfg", "completion", "version")
SHELLS = ("bash", "zsh", "fish")
TEMPLATES = Path(__file__).parent / "assets" / "completion"  # with @NAMES@ in place of what comes from the table


def script(shell: str) -> str:
    """The completion script for a shell. Raises UsageError for any but bash, zsh and fish."""
    if shell not in SHELLS:
        wanted = f"completion of {shown(shell)}" if shell else "completion needs a shell"
        raise UsageError(f"{wanted}: one of {', '.join(SHELLS)}{did_you_mean(shell, SHELLS)}")
    separator = " " if shell == "fish" else "|"
    parts = {"COMMANDS": " ".join((*MODES, *COMMANDS)), "MODES": separator.join(MODES)}
    if shell == "fish":
        parts["ARGUMENTS"] = "\n".join(_fish_lines())
    else:
        assign = 'words="{}"' if shell == "bash" else "words_=({})"
        names = ((mode, [a.name for a in _ordered(mode)]) for mode in MODES)
        values = ((f"{mode}:{a.name}", _values(a, mode)) for mode in MODES for a in _ordered(mode))
        parts["ARGUMENTS"] = "\n".join(f"        {key}) {assign.format(' '.join(words))} ;;" for key, words in names)
        parts["VALUES"] = "\n".join(
            f"            {key}) {assign.format(' '.join(words))} ;;" for key, words in values if words
        )
    template = (TEMPLATES / f"yolo.{shell}").read_text(encoding="utf-8")
    return re.sub("@([A-Z]+)@", lambda match: parts[match[1]], template)


def _ordered(mode: str) -> list[Argument]:
    """A mode's arguments in the order of the help."""
    return [argument for group in grouped(arguments(MODES[mode])).values() for argument in group]


def _values(argument: Argument, mode: str) -> list[str]:
    """The values that an argument may take, where they are few."""
    if argument.name == "format" and mode in ("export", "benchmark"):
        from yolopose.formats.table import FORMATS

        return [row.argument for row in FORMATS if row.export]
    if argument.choices:
        return [str(choice) for choice in argument.choices]
    return ["True", "False"] if bool in members_of(argument.hint) else []


def _fish_lines() -> Iterator[str]:
    """One line per argument, with its documentation, and one per argument with few values."""
    for mode in MODES:
        for argument in _ordered(mode):
            doc = argument.doc.replace("\\", "\\\\").replace("'", "\\'")
            name, values = argument.name, _values(argument, mode)
            start = f"complete -c yolo -n '__yolo_in {mode}'"
            yield f"{start} -a '{name}=' -d '{doc}'"
            yield f"{start} -l {name} -d '{doc}' " + (f"-x -a '{' '.join(values)}'" if values else "-r")
            if values:
                yield f"{start} -a '{' '.join(f'{name}={value}' for value in values)}'"
