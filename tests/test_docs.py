"""The documents say what the code does."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from yolopose.command_line import read_arguments, split_mode
from yolopose.completion import COMMANDS
from yolopose.config import MODES, arguments, parse
from yolopose.config.groups import GROUPS
from yolopose.helptext import EXAMPLES, overview

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_generated_files_are_up_to_date() -> None:
    for name, page in runpy.run_path(str(ROOT / "docs" / "generate.py"))["PAGES"].items():
        assert (ROOT / name).read_text(encoding="utf-8") == page(), "run: python docs/generate.py"


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


HELP = [line.strip().split("   ")[0] for line in overview().splitlines() if re.match(r"  yolo \S+ \S+=", line)]


@pytest.mark.parametrize("command", [*commands(), *HELP, *(line for lines in EXAMPLES.values() for line in lines)])
def test_every_command_shown_is_one(command: str) -> None:
    words = shlex.split(command, comments=True)
    if len(words) > 1 and words[1] in COMMANDS:
        return
    mode, rest = split_mode(words[words.index("yolo" if "yolo" in words else "yolopose") + 1 :])
    assert mode is not None
    parse(MODES[mode], read_arguments(mode, rest))


def test_every_mode_has_examples_and_every_group_an_argument() -> None:
    assert EXAMPLES.keys() == MODES.keys()
    known = {name for cls in MODES.values() for name in arguments(cls)}
    named = [name for names in GROUPS.values() for name in names.split()]
    assert sorted(named) == sorted(known & set(named))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_ledger_of_findings_names_tests_that_exist() -> None:
    missing = []
    for line in (ROOT / "docs" / "decisions" / "0009-findings.md").read_text(encoding="utf-8").splitlines():
        file = ""
        cell = line.split("|")[-2] if line.startswith("| ") else ""
        for path, name in re.findall(r"(tests/[\w/]+\.py)?(?:::(\w+))?", cell):
            file = path or file
            text = (ROOT / file).read_text(encoding="utf-8") if file and (ROOT / file).is_file() else ""
            if (path and not text) or (name and f"def {name}(" not in text):
                missing.append(f"{file}::{name}")
    assert not missing, "\n".join(missing)


def test_the_map_of_the_code_names_files_that_exist_and_every_room() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    package = ROOT / "yolopose"
    named = {name for name in re.findall(r"`([\w/]+\.(?:py|html))`", text) if not name.startswith("tests/")}
    assert {name for name in named if not (package / name).is_file()} == set()
    rows = text.split("## Rooms")[1].split("**Arguments")[0]
    rooms = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    missing = {room for room in rooms if not room.startswith("_") and f"`{room}`" not in rows}
    assert missing == set()
