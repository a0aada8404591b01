"""ONNX graphs as Keras models, channels last: the way from torch to everything that is made of TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from yolopose.errors import PoseError

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)  # axes of (B, C, H, W) → (B, H, W, C) and back
Operator = Callable[[Any, Sequence[Any], Mapping[str, Any]], Any]


def translate(model: Any, *, outputs: Mapping[str, str] | None = None, rescaled: bool = False) -> Any:
    """The graph of an ONNX model of fixed shapes as a functional Keras model of Keras' own layers and operations.

    Its input is (B, H, W, 3) where the graph has (B, 3, H, W), its output that of the graph. `outputs`, new names of
    values within the graph, makes it return those instead, four-dimensional ones channels last. With `rescaled` the
    weights of every output channel of a convolution are divided by their largest, and the channel is multiplied by it
    afterwards: one 8-bit scale then suits all channels.

    Raises:
        PoseError: an operator, or a use of one, that is not among those translated; or Keras without TensorFlow.
    """
    import keras
    import onnx

    if keras.backend.backend() != "tensorflow":
        raise PoseError(f"Keras runs on {keras.backend.backend()}: set KERAS_BACKEND=tensorflow in the environment")
    graph = model.graph
    unknown = sorted({node.op_type for node in graph.node} - OPERATORS.keys() - {"Constant"})
    if unknown:
        raise PoseError(f"no translation to TensorFlow of the ONNX operators {', '.join(unknown)}")
    b, c, h, w = (dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim)
    images = keras.Input(batch_shape=(b, h, w, c), name=graph.input[0].name)
    values = _Values(keras, {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer})
    values.set(graph.input[0].name, images, last=True)
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} | {"rescaled": rescaled}
        if node.op_type == "Constant":
            values.set(node.output[0], onnx.numpy_helper.to_array(attributes["value"]), last=False)
        else:
            values.run(node.op_type, node.input, node.output, attributes)
    if outputs is None:
        return keras.Model(images, values.first(graph.output[0].name))
    return keras.Model(images, {name: values.last(value) for name, value in outputs.items()})


class _Values:
    """The values of a graph by name, each in one order of axes; channels stay last as long as operators allow it."""

    def __init__(self, keras: Any, constants: dict[str, Any]) -> None:
        self._keras = keras
        self._values = constants
        self._lasts: set[str] = set()

    def set(self, name: str, value: Any, *, last: bool) -> None:
        """Keep a value, `last` when its channels are its last axis."""
        self._values[name] = value
        if last:
            self._lasts.add(name)

    def first(self, name: str) -> Any:
        """A value in the order of axes that the graph means, (B, C, H, W); None for an input left out."""
        return self._permuted(name, TO_FIRST) if name in self._lasts else self._values.get(name)

    def last(self, name: str) -> Any:
        """A (B, C, H, W) value as (B, H, W, C)."""
        return self._values[name] if name in self._lasts else self._permuted(name, TO_LAST)

    def _permuted(self, name: str, axes: tuple[int, ...]) -> Any:
        """A four-dimensional value with its axes in another order."""
        return self._keras.ops.transpose(self._values[name], axes)

    def run(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], attributes: dict[str, Any]) -> None:
        """Compute a node, channels last if the operator needs that, or allows it and finds its inputs so."""
        last = operator in SPATIAL
        if last:
            found = [self.last(inputs[0]), *map(self.first, inputs[1:])]
        elif operator in ANY_ORDER and self._all_last(inputs):
            last = True
            found = [self._values[name] for name in inputs]
            if "axis" in attributes:
                attributes["axis"] = TO_FIRST[attributes["axis"]]
        else:
            found = [self.first(name) for name in inputs]
        results = OPERATORS[operator](self._keras, found, attributes)
        for name, result in zip(outputs, results if isinstance(results, (list, tuple)) else [results], strict=False):
            symbolic = self._keras.backend.is_keras_tensor(result)  # else all inputs were constants
            self.set(name, result if symbolic else np.asarray(result), last=last)

    def _all_last(self, inputs: Sequence[str]) -> bool:
        """Whether some inputs have their channels last and all others are single numbers."""
        others = [self._values[name] for name in inputs if name not in self._lasts and name in self._values]
        return len(others) < len(inputs) and all(isinstance(v, np.ndarray) and v.size == 1 for v in others)


def _conv(keras: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    x, kernel = inputs[0], np.transpose(inputs[1], (2, 3, 1, 0))  # (kh, kw, c1 / groups, c2)
    bias = inputs[2] if len(inputs) > 2 else np.zeros(kernel.shape[3], kernel.dtype)
    scale = np.maximum(np.abs(kernel).max((0, 1, 2)), 1e-9) if given["rescaled"] else None
    if scale is not None:
        kernel, bias = kernel / scale, bias / scale
    groups, strides, dilations = given.get("group", 1), given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    single = kernel.shape[3] == 1  # Keras adds (1, 1, 1, C), and for C = 1 TensorFlow.js cannot make sense of it
    options: dict[str, Any] = {"strides": strides, "dilation_rate": dilations, "use_bias": not single}
    x, options["padding"] = _padded(keras, x, kernel.shape[:2], given, 0.0)
    if groups == 1:
        y = _layer(x, keras.layers.Conv2D(kernel.shape[3], kernel.shape[:2], **options), kernel, bias)
    elif kernel.shape[2] == 1:  # each channel by itself
        kernel = kernel.reshape(*kernel.shape[:2], groups, -1)
        options["depth_multiplier"] = kernel.shape[3]
        y = _layer(x, keras.layers.DepthwiseConv2D(kernel.shape[:2], **options), kernel, bias)
    else:  # on CPUs TensorFlow has grouped convolutions only through XLA
        wide = kernel.shape[3] // groups
        layers = [keras.layers.Conv2D(wide, kernel.shape[:2], **options) for _ in range(groups)]
        parts = zip(
            keras.ops.split(x, groups, -1), layers, np.split(kernel, groups, 3), np.split(bias, groups), strict=True
        )
        y = keras.ops.concatenate([_layer(*part) for part in parts], -1)
    return y if scale is None else y * scale


def _layer(x: Any, layer: Any, kernel: Any, bias: Any) -> Any:
    """The output of a convolution that gets its weights."""
    y = layer(x)
    layer.set_weights([kernel, bias] if layer.use_bias else [kernel])
    return y if layer.use_bias else y + bias


def _padded(keras: Any, x: Any, kernel: Sequence[int], given: Mapping[str, Any], value: float) -> tuple[Any, str]:
    """What a convolution or a maximum reads, and its padding in Keras' words."""
    if given.get("auto_pad", b"NOTSET") != b"NOTSET" or given.get("ceil_mode", 0):
        raise PoseError("no translation to TensorFlow of ONNX's auto_pad and ceil_mode")
    top, left, bottom, right = given.get("pads", [0, 0, 0, 0])
    if top == left == bottom == right == 0:
        return x, "valid"
    reach = [d * (k - 1) for k, d in zip(kernel, given.get("dilations", [1, 1]), strict=True)]
    if set(given.get("strides", [1])) == {1} and [2 * top, 2 * left] == reach and (top, left) == (bottom, right):
        return x, "same"
    return keras.ops.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value), "valid"


