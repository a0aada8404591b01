"""The house rules that a machine can check: floors, public names, sizes."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import yolopose

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "yolopose"


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("module", "text", "named"),
    [
        ("geometry/boxes.py", "from yolopose import predict", "yolopose.geometry.boxes"),
        ("locks.py", "from yolopose import errors", "yolopose.locks"),  # neighbours in one row
        ("stray.py", "", "stray"),  # stands in no row
    ],
)
def test_the_import_contract_holds_and_a_violation_is_seen(tmp_path: Path, module: str, text: str, named: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "yolopose", ignore=shutil.ignore_patterns("__pycache__", "assets"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert lint_imports(tmp_path).returncode == 0
    with (tmp_path / "yolopose" / module).open("a") as file:
        file.write(f"\n{text}  # noqa\n")
    broken = lint_imports(tmp_path)
    assert broken.returncode == 1
    assert named in broken.stdout


def test_each_public_name_is_the_object_of_that_name() -> None:
    assert dir(yolopose) == sorted(set(yolopose.__all__))
    for name in set(yolopose.__all__) - {"__version__"}:
        assert getattr(yolopose, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'yolopose' has no attribute 'nothing'"):
        _ = yolopose.nothing


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_files_functions_and_classes_stay_within_comfort() -> None:
    too_long = []
    for path in (*sources(), *sorted((ROOT / "tests").rglob("*.py"))):
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > 400 and "made by docs/generate.py" not in text[:300]:
            too_long.append(f"{path.relative_to(ROOT)}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            limit = {ast.FunctionDef: 80, ast.AsyncFunctionDef: 80, ast.ClassDef: 250}.get(type(node))
            if limit is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > limit:
                    too_long.append(f"{path.relative_to(ROOT)}: {node.name} has {lines} lines, limit {limit}")
    assert not too_long, "\n".join(too_long)


def test_nothing_evaluates_text_or_reads_pickles() -> None:
    """Promise 1: no `eval`, `exec`, `os.system`, `pickle.load` or shell anywhere in the package."""
    forbidden = {"eval", "exec", "compile", "__import__"}
    found = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                call = ast.unparse(node.func)
                if call in forbidden or call in (
                    "os.system",
                    "pickle.load",
                    "pickle.loads",
                    "subprocess.run",
                    "os.popen",
                ):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {call}")
    assert not found, "\n".join(found)


def test_import_is_light() -> None:
    code = (
        "import sys, yolopose, yolopose.cli\n"
        "heavy = {'torch', 'onnxruntime', 'cv2', 'matplotlib', 'rich', 'pandas', 'PIL', 'lap', 'pyarrow'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
