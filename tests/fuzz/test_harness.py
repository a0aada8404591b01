"""The watch itself: it must see what it is there to see."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.harness import campaign, confuse, mutate, run_one, wrong_message

from yolopose.errors import PoseError


def refuse(message: str) -> None:
    raise PoseError(message)


def test_a_clean_refusal_and_a_clean_answer_pass(tmp_path: Path) -> None:
    assert run_one(refuse, "x.pt: damaged", tmp_path) is None
    assert run_one(lambda case: case, 3, tmp_path) is None
    assert run_one(lambda case: (tmp_path / "own").write_text(case), "text", tmp_path) is None


@pytest.mark.parametrize("message", ["two\nlines", "red \x1b[31m", "lone \udce9", "x" * 2001, ""])
def test_messages(message: str, tmp_path: Path) -> None:
    assert wrong_message(message)
    assert run_one(refuse, "x" * 100_001, tmp_path)


def test_tracebacks_and_code(tmp_path: Path) -> None:
    assert "KeyError" in (run_one(lambda case: {}[case], "a", tmp_path) or "")
    assert "exec" in (run_one(lambda case: exec(case), "1 + 1", tmp_path) or "")
    assert "Popen" in (run_one(lambda case: subprocess.run(case, check=True), [sys.executable, "-V"], tmp_path) or "")


def test_writing_outside(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    assert "write" in (run_one(lambda case: outside.write_text(case), "text", inside) or "")
    assert "os.remove" in (run_one(lambda case: os.remove(outside), None, inside) or "")
    assert "os.mkdir" in (run_one(lambda case: outside.mkdir(), None, inside) or "")


def test_time_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forever(case: None) -> None:
        while True:
            pass

    monkeypatch.setattr("fuzz.harness.CPU_SECONDS", 0.2)
    assert "computing" in (run_one(forever, None, tmp_path) or "")
    assert "MemoryError" in (run_one(lambda case: bytearray(2 << 30), None, tmp_path) or "")
    read, write = os.pipe()
    monkeypatch.setattr("fuzz.harness.WALL_SECONDS", 0.2)
    assert "waiting" in (run_one(lambda case: os.read(read, 1), None, tmp_path) or "")
    os.close(read)
    os.close(write)


def test_cases_repeat_and_failures_are_named(tmp_path: Path) -> None:
    data, tree = bytes(range(200)), {"a": [1, 2, {"b": 3}], "c": "d"}
    for seed in range(50):
        assert mutate(data, random.Random(seed), [b"x" * 9]) == mutate(data, random.Random(seed), [b"x" * 9])
        confuse(tree, random.Random(seed))
    assert len({mutate(data, random.Random(seed)) for seed in range(50)}) > 30
    assert tree == {"a": [1, 2, {"b": 3}], "c": "d"}
    with pytest.raises(AssertionError, match=r"seed '1-0': ZeroDivisionError"):
        campaign(lambda case: 1 / case, lambda rng: 0, 3, tmp_path)
