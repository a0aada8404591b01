"""The public names: their types, their signatures, and the examples in their docstrings."""

import doctest
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import yolopose
from yolopose import YOLO, Boxes, Keypoints, Results

ROOT = Path(__file__).resolve().parents[1]


def examples() -> list[doctest.DocTest]:
    named = {cls: cls.__name__ for cls in (YOLO, Results, Boxes, Keypoints)} | {YOLO.__base__: "YOLO"}
    found = [test for cls, name in named.items() for test in doctest.DocTestFinder().find(cls, name)]
    return [test for test in found if test.examples]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_examples_in_docstrings_run(
    example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level("WARNING", "yolopose")
    example.globs = {name: getattr(yolopose, name) for name in yolopose.__all__} | {"np": np}
    try:
        doctest.DebugRunner(optionflags=doctest.ELLIPSIS).run(example)
    except doctest.UnexpectedException as error:
        raise error.exc_info[1] from None


def test_every_method_that_runs_a_mode_has_an_example() -> None:
    assert {f"YOLO.{mode}" for mode in ("predict", "track", "val", "train", "export")} <= {
        test.name for test in examples()
    }


def test_the_page_of_public_names_is_complete() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == sorted(yolopose.__all__)


def test_signatures_list_the_arguments() -> None:
    shown = inspect.signature(YOLO.predict).parameters
    assert list(shown)[:3] == ["self", "source", "stream"]
    assert (shown["conf"].default, shown["conf"].annotation) == (0.25, float)
    assert shown["conf"].kind is inspect.Parameter.KEYWORD_ONLY
    assert "arguments" not in shown
    assert inspect.signature(YOLO.train).parameters["epochs"].default == 100
    assert "lr0: float = 0.01" in str(inspect.signature(YOLO.train))


USE = """
from yolopose import YOLO
model = YOLO()
reveal_type(model.predict("x"))
reveal_type(model("x", stream=True, conf=0.5))
reveal_type(model.val(data="x.yaml"))
model.predict("x", conf="a")
model.train(epohcs=3)
"""


def test_type_checkers_know_arguments_and_results(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "use.py").write_text(USE)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        ROOT / "pyproject.toml",
        "--cache-dir",
        ROOT / ".mypy_cache",
    ]
    told = subprocess.run(
        [*command, tmp_path / "use.py"], cwd=tmp_path, env=os.environ | {"MYPYPATH": str(ROOT)}, capture_output=True,
        text=True, check=False,
    ).stdout  # fmt: skip
    assert 'use.py:4: note: Revealed type is "list[yolopose.results.results.Results]"' in told
    assert re.search(r'use\.py:5: note: Revealed type is "yolopose\.predict\.\w+"', told)
    assert 'use.py:6: note: Revealed type is "yolopose.evaluate.metrics.Metrics"' in told
    assert (
        'use.py:7: error: No overload variant of "predict" of "PredictModel" matches argument types "str", "str"'
        in told
    )
    assert 'use.py:8: error: Unexpected keyword argument "epohcs" for "train" of "YOLO"' in told
    assert told.count("error:") == 2
