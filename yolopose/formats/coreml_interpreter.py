"""Run the programs of CoreML packages with torch: slow, but on every system. Import it only where torch is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from yolopose.errors import PoseError, shown
from yolopose.formats.base import Float


class Interpreter:
    """Runs the main function of a package, a list of MIL operations, in the types that the program states."""

    def __init__(self, model: Any) -> None:
        """Take a `coremltools.models.MLModel`.

        Raises:
            PoseError: it holds no program, or operations that are not among those known here.
        """
        from coremltools.converters.mil.frontend.milproto.load import load

        spec = model.get_spec()
        if spec.WhichOneof("Type") != "mlProgram":
            raise PoseError("holds no ML program, the only kind of CoreML model that can be interpreted")
        program = load(spec, specification_version=spec.specificationVersion, file_weights_dir=model.weights_dir)
        main = program.functions["main"]
        self._input, self._output = next(iter(main.inputs)), main.outputs[0].name
        self._constants: dict[str, Any] = {}
        self._operations: list[Any] = []
        for operation in main.operations:
            if operation.op_type == "const":
                self._constants[operation.outputs[0].name] = _constant(operation.outputs[0].val)
            elif operation.op_type.startswith("constexpr"):  # compressed weights
                self._constants[operation.outputs[0].name] = _constant(operation.materialized_val_inference())
            else:
                self._operations.append(operation)
        unknown = sorted({operation.op_type for operation in self._operations} - OPERATIONS.keys())
        if unknown:
            raise PoseError(f"no interpretation of the operations {', '.join(unknown)}")
        self._last_use = {name: i for i, op in enumerate(self._operations) for name in _inputs(op)}

    @torch.inference_mode()
    def __call__(self, image: Float) -> Float:
        """(1, 3, H, W) of the program's input → its output."""
        values = self._constants | {self._input: torch.from_numpy(image)}
        for i, operation in enumerate(self._operations):
            given = {key: _value(entry, values) for key, entry in operation.inputs.items() if entry is not None}
            result = OPERATIONS[operation.op_type](**given)
            results = result if isinstance(result, tuple) else (result,)
            values.update(zip((variable.name for variable in operation.outputs), results, strict=True))
            for name in (name for name in _inputs(operation) if self._last_use[name] == i):
                values.pop(name, None)  # frees memory
        return np.asarray(values[self._output].float().numpy())


def _inputs(operation: Any) -> list[str]:
    """Return the names of the variables that an operation reads."""
    nested = (value if isinstance(value, (list, tuple)) else (value,) for value in operation.inputs.values())
    return [variable.name for variables in nested for variable in variables if variable is not None]


def _value(variable: Any, values: dict[str, Any]) -> Any:
    """Return the value of a variable, or the values of a list of variables."""
    return [values[v.name] for v in variable] if isinstance(variable, (list, tuple)) else values[variable.name]


def _constant(value: Any) -> Any:
    """Return arrays of floats as tensors, numbers and lists as Python's; compressed weights stay as they are."""
    if isinstance(value, np.ndarray) and value.ndim and value.dtype.kind == "f":
        return torch.from_numpy(value.copy())
    if isinstance(value, np.ndarray) and value.ndim > 1:
        return value
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _padded(x: Tensor, pad_type: str, pad: Sequence[int], value: float) -> Tensor:
    """Pad (B, C, H, W) by (top, bottom, left, right)."""
    if pad_type not in ("custom", "valid"):
        raise PoseError(f"no interpretation of the padding {shown(pad_type)}")
    return functional.pad(x, (*pad[2:], *pad[:2]), value=value) if pad_type == "custom" else x


def _conv(x: Tensor, weight: Tensor, strides: Any, pad_type: str, pad: Any, dilations: Any, groups: int,
          bias: Tensor | None = None) -> Tensor:  # fmt: skip
    """Convolve in 32 bits and round once, also 16-bit numbers: torch is fifty times slower at those on CPUs."""
    padded, bias = _padded(x.float(), pad_type, pad, 0.0), None if bias is None else bias.float()
    return functional.conv2d(padded, weight.float(), bias, strides, 0, dilations, groups).to(x.dtype)


def _max_pool(x: Tensor, kernel_sizes: Any, strides: Any, pad_type: str, pad: Any, ceil_mode: bool = False) -> Tensor:
    return functional.max_pool2d(_padded(x, pad_type, pad, -np.inf), kernel_sizes, strides, ceil_mode=ceil_mode)


def _slice(x: Tensor, begin: Any, end: Any, stride: Any = None, begin_mask: Any = None, end_mask: Any = None) -> Tensor:
    no = [False] * x.ndim
    parts = zip(begin, end, stride or [1] * x.ndim, begin_mask or no, end_mask or no, strict=True)
    return x[tuple(slice(None if low else b, None if high else e, step) for b, e, step, low, high in parts)]


def _upsample(x: Tensor, scale_factor_height: float, scale_factor_width: float) -> Tensor:
    return functional.interpolate(x, scale_factor=(scale_factor_height, scale_factor_width), mode="nearest")


def _matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "cast": lambda x, dtype: x.to({"fp16": torch.float16, "fp32": torch.float32}[dtype]),
    "concat": lambda values, axis, interleave=False: torch.cat(values, axis),
    "conv": _conv,
    "matmul": _matmul,
    "max_pool": _max_pool,
    "mul": lambda x, y: x * y,
    "real_div": lambda x, y: x / y,
    "reshape": lambda x, shape: x.reshape(shape),
    "sigmoid": lambda x: x.sigmoid(),
    "silu": lambda x: functional.silu(x),
    "slice_by_index": _slice,
    "softmax": lambda x, axis: x.softmax(axis),
    "split": lambda x, split_sizes, axis: x.split(split_sizes, axis),
    "sub": lambda x, y: x - y,
    "transpose": lambda x, perm: x.permute(perm),
    "upsample_nearest_neighbor": _upsample,
}
