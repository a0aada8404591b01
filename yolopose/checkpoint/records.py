"""The objects that a pickle may contain: plain records, numbers and text, each made by a function of this file.

Nothing here imports a name, calls a value of the file or sets an attribute of a Python object. `unpickle` is the only
user: its machine looks every global of a pickle up here, and refuses what is not listed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, NoReturn, TypeVar

import numpy as np

from yolopose.errors import shown
from yolopose.limits import MAX_AXIS, MAX_IDENTIFIER

T = TypeVar("T")

STAND_INS = ("ultralytics.", "torch.nn.")  # the classes of these packages become `StandIn` objects
STORAGES = {"HalfStorage": "float16", "FloatStorage": "float32", "DoubleStorage": "float64",
            "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16",
            "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool"}  # fmt: skip


class Refused(Exception):
    """Why a pickle is not read."""


def refuse(reason: str) -> NoReturn:
    """Raise Refused."""
    raise Refused(reason)


def _expect(value: Any, kind: type[T], problem: str) -> T:
    """`value` if it is of that type; refused otherwise."""
    return value if isinstance(value, kind) else refuse(problem)


@dataclass(frozen=True, slots=True)
class Name:
    """A global that the file mentions: two strings, without the object of that name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, repr=False, slots=True)
class StandIn:
    """Stands for an object that the pickle constructs: its class, arguments and attributes."""

    kind: Name
    args: tuple[Any, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True)
class Storage:
    """`numel` numbers of a torch `dtype` kept outside the pickle under `key`."""

    dtype: str
    key: str
    numel: int


@dataclass(frozen=True, eq=False, slots=True)
class TensorView:
    """A tensor as offset, shape and stride (in elements) within its storage; checked to lie inside it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


NUMPY_DTYPE, NUMPY_ARRAY = Name("numpy", "dtype"), Name("numpy", "ndarray")


def global_name(module: Any, word: Any) -> Name:
    """The name of a global, if it is on the list."""
    if not (isinstance(module, str) and isinstance(word, str)):
        refuse("a global whose name is not text")
    if len(module) + len(word) > MAX_IDENTIFIER:
        refuse(f"a global whose name has {len(module) + len(word)} characters")
    found = Name(module, word)
    if found in CONSTRUCTORS or found in NOT_CALLED:
        return found
    # a class by its own name in a module: no path through attributes (`f.__globals__`), no dunder
    plain = all(part.isidentifier() and not part.startswith("__") for part in (*module.split("."), word))
    if not (module.startswith(STAND_INS) and plain):
        refuse(f"it asks for {shown(str(found))}, which is not on the list of harmless names")
    return found


def construct(kind: Any, args: Any) -> Any:
    """The object that stands for `kind(*args)`."""
    if not (isinstance(kind, Name) and isinstance(args, tuple)):
        refuse("it calls something that is not a name")
    if kind in CONSTRUCTORS:
        return CONSTRUCTORS[kind](*args)
    if kind in NOT_CALLED:
        refuse(f"it calls {kind}")
    return StandIn(kind, args)


def set_state(target: Any, state: Any) -> None:
    """Give `target` its attributes: they are kept in the stand-in's own dict, never set on a Python object."""
    if isinstance(target, StandIn) and target.kind == NUMPY_ARRAY:
        _, shape, dtype, fortran, raw = state
        target.state = {"values": _numbers(dtype, raw, shape, fortran)}
    elif isinstance(target, StandIn) and target.kind == NUMPY_DTYPE:
        target.state = {"code": f"{'>' if state[1] == '>' else '<'}{target.state['code'][1:]}"}
    elif isinstance(target, StandIn) and type(state) is dict:
        target.state = state
    elif type(target) is not dict or type(state) is not dict:  # a dict's own attributes (`_metadata`) are not needed
        refuse(f"it sets attributes of a {type(target).__name__}")


def storage(pid: Any) -> Storage:
    """The storage of a persistent id, ("storage", type, key, device, numel) as torch writes it."""
    if not (isinstance(pid, tuple) and len(pid) == 5 and isinstance(pid[0], str) and pid[0] == "storage"):
        refuse("a persistent id that is no tensor storage")
    _, kind, key, _, numel = pid
    if not (isinstance(kind, Name) and kind.module == "torch" and kind.name in STORAGES):
        refuse("a tensor storage of an unknown type")
    if not isinstance(key, str) or type(numel) is not int or numel < 0:
        refuse("a tensor storage without a key or size")
    return Storage(STORAGES[kind.name], key, numel)


