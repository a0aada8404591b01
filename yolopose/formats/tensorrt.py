"""TensorRT engines: built from our ONNX for the GPU of this machine. Not run by us: no such GPU was at hand.

Written to the documented interface of TensorRT 10 and 11, and tested with a stand-in for it. Types are those of the
ONNX file (strong typing, the only kind in version 11): 16-bit convolutions with a 32-bit decode, or 8-bit convolutions
where the file has them.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.console import log
from yolopose.errors import PoseError, first_line
from yolopose.formats.base import Array, ExportOptions, FileBackend, Float, OpenOptions, to_rgb
from yolopose.formats.onnx import onnx_model
from yolopose.formats.pytorch import choose_device
from yolopose.limits import MAX_ENGINE_METADATA
from yolopose.metadata import ModelInfo

if TYPE_CHECKING:
    import torch

    from yolopose.nn.network import PoseNet


class TensorRtBackend(FileBackend):
    """An engine and its context, which runs one batch at a time: threads take turns. Ours and Ultralytics' files.

    An engine contains machine code: open files of people you trust.
    """

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Open an engine on the kind of GPU and with the version of TensorRT that built it.

        Raises:
            PoseError: no GPU, an engine that TensorRT cannot load here, or no pose network.
            UsageError: a device that is not there.
        """
        import torch

        self._device = _gpu(str(path), options.device)
        metadata, plan = read_engine(path)
        import tensorrt as trt

        with torch.cuda.device(self._device):
            engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(plan)
            if engine is None:
                made = f"made by TensorRT {metadata.get('tensorrt', '?')} for {metadata.get('gpu', 'another GPU')}"
                raise PoseError(f"{path}: TensorRT {trt.__version__} cannot load it; {made}; export it on this machine")
            names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
            names.sort(key=lambda name: engine.get_tensor_mode(name) != trt.TensorIOMode.INPUT)  # inputs first
            n = sum(engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names)
            shapes = [tuple(side if side >= 0 else None for side in engine.get_tensor_shape(name)) for name in names]
            types = [engine.get_tensor_dtype(name) for name in names]
            known = {trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16}
            if not known.keys() >= set(types):
                raise PoseError(f"{path}: expected floats in and out, got {types}")
            self._types = [known[kind] for kind in types]
            precision = str(self._types[0]).removeprefix("torch.")
            on = str(self._device)
            super().__init__(path, options, metadata, shapes[:n], shapes[n:], precision=precision, device=on)
            self._input, self._output = names
            open_sides = None in shapes[0]
            self._largest = tuple(engine.get_tensor_profile_shape(self._input, 0)[2] if open_sides else shapes[0])
            self._engine, self._context, self._lock = engine, engine.create_execution_context(), threading.Lock()

    def infer(self, images: Array) -> Float:
        """(B, H, W, 3) → (B, 4+C+K·D, A), see `Backend`; in batches that an engine of open shape takes."""
        batch, _, h, w = self._largest
        rows, columns = images.shape[1:3]
        if self.fixed_shape is None and (rows > h or columns > w):
            raise PoseError(f"{self.path}: takes images up to {h}x{w}, got {rows}x{columns}")
        parts = [super(TensorRtBackend, self).infer(images[i : i + batch]) for i in range(0, len(images), batch)]
        return np.concatenate(parts)

    def _run(self, images: Array) -> Float:
        import torch

        context, device = self._context, self._device
        with torch.cuda.device(device):  # TensorRT works on the thread's current device, not on that of the tensors
            pixels = torch.from_numpy(to_rgb(images)).to(device).permute(0, 3, 1, 2)
            floats = pixels.to(self._types[0], memory_format=torch.contiguous_format)
            floats = floats.div_(255) if pixels.dtype == torch.uint8 else floats
            with self._lock:
                if not context.set_input_shape(self._input, tuple(floats.shape)):
                    raise PoseError(f"{self.path}: TensorRT refuses an input of {list(floats.shape)}")
                output = torch.empty(tuple(context.get_tensor_shape(self._output)), dtype=self._types[1], device=device)
                context.set_tensor_address(self._input, floats.data_ptr())
                context.set_tensor_address(self._output, output.data_ptr())
                stream = torch.cuda.current_stream(device)
                if not context.execute_async_v3(stream.cuda_stream):
                    raise PoseError(f"{self.path}: TensorRT failed to run it")
                stream.synchronize()
                return np.asarray(output.float().cpu().numpy())


def read_engine(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the metadata and the engine of a file: 4 bytes of length, JSON, engine, as in Ultralytics' files.

    A file that is a bare engine has no metadata.
    """
    data = path.read_bytes()
    length = int.from_bytes(data[:4], "little")
    if 0 < length < min(len(data) - 4, MAX_ENGINE_METADATA):
        with suppress(ValueError):
            values = json.loads(data[4 : 4 + length])
            if isinstance(values, dict):
                return values, data[4 + length :]
    return {}, data


def check_tensorrt(options: ExportOptions, target: Path) -> None:
    """Raise PoseError without a GPU, UsageError for one that is not there."""
    _gpu("format=engine", options.device)


def export_tensorrt(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write an engine of `network` for this machine's GPU to `target`, after its metadata.

    A dynamic one takes every size from one stride to `imgsz`, and every batch up to `batch`. With `int8` ranges are
    measured on `options.data`; all but convolutions stays in float32.

    Raises:
        PoseError: no GPU, or TensorRT cannot build the network.
        UsageError: a device that is not there.
    """
    import torch

    device = _gpu("format=engine", options.device)
    import tensorrt as trt

    model = onnx_model(network, options, info, symmetric=True)
    with torch.cuda.device(device):
        log.info("TensorRT times its kernels on this GPU, which takes minutes")
        plan = _build_engine(trt, model.SerializeToString(), options, info)
        made_by = {"tensorrt": str(trt.__version__), "gpu": torch.cuda.get_device_name(device)}
    header = json.dumps(replace(info, extra=info.extra | made_by).file_metadata()).encode()
    target.write_bytes(len(header).to_bytes(4, "little") + header + plan)


def _build_engine(trt: Any, model: bytes, options: ExportOptions, info: ModelInfo) -> bytes:
    """Build the engine of an ONNX model. Raises PoseError with TensorRT's reason when it cannot."""
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
        raise PoseError("format=engine: TensorRT cannot build this network here; see its own messages above")
    return bytes(plan)


def _gpu(name: str, device: str | None) -> torch.device:
    """Return the GPU of `device`. Raises PoseError when there is none, UsageError as `choose_device`."""
    chosen = choose_device(device)
    if chosen.type != "cuda":
        needed = "needs an NVIDIA GPU, of the machine that will run the engine"
        raise PoseError(f"{name}: TensorRT {needed}; this one has none")
    return chosen
