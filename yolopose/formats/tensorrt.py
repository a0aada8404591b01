"""TensorRT: an engine built from our ONNX for the GPU at hand. Not run by us: no such GPU was at hand.

Written to the documented interface of TensorRT 10 and 11, and tested with a stand-in for it. Types follow the ONNX file
(strong typing, which version 11 leaves no choice about): 16-bit convolutions with a 32-bit decode, or convolutions in 8
bits where the file says so.
"""

from __future__ import annotations

import json
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.console import log
from yolopose.errors import PoseError, first_line, one_line
from yolopose.formats.base import (
    Array,
    Backend,
    ExportOptions,
    Float,
    OpenOptions,
    decoded,
    in_batches_of,
    keep_precision,
    refuse_other_shape,
    to_rgb,
)
from yolopose.formats.calibration import calibration_batches
from yolopose.formats.onnx import export_onnx
from yolopose.formats.pytorch import choose_device
from yolopose.formats.quantize import quantised_onnx
from yolopose.metadata import ModelInfo, info_from_file, is_end_to_end, stated_precision

if TYPE_CHECKING:
    import torch

    from yolopose.nn.network import PoseNet

MOST_METADATA = 1 << 20  # bytes; a file whose first number is greater begins with the engine itself


class TensorRtBackend(Backend):
    """An engine and its context, which runs one batch at a time: threads take turns. Ours and Ultralytics' files."""

    def __init__(self, path: Path, engine: Any, info: ModelInfo, tensors: Tensors, device: torch.device) -> None:
        self.info = info
        self.precision = stated_precision(info, str(tensors.type).removeprefix("torch."))
        self.device = str(device)
        self.fixed_shape = None if info.dynamic else (info.batch, *info.imgsz)
        self._path, self._device, self._tensors = str(path), device, tensors
        self._engine, self._context, self._lock = engine, engine.create_execution_context(), threading.Lock()
        self._end_to_end = is_end_to_end(tensors.output_shape, info)

    def infer(self, images: Array) -> Float:
        """(B, H, W, 3) → (B, 4+C+K·D, A), see `Backend`."""
        refuse_other_shape(self._path, images, self.fixed_shape)
        largest, size = self._tensors.largest, images.shape[1:3]
        if any(side > most for side, most in zip(size, largest[2:], strict=True)):
            raise PoseError(f"{self._path}: takes images up to {largest[2]}x{largest[3]}, got {size[0]}x{size[1]}")
        if self.fixed_shape:
            return in_batches_of(largest[0], images, self._run)
        parts = [self._run(images[start : start + largest[0]]) for start in range(0, len(images), largest[0])]
        return np.concatenate(parts)

    def _run(self, images: Array) -> Float:
        """One run of the engine on a batch it accepts."""
        import torch

        with torch.cuda.device(self._device):  # TensorRT works on the thread's current one, not on the tensors'
            pixels = torch.from_numpy(to_rgb(images)).to(self._device).permute(0, 3, 1, 2)
            floats = pixels.to(self._tensors.type, memory_format=torch.contiguous_format)
            floats = floats.div_(255) if pixels.dtype == torch.uint8 else floats
            with self._lock:
                output = self._execute(floats).float().cpu().numpy()
        return decoded(output, len(self.info.names)) if self._end_to_end else np.asarray(output)

    def _execute(self, floats: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) → the output, both on the device; returns when it is there."""
        import torch

        context, tensors = self._context, self._tensors
        if not context.set_input_shape(tensors.input, tuple(floats.shape)):
            raise PoseError(f"{self._path}: TensorRT refuses an input of {list(floats.shape)}")
        shape = tuple(context.get_tensor_shape(tensors.output))
        output = torch.empty(shape, dtype=tensors.output_type, device=self._device)
        context.set_tensor_address(tensors.input, floats.data_ptr())
        context.set_tensor_address(tensors.output, output.data_ptr())
        stream = torch.cuda.current_stream(self._device)
        if not context.execute_async_v3(stream.cuda_stream):
            raise PoseError(f"{self._path}: TensorRT failed to run it")
        stream.synchronize()
        return output


class Tensors:
    """The names, types and shapes of the input and the output of an engine; -1 is a side left open.

    `largest` is the greatest (B, 3, H, W) it takes.
    """

    def __init__(self, trt: Any, engine: Any) -> None:
        """Raises ValueError when the engine has others, or other types."""
        import torch

        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        outputs = [name for name in names if name not in inputs]
        shapes = [[tuple(engine.get_tensor_shape(name)) for name in side] for side in (inputs, outputs)]
        if [len(shape) for side in shapes for shape in side] != [4, 3] or len(inputs) != 1:
            raise ValueError(f"expected one image input and one decoded output, got {shapes[0]} → {shapes[1]}")
        self.input, self.output = inputs[0], outputs[0]
        self.input_shape, self.output_shape = shapes[0][0], shapes[1][0]
        known = {trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16}
        types = [engine.get_tensor_dtype(name) for name in (self.input, self.output)]
        if any(kind not in known for kind in types):
            raise ValueError(f"expected floats in and out, got {types}")
        self.type, self.output_type = (known[kind] for kind in types)
        open_ = any(side < 0 for side in self.input_shape)
        profile = engine.get_tensor_profile_shape(self.input, 0)[2] if open_ else self.input_shape
        self.largest = tuple(profile)


def open_tensorrt(path: Path, options: OpenOptions) -> TensorRtBackend:
    """Open an engine with TensorRT, on the kind of GPU and with the version that built it.

    An engine holds machine code: open files of people you trust. What it says of itself is read first.

    Raises:
        PoseError: no GPU, an engine that TensorRT cannot load here, or no pose network.
        UsageError: a device that is not there.
    """
    import torch

    device = _gpu(str(path), options.device)
    metadata, plan = read_engine(path)
    trt = _tensorrt(str(path))
    with torch.cuda.device(device):
        engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(plan)
        if engine is None:
            made = f"made by TensorRT {metadata.get('tensorrt', '?')} for {metadata.get('gpu', 'another GPU')}"
            raise PoseError(f"{path}: TensorRT {trt.__version__} cannot load it; {made}; export it on this machine")
        try:
            tensors = Tensors(trt, engine)
        except ValueError as e:
            raise PoseError(f"{path}: {e}") from None
        sides = [side if side >= 0 else None for side in tensors.input_shape]
        output = [side if side >= 0 else None for side in tensors.output_shape]
        info = info_from_file(str(path), metadata, sides, output, options.kpt_shape)
        backend = TensorRtBackend(path, engine, info, tensors, device)
    keep_precision(str(path), backend.precision, options)
    return backend


def read_engine(path: Path) -> tuple[dict[str, Any], bytes]:
    """What a file says of itself, and the engine: 4 bytes of length, JSON, engine, as in Ultralytics' files.

    A file that is an engine and no more says nothing. Raises PoseError when it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as e:
        raise PoseError(f"{path}: {e.strerror or e}") from None
    length = int.from_bytes(data[:4], "little")
    if not 0 < length < min(len(data) - 4, MOST_METADATA):
        return {}, data
    try:
        values = json.loads(data[4 : 4 + length])
    except ValueError:
        return {}, data
    return (values, data[4 + length :]) if isinstance(values, dict) else ({}, data)


