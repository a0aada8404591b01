"""Boxes and keypoints of one image, with the attributes of Ultralytics' results.

Arrays are torch tensors on the CPU when torch is imported at the time a result is made, otherwise `HostArray`s, which
need no torch; after `.numpy()` they are NumPy arrays. They are made when somebody reads them. Pickled results contain
NumPy arrays and open with or without torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np

from yolopose.errors import PoseError
from yolopose.geometry.boxes import xyxy_to_cxcywh
from yolopose.results.host import Array, HostArray


def plain(values: Any) -> Array:
    """Numbers, an array or a tensor on any device → a float32 NumPy array; on the CPU a float32 tensor's own memory."""
    if not isinstance(values, np.ndarray) and hasattr(values, "detach"):
        values = values.detach().cpu().float().numpy()
    array = np.asarray(values, np.float32)
    return array if array.flags.carray else array.copy()  # torch takes no read-only arrays and no negative steps


def tensor_type() -> Callable[[Array], Any]:
    """What users' arrays are made by: `torch.from_numpy` when torch is imported, otherwise `HostArray`."""
    return getattr(sys.modules.get("torch"), "from_numpy", HostArray)


class InstanceArray:
    """N instances in one array `data`, and the image's (H, W) in pixels; what Boxes and Keypoints share.

    Slices of `data` (such as `xyxy`, `conf`, `xy`) share its memory, computed arrays (`xywh`, `xyn`, …) are new ones.
    """

    _table: Array | None  # in host memory; None when `_data` is on a device or of another dtype
    _data: Any  # made from `_table` when somebody asks
    _type: Callable[[Array], Any]

    def __init__(self, values: Any, ndim: int, orig_shape: tuple[int, int]) -> None:
        """Wrap `values`; one instance alone becomes an array of one row."""
        table = plain(values)
        self._table, self._data, self._type = table[None] if table.ndim == ndim - 1 else table, None, tensor_type()
        self.orig_shape = orig_shape

    @property
    def data(self) -> Any:
        """The numbers of all instances, as a torch tensor, `HostArray` or NumPy array."""
        if self._data is None:
            self._data = self._type(self.table)
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._table, self._data = None, value

    @property
    def table(self) -> Array:
        """`data` as a float32 NumPy array."""
        return plain(self._data) if self._table is None else self._table

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `data`."""
        return tuple(self._data.shape) if self._table is None else self._table.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Self:
        """Instances chosen by an int, a slice, a mask or indices, as the same kind of array."""
        table = self.table
        chosen = table[index.detach().cpu().numpy() if hasattr(index, "detach") else index]
        chosen = chosen[None] if chosen.ndim < table.ndim else chosen
        if self._table is None:
            return self._with(self._like(chosen))
        return self._around(chosen if self._type in (np.asarray, HostArray) else plain(chosen), self._type)

    def __iter__(self) -> Iterator[Self]:
        """One instance at a time, each an array of one row."""
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(orig_shape={self.orig_shape}, data={self.data!r})"

    def __getstate__(self) -> dict[str, Any]:
        """The NumPy array, and whether `data` is one."""
        return {"table": self.table, "orig_shape": self.orig_shape, "numpy": isinstance(self.data, np.ndarray)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.orig_shape = state["orig_shape"]
        self._table, self._data, self._type = state["table"], None, np.asarray if state["numpy"] else tensor_type()

    def cpu(self) -> Self:
        """With tensors on the CPU; NumPy arrays stay."""
        return self if isinstance(self.data, np.ndarray) else self._with(self.data.cpu())

    def numpy(self) -> Self:
        """With NumPy arrays."""
        return self._around(self.table, np.asarray)

    def cuda(self, *args: Any, **options: Any) -> Self:
        """With tensors on the GPU; without torch there is none, and nothing changes."""
        return self._with(self._tensor().cuda(*args, **options))

    def to(self, *args: Any, **options: Any) -> Self:
        """With tensors on a device or of a dtype, as `torch.Tensor.to` takes them."""
        return self._with(self._tensor().to(*args, **options))

    def _tensor(self) -> Any:
        return tensor_type()(self.data) if isinstance(self.data, np.ndarray) else self.data

    def _around(self, table: Array, kind: Callable[[Array], Any]) -> Self:
        """The same class around a NumPy array; `kind` makes `data` from it."""
        other = type(self).__new__(type(self))
        other._table, other._data, other._type, other.orig_shape = table, None, kind, self.orig_shape
        return other

    def _with(self, data: Any) -> Self:
        """The same class around `data`."""
        other = self._around(self.table[:0], self._type)
        other.data = data
        return other

    def _like(self, array: Array) -> Any:
        """An array as the type, on the device and of the dtype of `data`."""
        if isinstance(self.data, np.ndarray):
            return array
        return HostArray(array) if isinstance(self.data, HostArray) else tensor_type()(plain(array)).to(self.data)

    def _sides(self) -> Array:
        """(W, H) of the image, the divisor of normalised coordinates."""
        return np.array([self.orig_shape[1], self.orig_shape[0]], np.float32)


class Boxes(InstanceArray):
    """Boxes (N, 6): left, top, right, bottom, score, class; (N, 7) with the track's number before the score.

    Pixels of the original image, continuous: its right and bottom edges are W and H. N may be 0.

    >>> import numpy as np
    >>> boxes = Boxes(np.array([[10, 20, 50, 100, 0.9, 0]]), orig_shape=(200, 100)).numpy()
    >>> boxes.xywh.tolist()
    [[30.0, 60.0, 40.0, 80.0]]
    >>> boxes.xyxyn.tolist() == np.float32([[0.1, 0.1, 0.5, 0.5]]).tolist()
    True
    >>> int(boxes.cls[0]), boxes.id
    (0, None)
    """

    def __init__(self, boxes: Any, orig_shape: tuple[int, int]) -> None:
        super().__init__(boxes, 2, orig_shape)
        if len(self.shape) != 2 or self.shape[1] not in (6, 7):
            raise PoseError(
                f"boxes must be (N, 6): x1 y1 x2 y2 conf cls, or (N, 7) with id before conf, got {self.shape}"
            )

    @property
    def xyxy(self) -> Any:
        """(N, 4) left, top, right, bottom in pixels."""
        return self.data[:, :4]

    @property
    def conf(self) -> Any:
        """(N,) scores, 0 to 1."""
        return self.data[:, -2]

    @property
    def cls(self) -> Any:
        """(N,) class numbers, as float."""
        return self.data[:, -1]

    @property
    def is_track(self) -> bool:
        """Whether the boxes carry track numbers."""
        return self.shape[1] == 7

    @property
    def id(self) -> Any:
        """(N,) track numbers, as float; None without tracking."""
        return self.data[:, 4] if self.is_track else None

    @property
    def xywh(self) -> Any:
        """(N, 4) centre x y, width, height in pixels."""
        return self._like(xyxy_to_cxcywh(self.table[:, :4]))

    @property
    def xyxyn(self) -> Any:
        """(N, 4) left, top, right, bottom, divided by the image's width and height."""
        return self._like(self.table[:, :4] / np.tile(self._sides(), 2))

    @property
    def xywhn(self) -> Any:
        """(N, 4) centre x y, width, height, divided by the image's width and height."""
        return self._like(xyxy_to_cxcywh(self.table[:, :4]) / np.tile(self._sides(), 2))


