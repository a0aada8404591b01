"""Parse the words of a command line into the mode and its arguments, in every order that scripts use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from yolopose.config import MODES, arguments
from yolopose.config.foreign import FOREIGN
from yolopose.config.parse import members_of, read_cfg
from yolopose.errors import UsageError, did_you_mean, shown

TASKS = ("pose", "detect", "segment", "classify", "obb", "semantic", "depth")
POSITIONS = {"verify": ("a", "b")}  # arguments whose values may be given without names, in this order


def joined(words: Sequence[str]) -> list[str]:
    """Words with `conf = 0.5`, `conf= 0.5` and `imgsz=[320, 640]`, which the shell splits, as one word each."""
    out: list[str] = []
    for word in words:
        last = out[-1] if out else ""
        key, equals, value = last.partition("=")
        open_list = value[:1] in ("[", "(") and not ("]" in value or ")" in value)
        starts_value = word.startswith("=") and bool(last) and not equals
        is_value = bool(key and equals) and not value and "=" not in word and not word.startswith("--")
        if (open_list and "=" not in word) or starts_value or is_value:
            out[-1] = last + word
        else:
            out.append(word)
    return out


def split_mode(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The mode, as a word or as `mode=`, and the other words without the task.

    Raises:
        UsageError: two modes, an unknown mode, or a task other than pose.
    """
    rest: list[str] = []
    modes: list[str] = []
    for word, value in _named_values(words, ("task", "mode")):
        if word == "mode" and value is not None:
            modes.append(value)
        elif value is not None or (word in TASKS and not _takes_value(rest[-1] if rest else "")):
            _check_task(word if value is None else value)
        else:
            rest.append(word)
    rest = [word for word in rest if word]
    found = [(i, before) for i, (before, word) in enumerate(pairwise(["", *rest])) if word in MODES]
    bare = [i for i, before in found if not _takes_value(before)]
    if not bare and not modes:  # `--resume train`: the flag may take a value, but there is no other mode
        bare = [i for i, before in found if _is_flag(before, any)][:1]
    modes = modes or [rest[i] for i in bare[:1]]
    if not modes:
        return None, rest
    mode = modes[0]
    own = arguments(MODES[mode]) if mode in MODES else {}
    bare = [i for i in bare if rest[i] not in own]  # val is a mode, and an argument of train
    for other in (*modes, *(rest[i] for i in bare)):
        if other != mode:
            raise UsageError(f"two modes: {mode} and {other}; a command has one")
    if mode not in MODES:
        raise UsageError(f"mode={mode}: one of {', '.join(MODES)}{did_you_mean(mode, MODES)}")
    return mode, [word for i, word in enumerate(rest) if i not in bare]


def mode_of_cfg(words: Sequence[str]) -> str | None:
    """The mode in the file of `cfg=FILE`, as in `yolo cfg=args.yaml epochs=5`; None without one.

    Raises:
        UsageError: the file cannot be read, or has a task other than pose.
    """
    for _, path in _named_values(words, ("cfg",)):
        if path:
            entries = read_cfg(Path(path))
            _check_task(str(entries.get("task", "pose")))
            mode = entries.get("mode")
            return mode if mode in tuple(MODES) else None
    return None


def read_arguments(mode: str, words: Sequence[str]) -> dict[str, Any]:
    """Names and texts from `key=value`, `--key value`, `--key=value`; the name of a boolean alone means True.

    Raises:
        UsageError: a word that is none of these, or a key given twice with different values.
    """
    own = arguments(MODES[mode])
    unnamed = list(POSITIONS.get(mode, ()))
    booleans = _booleans(mode)
    out: dict[str, str] = {}
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        key, equals, value = word.removeprefix("--").partition("=")
        key = key.replace("-", "_") if word.startswith("--") else key
        if not equals:
            following = remaining[0] if remaining and word.startswith("--") else "--"
            is_boolean_value = following.lower() in ("true", "false", "0", "1")
            if is_boolean_value if key in booleans else not following.startswith("--"):
                value = remaining.pop(0)
            elif key in booleans:
                value = "True"
            elif unnamed and not word.startswith("-"):
                key, value = unnamed.pop(0), word
            else:
                raise UsageError(_explain(mode, word, own))
        if out.setdefault(key, value) != value:
            raise UsageError(f"{key} is given twice: {shown(out[key])} and {shown(value)}")
    return out


def _named_values(words: Sequence[str], keys: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """(key, value) of each `key=value` and `--key value` among `keys`, and (word, None) of every other word."""
    flags = [f"--{key}" for key in keys]
    skip = False
    for word, following in pairwise([*words, ""]):
        key, equals, value = word.removeprefix("--").partition("=")
        if skip:
            skip = False
        elif equals and key in keys:
            yield key, value
        elif word in flags and following:
            skip = True
            yield key, following
        else:
            yield word, None


def _check_task(name: str) -> None:
    """Raise UsageError unless the task is pose."""
    if name != "pose":
        raise UsageError(f"{shown(name)}: yolopose knows the task 'pose' only")


def _takes_value(word: str) -> bool:
    """Whether `word` is a `--key` whose value is the next word."""
    return word.startswith("--") and "=" not in word and not _is_flag(word, all)


def _is_flag(word: str, rule: Callable[[Any], bool]) -> bool:
    """Whether `word` is the `--name` of an argument of which all or any (`rule`) types are boolean."""
    name = word.removeprefix("--").replace("-", "_")
    types = [members_of(arguments(cls)[name].hint) for cls in MODES.values() if name in arguments(cls)]
    return word.startswith("--") and bool(types) and rule(kind is bool for kind in sum(types, ()))


def _booleans(mode: str) -> set[str]:
    """Names that alone mean True: booleans of the mode, and those it lacks of other modes and of Ultralytics."""
    own = arguments(MODES[mode])
    others = [argument for cls in MODES.values() for name, argument in arguments(cls).items() if name not in own]
    flags = {argument.name for argument in (*own.values(), *others) if bool in members_of(argument.hint)}
    return flags | {row.name for row in FOREIGN.values() if row.flag and row.name not in own}


def _explain(mode: str, word: str, own: Any) -> str:
    """The error about a word that is neither a key=value nor the name of a boolean."""
    if word.startswith("--"):
        return f"{word} needs a value: {word} VALUE"
    if mode in POSITIONS:
        return f"{shown(word)}: {mode} takes {len(POSITIONS[mode])} files, and this is one more"
    if word.startswith("-") and word.lstrip("-") in own:
        return f"{shown(word)}: write {word.lstrip('-')}=VALUE or --{word.lstrip('-')} VALUE"
    suffixes = {"data": (".yaml", ".yml"), "model": (".pt", ".onnx")}
    meant = [name for name, endings in suffixes.items() if word.endswith(endings)]
    meant += ["source"] if "." in word or "/" in word or word.isdigit() else []
    for name in meant:
        if name in own:
            return f"{shown(word)} stands alone: did you mean {name}={word}?"
    return f"{shown(word)}: expected key=value{did_you_mean(word, own, '{}=…')}"
