"""What the names in a pickle may become: records, numbers and text, each made by a function of this file.

Nothing here imports a name, calls a value of the file or sets an attribute of a Python object. `unpickle` is the only
user: its machine looks every global of a pickle up here, and refuses what is not listed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, NoReturn

import numpy as np

from yolopose.errors import shown
from yolopose.limits import MAX_AXIS, MAX_IDENTIFIER

STAND_INS = ("ultralytics.", "torch.nn.")  # the classes of these packages become a `StandIn`
STORAGES = {"HalfStorage": "float16", "FloatStorage": "float32", "DoubleStorage": "float64",
            "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16",
            "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool"}  # fmt: skip


class Refused(Exception):
    """Why a pickle is not read."""


def refuse(reason: str) -> NoReturn:
    """Stop reading."""
    raise Refused(reason)


@dataclass(frozen=True, slots=True)
class Name:
    """A global that the file mentions: two strings, nothing behind them."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, repr=False, slots=True)
class StandIn:
    """An object that the file wanted to construct: of which class, from what, with which attributes."""

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


def name(module: Any, word: Any) -> Name:
    """The record of a global, if it is on the list."""
    if not (isinstance(module, str) and isinstance(word, str)):
        refuse("a global whose name is not text")
    if len(module) + len(word) > MAX_IDENTIFIER:
        refuse(f"a global whose name has {len(module) + len(word)} characters")
    found = Name(module, word)
    listed = found in CONSTRUCTORS or found in BARE
    if not listed and not (module.startswith(STAND_INS) and _is_plain(module, word)):
        refuse(f"it asks for {shown(str(found))}, which is not on the list of harmless names")
    return found


def _is_plain(module: str, word: str) -> bool:
    """A class by its own name in a module: no path through attributes (`f.__globals__`), no dunder."""
    return all(part.isidentifier() and not part.startswith("__") for part in (*module.split("."), word))


def construct(kind: Any, args: Any) -> Any:
    """What `kind(*args)` stands for."""
    if not (isinstance(kind, Name) and isinstance(args, tuple)):
        refuse("it calls something that is not a name")
    if kind in CONSTRUCTORS:
        return CONSTRUCTORS[kind](*args)
    if kind in BARE:
        refuse(f"it calls {kind}")
    return StandIn(kind, args)


def build(target: Any, state: Any) -> None:
    """Give `target` its attributes: they are kept in the record's own dict, never set on a Python object."""
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
    """The record of a persistent id, ("storage", type, key, device, numel) as torch writes it."""
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
    if len(shape) != len(stride) or len(shape) > 8:
        refuse("a tensor with an impossible shape or stride")
    if any(type(n) is not int or not 0 <= n <= MAX_AXIS for n in (offset, *shape, *stride)):
        refuse("a tensor with an impossible shape or stride")
    numel = math.prod(shape)
    if not numel:
        if math.prod(max(n, 1) for n in shape) > MAX_AXIS:  # torch multiplies the other sizes out all the same
            refuse("a tensor with an impossible shape or stride")
        return TensorView(store, 0, shape, (1,) * len(shape))
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    # The second bound refuses strides that repeat elements: one number must not become a terabyte.
    if last >= store.numel or numel > store.numel:
        refuse(f"a tensor of {numel} numbers outside its storage of {store.numel}")
    return TensorView(store, offset, shape, stride)


def _parameter(data: Any, *_: Any) -> TensorView:
    if not isinstance(data, TensorView):
        refuse("a parameter that is no tensor")
    return data


def _size(sizes: Any = ()) -> tuple[Any, ...]:
    if not isinstance(sizes, tuple):
        refuse("a torch.Size that is no tuple")
    return sizes


def _device(*parts: Any) -> str:
    return ":".join(str(part)[:20] for part in parts if isinstance(part, str | int))


def _ordered_dict() -> dict[Any, Any]:
    return {}


def _set(items: Any = ()) -> set[Any]:
    if not isinstance(items, list | tuple):
        refuse("a set of something that is no list")
    return {key(item) for item in items}


def key(value: Any) -> Any:
    """A dict key or set element; only text and machine integers, whose hashing cannot be made slow."""
    if type(value) is not str and not (type(value) is int and value.bit_length() < 64):
        refuse(f"a key of type {type(value).__name__}")
    return value


def _encode(text: Any, codec: Any = None) -> bytes:
    """Bytes as Python 3 writes them into a protocol 2 pickle."""
    if not (isinstance(text, str) and isinstance(codec, str) and codec in ("latin1", "latin-1")):
        refuse("it calls a codec other than latin1")
    return text.encode("latin-1")


def _posix_path(*parts: Any) -> str:
    return str(PurePosixPath(*_texts(parts)))


def _windows_path(*parts: Any) -> str:
    return str(PureWindowsPath(*_texts(parts)))


def _texts(parts: tuple[Any, ...]) -> tuple[str, ...]:
    if len(parts) > 64 or not all(isinstance(part, str) and len(part) <= 4096 for part in parts):
        refuse("a path that is no text")
    return parts


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


def _array(*_: Any) -> StandIn:
    """An empty array, which `build` fills."""
    return StandIn(NUMPY_ARRAY, (), {"values": []})


def _scalar(dtype: Any, raw: Any) -> Any:
    return _numbers(dtype, raw, (1,), False)[0]


def _numbers(dtype: Any, raw: Any, shape: Any, fortran: Any) -> list[Any]:
    """A NumPy array's bytes as nested lists of Python numbers."""
    if not (isinstance(dtype, StandIn) and dtype.kind == NUMPY_DTYPE and isinstance(raw, bytes)):
        refuse("a NumPy array of something else than plain numbers")
    if not raw:  # whatever its shape: (1000000000, 0) would be a list of a billion empty ones
        return []
    values: list[Any] = np.frombuffer(raw, dtype.state["code"]).reshape(shape, order="F" if fortran else "C").tolist()
    return values


NUMPY_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and since NumPy 2
PATHLIBS = ("pathlib", "pathlib._local")  # before and since Python 3.13
BUILTINS = ("builtins", "__builtin__")

# What a name makes when the file calls it. Every function here is defined above, and returns data.
CONSTRUCTORS: dict[Name, Callable[..., Any]] = {
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Name("torch._utils", "_rebuild_parameter"): _parameter,
    Name("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    Name("torch", "Size"): _size,
    Name("torch", "device"): _device,
    Name("collections", "OrderedDict"): _ordered_dict,
    Name("_codecs", "encode"): _encode,
    Name("dill._dill", "_load_type"): _type,
    NUMPY_DTYPE: _dtype,
    **{Name(core, "scalar"): _scalar for core in NUMPY_CORES},
    **{Name(core, "_reconstruct"): _array for core in NUMPY_CORES},
    **{Name(module, "set"): _set for module in BUILTINS},
    **{Name(module, "getattr"): _method for module in BUILTINS},
    **{Name(module, kind): _posix_path for module in PATHLIBS for kind in ("PosixPath", "PurePosixPath")},
    **{Name(module, kind): _windows_path for module in PATHLIBS for kind in ("WindowsPath", "PureWindowsPath")},
}

# Names that may be mentioned, but not called: torch's number types.
BARE = frozenset({NUMPY_ARRAY, *(Name("torch", word) for word in (*STORAGES, *STORAGES.values()))})
