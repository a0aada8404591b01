"""PaddlePaddle folders: converted from torch's exported program, run with Paddle Inference."""

from __future__ import annotations

import operator
import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.errors import PoseError, one_line
from yolopose.formats.base import Array, ExportOptions, FileBackend, Float, OpenOptions, to_nchw
from yolopose.formats.quiet import quiet
from yolopose.metadata import METADATA, ModelInfo, load_metadata, save_metadata

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

WEIGHTS = ".pdiparams"


class PaddleBackend(FileBackend):
    """A Paddle Inference predictor, which runs one batch at a time: threads take turns. Ours and Ultralytics' files."""

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Open a folder of a program, its weights and `metadata.yaml`.

        Raises:
            PoseError: a file of the folder is missing or damaged, or no pose network.
            UsageError: another device than the CPU.
        """
        self._lock = threading.Lock()
        self._predictor, inputs, output = _load(path, options)
        super().__init__(path, options, load_metadata(path / METADATA), [inputs], [output])

    def _run(self, images: Array) -> Float:
        with self._lock:
            return _predict(self._predictor, to_nchw(images))


def _predict(predictor: Any, images: Float) -> Float:
    """(B, 3, H, W) → (B, 4+C+K·D, A)."""
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(images)
    predictor.run()
    return np.asarray(predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu(), np.float32)


def _load(path: Path, options: OpenOptions) -> tuple[Any, list[int], list[int]]:
    """Load a folder, with oneDNN if that can run it: the predictor, and the shapes of its input and output."""
    runtime = _paddle().inference
    program = next((file for file in path.glob("*.json") if file.with_suffix(WEIGHTS).is_file()), None)
    if program is None:
        raise PoseError(f"{path}: expected a program, model.json, and its weights, model{WEIGHTS}")
    for onednn in (True, False):
        config = runtime.Config(str(program), str(program.with_suffix(WEIGHTS)))
        config.disable_gpu()
        config.disable_glog_info()
        config.set_cpu_math_library_num_threads(options.cpu_threads() or os.cpu_count() or 1)  # the default is 1
        (config.enable_mkldnn if onednn else config.disable_mkldnn)()
        try:
            predictor = runtime.create_predictor(config)
            inputs = predictor.get_input_handle(predictor.get_input_names()[0]).shape()
            return predictor, inputs, list(_predict(predictor, np.zeros(inputs, np.float32)).shape)
        except Exception as e:  # Paddle's exception types have no other base in common
            error = one_line(e)
    raise PoseError(f"{path}: Paddle cannot load it: {error[-200:]}")


def _paddle() -> Any:
    """Import Paddle. If TensorFlow is loaded, Paddle would call its functions of the same names and crash.

    `RTLD_DEEPBIND` makes Paddle prefer its own functions.
    """
    with quiet(), ExitStack() as stack:
        if "tensorflow" in sys.modules and hasattr(os, "RTLD_DEEPBIND"):
            stack.callback(sys.setdlopenflags, sys.getdlopenflags())
            sys.setdlopenflags(sys.getdlopenflags() | os.RTLD_DEEPBIND)
        import paddle.inference
    return paddle


def export_paddle(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to the folder `target`.

    Raises:
        PoseError: the network has an operator that cannot be converted.
    """
    import torch

    from yolopose.formats.wrapper import ExportNetwork

    with quiet():
        program = torch.export.export(ExportNetwork(network, baked=info.imgsz), (torch.zeros(1, 3, *info.imgsz),))
        operators = _operators()
        unknown = sorted({_operator_name(node.target) for node in program.graph.nodes} - operators.keys() - {""})
        if unknown:
            raise PoseError(f"no translation to Paddle of torch's operators {', '.join(unknown)}")
        _write(program, operators, (1, 3, *info.imgsz), target)
    save_metadata(target / METADATA, info)


def _write(program: Any, operators: dict[str, Callable[..., Any]], shape: tuple[int, ...], target: Path) -> None:
    """Build the Paddle program of an exported torch program of one input and one output, and save it."""
    import torch

    paddle = _paddle()

    class Translation(torch.fx.Interpreter):
        """Runs the graph with Paddle's functions on Paddle's variables."""

        def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return operators.get(_operator_name(target), target)(*args, **kwargs)

    held = program.state_dict | program.constants
    static, main = paddle.static, paddle.static.Program()
    with ExitStack() as stack:
        if paddle.in_dynamic_mode():  # restored at the end
            stack.callback(paddle.disable_static)
        paddle.enable_static()
        stack.enter_context(static.scope_guard(static.Scope()))
        stack.enter_context(static.program_guard(main, static.Program()))
        images = static.data("images", shape, "float32")
        values = []
        for spec in program.graph_signature.input_specs:
            if spec.target is None:
                values.append(images)
            else:
                array = held[spec.target].detach().numpy()
                start = paddle.nn.initializer.Assign(array)
                values.append(paddle.create_parameter(array.shape, "float32", default_initializer=start))
        (output,) = Translation(program.graph_module).run(*values, enable_io_processing=False)
        executor = static.Executor(paddle.CPUPlace())
        executor.run(static.default_startup_program())
        static.save_inference_model(str(target / "model"), [images], [output], executor, program=main)


def _operator_name(target: Any) -> str:
    """The name of a torch operator, the same for its in-place form; "" for other targets."""
    schema = getattr(target, "_schema", None)
    return schema.name.removeprefix("aten::").rstrip("_") if schema else ""


def _operators() -> dict[str, Callable[..., Any]]:
    """Map names of torch operators to Paddle functions with the same arguments."""
    paddle = _paddle()
    functional = paddle.nn.functional

    def cut(x: Any, axis: int, start: int, end: int, step: int = 1) -> Any:
        return paddle.strided_slice(x, [axis], [start], [min(end, x.shape[axis])], [step])

    return {
        "_assert_tensor_metadata": lambda *_, **__: None,
        "add": operator.add,
        "cat": paddle.concat,
        "chunk": paddle.chunk,
        "conv2d": functional.conv2d,
        "div": operator.truediv,
        "einsum": lambda equation, operands: paddle.einsum(equation, *operands),
        "flatten": paddle.flatten,
        "max_pool2d": functional.max_pool2d,
        "mul": operator.mul,
        "numpy_T": paddle.t,
        "reshape": paddle.reshape,
        "sigmoid": functional.sigmoid,
        "silu": functional.silu,
        "slice": cut,
        "softmax": functional.softmax,
        "sub": operator.sub,
        "to": lambda x, *_: x,  # everything is float32
        "upsample_nearest2d": lambda x, _, scale: functional.interpolate(x, scale_factor=scale, mode="nearest"),
    }
