"""The pose head in NumPy at a few cells of a map, for runtimes whose graph ends before the head's branches.

The same algorithm as `nn.sparse` and `nn.head` in torch, for use without torch: a change there belongs here, too.
Two 3 x 3 convolutions and one 1 x 1 depend on 5 x 5 cells, so at few cells they are matrix products of those
neighbourhoods.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from yolopose.formats.base import Float

Index = NDArray[np.intp]

SERIAL = 200_000  # multiplications; OpenBLAS takes more threads from 262,144
ROWS = 16


class Layer(NamedTuple):
    """A convolution as a matrix (k·k·c, c_out), and its bias (c_out,)."""

    weight: Float
    bias: Float


Branch = Sequence[Layer]  # two 3 x 3 convolutions, each followed by SiLU, and a 1 x 1 convolution


def layer(weight: Float, bias: Float) -> Layer:
    """A convolution's weight (c_out, c, k, k) and bias, of whatever shape, for channels-last maps."""
    matrix = weight.transpose(2, 3, 1, 0).reshape(-1, len(weight))
    return Layer(np.ascontiguousarray(matrix, np.float32), bias.reshape(-1).astype(np.float32))


class SparseHead:
    """Computes the decoded rows of the cells whose class score is above the threshold."""

    def __init__(self, levels: Sequence[tuple[Branch, Branch]], kpt_shape: tuple[int, int]) -> None:
        """`levels` has the box and keypoint branches of each stride."""
        self._levels = levels
        self._kpt_shape = kpt_shape

    def candidates(
        self, logits: Sequence[Float], features: Sequence[Float], rows: int, conf: float, most: int
    ) -> list[Float] | None:
        """Per level class logits (B, h, w, C) and head inputs (B, h, w, c) → rows as `Backend.candidates`.

        `rows` is the height of the input in pixels. None when more than `most` cells are above the threshold.
        """
        threshold = logit_threshold(conf)
        cells = [np.nonzero(level.max(3) > threshold) for level in logits]
        if sum(len(image) for image, _, _ in cells) > most:
            return None
        parts, images = [], []
        for level, found, scores, x in zip(self._levels, cells, logits, features, strict=True):
            if len(found[0]):
                stride = rows // x.shape[1]
                cell = np.stack(found[:0:-1], 1).astype(np.float32)  # (M, 2) x y
                raw = Raw(*_branches(level, x, *found), scores[found])
                parts.append(decode_cells(raw, cell, stride, self._kpt_shape))
                images.append(found[0])
        k, d = self._kpt_shape
        none = np.empty((0, 4 + logits[0].shape[3] + k * d), np.float32)
        whole, image = (np.concatenate(parts), np.concatenate(images)) if parts else (none, np.empty(0, np.intp))
        kept = whole[:, 4 : 4 + logits[0].shape[3]].max(1, initial=0.0) > conf
        return [whole[kept & (image == i)] for i in range(len(logits[0]))]


class Raw(NamedTuple):
    """The head's outputs at M cells before decoding: distance bins, keypoints and class logits, each (M, ·)."""

    bins: Float
    keypoints: Float
    logits: Float


def decode_cells(raw: Raw, cell: Float, stride: int, kpt_shape: tuple[int, int]) -> Float:
    """Raw maps at M cells, and their (M, 2) x y in the grid → decoded (M, 4+C+K·D) in input pixels."""
    shares = raw.bins.reshape(len(cell), 4, -1)
    shares = np.exp(shares - shares.max(2, keepdims=True))
    distance = shares @ np.arange(shares.shape[2], dtype=np.float32) / shares.sum(2)  # left top right bottom
    low, high = distance[:, :2], distance[:, 2:]
    centre = (cell + np.float32(0.5) + (high - low) / 2) * stride
    points = raw.keypoints.reshape(len(cell), *kpt_shape).copy()
    points[..., :2] = (points[..., :2] * 2 + cell[:, None]) * stride
    points[..., 2:] = sigmoid(points[..., 2:])
    flat = points.reshape(raw.keypoints.shape)
    return np.concatenate((centre, (low + high) * stride, sigmoid(raw.logits), flat), 1)


def _branches(level: tuple[Branch, Branch], x: Float, image: Index, row: Index, column: Index) -> tuple[Float, Float]:
    """(B, h, w, c) → outputs of both branches at M cells; the map, and hidden maps, are 0 outside."""
    h, w, c = x.shape[1:]
    around = np.arange(-2, 3)
    rows, columns = row[:, None] + around, column[:, None] + around  # (M, 5)
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None]  # (M, 5, 5)
    rows, columns = rows.clip(0, h - 1), columns.clip(0, w - 1)
    squares = x[image[:, None, None], rows[:, :, None], columns[:, None]] * inside[..., None]  # (M, 5, 5, c)
    windows = sliding_window_view(squares, (3, 3), (1, 2)).transpose(0, 1, 2, 4, 5, 3).reshape(-1, 9 * c)  # (M·9, 9·c)
    inner = inside[:, 1:4, 1:4].reshape(-1, 1).astype(np.float32)
    box, keypoint = (_run(branch, windows, inner) for branch in level)
    return box, keypoint


def _run(branch: Branch, windows: Float, inner: Float) -> Float:
    """(M·9, 9·c), (M·9, 1) → (M, c_out)."""
    first, second, last = branch
    hidden = silu(_apply(first, windows)) * inner
    hidden = silu(_apply(second, hidden.reshape(len(windows) // 9, -1)))
    return _apply(last, hidden)


def _apply(layer: Layer, x: Float) -> Float:
    """(N, k·k·c) → (N, c_out), in blocks that BLAS computes in this thread.

    Its other threads keep spinning for a while after work and slow the runtime down by half.
    """
    columns = max(SERIAL // (ROWS * len(layer.weight)), 1)
    out = np.empty((len(x), layer.weight.shape[1]), np.float32)
    for i in range(0, len(x), ROWS):
        for j in range(0, out.shape[1], columns):
            out[i : i + ROWS, j : j + columns] = x[i : i + ROWS] @ layer.weight[:, j : j + columns]
    out += layer.bias
    return out


def logit_threshold(conf: float) -> float:
    """The logit of `conf`, slightly lowered for rounding: every score above `conf` has a greater one."""
    return log(conf / (1 - conf)) - 1e-3 if 0 < conf < 1 else -inf


def sigmoid(x: Float) -> Float:
    """Sigmoid by tanh, which does not overflow."""
    return np.asarray(np.tanh(x * np.float32(0.5)) * np.float32(0.5) + np.float32(0.5))


def silu(x: Float) -> Float:
    """SiLU: x · sigmoid(x)."""
    return np.asarray(x * sigmoid(x))
