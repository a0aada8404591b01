"""How an argument is declared, listed and written out."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, TypeVar, get_type_hints

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True)
class Argument:
    """One argument as the help and the docs show it."""

    name: str
    default: Any
    doc: str
    hint: Any
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    open: bool = False
    form: str | None = None
    note: str = ""


def arg(
    default: Any,
    doc: str,
    *,
    choices: tuple[Any, ...] = (),
    low: float | None = None,
    high: float | None = None,
    open: bool = False,
    form: str | None = None,
    note: str = "",
) -> Any:
    """Declare a field of a configuration: its documentation, its allowed values or its range.

    The range includes both ends, with `open` all but `low`. `form="device"` is a device in any spelling.
    `note` is added to the error about a value of another type.
    """
    known = {"doc": doc, "choices": choices, "low": low, "high": high, "open": open, "form": form, "note": note}
    return dataclasses.field(default=default, metadata=known)


def arguments(cls: type[Any]) -> dict[str, Argument]:
    """The arguments of a configuration class by name, its own before those it shares with other modes."""
    return _arguments(cls)  # type: ignore[arg-type]  # a class is hashable


@functools.cache  # every call of predict() asks
def _arguments(cls: Any) -> dict[str, Argument]:
    hints = get_type_hints(cls)
    declared = [f for f in dataclasses.fields(cls) if "doc" in f.metadata]
    declared.sort(key=lambda f: f.name not in cls.__annotations__)  # a mode's own before the shared ones
    return {f.name: Argument(f.name, f.default, hint=hints[f.name], **f.metadata) for f in declared}


def replace(config: Config, **changes: Any) -> Config:
    """A copy of `config` with some values changed by the program (they do not count as given by the user)."""
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def to_dict(config: Any) -> dict[str, Any]:
    """Every argument in JSON types, as written to args.yaml and into checkpoints."""
    return {
        name: list(value) if isinstance(value := getattr(config, name), tuple) else value
        for name in arguments(type(config))
    }


def pick(options: type[Config], config: Any, **more: Any) -> Config:
    """An `options` filled from the values of the same names in `config`, and from `more`, which wins."""
    names = {f.name for f in dataclasses.fields(options) if f.init} - more.keys()  # type: ignore[arg-type]
    return options(**{name: getattr(config, name) for name in names if hasattr(config, name)}, **more)
