"""The words of a command line → the mode and its arguments, in every order that scripts use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from yolopose.config import MODES, arguments
from yolopose.config.foreign import FOREIGN
from yolopose.config.parse import read_cfg
from yolopose.config.schema import members_of
from yolopose.errors import UsageError, did_you_mean, shown

OTHER_TASKS = ("detect", "segment", "classify", "obb", "semantic", "depth")
POSITIONS = {"verify": ("a", "b")}  # arguments whose values may stand alone, in this order


def joined(words: Sequence[str]) -> list[str]:
    """`conf = 0.5`, `conf= 0.5` and `imgsz=[320, 640]`, which the shell has cut at the blanks, as one word each."""
    out: list[str] = []
    for word in words:
        last = out[-1] if out else ""
        key, equals, value = last.partition("=")
        open_list = value[:1] in ("[", "(") and not ("]" in value or ")" in value)
        assigned = word.startswith("=") and bool(last) and not equals
        awaited = bool(key and equals) and not value and "=" not in word and not word.startswith("--")
        if (open_list and "=" not in word) or assigned or awaited:
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
        if value is None:
            rest.append(word)
        elif word == "task":
            _check_task(value)
        else:
            modes.append(value)
    for i, word in enumerate(list(rest)):
        if word in ("pose", *OTHER_TASKS) and not _is_value(rest, i):
            _check_task(word)
            rest[i] = ""
    rest = [word for word in rest if word]
    bare = [i for i, word in enumerate(rest) if word in MODES and not _is_value(rest, i)]
    if not bare and not modes:  # `--resume train`: the flag may take a value, but there is no other mode
        bare = [i for i, word in enumerate(rest) if word in MODES and i and _flag(rest[i - 1], any)][:1]
    if bare and not modes:
        modes.append(rest.pop(bare.pop(0)))
        bare = [i - 1 for i in bare]
    if not modes:
        return None, rest
    own = arguments(MODES[modes[0]]) if modes[0] in MODES else {}
    extra = [rest[i] for i in bare if rest[i] not in own]  # val is a mode, and an argument of train
    for other in (*modes[1:], *extra):
        if other != modes[0]:
            raise UsageError(f"two modes: {modes[0]} and {other}; a command has one")
    if modes[0] not in MODES:
        raise UsageError(f"mode={modes[0]}: one of {', '.join(MODES)}{did_you_mean(modes[0], MODES)}")
    return modes[0], [word for i, word in enumerate(rest) if i not in bare or word not in extra]


def mode_of_cfg(words: Sequence[str]) -> str | None:
    """The `mode` that the file of `cfg=FILE` names, if there is one and it is ours: `yolo cfg=args.yaml epochs=5`.

    Raises:
        UsageError: the file cannot be read, or names a task other than pose.
    """
    for _, path in _named_values(words, ("cfg",)):
        if path:
            entries = read_cfg(Path(path))
            _check_task(str(entries.get("task", "pose")))
            mode = entries.get("mode")
            return mode if mode in tuple(MODES) else None
    return None


def read_arguments(mode: str, words: Sequence[str]) -> dict[str, Any]:
    """Names and texts from `key=value`, `--key value`, `--key=value`; a boolean's bare name means True.

    Raises:
        UsageError: a word that is none of these, or a key given twice with different values.
    """
    known = arguments(MODES[mode])
    free = list(POSITIONS.get(mode, ()))
    out: dict[str, str] = {}
    i = 0
    while i < len(words):
        word = words[i]
        i += 1
        key, equals, value = word.removeprefix("--").partition("=")
        key = key.replace("-", "_") if word.startswith("--") else key
        if not equals:
            boolean = key in _booleans(mode)
            follows = word.startswith("--") and i < len(words) and not words[i].startswith("--")
            if follows and not (boolean and ("=" in words[i] or not _is_boolean(words[i]))):
                value = words[i]
                i += 1
            elif boolean:
                value = "True"
            elif free and not word.startswith("-"):
                key, value = free.pop(0), word
            else:
                raise UsageError(_stray(mode, word, known))
        if out.setdefault(key, value) != value:
            raise UsageError(f"{key} is given twice: {shown(out[key])} and {shown(value)}")
    return out


def _named_values(words: Sequence[str], keys: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """(key, value) of the `key=value` and `--key value` among `keys`, and (word, None) of every other word."""
    flags = [f"--{key}" for key in keys]
    taken = False
    for word, following in pairwise([*words, ""]):
        key, equals, value = word.removeprefix("--").partition("=")
        if taken:
            taken = False
        elif equals and key in keys:
            yield key, value
        elif word in flags and following:
            taken = True
            yield key, following
        else:
            yield word, None


def _check_task(name: str) -> None:
    """Raise UsageError unless the task is pose."""
    if name != "pose":
        raise UsageError(f"{shown(name)}: yolopose knows the task 'pose' only")


def _is_value(words: Sequence[str], i: int) -> bool:
    """Whether the word at `i` is the value of a `--key` before it, which is no plain flag."""
    return bool(i) and words[i - 1].startswith("--") and "=" not in words[i - 1] and not _flag(words[i - 1], all)


def _flag(word: str, rule: Callable[[Any], bool]) -> bool:
    """Whether `word` is the `--name` of an argument that is a boolean, by `rule` (all or any) over its types."""
    name = word.removeprefix("--").replace("-", "_")
    kinds = [members_of(arguments(cls)[name].hint) for cls in MODES.values() if name in arguments(cls)]
    return word.startswith("--") and bool(kinds) and rule(kind is bool for kind in sum(kinds, ()))


def _booleans(mode: str) -> set[str]:
    """The arguments that a bare name sets to True: a mode's own, and those of others that it does not have."""
    own = arguments(MODES[mode])
    others = [argument for cls in MODES.values() for name, argument in arguments(cls).items() if name not in own]
    flags = {argument.name for argument in (*own.values(), *others) if bool in members_of(argument.hint)}
    return flags | {row.name for row in FOREIGN.values() if row.flag and row.name not in own}


def _is_boolean(word: str) -> bool:
    """Whether a word can only be the value of a boolean."""
    return word.lower() in ("true", "false", "0", "1")


def _stray(mode: str, word: str, known: Any) -> str:
    """One line for a word that is neither a key=value nor a boolean's name."""
    if word.startswith("--"):
        return f"{word} needs a value: {word} VALUE"
    if mode in POSITIONS:
        return f"{shown(word)}: {mode} takes {len(POSITIONS[mode])} files, and this is one more"
    if word.startswith("-") and word.lstrip("-") in known:
        return f"{shown(word)}: write {word.lstrip('-')}=VALUE or --{word.lstrip('-')} VALUE"
    for name, suffixes in (("data", (".yaml", ".yml")), ("model", (".pt", ".onnx"))):
        if name in known and word.endswith(suffixes):
            return f"{shown(word)} stands alone: did you mean {name}={word}?"
    if "source" in known and ("." in word or "/" in word or word.isdigit()):
        return f"{shown(word)} stands alone: did you mean source={word}?"
    return f"{shown(word)}: expected key=value{did_you_mean(word, known, '{}=…')}"
