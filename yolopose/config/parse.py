"""Names and values (from Python, a command line or a file) become the checked configuration of a mode."""

from __future__ import annotations

import ast
import dataclasses
import functools
import math
import os
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

from yolopose.config.args import MODES
from yolopose.config.argument import Argument
from yolopose.config.foreign import DEFAULTS, FOREIGN, TRACKER_ENTRIES
from yolopose.console import log
from yolopose.errors import PoseError, UsageError, did_you_mean, shown
from yolopose.files import read_yaml
from yolopose.limits import MAX_ARGUMENT_VALUES

Config = TypeVar("Config")

LARGEST = 1e18
_DEVICE = re.compile(r"cpu|mps|auto|cuda|-1|\d+(,\d+)*")
ALIASES = {  # names that other programs use
    "batch_size": "batch", "conf_thres": "conf", "confidence": "conf", "hide_conf": "show_conf",
    "hide_labels": "show_labels", "img": "imgsz", "img_size": "imgsz", "image_size": "imgsz", "images": "source",
    "input": "source", "iou_thres": "iou", "learning_rate": "lr0", "line_thickness": "line_width", "lr": "lr0",
    "max_epochs": "epochs", "num_epochs": "epochs", "size": "imgsz", "threshold": "conf", "view_img": "show",
    "weights": "model",
}  # fmt: skip
NOT_ARGUMENTS = frozenset({"task", "mode", "cfg"})


def arguments(cls: type[Any]) -> dict[str, Argument]:
    """The arguments of a configuration class by name, its own before inherited ones.

    Annotations must be types, not strings.
    """
    return _arguments(cls)  # type: ignore[arg-type]  # a class is hashable


@functools.cache  # every call of predict() asks
def _arguments(cls: Any) -> dict[str, Argument]:
    declared = [f for f in dataclasses.fields(cls) if "doc" in f.metadata]
    declared.sort(key=lambda f: f.name not in cls.__annotations__)
    return {f.name: Argument(f.name, f.default, f.type, **f.metadata) for f in declared}


