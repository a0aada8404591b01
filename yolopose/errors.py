"""Errors caused by user input, and foreign values quoted in them. Anything else is a bug and keeps its traceback."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

MAX_SHOWN = 160  # characters of a quoted value
MAX_MESSAGE = 2000  # characters of an error's line
_ITEMS = 6  # of a container
_DEPTH = 3


class PoseError(Exception):
    """A failure that the user can correct: one line that names the file, row or key, and the remedy.

    The line is printable and has at most `MAX_MESSAGE` characters, whatever values it quotes.
    """

    exit_code = 1

    def __str__(self) -> str:
        line = printable(super().__str__())
        return line if len(line) <= MAX_MESSAGE else f"{line[: MAX_MESSAGE - 1]}…"


class UsageError(PoseError, ValueError):
    """A wrong key, value or command: nothing has been started."""

    exit_code = 2


def did_you_mean(word: str, known: Iterable[str], form: str = "{!r}") -> str:
    """`; did you mean …?` with the known word most similar to `word`, formatted by `form`; "" when none is similar."""
    spelled = {name.lower(): name for name in reversed(list(known))}  # of two that differ in case only, the first
    close = difflib.get_close_matches(word.lower(), spelled, n=1)
    return f"; did you mean {form.format(spelled[close[0]])}?" if close else ""


def shown(value: Any, limit: int = MAX_SHOWN) -> str:
    """`value` as quoted in a message: one printable line of at most `limit` characters.

    The work is bounded too: a value of a hostile file may refer to one part of it a million times over.
    """
    text = _shown(value, _DEPTH, limit)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def one_line(text: object, limit: int = 400) -> str:
    """Foreign text (an error of a library, a server's answer, a file name) as one printable line."""
    line = printable(" ".join(str(text)[: 4 * limit].split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def first_line(error: object) -> str:
    """The first line of an error's message as `one_line` gives it; the type of an error without message."""
    return one_line((str(error).strip() or type(error).__name__).splitlines()[0])


def printable(text: str) -> str:
    """`text` with control characters, line breaks, direction marks and lone surrogates as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _shown(value: Any, depth: int, limit: int) -> str:
    """`shown`, at most `depth` containers deep."""
    if isinstance(value, str | bytes):
        return printable(repr(value[:limit])) + ("…" if len(value) > limit else "")
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        if not depth:
            return "…"
        opening, closing = "[]" if isinstance(value, list) else "()" if isinstance(value, tuple) else "{}"
        items: list[str] = []
        entries = value.items() if isinstance(value, Mapping) else ((entry,) for entry in value)
        for parts in itertools.islice(entries, _ITEMS):
            items.append(": ".join(_shown(part, depth - 1, limit) for part in parts))
            if sum(map(len, items)) > limit:
                break
        more = ["…"] if len(value) > len(items) else []
        return opening + ", ".join(items + more) + closing
    if value is None or isinstance(value, bool | int | float | complex):
        return repr(value)
    kind = type(value).__name__
    shape = getattr(value, "shape", None)
    return printable(f"{kind} of shape {tuple(shape)}" if isinstance(shape, tuple) else kind)
