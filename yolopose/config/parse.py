"""Parse names and values (from Python, a command line or a file) into the checked configuration of a mode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from yolopose.config.args import MODES
from yolopose.config.foreign import DEFAULTS, FOREIGN, equal
from yolopose.config.schema import Config, arguments, convert
from yolopose.console import log
from yolopose.errors import PoseError, UsageError, did_you_mean, shown
from yolopose.files import read_yaml

ALIASES = {  # names that other programs use
    "batch_size": "batch", "conf_thres": "conf", "confidence": "conf", "hide_conf": "show_conf",
    "hide_labels": "show_labels", "img": "imgsz", "img_size": "imgsz", "image_size": "imgsz", "images": "source",
    "input": "source", "iou_thres": "iou", "learning_rate": "lr0", "line_thickness": "line_width", "lr": "lr0",
    "max_epochs": "epochs", "num_epochs": "epochs", "size": "imgsz", "threshold": "conf", "view_img": "show",
    "weights": "model",
}  # fmt: skip
NOT_ARGUMENTS = frozenset({"task", "mode", "cfg"})


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
    others = {key: value for key, value in others.items() if key not in NOT_ARGUMENTS}
    if others:
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
            raise UsageError(f"{_origin(key, values)}{unknown_key(key, arguments(cls), mode)}")
        if (row and row.changes_nothing(value)) or equal(value, (None, *ours, *DEFAULTS.get(key, ()))):
            continue
        if row is not None and mode in row.modes:
            instead = f"use {row.instead}" if row.instead else "leave it out"
            problem = f"{key}={shown(value)}: not implemented in yolopose ({row.meaning}); {instead}"
            raise UsageError(f"{_origin(key, values)}{problem}")
        (ignored if ours or (row and row.modes) else no_effect).append(key)
    if values.get("verbose") in (False, "False", "false", 0):
        return
    if ignored:
        log.warning(f"{mode} does not take {', '.join(sorted(ignored))}: left out")
    if no_effect:
        log.info(f"no effect on YOLOv8-pose models, in Ultralytics too: {', '.join(sorted(no_effect))}")


def read_cfg(path: Path) -> dict[str, Any]:
    """The entries of a YAML file of arguments. Raises UsageError when it cannot be read or is no mapping."""
    try:
        return read_yaml(path)
    except PoseError as e:
        raise UsageError(f"cfg={e}") from None


def unknown_key(key: str, known: Iterable[str], mode: str) -> str:
    """One line for a key that does not exist, with the nearest one that does."""
    hint = did_you_mean(ALIASES.get(key.lower(), key), known) or f"; 'yolo help {mode}' lists them"
    return f"unknown argument {shown(key)}{hint}"
