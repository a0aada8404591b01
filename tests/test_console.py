"""What is said reaches a terminal of any encoding, once, and without control characters of foreign names."""

import io
import logging
import os
import subprocess
import sys

import pytest

from yolopose.console import encodable, log

HOSTILE = "a\x1b[31m\r\x07\u202e\udce9.jpg"


def emit(level: int, text: str) -> None:
    """Hand a record to our handler alone: pytest's reports of captured records cannot hold lone surrogates."""
    log.handlers[0].handle(log.makeRecord(log.name, level, __file__, 0, text, (), None))


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    emit(logging.INFO, f"first\n{HOSTILE}")
    emit(logging.WARNING, f"{HOSTILE}\nforged")
    out, err = capsys.readouterr()
    assert out == "first\na\\x1b[31m\\r\\x07\\u202e\\udce9.jpg\n"
    assert err == "WARNING: a\\x1b[31m\\r\\x07\\u202e\\udce9.jpg\\nforged\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "utf-16"])
def test_every_encoding_takes_it(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    emit(logging.INFO, "≥ √ → ↔ 🙂 \udce9 é")
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)
    assert text.endswith("é\n" if encoding != "ascii" else "\\xe9\n")
    assert "\\udce9" in text


def test_a_stream_without_an_encoding() -> None:
    assert encodable("é", io.StringIO()) == encodable("é", None) == "é"


def said(setup: str, **environment: str) -> list[str]:
    code = f"{setup}\nfrom yolopose.console import log\nlog.info('once')\nlog.warning('twice ↔')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=os.environ | environment, cwd=os.getcwd()
    )
    return (done.stdout + done.stderr).decode().splitlines()


def test_a_program_with_its_own_log_handler_gets_each_line_once() -> None:
    assert said("") == ["once", "WARNING: twice ↔"]
    assert said("import logging; logging.basicConfig()") == ["INFO:yolopose:once", "WARNING:yolopose:twice ↔"]
    assert len(said("import logging, rich.logging; logging.basicConfig(handlers=[rich.logging.RichHandler()])")) == 2


def test_a_program_that_logs_to_a_file_keeps_our_console(tmp_path) -> None:
    file = tmp_path / "log.txt"
    assert said(f"import logging; logging.basicConfig(filename={str(file)!r})") == ["once", "WARNING: twice ↔"]
    assert file.read_text().splitlines() == ["INFO:yolopose:once", "WARNING:yolopose:twice ↔"]


def test_a_level_that_the_program_set_stays() -> None:
    assert said("import logging; logging.getLogger('yolopose').setLevel('WARNING')") == ["WARNING: twice ↔"]


def test_characters_that_the_encoding_lacks_are_escaped(caplog: pytest.LogCaptureFixture) -> None:
    assert said("", PYTHONIOENCODING="ascii") == ["once", "WARNING: twice \\u2194"]
    with caplog.at_level(logging.INFO, "yolopose"):
        log.info("captured")
    assert caplog.messages == ["captured"]
