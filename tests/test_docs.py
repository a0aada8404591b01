"""The documents say what the code does."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from yolopose.config import MODES, parse
from yolopose.words import read_arguments

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_table_of_arguments_is_the_codes() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "generate.py"))["arguments_page"]()
    assert (ROOT / "docs" / "arguments.md").read_text(encoding="utf-8") == made, "run: python docs/generate.py"


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_in_the_readme_and_has_a_page(mode: str) -> None:
    assert f"yolo {mode} " in (ROOT / "README.md").read_text(encoding="utf-8")
    assert any(f"yolo {mode} " in page.read_text(encoding="utf-8") for page in PAGES[1:])


def commands() -> list[str]:
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:sh|bash)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines = re.sub(r"\\\n\s*", "", block).splitlines()
            found += [line for line in lines if re.match(r"(yolo|torchrun.* -m yolopose) ", line)]
    return found


@pytest.mark.parametrize("command", commands())
def test_every_command_shown_is_one(command: str) -> None:
    words = [w for w in shlex.split(command, comments=True) if w != "pose"]
    mode = next(w for w in words if w in MODES)
    parse(MODES[mode], read_arguments(mode, words[words.index(mode) + 1 :]))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