def _add(keras: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    """A sum; as a difference where shapes differ: Keras takes (1, N, 1) + (1, 1, N) for a bias of N channels."""
    x, y = inputs
    return keras.ops.add(x, y) if tuple(x.shape) == tuple(y.shape) else keras.ops.subtract(x, -y)


def _max_pool(keras: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    x, padding = _padded(keras, inputs[0], given["kernel_shape"], given, -np.inf)
    return keras.ops.max_pool(x, tuple(given["kernel_shape"]), tuple(given.get("strides", [1, 1])), padding)


def _resize(keras: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    h, w = inputs[0].shape[1:3]
    scales = inputs[2] if inputs[2] is not None else inputs[3] / (*inputs[0].shape[::3], h, w)
    rows, columns = (int(scale) for scale in scales[2:])
    if given.get("mode") != b"nearest" or [rows, columns] != list(scales[2:]):
        raise PoseError("no translation to TensorFlow of ONNX's Resize but by repeating pixels")
    return keras.ops.image.resize(inputs[0], (h * rows, w * columns), "nearest", data_format="channels_last")


def _split(keras: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    if len(inputs) > 1 and len(set(inputs[1].tolist())) > 1:
        return keras.ops.split(inputs[0], np.cumsum(inputs[1])[:-1].tolist(), given["axis"])
    return keras.ops.split(inputs[0], given.get("num_outputs") or len(inputs[1]), given["axis"])


def _reshape(keras: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    x, shape = inputs[0], inputs[1].tolist()
    return keras.ops.reshape(x, [x.shape[i] if n == 0 else n for i, n in enumerate(shape)])


def _slice(keras: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    x = inputs[0]
    index = [slice(None)] * len(x.shape)
    starts, ends, axes, *steps = (v.tolist() for v in inputs[1:])
    for start, end, axis, step in zip(starts, ends, axes, steps[0] if steps else [1] * len(axes), strict=True):
        index[axis] = slice(start, min(end, x.shape[axis]), step)
    return x[tuple(index)]


def _pad(keras: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    low, high = inputs[1].reshape(2, -1).tolist()
    value = float(inputs[2]) if len(inputs) > 2 and inputs[2] is not None else 0.0
    return keras.ops.pad(inputs[0], tuple(zip(low, high, strict=True)), constant_values=value)


def _unsqueeze(keras: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    x = inputs[0]
    rank = len(x.shape) + inputs[1].size
    for axis in sorted(a % rank for a in inputs[1].ravel().tolist()):
        x = keras.ops.expand_dims(x, axis)
    return x


def _expand(keras: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    return keras.ops.broadcast_to(inputs[0], np.broadcast_shapes(tuple(inputs[0].shape), tuple(inputs[1].tolist())))


def _cast(keras: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    import onnx

    return keras.ops.cast(inputs[0], onnx.helper.tensor_dtype_to_np_dtype(given["to"]).name)


def _top_k(keras: Any, inputs: Sequence[Any], given: Mapping[str, Any]) -> Any:
    if given.get("axis", -1) not in (-1, len(inputs[0].shape) - 1) or not given.get("largest", 1):
        raise PoseError("no translation to TensorFlow of ONNX's TopK but of the largest along the last axis")
    return keras.ops.top_k(inputs[0], int(inputs[1].item()), sorted=True)


def _named(name: str) -> Operator:
    """An operator that is a function of `keras.ops` of its inputs."""
    return lambda keras, inputs, given: getattr(keras.ops, name)(*inputs)


def _along(name: str) -> Operator:
    """An operator that is a function of `keras.ops` of its inputs and an axis."""
    return lambda keras, inputs, given: getattr(keras.ops, name)(*inputs, axis=given["axis"])


def _reduced(name: str) -> Operator:
    """An operator that is a function of `keras.ops` over the axes in its second input."""
    return lambda keras, inputs, given: getattr(keras.ops, name)(
        inputs[0], axis=tuple(inputs[1].tolist()), keepdims=bool(given.get("keepdims", 1))
    )


SPATIAL: Mapping[str, Operator] = {"Conv": _conv, "MaxPool": _max_pool, "Resize": _resize}  # channels last only
ANY_ORDER: Mapping[str, Operator] = {
    "Add": _add,
    "And": _named("logical_and"),
    "Concat": lambda keras, inputs, given: keras.ops.concatenate(inputs, given["axis"]),
    "Div": _named("divide"),
    "Equal": _named("equal"),
    "Greater": _named("greater"),
    "Less": _named("less"),
    "Max": _named("maximum"),
    "Min": _named("minimum"),
    "Mul": _named("multiply"),
    "Sigmoid": _named("sigmoid"),
    "Split": _split,
    "Sub": _named("subtract"),
}
OPERATORS: Mapping[str, Operator] = {
    **SPATIAL,
    **ANY_ORDER,
    "ArgMax": lambda keras, inputs, given: keras.ops.argmax(inputs[0], given["axis"], bool(given.get("keepdims", 1))),
    "Cast": _cast,
    "Expand": _expand,
    "Gather": _along("take"),
    "GatherElements": _along("take_along_axis"),
    "MatMul": _named("matmul"),
    "Pad": _pad,
    "ReduceMax": _reduced("max"),
    "ReduceProd": _reduced("prod"),
    "Reshape": _reshape,
    "Slice": _slice,
    "Softmax": _along("softmax"),
    "TopK": _top_k,
    "Transpose": lambda keras, inputs, given: keras.ops.transpose(inputs[0], given["perm"]),
    "Unsqueeze": _unsqueeze,
}