def check_tensorrt(options: ExportOptions, target: Path) -> None:
    """Raise PoseError without a GPU, UsageError for one that is not there."""
    _gpu("format=engine", options.device)


def export_tensorrt(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write an engine of `network` for this machine's GPU to `target`, behind its metadata.

    With `dynamic` it takes every size from one stride to `imgsz`, and every batch up to `batch`. With `int8` ranges
    are measured on `options.data`; all but convolutions stays in float32.

    Raises:
        PoseError: no GPU, or TensorRT cannot build the network.
        UsageError: a device that is not there.
    """
    import torch

    device = _gpu("format=engine", options.device)
    trt = _tensorrt("format=engine")
    model = _onnx(network, options, info)
    with torch.cuda.device(device):
        log.info("TensorRT times its kernels on this GPU, which takes minutes")
        plan = build(trt, model, options, info)
        made_by = {"tensorrt": str(trt.__version__), "gpu": torch.cuda.get_device_name(device)}
    header = json.dumps(replace(info, extra=info.extra | made_by).described()).encode()
    target.write_bytes(len(header).to_bytes(4, "little") + header + plan)


def _onnx(network: PoseNet, options: ExportOptions, info: ModelInfo) -> bytes:
    """The network as ONNX, its convolutions in the type that was asked for."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        floats = replace(options, half=options.half and not options.int8, int8=False)
        export_onnx(network, floats, info, path)
        if not options.int8:
            return path.read_bytes()
        import onnx

        model = quantised_onnx(onnx.load(path), calibration_batches(info, options.data), symmetric=True)
        return bytes(model.SerializeToString())


def build(trt: Any, model: bytes, options: ExportOptions, info: ModelInfo) -> bytes:
    """The engine of an ONNX model. Raises PoseError with what TensorRT says when it cannot make one."""
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        reasons = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise PoseError(f"format=engine: TensorRT cannot read the ONNX model: {first_line('; '.join(reasons))}")
    settings = builder.create_builder_config()
    settings.clear_flag(trt.BuilderFlag.TF32)  # on by default: 10 bits of mantissa under the name of float32
    if options.workspace:
        settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(options.workspace * (1 << 30)))
    if info.dynamic:
        profile = builder.create_optimization_profile()
        largest = (info.batch, 3, *info.imgsz)
        profile.set_shape(network.get_input(0).name, (1, 3, info.stride, info.stride), largest, largest)
        settings.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, settings)
    if plan is None:
        raise PoseError("format=engine: TensorRT cannot build this network here; its own lines above say why")
    return bytes(plan)


def _tensorrt(what: str) -> Any:
    """The module. Raises PoseError when it is there but its libraries are not."""
    try:
        import tensorrt
    except ModuleNotFoundError:
        raise
    except ImportError as e:
        raise PoseError(f"{what}: TensorRT cannot be loaded: {one_line(e)}") from None
    return tensorrt


def _gpu(what: str, device: str | None) -> torch.device:
    """The GPU that a user means. Raises PoseError where there is none, UsageError as `choose_device`."""
    chosen = choose_device(device)
    if chosen.type != "cuda":
        raise PoseError(f"{what}: TensorRT needs an NVIDIA GPU, of the machine that will run the engine; here is none")
    return chosen
