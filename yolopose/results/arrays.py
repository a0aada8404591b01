"""Boxes and keypoints of one image: tables under the names that scripts know.

Arrays are torch tensors on the CPU when torch is imported at the time a result is made, otherwise `HostArray`s, which
need no torch; after `.numpy()` they are NumPy arrays. Pickled results carry NumPy and open with or without torch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
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


def outward(array: Array) -> Any:
    """The same memory as a torch tensor when torch is imported, otherwise as a `HostArray`."""
    from_numpy = getattr(sys.modules.get("torch"), "from_numpy", HostArray)
    return from_numpy(array)


class Table:
    """What Boxes and Keypoints share: N instances in one array `data`, and the image's (H, W) in pixels.

    Slices of `data` (such as `xyxy`, `conf`, `xy`) share its memory, computed arrays (`xywh`, `xyn`, …) are new ones.
    """

    def __init__(self, values: Any, ndim: int, orig_shape: tuple[int, int]) -> None:
        """Wrap `values`; one instance alone becomes a table of one row."""
        table = plain(values)
        self.data: Any = outward(table[None] if table.ndim == ndim - 1 else table)
        self.orig_shape = orig_shape

    @property
    def table(self) -> Array:
        """`data` as a float32 NumPy array."""
        return plain(self.data)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `data`."""
        return tuple(self.data.shape)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any) -> Self:
        """Instances chosen by an int, a slice, a mask or indices, as a table again."""
        table = self.table
        chosen = table[index.detach().cpu().numpy() if hasattr(index, "detach") else index]
        return self._with(self._like(chosen[None] if chosen.ndim < table.ndim else chosen))

    def __iter__(self) -> Iterator[Self]:
        """One instance at a time, each a table of one row."""
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(orig_shape={self.orig_shape}, data={self.data!r})"

    def __getstate__(self) -> dict[str, Any]:
        """NumPy's array, and whether it is to stay one."""
        state = {"table": self.table, "orig_shape": self.orig_shape}
        return state | {"numpy": isinstance(self.data, np.ndarray)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.orig_shape = state["orig_shape"]
        self.data = state["table"] if state["numpy"] else outward(state["table"])

    def cpu(self) -> Self:
        """With tensors on the CPU; NumPy arrays stay."""
        return self if isinstance(self.data, np.ndarray) else self._with(self.data.cpu())

    def numpy(self) -> Self:
        """With NumPy arrays."""
        return self._with(self.table)

    def cuda(self, *args: Any, **options: Any) -> Self:
        """With tensors on the GPU; without torch there is none, and nothing changes."""
        return self._with(self._tensor().cuda(*args, **options))

    def to(self, *args: Any, **options: Any) -> Self:
        """With tensors on a device or of a dtype, as `torch.Tensor.to` takes them."""
        return self._with(self._tensor().to(*args, **options))

    def _tensor(self) -> Any:
        return outward(self.data) if isinstance(self.data, np.ndarray) else self.data

    def _with(self, data: Any) -> Self:
        """The same kind of table around `data`."""
        other = type(self).__new__(type(self))
        other.data, other.orig_shape = data, self.orig_shape
        return other

    def _like(self, array: Array) -> Any:
        """An array as the type, on the device and of the dtype of `data`."""
        if isinstance(self.data, np.ndarray):
            return array
        return HostArray(array) if isinstance(self.data, HostArray) else outward(plain(array)).to(self.data)

    def _sides(self) -> Array:
        """(W, H) of the image, the divisor of normalised coordinates."""
        return np.array([self.orig_shape[1], self.orig_shape[0]], np.float32)


class Boxes(Table):
    """(N, 6) left, top, right, bottom, score, class; (N, 7) with the track's number after the bottom.

    Pixels of the original image, continuous: its right and bottom edges are W and H. N may be 0.
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
        """(N,) track numbers, as float; None when nobody tracked."""
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


class Keypoints(Table):
    """(N, K, D) x, y and, when D is 3, a visibility score from 0 to 1.

    Pixels of the original image. Coordinates are what the network said, however low the score: nothing is zeroed.
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
