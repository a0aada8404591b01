"""How an argument is declared, and how text or Python values become a checked configuration."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import math
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from yolopose.console import log
from yolopose.errors import PoseError, UsageError
from yolopose.files import read_yaml

Config = TypeVar("Config")

# Arguments of the field's other tasks and of services that do not exist here: accepted, so that an args.yaml or a
# habitual command line keeps working, and named once.
INERT = frozenset(
    ("angle", "augment", "auto_augment", "cls_pw", "copy_paste", "copy_paste_mode", "crop_fraction", "cutmix", "dnn",
     "embed", "end2end", "erasing", "mask_ratio", "overlap_mask", "profile", "retina_masks", "rle", "save_hybrid",
     "tracker", "visualize")
)  # fmt: skip
NOT_ARGUMENTS = frozenset({"task", "mode", "cfg"})


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


def arg(
    default: Any,
    doc: str,
    *,
    choices: tuple[Any, ...] = (),
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """Declare a field of a configuration with its documentation, its allowed values or its inclusive range."""
    return dataclasses.field(default=default, metadata={"doc": doc, "choices": choices, "low": low, "high": high})


def arguments(cls: type[Any]) -> dict[str, Argument]:
    """The arguments of a configuration class by name, its own before those it shares with other modes."""
    return _arguments(cls)  # type: ignore[arg-type]  # a class is hashable


@functools.cache  # every call of predict() asks
def _arguments(cls: Any) -> dict[str, Argument]:
    hints = get_type_hints(cls)
    declared = [f for f in dataclasses.fields(cls) if "doc" in f.metadata]
    declared.sort(key=lambda f: f.name not in cls.__annotations__)  # a mode's own before the shared ones
    return {f.name: Argument(f.name, f.default, hint=hints[f.name], **f.metadata) for f in declared}


def parse(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """A checked `cls` from names and values (Python values, or text as typed on a command line).

    `cfg=FILE` reads further values from a YAML file; the ones given beside it win. Keys that belong to other modes are
    accepted from the file only, where one args.yaml serves all modes.

    Raises:
        UsageError: unknown key (with the nearest known one), wrong type, value out of range, unreadable cfg file.
    """
    known = arguments(cls)
    given: dict[str, Any] = {}
    inert: list[str] = []
    for source, key, value in _merged(values):
        if key in known:
            given[key] = convert(known[key], value)
        elif key in INERT:
            inert.append(key)
        elif source is None and key not in NOT_ARGUMENTS:
            raise UsageError(unknown_key(key, known))
        elif source is not None and key not in _every_key() | NOT_ARGUMENTS:
            raise UsageError(f"{source}: {unknown_key(key, known)}")
    if inert:
        log.info(f"accepted without effect on pose models: {', '.join(sorted(set(inert)))}")
    return cls(**given, given=frozenset(given))  # type: ignore[call-arg]


def _merged(values: Mapping[str, Any]) -> Iterable[tuple[Path | None, str, Any]]:
    """(file or None, key, value): the entries of `cfg` first, then those given directly."""
    if values.get("cfg") not in (None, "", "None"):
        path = Path(str(values["cfg"]))
        for key, value in read_cfg(path).items():
            if key not in values:
                yield path, key, value
    for key, value in values.items():
        yield None, key, value


def read_cfg(path: Path) -> dict[str, Any]:
    """The entries of a YAML file of arguments. Raises UsageError when it cannot be read or is no mapping."""
    try:
        return read_yaml(path)
    except PoseError as e:
        raise UsageError(f"cfg={e}") from None


def _every_key() -> frozenset[str]:
    """The arguments of all modes."""
    from yolopose.config import args

    return frozenset().union(*(arguments(cls) for cls in args.MODES.values()))


def unknown_key(key: str, known: Iterable[str]) -> str:
    """One line for a key that does not exist, with the nearest one that does."""
    close = nearest(key, known)
    return f"unknown argument {key!r}" + (f", did you mean {close!r}?" if close else "; 'yolo cfg' lists them all")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, or None when none is."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return close[0] if close else None


def convert(argument: Argument, value: Any) -> Any:
    """`value` in the argument's type, checked against its choices and range.

    Raises:
        UsageError: naming the argument, the value and what is allowed.
    """
    if argument.hint is Any:
        return value
    name = argument.name
    members = get_args(argument.hint) if get_origin(argument.hint) in (Union, types.UnionType) else (argument.hint,)
    raw = _literal(value) if isinstance(value, str) else value
    if raw is None and type(None) in members:
        return None
    for member in members:
        converted = _as(member, raw, value)
        if converted is not None:
            _check(argument, converted)
            return converted
    wanted = " or ".join(_words(member) for member in members if member is not type(None))
    raise UsageError(f"{name}={value!r}: expected {wanted}")


def _literal(text: str) -> Any:
    """Text from a command line or YAML as a Python value, or the text itself."""
    lowered = text.strip().lower()
    if lowered in ("true", "false", "none", "null", ""):
        return {"true": True, "false": False}.get(lowered)
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _as(hint: Any, raw: Any, original: Any) -> Any:
    """`raw` as `hint`, or None where it does not fit."""
    if hint is bool:
        return bool(raw) if isinstance(raw, bool) or raw in (0, 1) else None
    if hint is int:
        whole = isinstance(raw, (int, float)) and not isinstance(raw, bool) and float(raw).is_integer()
        return int(raw) if whole else None
    if hint is float:
        number = isinstance(raw, (int, float)) and not isinstance(raw, bool) and math.isfinite(raw)
        return float(raw) if number else None
    if hint is str:
        return str(original) if isinstance(original, (str, Path, int)) and not isinstance(original, bool) else None
    if get_origin(hint) is tuple:
        return _as_tuple(hint, raw)
    return None


def _as_tuple(hint: Any, raw: Any) -> tuple[Any, ...] | None:
    """A tuple of the hint's item type and length; a lone value counts as one item of an open-ended tuple."""
    item, *rest = get_args(hint)
    open_ended = rest == [Ellipsis]
    if open_ended and item is str and isinstance(raw, str):
        raw = [word.strip() for word in raw.split(",")]  # words without quotes, as on a command line
    if open_ended and isinstance(raw, (int, float, str)) and not isinstance(raw, bool):
        raw = [raw]
    if not isinstance(raw, (list, tuple)) or not (open_ended or len(raw) == len(rest) + 1):
        return None
    values = tuple(_as(item, v, v) for v in raw)
    return None if None in values else values