class Keypoints(InstanceArray):
    """Keypoints (N, K, D): x, y and, when D is 3, a visibility score from 0 to 1.

    Pixels of the original image. Coordinates are those of the network, also where the score is low.

    >>> import numpy as np
    >>> points = Keypoints(np.array([[[30, 40, 0.5], [60, 80, 1.0]]]), orig_shape=(160, 120)).numpy()
    >>> points.xy[0].tolist(), points.conf.tolist()
    ([[30.0, 40.0], [60.0, 80.0]], [[0.5, 1.0]])
    >>> points.xyn[0].tolist()
    [[0.25, 0.25], [0.5, 0.5]]
    """

    def __init__(self, keypoints: Any, orig_shape: tuple[int, int]) -> None:
        super().__init__(keypoints, 3, orig_shape)
        if len(self.shape) != 3 or self.shape[2] not in (2, 3):
            raise PoseError(f"keypoints must be (N, K, 2) or (N, K, 3): x y and a visibility score, got {self.shape}")

    @property
    def xy(self) -> Any:
        """(N, K, 2) in pixels."""
        return self.data[..., :2]

    @property
    def xyn(self) -> Any:
        """(N, K, 2), divided by the image's width and height."""
        return self._like(self.table[..., :2] / self._sides())

    @property
    def conf(self) -> Any:
        """(N, K) visibility scores; None when keypoints are x y alone."""
        return self.data[..., 2] if self.has_visible else None

    @property
    def has_visible(self) -> bool:
        """Whether keypoints carry a visibility score."""
        return self.shape[2] == 3
