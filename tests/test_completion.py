"""Completion scripts, asked by the shells themselves."""

import shutil
import subprocess
from pathlib import Path

import pytest

from yolopose.cli import main
from yolopose.completion import SHELLS, script
from yolopose.config import MODES

CASES = [
    ("yolo pre", {"predict"}, {"train"}),
    ("yolo predict con", {"conf="}, {"iou="}),
    ("yolo pose train source=x wei", {"weight_decay="}, {"conf="}),
    ("yolo train optimizer=S", {"SGD"}, {"Adam"}),
    ("yolo train source= --cos", {"--cos_lr="}, {"--lr0="}),
    ("yolo export format=on", {"onnx"}, {"openvino"}),
    ("yolo val plots=", {"True", "False"}, set()),
    ("yolo predict model=weigh", {"weights.pt"}, {"conf="}),
]
BASH = """\
source {script}
COMP_LINE={line!r}; COMP_POINT={point}
_yolo
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """\
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1=; autoload -U compinit; compinit -u -D; source {script}; stty -echo; bindkey '^T' complete-word; \
stop() {{ print -r -- \\"<\\$BUFFER>\\" }}; zle -N stop; bindkey '^X' stop; print RE''ADY"
zpty -r shell text '*READY*'
zpty -w -n shell {line!r}$'\\C-T\\C-X'
zpty -r shell text '*<*>*'
print -r -- $text
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    for shell in SHELLS:
        (tmp_path / shell).write_text(script(shell))
    (tmp_path / "weights.pt").touch()
    return tmp_path


def ask(shell: str, program: str, folder: Path) -> set[str]:
    command = shutil.which(shell)
    if command is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([command, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return {line.split("\t")[0].strip() for line in done.stdout.splitlines()}


@pytest.mark.parametrize(("line", "offered", "not_offered"), CASES)
def test_bash(line: str, offered: set[str], not_offered: set[str], scripts: Path) -> None:
    found = ask("bash", BASH.format(script=scripts / "bash", line=line, point=len(line)), scripts)
    assert offered <= found
    assert not not_offered & found


@pytest.mark.parametrize(("line", "offered", "not_offered"), CASES)
def test_fish(line: str, offered: set[str], not_offered: set[str], scripts: Path) -> None:
    found = ask("fish", f"source {scripts / 'fish'}; complete -C {line!r}", scripts)
    last = line.split(" ")[-1]
    key = f"{last.partition('=')[0]}=" if "=" in last else ""
    assert {f"{key}{word}" for word in offered} <= found | {f"{word}=" for word in found}
    assert not {f"{key}{word}" for word in not_offered} & found


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("yolo pre", "yolo predict "),
        ("yolo predict con", "yolo predict conf="),
        ("yolo pose train source=x wei", "yolo pose train source=x weight_decay="),
        ("yolo train --cos", "yolo train --cos_lr="),
        ("yolo train optimizer=SG", "yolo train optimizer=SGD "),
        ("yolo predict model=weigh", "yolo predict model=weights.pt "),
    ],
)
def test_zsh(line: str, completed: str, scripts: Path) -> None:
    found = ask("zsh", ZSH.format(script=scripts / "zsh", line=line), scripts)
    assert any(f"<{completed}>" in said for said in found)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_takes_the_script(shell: str, scripts: Path) -> None:
    command = shutil.which(shell)
    if command is None:
        pytest.skip(f"{shell} is not installed")
    assert subprocess.run([command, "-n", str(scripts / shell)], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_every_mode_is_in_every_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert all(mode in said for mode in MODES)
    assert "max_det" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [([], "completion needs a shell: one of bash, zsh, fish"), (["tcsh"], "completion of 'tcsh': one of bash")],
)
def test_unknown_shells_are_refused(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", *words]) == 2
    assert says in capsys.readouterr().err
