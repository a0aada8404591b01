"""Writes docs/arguments.md from the code: `python docs/generate.py`; a test compares the two."""

from pathlib import Path

from yolopose.config import MODES, arguments
from yolopose.config.foreign import FOREIGN
from yolopose.config.groups import grouped
from yolopose.helptext import allowed

HEAD = """# Arguments

<!-- made by docs/generate.py, do not edit -->

`yolo MODE key=value …`; `--key value` and `--key=value` mean the same, and a boolean's bare name means True. In Python
they are keywords of the method of the same name. `cfg=FILE` reads further ones from a YAML file, those given with it
win.
"""
TAIL = """
## Arguments of Ultralytics that are not here

Those of Ultralytics 8.3 and 8.4, by what they do to YOLOv8-pose models there. A value that changes nothing (None,
False, 0, or the default) is accepted silently, so that an `args.yaml` of Ultralytics serves as `cfg=`. Otherwise:

- in a mode named under "acts in" the command is refused with exit code 2: it would do something else than there;
- in another mode the argument is left out; so are those of yolopose's own other modes. One warning names them all;
- what acts nowhere is accepted, with one line.

| argument | meaning | acts in | instead |
|---|---|---|---|
"""


def arguments_page() -> str:
    """The page of all arguments."""
    parts = [HEAD]
    for mode, cls in MODES.items():
        parts.append(f"\n## {mode}\n\n{cls.__doc__.splitlines()[0]}\n\n")
        parts.append("| argument | default | meaning |\n|---|---|---|\n")
        for title, group in grouped(arguments(cls)).items():
            parts.append(f"| **{title}** | | |\n")
            parts += [f"| `{a.name}` | {a.default} | {a.doc}{allowed(a)} |\n" for a in group]
    parts.append(TAIL)
    for row in FOREIGN.values():
        parts.append(f"| `{row.name}` | {row.meaning} | {', '.join(row.modes) or 'nowhere'} | {row.instead} |\n")
    return "".join(parts)


if __name__ == "__main__":
    Path(__file__).with_name("arguments.md").write_text(arguments_page(), encoding="utf-8")
