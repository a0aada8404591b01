"""What yolopose says: `log.info` goes to standard output, warnings and worse to standard error.

It is the ordinary logger "yolopose": a program that embeds the package sets its level, silences or redirects it as any
other. Where the program has a console of its own on the root logger (`logging.basicConfig`), that one speaks alone.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from yolopose.errors import printable

log = logging.getLogger("yolopose")


class _Console(logging.Handler):
    """Writes to whatever `sys.stdout` and `sys.stderr` are at the time, so that redirections hold.

    Names and values of foreign files stand in what is said. So control characters, of which line breaks are meant in
    `log.info` only, become escapes, and so does whatever the stream's encoding does not have.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record, warnings with their level in front."""
        if log.propagate and any(map(_is_console, logging.getLogger().handlers)):
            return
        serious = record.levelno >= logging.WARNING
        stream = sys.stderr if serious else sys.stdout
        said = record.getMessage()
        text = f"{record.levelname}: {printable(said)}" if serious else "\n".join(map(printable, said.split("\n")))
        try:
            print(encodable(text, stream), file=stream, flush=True)
        except BrokenPipeError:  # `yolo … | head` has seen enough
            sys.stdout = None


def encodable(text: str, stream: TextIO | None) -> str:
    """`text` with escapes for the characters that `stream` cannot encode."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _is_console(handler: logging.Handler) -> bool:
    """Whether another handler writes to the terminal: a StreamHandler, or rich's."""
    stream = getattr(handler, "stream", None) or getattr(getattr(handler, "console", None), "file", None)
    return stream is not None and stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)


if not log.handlers:
    log.addHandler(_Console())
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO)
