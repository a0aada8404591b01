"""What is known of one argument."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Argument:
    """One argument: its documentation, its type, and the values that it allows.

    The range includes both ends; with `open` the end `low` is not included. `form="device"` is a device in any
    spelling. `note` is added to the error about a value of another type.
    """

    name: str
    default: Any
    hint: Any
    doc: str
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    open: bool = False
    form: str | None = None
    note: str = ""