def parse(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """A checked `cls` from names and values (Python values, or text from a command line).

    `cfg=FILE` reads further values from a YAML file; those in `values` win. A value of the file that equals the default
    does not count as given by the user, unless the file lists its name in `given`, as the args.yaml of a run does. None
    means the default. For arguments of other modes and those that only Ultralytics has, see `foreign.py`.

    Raises:
        UsageError: unknown key (with the nearest known one), wrong type, value out of range, unreadable cfg file, or
            an argument of Ultralytics that is not implemented.
    """
    known = arguments(cls)
    taken: dict[str, Any] = {}
    given: set[str] = set()
    others: dict[str, Any] = {}
    for key, value, counts in _merged(values):
        if key in NOT_ARGUMENTS:
            continue
        if key not in known:
            others[key] = value
            continue
        argument = known[key]
        try:
            converted = convert(argument, value)
        except UsageError as error:
            raise UsageError(f"{_origin(key, values)}{error}") from None
        taken[key] = converted
        if (counts and value is not None) or converted != argument.default:  # in this order: a source may be an array
            given.add(key)
    _handle_foreign(cls, others, values)
    return cls(**taken, given=frozenset(given))  # type: ignore[call-arg]


def _merged(values: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    """Yield (key, value, whether the user certainly gave it): first the entries of `cfg`, then `values`."""
    if values.get("cfg") not in (None, "", "None"):
        entries = read_cfg(Path(str(values["cfg"])))
        given = entries.pop("given", None)
        explicit = set(map(str, given)) if isinstance(given, list) else set()
        yield from ((key, value, key in explicit) for key, value in entries.items() if key not in values)
    yield from ((key, value, True) for key, value in values.items())


def _origin(key: str, values: Mapping[str, Any]) -> str:
    """The start of an error about an argument: the file that it comes from, or ""."""
    return "" if key in values else f"cfg={values['cfg']}: "


def _handle_foreign(cls: type[Any], others: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Refuse, warn about or accept the arguments that this mode does not have; see `foreign.py`."""
    mode = next((name for name, known in MODES.items() if known is cls), cls.__name__)
    ignored: list[str] = []
    no_effect: list[str] = []
    for key, value in others.items():
        row = FOREIGN.get(key)
        ours = tuple(arguments(known)[key].default for known in MODES.values() if key in arguments(known))
        if row is None and not ours:
            hint = did_you_mean(ALIASES.get(key.lower(), key), arguments(cls)) or f"; 'yolo help {mode}' lists them"
            if key in TRACKER_ENTRIES:
                hint = "; it is an entry of a tracker's file: tracker=my.yaml, see docs/track.md"
            raise UsageError(f"{_origin(key, values)}unknown argument {shown(key)}{hint}")
        if _changes_nothing(value, (*ours, *DEFAULTS.get(key, ()), *(row.defaults if row else ())), row is not None):
            continue
        if row is not None and mode in row.modes:
            instead = f"use {row.instead}" if row.instead else "leave it out"
            where = f"{mode} does not do this" if ours and row.instead else "not implemented in yolopose"
            problem = f"{key}={shown(value)}: {where} ({row.meaning}); {instead}"
            raise UsageError(f"{_origin(key, values)}{problem}")
        (ignored if ours or (row and row.modes) else no_effect).append(key)
    if values.get("verbose") in (False, "False", "false", 0):
        return
    if ignored:
        log.warning(f"{mode} does not take {', '.join(sorted(ignored))}: left out")
    if no_effect:
        log.info(f"no effect on YOLOv8-pose models, in Ultralytics too: {', '.join(sorted(no_effect))}")


def _changes_nothing(value: Any, defaults: tuple[Any, ...], falsy: bool) -> bool:
    """Whether a value, or the one that a text represents, is None, one of `defaults`, or, with `falsy`, 0 or empty."""
    value = plain(value)
    value = literal(value) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
    if not isinstance(value, (bool, int, float, str, tuple)):
        return value is None
    return value in defaults or (falsy and not value)


def read_cfg(path: Path) -> dict[str, Any]:
    """The entries of a YAML file of arguments. Raises UsageError when it cannot be read or is no mapping."""
    try:
        return read_yaml(path)
    except PoseError as e:
        raise UsageError(f"cfg={e}") from None


def to_dict(config: Any) -> dict[str, Any]:
    """Every argument in JSON types, as written to args.yaml and into checkpoints."""
    values = {name: getattr(config, name) for name in arguments(type(config))}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def required(config: Any, name: str) -> Any:
    """The value of an argument that has no default. Raises UsageError when it is None."""
    value = getattr(config, name)
    if value is None:
        raise UsageError(f"{name} is missing: {arguments(type(config))[name].doc}")
    return value


def pick(options: type[Config], config: Any, **more: Any) -> Config:
    """An `options` filled from the values of the same names in `config`, and from `more`, which wins."""
    names = {f.name for f in dataclasses.fields(options) if f.init} - more.keys()  # type: ignore[arg-type]
    return options(**{name: getattr(config, name) for name in names if hasattr(config, name)}, **more)


def convert(argument: Argument, value: Any) -> Any:
    """`value` in the argument's type, checked against its choices and range.

    NumPy and torch numbers and arrays, paths and `torch.device` count as the plain values they stand for, text as the
    Python value it spells, a list of one item as that item, None as the default.

    Raises:
        UsageError: naming the argument, the value and what is allowed.
    """
    if argument.hint is Any:
        return value
    value = plain(value)
    raw = literal(value) if isinstance(value, str) else value
    members = members_of(argument.hint)
    if raw is None:
        return None if type(None) in members else argument.default
    if argument.form == "device":
        return _device(argument.name, value)
    for member in members:
        converted = _as(member, raw, value)
        if converted is not None:
            return _checked(argument, converted)
    if isinstance(raw, (list, tuple)) and len(raw) == 1:
        return convert(argument, raw[0])
    expected = " or ".join(_type_name(member) for member in members if member is not type(None))
    raise UsageError(f"{argument.name}={shown(value)}: expected {expected}{argument.note and f' ({argument.note})'}")


def plain(value: Any) -> Any:
    """`value` without NumPy, torch and path types, found by their methods: neither library is imported."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and callable(getattr(value, "tolist", None)):
        return value.tolist() if math.prod(shape) <= MAX_ARGUMENT_VALUES else value
    if type(value).__module__ == "torch" and type(value).__name__ == "device":
        return str(value)
    return value


def literal(text: str) -> Any:
    """Text from a command line or YAML as a Python value, or the text itself."""
    lowered = text.strip().lower()
    if lowered in ("true", "false", "none", "null", ""):
        return {"true": True, "false": False}.get(lowered)
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def members_of(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _device(name: str, value: Any) -> str:
    """A device in one spelling: cpu, mps, cuda, a GPU's number, several numbers with commas, -1 for an idle GPU."""
    parts = value if isinstance(value, (list, tuple)) else re.sub(r"[\s\[\]()'\"]", "", str(value)).split(",")
    words = [str(part).strip().lower().removeprefix("cuda:") for part in parts if str(part).strip()]
    text = ",".join(words)
    if isinstance(value, bool) or not _DEVICE.fullmatch(text):
        raise UsageError(
            f"{name}={shown(value)}: expected cpu, a GPU's number (0, or 0,1 for two), -1 for an idle GPU, cuda or mps"
        )
    return text


def _as(hint: Any, raw: Any, original: Any) -> Any:
    """`raw` as `hint`, or None where it does not fit; `original` is what `raw` was before `literal`."""
    if hint is bool:
        return bool(raw) if isinstance(raw, bool) or (isinstance(raw, (int, float)) and raw in (0, 1)) else None
    if hint in (int, float):
        number = isinstance(raw, (int, float)) and not isinstance(raw, bool) and abs(raw) < LARGEST  # no NaN either
        return hint(raw) if number and (hint is float or raw == int(raw)) else None
    if hint is str:
        return str(original) if isinstance(original, (str, int)) and not isinstance(original, bool) else None
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


def _type_name(hint: Any) -> str:
    """A type as error messages name it."""
    if get_origin(hint) is tuple:
        item, *rest = get_args(hint)
        items = f"{_type_name(item).removeprefix('a ')}s" if item is not str else "texts"
        return f"a list of {items}" if rest == [Ellipsis] else f"{len(rest) + 1} {items}"
    return {bool: "True or False", int: "a whole number", float: "a number", str: "text"}.get(hint, "a value")


def _checked(argument: Argument, value: Any) -> Any:
    """`value`, or the choice that it spells in another case. Raises UsageError for one that is not allowed."""
    if argument.choices and value not in argument.choices:
        for choice in argument.choices:
            if isinstance(choice, str) and choice.lower() == str(value).lower():
                return choice
        words = [str(choice) for choice in argument.choices]
        hint = did_you_mean(str(value), words)
        raise UsageError(f"{argument.name}={shown(value)}: expected one of {', '.join(words)}{hint}")
    low, high = argument.low, argument.high
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            too_low = low is not None and (number <= low if argument.open else number < low)
            if too_low or (high is not None and number > high):
                raise UsageError(f"{argument.name}={shown(value)}: expected {_range(argument)}")
    return value


def _range(argument: Argument) -> str:
    """The allowed range as error messages name it."""
    low, high = argument.low, argument.high
    if high is None:
        return f"more than {low:g}" if argument.open else f"at least {low:g}"
    return f"more than {low:g}, at most {high:g}" if argument.open else f"{low:g} to {high:g}"
