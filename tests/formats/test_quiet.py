"""Process-wide state is changed by one thread at a time and restored."""

import logging
import os
import sys
import threading
import warnings
from pathlib import Path
from types import ModuleType

import pytest

from yolopose.formats.quiet import quiet, replaced_modules, without_warnings


def state() -> tuple[object, ...]:
    """All of the process' state that `quiet` touches."""
    ends = tuple((os.fstat(number).st_dev, os.fstat(number).st_ino) for number in (1, 2))
    told = sys.modules.get("openvino_telemetry", "not loaded")
    return ends, sys.stdout, sys.stderr, list(warnings.filters), told, os.environ.get("KERAS_HOME")


def test_overlapping_threads_restore_streams_and_loggers() -> None:
    before = state()
    second_in, first_out = threading.Event(), threading.Event()

    def second() -> None:
        with quiet():
            second_in.set()
            first_out.wait(60)

    thread = threading.Thread(target=second)
    with quiet():
        thread.start()
        second_in.wait(0.5)  # it comes in only where nothing holds it back
    first_out.set()
    thread.join(60)
    assert state() == before


def test_many_threads_at_once() -> None:
    before = state()

    def work() -> None:
        for _ in range(40):
            with quiet(), without_warnings(), quiet():
                print("nobody hears this")

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert state() == before


def test_nothing_is_printed_within_a_block_and_everything_after(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        with quiet():
            print("python")
            os.write(1, b"library")
        os.write(2, b"after the inner block")
        warnings.warn("quiet", stacklevel=1)
        logging.getLogger("yolopose").warning("quiet, too")
    print("python again", flush=True)
    os.write(2, b"library again")
    told = capfd.readouterr()
    assert (told.out, told.err) == ("python again\n", "library again")


def test_everything_comes_back_after_an_error() -> None:
    before = state()
    with pytest.raises(ValueError, match="within"), quiet():
        raise ValueError("within")
    assert state() == before


def test_modules_are_replaced_in_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with quiet(), pytest.raises(ImportError):
        import openvino_telemetry  # noqa: F401
    assert "openvino_telemetry" not in sys.modules
    mine, stub = ModuleType("mine"), ModuleType("stub")
    monkeypatch.setitem(sys.modules, "openvino_telemetry", mine)
    with quiet():
        assert sys.modules["openvino_telemetry"] is None
        with replaced_modules({"openvino_telemetry": stub}):
            assert sys.modules["openvino_telemetry"] is stub
    assert sys.modules["openvino_telemetry"] is mine


def test_keras_writes_no_settings_into_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    with quiet():
        assert os.environ["KERAS_HOME"] == str(tmp_path / "cache" / "yolopose" / "keras")
    assert "KERAS_HOME" not in os.environ
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text("{}")
    with quiet():
        assert "KERAS_HOME" not in os.environ
    monkeypatch.setenv("KERAS_HOME", "mine")
    with quiet():
        assert os.environ["KERAS_HOME"] == "mine"
