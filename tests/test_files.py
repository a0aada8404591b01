"""Files appear whole or not at all."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from yolopose.errors import PoseError
from yolopose.files import atomic_path, cell, read_yaml, remove_leftovers, write_text


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "page.html"
    with atomic_path(target) as part:
        part.write_text("half")
        assert (part.parent, part.suffix) == (target.parent, target.suffix)
        assert not target.exists()
    assert [f.name for f in target.parent.iterdir()] == ["page.html"]


def test_an_older_folder_comes_back_when_it_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old.txt").write_text("older")
    rename = os.rename

    def fail(source: Path, to: Path) -> None:
        if to == target and (source / "new.txt").exists():
            raise PermissionError(13, "Permission denied")
        rename(source, to)

    def replace() -> None:
        with atomic_path(target) as part:
            part.mkdir()
            (part / "new.txt").write_text("newer")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fail)
        with pytest.raises(PermissionError):
            replace()
    assert [f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*.txt")] == ["model/old.txt"]
    assert [f.name for f in tmp_path.iterdir()] == ["model"]
    replace()
    assert [f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*.txt")] == ["model/new.txt"]
    assert [f.name for f in tmp_path.iterdir()] == ["model"]


def test_a_failure_leaves_the_older_file(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    write_text(target, "older")
    with pytest.raises(UnicodeEncodeError):
        write_text(target, "half, then what UTF-8 cannot write: \udc80")
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("page.html", "older")]


def test_a_folder_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    target = tmp_path / "name_model"
    for words in ("older", "newer"):
        with atomic_path(target) as part:
            assert part.name.endswith("name_model")
            part.mkdir()
            (part / words).write_text(words)
    assert [f.name for f in target.iterdir()] == ["newer"]

    def fail() -> None:
        with atomic_path(target) as part:
            part.mkdir()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert [f.name for f in tmp_path.iterdir()] == ["name_model"]


def test_atomic_path_moves_the_metadata_file_with_the_file(tmp_path: Path) -> None:
    target = tmp_path / "name.pb"
    with atomic_path(target) as part:
        part.write_text("graph")
        part.with_name(f"{part.name}.yaml").write_text("names")
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"name.pb": "graph", "name.pb.yaml": "names"}

    def fail() -> None:
        with atomic_path(target) as part:
            part.with_name(f"{part.name}.yaml").write_text("other names")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"name.pb": "graph", "name.pb.yaml": "names"}


def test_yaml_is_plain_data(tmp_path: Path) -> None:
    file = tmp_path / "data.yaml"
    file.write_bytes("\ufeffa: &x [1, 0.5, no, 2001-02-03, é]\nb: *x\n3: {<<: {c: d}}\n".encode())
    values = read_yaml(file)
    assert values["a"] == values["b"] == [1, 0.5, False, date(2001, 2, 3), "é"]
    assert values["3"] == {"c": "d"}


BOMB = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
MERGES = "a0: &a0 {x: y}\n" + "".join(f"a{i}: &a{i}\n  <<: [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 2001-99-99", "month must be in"),
        ("a: 0b_", "invalid literal"),
        ("a: !!bool x", "KeyError: 'x'"),
        ("a: !!timestamp x", "AttributeError"),
        ("a: !!int ''", "IndexError|ValueError|range"),
        ("a: " + "9" * 5000, "a number of 5000 characters"),
        ("a: " + "1:" * 250_000 + "1", "a number of 500001 characters"),
        ("a: " + "[" * 900 + "]" * 900, "nested more than 64 deep"),
        ("a: " + "[" * 100_000, "nested more than 64 deep"),
        ("a: [" + "0," * 200_000 + "]", "more than 150000 entries"),
        (BOMB, "more than 150000 entries"),
        (MERGES, "more than 150000 entries"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {b: *a}", "contains itself"),
        ("0x" + "f" * 300 + ": a", "a key of 302 digits"),
        ("? [a]\n: b", "unhashable"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: \x1b[31m", "special characters are not allowed"),
        ("a: *b", "undefined alias"),
        ("a\nb: c: d", "not allowed here"),
        ("x" * (3 << 20), "more than 2 MB"),
        ("- a", "expected lines of the form key: value"),
        ("", "expected lines of the form key: value"),
    ],
)
def test_invalid_or_too_large_yaml_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "data.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PoseError, match=told) as error:
        read_yaml(file)
    assert str(error.value).startswith(f"{file}: ")
    assert len(str(error.value)) < 600


def test_pipes_and_devices_are_not_read_as_yaml(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    with pytest.raises(PoseError, match="not a regular file"):
        read_yaml(pipe)
    with pytest.raises(PoseError, match="not a regular file"):
        read_yaml(Path("/dev/zero"))
    with pytest.raises(PoseError, match="not a regular file"):
        read_yaml(tmp_path)
    with pytest.raises(PoseError, match="No such file"):
        read_yaml(tmp_path / "none.yaml")
    file = tmp_path / "latin.yaml"
    file.write_bytes(b"a: \xe9")
    with pytest.raises(PoseError, match=r"not a YAML file: .*utf-8"):
        read_yaml(file)


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "-2+3+cmd|' /C calc'!A0", "+A1", " =1+1", "\t=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-1 -1 5 5 1e-3", "+0.5", "", "cat", "a=b", "- "])
def test_numbers_and_words_stay_as_they_are(text: str) -> None:
    assert cell(text) == text


def test_temporary_files_of_killed_processes_are_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yolopose.files.IDLE", -1.0)
    target = tmp_path / "last.pt"
    code = (
        "import os, signal, sys, pathlib\nfrom yolopose.files import atomic_path\n"
        "with atomic_path(pathlib.Path(sys.argv[1])) as part:\n"
        "    part.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    (left,) = tmp_path.iterdir()
    kept = [left.with_name(f"{left.name}.yaml"), tmp_path / ".last.pt", tmp_path / ".1-2-other.pt",
            tmp_path / f".{os.getpid()}-1-last.pt", tmp_path / ".x-1-last.pt", target]  # fmt: skip
    folder = tmp_path / left.name.replace("last.pt", "last_model")
    (folder / "inner").mkdir(parents=True)
    for file in kept:
        file.write_text("kept")
    remove_leftovers(target)
    remove_leftovers(tmp_path / "last_model")
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in kept}
    left.write_text("half")
    monkeypatch.setattr("yolopose.files.IDLE", 60.0)
    remove_leftovers(target)
    assert left.exists()  # it may be that of a process on another machine
