"""Boxes and keypoints of one image: NumPy tables under the names that scripts know.

Scripts written for YOLO treat results as tensors (`r.boxes.xyxy.cpu().numpy()`, `int(box.cls)`, `ids.int().tolist()`).
`HostArray` is a NumPy array that answers to those habits, so they run unchanged and without torch.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError
from yolopose.geometry.boxes import xyxy_to_cxcywh

Array: TypeAlias = NDArray[Any]


TORCH_DTYPES = frozenset({"bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"})


class HostArray(np.ndarray[Any, np.dtype[Any]]):
    """A NumPy array in host memory with the tensor methods that scripts call on results.

    Device moves return the array itself: results always live on the CPU. One element taken out stays an array (of no
    dimensions), so that `box.conf[0].cpu()` and `box.conf[0].item()` both work. `.numpy()` gives the plain array on the
    same memory; only `clone` and the conversions copy.
    """

    def __getitem__(self, index: Any) -> Any:
        out = super().__getitem__(index)
        return out if isinstance(out, np.ndarray) else np.asarray(out).view(HostArray)

    def __int__(self) -> builtins.int:
        """Of the only element, whatever the number of dimensions."""
        return builtins.int(self.item())

    def __float__(self) -> builtins.float:
        """Of the only element, whatever the number of dimensions."""
        return builtins.float(self.item())

    def to(self, target: object = "cpu") -> HostArray:
        """Itself for a device, a converted copy for a dtype of torch or the name of one."""
        name = str(target).removeprefix("torch.")
        return view(self.astype(name)) if name in TORCH_DTYPES else self

    def cpu(self, device: object = None) -> Self:
        """Itself."""
        return self

    cuda = detach = cpu

    def numpy(self) -> Array:
        """The same memory as a plain NumPy array."""
        return np.asarray(self)

    def clone(self) -> Self:
        """A copy."""
        return self.copy()

    def int(self) -> HostArray:
        """Converted to int32, towards zero."""
        return view(self.astype(np.int32))

    def long(self) -> HostArray:
        """Converted to int64, towards zero."""
        return view(self.astype(np.int64))

    def float(self) -> HostArray:
        """Converted to float32."""
        return view(self.astype(np.float32))

    def numel(self) -> builtins.int:
        """Number of elements."""
        return self.size

    def unique(self) -> HostArray:
        """The different values, sorted."""
        return view(np.unique(self.numpy()))


def as_table(values: Any, ndim: int) -> Array:
    """An array or tensor → float32 array of `ndim` dimensions; one instance alone becomes a table of one row."""
    if not isinstance(values, np.ndarray) and hasattr(values, "detach"):  # a torch tensor, perhaps on a GPU
        values = values.detach().cpu()
    table = np.asarray(values, np.float32)
    return table[None] if table.ndim == ndim - 1 else table


def rows(table: Array, index: Any) -> Array:
    """`table[index]` with the dimension of instances kept, for an int, a slice, a mask or indices."""
    out = np.asarray(table[index])
    return out[None] if out.ndim < table.ndim else out


def view(array: Array) -> HostArray:
    """The same memory as a `HostArray`."""
    return array.view(HostArray)


class Table:
    """What Boxes and Keypoints share: N instances in one array, and the image's (H, W) in pixels."""

    def __init__(self, table: Array, orig_shape: tuple[int, int]) -> None:
        self._table = table
        self.orig_shape = orig_shape

    @property
    def data(self) -> HostArray:
        """The whole table as it came."""
        return view(self._table)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `data`."""
        return self._table.shape

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: Any) -> Self:
        """Instances chosen by an int, a slice, a mask or indices, as a table again."""
        return type(self)(rows(self._table, index), self.orig_shape)

    def __iter__(self) -> Iterator[Self]:
        """One instance at a time, each a table of one row."""
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(orig_shape={self.orig_shape}, data={self._table!r})"

    def to(self, target: object = None) -> Self:
        """Itself: results stay in host memory, as NumPy arrays."""
        return self

    cpu = cuda = numpy = to

    def _sides(self) -> Array:
        """(W, H) of the image, the divisor of normalised coordinates."""
        return np.array([self.orig_shape[1], self.orig_shape[0]], np.float32)


class Boxes(Table):
    """(N, 6) left, top, right, bottom, score, class; (N, 7) with the track's number after the bottom.

    Pixels of the original image, continuous: its right and bottom edges are W and H. N may be 0.
    """

    def __init__(self, boxes: Any, orig_shape: tuple[int, int]) -> None:
        table = as_table(boxes, 2)
        if table.ndim != 2 or table.shape[1] not in (6, 7):
            raise PoseError(
                f"boxes must be (N, 6): x1 y1 x2 y2 conf cls, or (N, 7) with id before conf, got {table.shape}"
            )
        super().__init__(table, orig_shape)

    @property
    def xyxy(self) -> HostArray:
        """(N, 4) left, top, right, bottom in pixels."""
        return view(self._table[:, :4])

    @property
    def conf(self) -> HostArray:
        """(N,) scores, 0 to 1."""
        return view(self._table[:, -2])

    @property
    def cls(self) -> HostArray:
        """(N,) class numbers, as float."""
        return view(self._table[:, -1])

    @property
    def is_track(self) -> bool:
        """Whether the boxes carry track numbers."""
        return bool(self._table.shape[1] == 7)

    @property
    def id(self) -> HostArray | None:
        """(N,) track numbers, as float; None when nobody tracked."""
        return view(self._table[:, 4]) if self.is_track else None

    @property
    def xywh(self) -> HostArray:
        """(N, 4) centre x y, width, height in pixels."""
        return view(xyxy_to_cxcywh(self._table[:, :4]))

    @property
    def xyxyn(self) -> HostArray:
        """(N, 4) left, top, right, bottom, divided by the image's width and height."""
        return view(self._table[:, :4] / np.tile(self._sides(), 2))

    @property
    def xywhn(self) -> HostArray:
        """(N, 4) centre x y, width, height, divided by the image's width and height."""
        return view(xyxy_to_cxcywh(self._table[:, :4]) / np.tile(self._sides(), 2))


class Keypoints(Table):
    """(N, K, D) x, y and, when D is 3, a visibility score from 0 to 1.

    Pixels of the original image. Coordinates are what the network said, however low the score: nothing is zeroed.
    """

    def __init__(self, keypoints: Any, orig_shape: tuple[int, int]) -> None:
        table = as_table(keypoints, 3)
        if table.ndim != 3 or table.shape[2] not in (2, 3):
            raise PoseError(f"keypoints must be (N, K, 2) or (N, K, 3): x y and a visibility score, got {table.shape}")
        super().__init__(table, orig_shape)

    @property
    def xy(self) -> HostArray:
        """(N, K, 2) in pixels."""
        return view(self._table[..., :2])

    @property
    def xyn(self) -> HostArray:
        """(N, K, 2), divided by the image's width and height."""
        return view(self._table[..., :2] / self._sides())

    @property
    def conf(self) -> HostArray | None:
        """(N, K) visibility scores; None when keypoints are x y alone."""
        return view(self._table[..., 2]) if self.has_visible else None

    @property
    def has_visible(self) -> bool:
        """Whether keypoints carry a visibility score."""
        return bool(self._table.shape[2] == 3)
