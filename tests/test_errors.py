"""Values quoted in messages: short, printable, and in bounded time."""

import pickle
import time

import numpy as np
import pytest

from yolopose.errors import MAX_MESSAGE, MAX_SHOWN, PoseError, UsageError, first_line, one_line, shown
from yolopose.limits import int_of


def test_ordinary_values_read_as_in_python() -> None:
    assert shown("a'b") == '"a\'b"'
    assert shown([1, 2.5, None, True]) == "[1, 2.5, None, True]"
    assert shown({"a": (1, 2)}) == "{'a': (1, 2)}"
    assert shown(np.zeros((2, 3))) == "ndarray of shape (2, 3)"


def test_references_to_references_are_not_expanded() -> None:
    value: object = "x" * 1_000_000
    for _ in range(100):
        value = [value] * 1000
    start = time.process_time()
    assert len(shown(value)) <= MAX_SHOWN
    assert time.process_time() - start < 1
    assert len(shown(10**100_000)) < 40


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31mred", "\u202eflip", "\udce9", "\x9b0m"])
def test_no_control_character_reaches_the_terminal(text: str) -> None:
    for line in (shown(text), shown({text: [text]}), one_line(text)):
        assert line.isprintable()
        line.encode("utf-8")


def test_the_first_line_of_an_error_that_may_say_nothing() -> None:
    assert first_line(RuntimeError("\n a\tb \nsecond")) == "a b"
    assert first_line(RuntimeError()) == first_line(RuntimeError(" \n")) == "RuntimeError"


def test_whole_numbers_are_bounded() -> None:
    assert int_of(3, "nc", 1, 10) == int_of(3.0, "nc", 1, 10) == 3
    for bad in (True, "3", 2.5, float("nan"), float("inf"), 11, 0, 10**400, None, [3]):
        with pytest.raises(PoseError, match="nc must be"):
            int_of(bad, "nc", 1, 10)


def test_an_error_is_one_printable_line_whatever_stands_in_it() -> None:
    for kind in (PoseError, UsageError):
        assert str(kind("a\nb\x1b[31m\udce9.pt: no such file")) == "a\\nb\\x1b[31m\\udce9.pt: no such file"
        assert str(kind("two  spaces é.pt: no such file")) == "two  spaces é.pt: no such file"
        assert len(str(kind("x" * 1_000_000))) == MAX_MESSAGE
    assert str(pickle.loads(pickle.dumps(PoseError("a\nb")))) == "a\\nb"
