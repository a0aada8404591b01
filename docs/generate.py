"""Writes the files of PAGES from the tables in the code: `python docs/generate.py`; a test compares them."""

import ast
import inspect
from pathlib import Path
from typing import get_args, get_origin

from yolopose.config import MODES, Argument, arguments
from yolopose.config.foreign import FOREIGN
from yolopose.config.groups import grouped
from yolopose.config.parse import members_of
from yolopose.formats.table import FORMATS
from yolopose.helptext import allowed
from yolopose.rules import Rules

ARGUMENTS = """# Arguments

<!-- made by docs/generate.py, do not edit -->

`yolo MODE key=value …`; `--key value` and `--key=value` mean the same, and a boolean's bare name means True. In Python
they are keywords of the method of the same name. `cfg=FILE` reads further ones from a YAML file, those given with it
win.
"""
FOREIGN_ARGUMENTS = """
## Arguments of Ultralytics that are not here

Those of Ultralytics 8.3 and 8.4, by what they do to YOLOv8-pose models there. A value that changes nothing (None,
False, 0, or the default) is accepted silently, so that an `args.yaml` of Ultralytics works as `cfg=`. Otherwise:

- in a mode named under "acts in" the command is refused with exit code 2: it would do something else than there;
- in another mode the argument is left out; so are those of yolopose's own other modes. One warning names them all;
- what acts nowhere is accepted, with one line.

| argument | meaning | acts in | instead |
|---|---|---|---|
"""
COMPAT = """# compat=True: the rules of Ultralytics 8.3

<!-- made by docs/generate.py from yolopose/rules.py, do not edit -->

Ultralytics 8.3 is what most people compare with, and some of its rules are not the best ones. The default is the better
rule; `compat=True` follows Ultralytics 8.3 in everything in this table. Both are tested, compat against recorded
values. Defaults of arguments, file names and messages are the same with and without it; [migrate](migrate.md) lists how
those differ.

| subject | default | compat=True |
|---|---|---|
"""


SIGNATURES = '''"""Keyword arguments of YOLO's methods for type checkers; made by docs/generate.py, do not edit."""

# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import torch
'''
METHODS = ("predict", "track", "val", "train", "export", "benchmark", "label")
PARAMETERS = ("model", "source", "stream", "persist")  # of the methods or of the class


def arguments_page() -> str:
    """The page of all arguments."""
    parts = [ARGUMENTS]
    for mode, cls in MODES.items():
        parts.append(f"\n## {mode}\n\n{cls.__doc__.splitlines()[0]}\n\n")
        parts.append("| argument | default | meaning |\n|---|---|---|\n")
        for title, group in grouped(arguments(cls)).items():
            parts.append(f"| **{title}** | | |\n")
            parts += [f"| `{a.name}` | {a.default} | {a.doc}{allowed(a)} |\n" for a in group]
    parts.append(FOREIGN_ARGUMENTS)
    for row in FOREIGN.values():
        parts.append(f"| `{row.name}` | {row.meaning} | {', '.join(row.modes) or 'nowhere'} | {row.instead} |\n")
    return "".join(parts)


def compat_page() -> str:
    """The page of the rules that `compat=True` changes."""
    lines = ast.parse(inspect.getsource(Rules)).body[0].body
    texts = [ast.literal_eval(line.value) for line in lines if isinstance(line, ast.Expr)]
    return COMPAT + "".join(f"| {' '.join(text.split())} |\n" for text in texts[1:])


def export_page() -> str:
    """The page of exports with its table of formats written anew."""
    page = (Path(__file__).parent / "export.md").read_text(encoding="utf-8")
    start, end = "| format |", "\n\nPackages, tools"
    rows = []
    for row in FORMATS:
        if row.export:
            file = f"`name{row.suffix}{'/' if row.files else ''}`"
            options = f"`{' '.join(sorted(row.options))}`" if row.options else ""
            tools = f", {row.tools}" if row.tools else ""
            packages = f"`{row.exporter}`{tools} | `{row.runtime}`"
            rows.append(f"| {row.title} | `{row.argument}` | {file} | {options} | {packages} | {row.tested} |")
    head = "| format | `format=` | file | arguments | to make it | to run it | run by us |\n" + "|---" * 7 + "|\n"
    return page[: page.index(start)] + head + "\n".join(rows) + page[page.index(end) :]


def signatures_module() -> str:
    """The module of typed dictionaries that annotate `**arguments`."""
    parts = [SIGNATURES]
    for mode in METHODS:
        parts.append(f"\n\nclass {mode.capitalize()}Arguments(TypedDict, total=False):\n")
        parts.append(f'    """Keyword arguments of `YOLO.{mode}`; those left out have their default."""\n\n')
        parts.append(
            '    cfg: str | PathLike[str]\n    """YAML file of further arguments; those given in the call win"""\n'
        )
        for a in arguments(MODES[mode]).values():
            if a.name not in PARAMETERS:
                parts.append(f'    {a.name}: {accepted(a)}\n    """{a.doc}{allowed(a)}; default {a.default}"""\n')
    return "".join(parts)


def accepted(argument: Argument) -> str:
    """The types that an argument takes, among them those that are converted to its own."""
    if argument.form == "device":
        return "str | int | Sequence[int] | torch.device | None"
    names: list[str] = []
    for member in members_of(argument.hint):
        items = get_args(member)
        if get_origin(member) is tuple:
            names += ["int"] if items == (int, ...) else []
            names.append(f"Sequence[{items[0].__name__}]")
        elif member is str and not argument.choices:
            names += ["str", "PathLike[str]"]
        else:
            names.append("None" if member is type(None) else member.__name__)
    return " | ".join(names)


PAGES = {
    "docs/arguments.md": arguments_page,
    "docs/compat.md": compat_page,
    "docs/export.md": export_page,
    "yolopose/_signatures.py": signatures_module,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (Path(__file__).parents[1] / name).write_text(page(), encoding="utf-8")
