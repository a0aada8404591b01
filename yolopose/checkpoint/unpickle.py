"""Reads a pickle as data: the names in it are looked up in a list, never imported, and nothing in it is called.

The standard library's disassembler (`pickletools`) decodes the opcodes; the stack machine below builds lists, dicts,
numbers, text and the objects of `records` from them. There is nothing to execute, so a hostile file can at most be
refused, and the limits bound what it may cost.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Sequence
from typing import Any

from yolopose.checkpoint import records
from yolopose.checkpoint.records import refuse
from yolopose.errors import PoseError, one_line
from yolopose.limits import MAX_COPIES, MAX_INTEGER_BITS, MAX_OPCODES, MAX_PICKLE


def read_pickle(data: bytes, source: str) -> Any:
    """The value of a pickle as plain data and the objects of `records`.

    Raises:
        PoseError: the pickle is damaged, too large, or asks for anything outside the list; `source` names its file.
    """
    try:
        return _run(data)
    except records.Refused as reason:
        raise PoseError(f"{source}: refused, and nothing in it was run: {reason}") from None
    except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise PoseError(f"{source}: damaged pickle ({type(error).__name__}: {one_line(error, 80)})") from None


def _run(data: bytes) -> Any:
    if len(data) > MAX_PICKLE:
        refuse(f"its pickle has {len(data)} bytes, more than {MAX_PICKLE}")
    machine, stream = _Machine(), io.BytesIO(data)
    for _ in range(MAX_OPCODES):
        opcode = OPCODES[stream.read(1).decode("latin-1")]
        handler = HANDLERS.get(opcode.name)
        if handler is None:
            refuse(f"it uses opcode {opcode.name}, which no checkpoint needs")
        if opcode.name == "GLOBAL":  # two lines, taken literally: the disassembler would resolve escapes in them
            handler(machine, [stream.readline().decode().rstrip("\n") for _ in range(2)])
        else:
            handler(machine, opcode.arg.reader(stream) if opcode.arg else None)
        if opcode.name == "STOP":
            break
    else:
        refuse(f"its pickle has more than {MAX_OPCODES} opcodes")
    if stream.tell() != len(data) or len(machine.stack) != 1 or machine.outer:
        refuse("its pickle does not end where it should")
    return machine.stack[0]


class _Machine:
    """The state of the pickle machine: the stack, the stacks below open marks, the memo."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def to_mark(self) -> list[Any]:
        """Everything above the last mark, which is closed."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    def take(self, count: int) -> tuple[Any, ...]:
        start = len(self.stack) - count
        if start < 0:
            refuse("its pickle takes more values than it gave")
        items = tuple(self.stack[start:])
        del self.stack[start:]
        return items

    def charge(self, args: Any) -> None:
        """Account for the elements of `args` that a constructor may copy."""
        if isinstance(args, tuple):
            self.copied += len(args)
            self.copied += sum(len(arg) for arg in args if isinstance(arg, str | bytes | list | tuple))
        if self.copied > MAX_COPIES:
            refuse(f"its pickle copies more than {MAX_COPIES} elements")


def _integer(machine: _Machine, value: int) -> None:
    if value.bit_length() > MAX_INTEGER_BITS:
        refuse(f"an integer of {value.bit_length()} bits")
    machine.stack.append(value)


def _push(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


def _memoize(machine: _Machine, index: int | None) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


def _extend(machine: _Machine, kind: type[Any], items: Sequence[Any]) -> None:
    """Add items to the list, set or dict on top of the stack."""
    target: Any = machine.stack[-1]
    if type(target) is not kind:
        verb = "appends to" if kind is list else "adds to" if kind is set else "sets items of"
        refuse(f"it {verb} a {type(target).__name__}")
    if kind is list:
        target.extend(items)
    elif kind is set:
        target.update(map(records.checked_key, items))
    else:
        target.update((records.checked_key(k), v) for k, v in zip(items[::2], items[1::2], strict=True))


def _construct(machine: _Machine, _: Any) -> None:
    kind, args = machine.take(2)
    machine.charge(args)
    machine.stack.append(records.construct(kind, args))


def _set_state(machine: _Machine, _: Any) -> None:
    target, state = machine.take(2)
    machine.charge(state)
    records.set_state(target, state)
    machine.stack.append(target)


OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}

# The opcodes of pickle protocols 2 to 5 that saved modules use; every other one is refused by its name.
HANDLERS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, _: None),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "LONG4"), _integer),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINFLOAT"), _push),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), _push),
    "NONE": lambda machine, _: _push(machine, None),
    "NEWTRUE": lambda machine, _: _push(machine, True),
    "NEWFALSE": lambda machine, _: _push(machine, False),
    "EMPTY_LIST": lambda machine, _: _push(machine, []),
    "EMPTY_DICT": lambda machine, _: _push(machine, {}),
    "EMPTY_SET": lambda machine, _: _push(machine, set()),
    "EMPTY_TUPLE": lambda machine, _: _push(machine, ()),
    "TUPLE1": lambda machine, _: _push(machine, machine.take(1)),
    "TUPLE2": lambda machine, _: _push(machine, machine.take(2)),
    "TUPLE3": lambda machine, _: _push(machine, machine.take(3)),
    "TUPLE": lambda machine, _: _push(machine, tuple(machine.to_mark())),
    "MARK": lambda machine, _: machine.mark(),
    "APPEND": lambda machine, _: _extend(machine, list, machine.take(1)),
    "APPENDS": lambda machine, _: _extend(machine, list, machine.to_mark()),
    "ADDITEMS": lambda machine, _: _extend(machine, set, machine.to_mark()),
    "SETITEM": lambda machine, _: _extend(machine, dict, machine.take(2)),
    "SETITEMS": lambda machine, _: _extend(machine, dict, machine.to_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _memoize),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, index: _push(machine, machine.memo[index])),
    "GLOBAL": lambda machine, names: _push(machine, records.global_name(*names)),
    "STACK_GLOBAL": lambda machine, _: _push(machine, records.global_name(*machine.take(2))),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _construct),
    "BUILD": _set_state,
    "BINPERSID": lambda machine, _: _push(machine, records.storage(*machine.take(1))),
}