def _tensor(store: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> TensorView:
    if not (isinstance(store, Storage) and isinstance(shape, tuple) and isinstance(stride, tuple)):
        refuse("a tensor without a storage, shape or stride")
    if (
        len(shape) != len(stride)
        or len(shape) > 8
        or any(type(n) is not int or not 0 <= n <= MAX_AXIS for n in (offset, *shape, *stride))
        or (0 in shape and math.prod(max(n, 1) for n in shape) > MAX_AXIS)  # torch multiplies these sizes, too
    ):
        refuse("a tensor with an impossible shape or stride")
    numel = math.prod(shape)
    if not numel:
        return TensorView(store, 0, shape, (1,) * len(shape))
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    # The second bound refuses strides that repeat elements: one number must not become a terabyte.
    if last >= store.numel or numel > store.numel:
        refuse(f"a tensor of {numel} numbers outside its storage of {store.numel}")
    return TensorView(store, offset, shape, stride)


def _ordered_dict() -> dict[Any, Any]:
    """Not `dict` itself, which would take arguments of the file."""
    return {}


def _set(items: Any = ()) -> set[Any]:
    if not isinstance(items, list | tuple):
        refuse("a set of something that is no list")
    return set(map(checked_key, items))


def checked_key(value: Any) -> Any:
    """A dict key or set element; only text and 64-bit integers, whose hashing cannot be made slow."""
    if type(value) is not str and not (type(value) is int and value.bit_length() < 64):
        refuse(f"a key of type {type(value).__name__}")
    return value


def _encode(text: Any, codec: Any = None) -> bytes:
    """Bytes as Python 3 writes them into a protocol 2 pickle."""
    if not (isinstance(text, str) and isinstance(codec, str) and codec in ("latin1", "latin-1")):
        refuse("it calls a codec other than latin1")
    return text.encode("latin-1")


def _path(kind: type[PurePath], parts: tuple[Any, ...]) -> str:
    if len(parts) > 64 or not all(isinstance(part, str) and len(part) <= 4096 for part in parts):
        refuse("a path that is no text")
    return str(kind(*parts))


def _method(owner: Any, word: Any) -> StandIn:
    """A `forward…` that fused layers and early heads keep of themselves or of another class: it is only recorded."""
    stand_in = isinstance(owner, StandIn) or (isinstance(owner, Name) and owner.module.startswith(STAND_INS))
    if not (stand_in and isinstance(word, str) and re.fullmatch(r"forward\w*", word)):
        refuse("it calls getattr")
    return StandIn(Name("builtins", "getattr"), (owner, word))


def _type(word: Any) -> Name:
    """The one builtin type that a module needs, as the pickler dill spells it; some checkpoints are written with it."""
    if not (isinstance(word, str) and word in ("set", "SetType")):
        refuse("it asks for a type by its name")
    return Name("builtins", "set")


def _dtype(code: Any, *_: Any) -> StandIn:
    if not (isinstance(code, str) and re.fullmatch(r"f[248]|[iu][1248]|b1", code)):
        refuse("a NumPy array of something else than plain numbers")
    return StandIn(NUMPY_DTYPE, (), {"code": f"<{code}"})


def _numbers(dtype: Any, raw: Any, shape: Any, fortran: Any) -> list[Any]:
    """A NumPy array's bytes as nested lists of Python numbers."""
    if not (isinstance(dtype, StandIn) and dtype.kind == NUMPY_DTYPE and isinstance(raw, bytes)):
        refuse("a NumPy array of something else than plain numbers")
    if not raw:  # its shape does not matter then: (1000000000, 0) would be a list of a billion empty lists
        return []
    values: list[Any] = np.frombuffer(raw, dtype.state["code"]).reshape(shape, order="F" if fortran else "C").tolist()
    return values


NUMPY_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and since NumPy 2
PATHLIBS = ("pathlib", "pathlib._local")  # before and since Python 3.13
BUILTINS = ("builtins", "__builtin__")

# A call of a name in a pickle calls this function instead. Every one is defined in this file and returns data.
CONSTRUCTORS: dict[Name, Callable[..., Any]] = {
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    **{
        Name("torch._utils", name): lambda data, *_: _expect(data, TensorView, "a parameter that is no tensor")
        for name in ("_rebuild_parameter", "_rebuild_parameter_with_state")
    },
    Name("torch", "Size"): lambda sizes=(): _expect(sizes, tuple, "a torch.Size that is no tuple"),
    Name("torch", "device"): lambda *parts: ":".join(str(p)[:20] for p in parts if isinstance(p, str | int)),
    Name("collections", "OrderedDict"): _ordered_dict,
    Name("_codecs", "encode"): _encode,
    Name("dill._dill", "_load_type"): _type,
    NUMPY_DTYPE: _dtype,
    **{Name(core, "scalar"): lambda dtype, raw: _numbers(dtype, raw, (1,), False)[0] for core in NUMPY_CORES},
    # an empty array, which `set_state` fills
    **{Name(core, "_reconstruct"): lambda *_: StandIn(NUMPY_ARRAY, (), {"values": []}) for core in NUMPY_CORES},
    **{Name(module, "set"): _set for module in BUILTINS},
    **{Name(module, "getattr"): _method for module in BUILTINS},
    **{
        Name(module, prefix + kind): lambda *parts, path=path: _path(path, parts)
        for module in PATHLIBS
        for prefix in ("", "Pure")
        for kind, path in (("PosixPath", PurePosixPath), ("WindowsPath", PureWindowsPath))
    },
}

# Names that may be mentioned, but not called: torch's number types.
NOT_CALLED = frozenset({NUMPY_ARRAY, *(Name("torch", word) for word in (*STORAGES, *STORAGES.values()))})
