"""Progress: a bar on a terminal, a line now and then elsewhere, nothing for short work."""

import sys

import pytest

from yolopose import console as module
from yolopose.console import progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock)
    return clock


def run(clock: Clock, steps: int, seconds: float, **options: bool) -> None:
    with progress(what="validating", **options) as show:
        for done in range(1, steps + 1):
            show(done, steps)
            clock.now += seconds


def test_lines_where_there_is_no_terminal(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    run(clock, 100, 1.0)
    assert capsys.readouterr().out.splitlines()[:2] == [
        "validating 11/100 (11 %), 89 s left",
        "validating 21/100 (21 %), 79 s left",
    ]


@pytest.mark.parametrize(
    ("steps", "seconds", "lines"),
    [(1000, 0.001, 0), (10, 60.0, 0), (100, 1.0, 9), (100, 10.0, 16), (100_000, 1.0, 100_000 // 60), (20, 5.0, 9)],
)
def test_how_many_lines(
    steps: int, seconds: float, lines: int, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    run(clock, steps, seconds)
    assert abs(len(capsys.readouterr().out.splitlines()) - lines) <= 1


def test_no_output_when_progress_is_off(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    run(clock, 100, 10.0, wanted=False)
    run(clock, 100, 10.0, lines=False)
    assert capsys.readouterr() == ("", "")


def test_text_is_asked_for_only_when_shown(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []
    with progress(least=1) as show:
        for done in range(1, 11):
            show(done, 10, lambda done=done: asked.append(done) or f"epoch 1, loss {done}")
            clock.now += 11
    assert asked == list(range(2, 10))
    assert "epoch 1, loss 9 9/10 (90 %), 11 s left" in capsys.readouterr().out


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress(what="validating") as show:
        show(20, 40)
        show(40, 40, lambda: "the end")
    said = capsys.readouterr().out
    assert "40/40" in said
    assert "the end" in said


def test_bytes(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress(what="a.zip", sized=True, least=0) as show:
        for done in (0, 1_000_000, 2_500_000):
            show(done, 10_000_000)
            clock.now += 20
        for done in (3_000_000, 4_000_000):
            show(done, None)
            clock.now += 20
    assert capsys.readouterr().out.splitlines() == [
        "a.zip 1.0 of 10.0 MB (10 %), 3 min left",
        "a.zip 2.5 of 10.0 MB (25 %), 2 min left",
        "a.zip 3.0 MB",
        "a.zip 4.0 MB",
    ]
