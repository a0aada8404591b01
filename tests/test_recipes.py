"""The recipes are shell scripts whose commands exist."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from yolopose.cli import read_arguments
from yolopose.config import MODES, parse

RECIPES = sorted((Path(__file__).resolve().parents[1] / "recipes").glob("*.sh"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.name)
def test_recipes_run_commands_that_exist(recipe: Path) -> None:
    subprocess.run(["bash", "-n", recipe], check=True)
    text = re.sub(r"\\\n\s*", "", recipe.read_text(encoding="utf-8"))
    commands = re.findall(r"^yolo pose (\S+)(.*)$", text, re.MULTILINE)
    assert commands
    for mode, rest in commands:
        parse(MODES[mode], read_arguments(mode, shlex.split(rest)))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.name)
def test_the_first_lines_name_time_and_result(recipe: Path) -> None:
    head = recipe.read_text(encoding="utf-8").split("set -euo pipefail")[0]
    assert "# Time" in head
    assert "# Expect" in head
