"""Convert an ONNX graph to a Keras model with channels last, from which all TensorFlow formats are made.

Needs Keras and ONNX: import it only where an export runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import onnx
from keras import ops

from yolopose.errors import PoseError

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # (B, C, H, W) → (B, H, W, C) and back
Operator = Callable[..., Any]  # inputs by position, ONNX attributes by name → the output, or a list of outputs


def to_keras(model: Any, *, outputs: Mapping[str, str] | None = None, rescaled: bool = False) -> Any:
    """Return an ONNX model of fixed shapes as a functional Keras model of Keras' own layers and operations.

    Its input is (B, H, W, 3) where the graph has (B, 3, H, W); its output is the graph's output. `outputs` maps names
    to values in the graph and makes the model return those instead, four-dimensional ones channels last. With
    `rescaled` the weights of every output channel of a convolution are divided by their largest absolute value and the
    channel is multiplied by it afterwards: one 8-bit scale then suits all channels.

    Raises:
        PoseError: an operator, or a use of one, that cannot be converted; or Keras does not run on TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise PoseError(f"Keras runs on {keras.backend.backend()}: set KERAS_BACKEND=tensorflow in the environment")
    graph = model.graph
    unknown = sorted({node.op_type for node in graph.node} - OPERATORS.keys() - {"Constant"})
    if unknown:
        raise PoseError(f"no translation to TensorFlow of the ONNX operators {', '.join(unknown)}")
    b, c, h, w = (dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim)
    images = keras.Input(batch_shape=(b, h, w, c), name=graph.input[0].name)
    values = _Values({tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer})
    values.set(graph.input[0].name, images, last=True)
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant":
            values.set(node.output[0], onnx.numpy_helper.to_array(attributes["value"]), last=False)
        else:
            values.compute(node, attributes | {"rescaled": rescaled})
    if outputs is None:
        return keras.Model(images, values.get(graph.output[0].name, last=False))
    return keras.Model(images, {name: values.get(value, last=True) for name, value in outputs.items()})


class _Values:
    """The values of a graph by name.

    ONNX has the channels first, TensorFlow needs them last. A value stays channels last for as long as the operators
    that read it allow, so that the model contains few transpositions.
    """

    def __init__(self, constants: dict[str, Any]) -> None:
        self._values = constants
        self._channels_last: set[str] = set()

    def set(self, name: str, value: Any, *, last: bool) -> None:
        """Store a value; `last` when its channels are its last axis."""
        self._values[name] = value
        if last:
            self._channels_last.add(name)

    def get(self, name: str, *, last: bool) -> Any:
        """Return a value as (B, H, W, C) if `last`, else with the axes of the graph; None for an omitted input."""
        value = self._values.get(name)
        if value is None or last == (name in self._channels_last):
            return value
        return ops.transpose(value, TO_LAST if last else TO_FIRST)

    def compute(self, node: Any, attributes: dict[str, Any]) -> None:
        """Compute a node, channels last if its operator needs that, or if it allows that and its inputs are so."""
        spatial = node.op_type in SPATIAL
        last = spatial or (node.op_type in ANY_ORDER and self._all_last(node.input))
        inputs = [self.get(name, last=last and name in self._channels_last) for name in node.input]
        if spatial:
            inputs[0] = self.get(node.input[0], last=True)
        elif last and "axis" in attributes:
            attributes["axis"] = TO_FIRST[attributes["axis"]]
        results = OPERATORS[node.op_type](*inputs, **attributes)
        results = results if isinstance(results, (list, tuple)) else [results]
        for name, result in zip(node.output, results, strict=False):
            symbolic = keras.backend.is_keras_tensor(result)  # else all inputs were constants
            self.set(name, result if symbolic else np.asarray(result), last=last)

    def _all_last(self, inputs: Sequence[str]) -> bool:
        """Whether at least one input is channels last and every other input is a single number."""
        others = [self._values[name] for name in inputs if name not in self._channels_last and name in self._values]
        return len(others) < len(inputs) and all(isinstance(v, np.ndarray) and v.size == 1 for v in others)