def _words(hint: Any) -> str:
    """A type in words."""
    if get_origin(hint) is tuple:
        item, *rest = get_args(hint)
        return f"a list of {_words(item)}s" if rest == [Ellipsis] else f"{len(rest) + 1} {_words(item)}s"
    return {bool: "True or False", int: "whole number", float: "number", str: "text"}.get(hint, "a value")


def _check(argument: Argument, value: Any) -> None:
    """Raise UsageError when `value` is not among the choices or leaves the range."""
    if argument.choices and value not in argument.choices:
        allowed = ", ".join(str(c) for c in argument.choices)
        close = nearest(str(value), [str(c) for c in argument.choices])
        hint = f"; did you mean {close!r}?" if close else ""
        raise UsageError(f"{argument.name}={value!r}: expected one of {allowed}{hint}")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            below = argument.low is not None and number < argument.low
            if below or (argument.high is not None and number > argument.high):
                low, high = argument.low, argument.high
                span = (
                    f"at least {low:g}"
                    if high is None
                    else f"at most {high:g}"
                    if low is None
                    else f"{low:g} to {high:g}"
                )
                raise UsageError(f"{argument.name}={value!r}: expected {span}")


def replace(config: Config, **changes: Any) -> Config:
    """A copy of `config` with some values changed by the program (they do not count as given by the user)."""
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def to_dict(config: Any) -> dict[str, Any]:
    """Every argument in JSON types, as written to args.yaml and into checkpoints."""
    return {
        name: list(value) if isinstance(value := getattr(config, name), tuple) else value
        for name in arguments(type(config))
    }
