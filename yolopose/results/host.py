"""The array type of results where torch is not imported: NumPy's data under the names that scripts call on tensors.

Scripts written for YOLO treat results as tensors (`r.boxes.xyxy.cpu().numpy()`, `int(box.cls)`, `ids.int().tolist()`).
`HostArray` has these methods without torch. It is not an ndarray: programs that test for one would then fail on
elements that are arrays again.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

DTYPES = frozenset({"bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"})


def wrapped(value: Any) -> Any:
    """NumPy arrays and scalars as `HostArray`, also within a tuple; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(map(wrapped, value))
    return HostArray(value) if isinstance(value, np.ndarray | np.generic) else value


def bare(value: Any) -> Any:
    """The NumPy array of a `HostArray`, also within a tuple or list; anything else as it is."""
    if isinstance(value, tuple | list):
        return type(value)(map(bare, value))
    return value.numpy() if isinstance(value, HostArray) else value


class HostArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array in host memory with the tensor methods that scripts call on results.

    Operators, ufuncs and the methods of ndarray give a `HostArray`, other NumPy functions NumPy's arrays. Elements are
    arrays of no dimensions, as with tensors. Device moves return the array itself; `numpy` and slices share its memory.
    """

    __slots__ = ("_array",)

    def __init__(self, array: Any) -> None:
        self._array = np.asarray(array)

    def __getattr__(self, name: str) -> Any:
        """Attributes and methods of ndarray."""
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"a result's array has no {name!r} without torch; import torch before predicting")
        value = getattr(self._array, name)
        if not callable(value):
            return wrapped(value)
        return lambda *args, **options: wrapped(value(*map(bare, args), **options))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self._array, dtype) if copy else np.asarray(self._array, dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.get("out")
        if out is not None:
            options["out"] = bare(out)
        value = getattr(ufunc, method)(*map(bare, inputs), **options)
        return wrapped(value) if out is None else out[0]

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    def __getitem__(self, index: Any) -> HostArray:
        return HostArray(self._array[bare(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._array[bare(index)] = bare(value)

    def __len__(self) -> builtins.int:
        return len(self._array)

    def __iter__(self) -> Iterator[HostArray]:
        return map(HostArray, self._array)

    def __repr__(self) -> str:
        return repr(self._array).replace("array", "HostArray", 1)

    def __format__(self, spec: str) -> str:
        return format(self.item() if self._array.ndim == 0 else str(self), spec)

    def __hash__(self) -> builtins.int:
        """The hash of a single number, so that it can be a dictionary key."""
        if self._array.ndim:
            raise TypeError("an array of several numbers has no hash; take one, or .tolist()")
        return hash(self.item())

    def __bool__(self) -> builtins.bool:
        return builtins.bool(self._array)

    def __int__(self) -> builtins.int:
        """The only element; the number of dimensions does not matter."""
        return builtins.int(self.item())

    def __float__(self) -> builtins.float:
        """The only element; the number of dimensions does not matter."""
        return builtins.float(self.item())

    def __index__(self) -> builtins.int:
        """The only element, if its type is a whole number."""
        return self._array.__index__()

    @property
    def data(self) -> HostArray:
        """Itself."""
        return self

    def to(self, target: object = "cpu", *_: object, **__: object) -> HostArray:
        """Converted for a dtype of torch or the name of one, itself for a device."""
        name = str(target).removeprefix("torch.")
        return self._as(name) if name in DTYPES else self

    def cpu(self, *_: object) -> HostArray:
        """Itself: without torch there is no other memory."""
        return self

    cuda = detach = cpu

    def numpy(self) -> Array:
        """The same memory as a NumPy array."""
        return self._array

    def clone(self) -> HostArray:
        """A copy."""
        return HostArray(self._array.copy())

    def _as(self, dtype: str) -> HostArray:
        return HostArray(self._array.astype(dtype, copy=False))

    def int(self) -> HostArray:
        """As int32, towards zero."""
        return self._as("int32")

    def long(self) -> HostArray:
        """As int64, towards zero."""
        return self._as("int64")

    def float(self) -> HostArray:
        """As float32."""
        return self._as("float32")

    def bool(self) -> HostArray:
        """Whether each element differs from 0."""
        return self._as("bool")

    def size(self, dim: builtins.int | None = None) -> Any:
        """The shape, or its length along `dim`."""
        return self._array.shape if dim is None else self._array.shape[dim]

    def dim(self) -> builtins.int:
        """Number of dimensions."""
        return self._array.ndim

    def numel(self) -> builtins.int:
        """Number of elements."""
        return self._array.size

    def unique(self) -> HostArray:
        """The different values, sorted."""
        return HostArray(np.unique(self._array))
