"""Measure the code itself: `python benchmarks/house.py [--list | --json]`, run in a checkout.

Prints the lines of code, the sizes of files and functions, the files that one `yolo predict` runs through, and how far
the command line's dataclasses, `compat` and the import contract reach. Copied out of this checkout, it measures any
other: `python house.py` there.
"""

from __future__ import annotations

import ast
import collections
import io
import itertools
import json
import subprocess
import sys
import tempfile
import tokenize
import tomllib
from pathlib import Path

PACKAGE = Path("yolopose")
GENERATED = "made by docs/generate.py"  # stands in the first lines of a generated module
TRACE = """
import sys, threading
from pathlib import Path

def importing(frame):
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_back is not None or "importlib" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False

def note(frame, event, _):
    code = frame.f_code
    if event == "call" and code.co_flags & 2 and code.co_filename.startswith(root) and not importing(frame):
        files.setdefault(code.co_filename[len(root):], None)

root, picture, folder = sys.argv[1:]
sys.path.insert(0, str(Path(root).parent))
files = {}
from yolopose.cli import main
threading.setprofile(note)
sys.setprofile(note)
code = main(["predict", "source=" + picture, "project=" + folder, "verbose=True"])
sys.setprofile(None)
assert code == 0
print("FILES", *files)
"""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def code_lines(path: Path) -> int:
    """Lines that hold code: no blank lines, comments, docstrings or imports."""
    text = path.read_text(encoding="utf-8")
    if GENERATED in text[:300]:
        return 0
    skip = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skip:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        text_alone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, (ast.Import, ast.ImportFrom)) or (text_alone and isinstance(node.value.value, str)):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def function_lengths() -> list[int]:
    """Lines of every function of the package, sorted."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in modules().values())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return sorted((n.end_lineno or 0) - n.lineno + 1 for t in trees for n in ast.walk(t) if isinstance(n, kinds))


def imports(known: dict[str, Path]) -> dict[str, dict[str, set[str]]]:
    """Module → imported module of the package → names taken from it; type-only and late imports count."""
    found: dict[str, dict[str, set[str]]] = {}
    for module, path in known.items():
        here = found[module] = collections.defaultdict(set)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name in known:
                        here[alias.name].add("")
            elif isinstance(node, ast.ImportFrom) and node.module in known:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    here[inner if inner in known else node.module].add(alias.name)
    return found


def takes_configs(graph: dict[str, dict[str, set[str]]]) -> list[str]:
    """Modules outside `config` that import a dataclass of the command line's arguments."""
    return sorted(
        module
        for module, targets in graph.items()
        if not module.startswith("yolopose.config")
        and any(
            t.startswith("yolopose.config") and any(n.endswith("Config") for n in names) for t, names in targets.items()
        )
    )


def tests_compat(known: dict[str, Path]) -> list[str]:
    """Modules in which `compat` is a name, an attribute or a parameter (TensorFlow's `tf.compat` is none)."""
    found = []
    for module, path in known.items():
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if GENERATED not in text[:300] else ():
            attribute = isinstance(node, ast.Attribute) and node.attr == "compat"
            if attribute and isinstance(node.value, ast.Name) and node.value.id == "tf":
                continue
            name = isinstance(node, ast.Name) and node.id == "compat"
            parameter = isinstance(node, (ast.arg, ast.keyword)) and node.arg == "compat"
            if attribute or name or parameter:
                found.append(module)
                break
    return found


def outside_contract(known: dict[str, Path]) -> list[str]:
    """Modules that stand in no layer of the import contract."""
    contracts = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    roots = set()
    for contract in contracts:
        names = (
            " ".join(contract.get("layers", [])).replace("|", " ").replace(":", " ").replace("(", "").replace(")", "")
        )
        roots |= {".".join((*contract.get("containers", ()), name)) for name in names.split()}
    chains = {m: list(itertools.accumulate(m.split("."), "{}.{}".format)) for m in known}
    packages = {"yolopose"} | {m.rpartition(".")[0] for m in known}  # an __init__ stands with its modules
    return sorted(m for m, chain in chains.items() if m not in packages and not roots.intersection(chain))


def circles(graph: dict[str, dict[str, set[str]]]) -> list[list[str]]:
    """Groups of packages (and loose modules) that import one another in a circle."""

    def room(module: str) -> str:
        return ".".join(module.split(".")[:2])

    arrows: dict[str, set[str]] = collections.defaultdict(set)
    for module, targets in graph.items():
        arrows[room(module)] |= {room(t) for t in targets} - {room(module), "yolopose"}

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            for step in arrows[todo.pop()] - seen:
                seen.add(step)
                todo.append(step)
        return seen

    reached = {r: reach(r) for r in list(arrows) if r != "yolopose"}
    groups = {frozenset(o for o in reached if r in reached[o] and o in reached[r]) for r in reached if r in reached[r]}
    return sorted(sorted(group) for group in groups)


def predict_files() -> list[str]:
    """Files with a function that one `yolo predict` of one photograph calls, imports aside."""
    root = f"{PACKAGE.resolve()}/"
    picture = Path("docs/predict.jpg").resolve()
    with tempfile.TemporaryDirectory() as folder:
        out = subprocess.run(
            [sys.executable, "-c", TRACE, root, str(picture), folder],
            capture_output=True,
            text=True,
            cwd=folder,
            check=True,
        ).stdout
    return sorted(next(line for line in out.splitlines() if line.startswith("FILES")).split()[1:])


def measure() -> dict[str, object]:
    """Every figure by name; lists say which."""
    known = modules()
    graph = imports(known)
    texts = {path: path.read_text(encoding="utf-8").count("\n") for path in known.values()}
    lengths = function_lengths()
    lists = {
        "files that one predict touches": predict_files(),
        "modules importing the command line's dataclasses": takes_configs(graph),
        "files that test compat": tests_compat(known),
        "modules outside the contract": outside_contract(known),
        "circles of packages": [" ".join(group) for group in circles(graph)],
    }
    return {
        "lines": sum(texts.values()),
        "lines of code": sum(map(code_lines, known.values())),
        "files": len(known),
        "longest file": max(texts.values()),
        "function p90": lengths[len(lengths) * 9 // 10],
        "longest function": lengths[-1],
        **{name: (len(items), items) for name, items in lists.items()},
    }


def main() -> None:
    """Print the figures, with --json as one object."""
    figures = measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps(figures))
        return
    for name, figure in figures.items():
        count, items = figure if isinstance(figure, tuple) else (figure, [])
        print(f"{count:>7,}  {name}")
        if items and "--list" in sys.argv[1:]:
            print(*(f"           {item}" for item in items), sep="\n")


if __name__ == "__main__":
    main()