def _conv(x: Any, kernel: Any, bias: Any = None, *, rescaled: bool, group: int = 1, **given: Any) -> Any:
    kernel = np.transpose(kernel, (2, 3, 1, 0))  # (kh, kw, c1 / group, c2)
    *size, channels, filters = kernel.shape
    bias = np.zeros(filters, kernel.dtype) if bias is None else bias
    scale = np.maximum(np.abs(kernel).max((0, 1, 2)), 1e-9) if rescaled else 1
    kernel, bias = kernel / scale, bias / scale
    x, padding = _padded(x, size, 0.0, **given)
    options: dict[str, Any] = {
        "strides": given.get("strides", [1, 1]),
        "dilation_rate": given.get("dilations", [1, 1]),
        "padding": padding,
        "use_bias": filters > 1,  # Keras adds it as (1, 1, 1, C), and for C = 1 TensorFlow.js fails on that
    }
    if group > 1 and channels == 1:  # each channel by itself
        kernel = kernel.reshape(*size, group, -1)
        depthwise = keras.layers.DepthwiseConv2D(size, depth_multiplier=kernel.shape[3], **options)
        y = _with_weights(depthwise, x, kernel, bias)
    else:  # one convolution per group: on CPUs TensorFlow has grouped ones only through XLA
        xs = [x] if group == 1 else ops.split(x, group, -1)
        parts = zip(xs, np.split(kernel, group, 3), np.split(bias, group), strict=True)
        ys = [_with_weights(keras.layers.Conv2D(filters // group, size, **options), *part) for part in parts]
        y = ys[0] if group == 1 else ops.concatenate(ys, -1)
    return y * scale if rescaled else y


def _with_weights(layer: Any, x: Any, kernel: Any, bias: Any) -> Any:
    """Return the output of a convolution of these weights."""
    y = layer(x)
    layer.set_weights([kernel, bias] if layer.use_bias else [kernel])
    return y if layer.use_bias else y + bias


def _padded(x: Any, kernel: Sequence[int], value: float, **given: Any) -> tuple[Any, str]:
    """Return the padded input of a convolution or pooling, and the padding that Keras is to add to it."""
    if given.get("auto_pad", b"NOTSET") != b"NOTSET" or given.get("ceil_mode", 0):
        raise PoseError("no translation to TensorFlow of ONNX's auto_pad and ceil_mode")
    top, left, bottom, right = given.get("pads", [0, 0, 0, 0])
    if top == left == bottom == right == 0:
        return x, "valid"
    reach = [d * (k - 1) for k, d in zip(kernel, given.get("dilations", [1, 1]), strict=True)]
    if set(given.get("strides", [1])) == {1} and [2 * top, 2 * left] == reach and (top, left) == (bottom, right):
        return x, "same"
    return ops.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value), "valid"


def _max_pool(x: Any, *, kernel_shape: Sequence[int], **given: Any) -> Any:
    x, padding = _padded(x, kernel_shape, -np.inf, **given)
    return ops.max_pool(x, tuple(kernel_shape), tuple(given.get("strides", [1, 1])), padding)


def _resize(x: Any, roi: Any = None, scales: Any = None, sizes: Any = None, *, mode: bytes = b"", **_: Any) -> Any:
    b, h, w, c = x.shape
    scales = (scales if scales is not None else sizes / (b, c, h, w)).tolist()[2:]
    rows, columns = (int(scale) for scale in scales)
    if mode != b"nearest" or [rows, columns] != scales:
        raise PoseError("no translation to TensorFlow of ONNX's Resize but by repeating pixels")
    return ops.image.resize(x, (h * rows, w * columns), "nearest", data_format="channels_last")


def _add(x: Any, y: Any, **_: Any) -> Any:
    """Add; where the shapes differ, subtract the negative: Keras takes (1, N, 1) + (1, 1, N) for a bias."""
    return ops.add(x, y) if tuple(x.shape) == tuple(y.shape) else ops.subtract(x, -y)


def _split(x: Any, sizes: Any = None, *, axis: int, num_outputs: int | None = None, **_: Any) -> Any:
    if sizes is not None and len(set(sizes.tolist())) > 1:
        return ops.split(x, np.cumsum(sizes)[:-1].tolist(), axis)
    return ops.split(x, num_outputs or len(sizes), axis)


def _slice(x: Any, starts: Any, ends: Any, axes: Any, steps: Any = None, **_: Any) -> Any:
    index = [slice(None)] * len(x.shape)
    steps = np.ones_like(axes) if steps is None else steps
    for axis, start, end, step in zip(*(v.tolist() for v in (axes, starts, ends, steps)), strict=True):
        index[axis] = slice(start, min(end, x.shape[axis]), step)
    return x[tuple(index)]


def _pad(x: Any, pads: Any, value: Any = None, **_: Any) -> Any:
    return ops.pad(x, pads.reshape(2, -1).T.tolist(), constant_values=0.0 if value is None else float(value))


def _top_k(x: Any, k: Any, *, axis: int = -1, largest: int = 1, **_: Any) -> Any:
    if axis not in (-1, len(x.shape) - 1) or not largest:
        raise PoseError("no translation to TensorFlow of ONNX's TopK but of the largest along the last axis")
    return ops.top_k(x, int(k.item()), sorted=True)


def _plain(function: Callable[..., Any]) -> Operator:
    """Return an operator that is `function` of its inputs alone."""
    return lambda *inputs, **_: function(*inputs)


def _reduction(function: Callable[..., Any]) -> Operator:
    """Return an operator that applies `function` over the axes in its second input."""
    return lambda x, axes, keepdims=1, **_: function(x, axis=tuple(axes.tolist()), keepdims=bool(keepdims))


SPATIAL: Mapping[str, Operator] = {"Conv": _conv, "MaxPool": _max_pool, "Resize": _resize}  # channels last only
ANY_ORDER: Mapping[str, Operator] = {
    "Add": _add,
    "And": _plain(ops.logical_and),
    "Concat": lambda *inputs, axis, **_: ops.concatenate(inputs, axis),
    "Div": _plain(ops.divide),
    "Equal": _plain(ops.equal),
    "Greater": _plain(ops.greater),
    "Less": _plain(ops.less),
    "Max": _plain(ops.maximum),
    "Min": _plain(ops.minimum),
    "Mul": _plain(ops.multiply),
    "Sigmoid": _plain(ops.sigmoid),
    "Split": _split,
    "Sub": _plain(ops.subtract),
}
OPERATORS: Mapping[str, Operator] = {
    **SPATIAL,
    **ANY_ORDER,
    "ArgMax": lambda x, axis, keepdims=1, **_: ops.argmax(x, axis, bool(keepdims)),
    "Cast": lambda x, to, **_: ops.cast(x, onnx.helper.tensor_dtype_to_np_dtype(to).name),
    "Expand": lambda x, shape, **_: ops.broadcast_to(x, np.broadcast_shapes(tuple(x.shape), tuple(shape.tolist()))),
    "Gather": lambda x, indices, axis, **_: ops.take(x, indices, axis),
    "GatherElements": lambda x, indices, axis, **_: ops.take_along_axis(x, indices, axis),
    "MatMul": _plain(ops.matmul),
    "Pad": _pad,
    "ReduceMax": _reduction(ops.max),
    "ReduceProd": _reduction(ops.prod),
    "Reshape": lambda x, shape, **_: ops.reshape(x, [n or x.shape[i] for i, n in enumerate(shape.tolist())]),
    "Slice": _slice,
    "Softmax": lambda x, axis, **_: ops.softmax(x, axis),
    "TopK": _top_k,
    "Transpose": lambda x, perm, **_: ops.transpose(x, perm),
    "Unsqueeze": lambda x, axes, **_: ops.expand_dims(x, tuple(axes.ravel().tolist())),
}
