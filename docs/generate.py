"""Writes docs/arguments.md from the code: `python docs/generate.py`; a test compares the two."""

from pathlib import Path

from yolopose.config import MODES, arguments

HEAD = """# Arguments

<!-- made by docs/generate.py, do not edit -->

`yolo MODE key=value …`; `--key value` and `--key=value` mean the same, and a boolean's bare name means True. In Python
they are keywords of the method of the same name. `cfg=FILE` reads further ones from a YAML file, those given beside it
win.
"""


def arguments_page() -> str:
    """The page of all arguments."""
    parts = [HEAD]
    for mode, cls in MODES.items():
        parts.append(f"\n## {mode}\n\n{cls.__doc__.splitlines()[0]}\n\n")
        parts.append("| argument | default | meaning |\n|---|---|---|\n")
        for a in arguments(cls).values():
            allowed = f" ({', '.join(str(c) for c in a.choices)})" if a.choices else ""
            parts.append(f"| `{a.name}` | {a.default} | {a.doc}{allowed} |\n")
    return "".join(parts)


if __name__ == "__main__":
    Path(__file__).with_name("arguments.md").write_text(arguments_page(), encoding="utf-8")
