"""ONNX files: written by torch's exporter, run by ONNX Runtime."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.config import ExportConfig
from yolopose.console import log
from yolopose.errors import PoseError, UsageError, first_line, one_line, shown
from yolopose.formats.base import (
    Array,
    Backend,
    Float,
    OpenOptions,
    in_batches_of,
    keep_precision,
    refuse_other_shape,
    to_nchw,
)
from yolopose.formats.describe import decoded, describe, is_end_to_end, stated_precision
from yolopose.formats.quantize import batches, quantised_onnx
from yolopose.formats.quiet import unwarned
from yolopose.metadata import ModelInfo
from yolopose.telemetry import tell_if_early

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

OPSET = 18  # the oldest that torch's current exporter writes


class OnnxBackend(Backend):
    """An ONNX Runtime session; ours, Ultralytics' and others' files with one decoded output."""

    def __init__(self, name: str, session: Any, info: ModelInfo) -> None:
        self.info = info
        self._name = name
        self._session = session
        entry, result = session.get_inputs()[0], session.get_outputs()[0]
        batch, _, h, w = entry.shape
        self._input, self._output = entry.name, result.name
        self._type = np.float16 if entry.type == "tensor(float16)" else np.float32
        self._batch = batch if isinstance(batch, int) else None
        self._end_to_end = is_end_to_end(result.shape, info)
        self.fixed_shape = (self._batch or 1, h, w) if isinstance(h, int) and isinstance(w, int) else None
        self.precision = stated_precision(info, np.dtype(self._type).name)
        self.device = "cpu" if session.get_providers()[0] == "CPUExecutionProvider" else "cuda"

    def infer(self, images: Array) -> Float:
        """(B, H, W, 3) → (B, 4+C+K·D, A), see `Backend`."""
        refuse_other_shape(self._name, images, self.fixed_shape)
        return in_batches_of(self._batch, images, self._run) if self._batch else self._run(images)

    def _run(self, images: Array) -> Float:
        """One run of the session on a batch it accepts."""
        feed = {self._input: to_nchw(images).astype(self._type, copy=False)}
        try:
            output = np.asarray(self._session.run([self._output], feed)[0], np.float32)
        except Exception as e:  # as in `open_onnx`: the graph's own faults, such as maps that do not fit one another
            raise PoseError(f"{self._name}: ONNX Runtime cannot run it: {first_line(e)}") from None
        k, d = self.info.kpt_shape
        given = output.shape[2 if self._end_to_end else 1] if output.ndim == 3 and len(output) == len(images) else None
        if given != (6 + k * d if self._end_to_end else self.info.channels):
            raise PoseError(f"{self._name}: its output {list(output.shape)} is not what the file says it is")
        return decoded(output, len(self.info.names)) if self._end_to_end else output


def open_onnx(path: Path, options: OpenOptions) -> OnnxBackend:
    """Open an ONNX file with ONNX Runtime.

    Raises:
        PoseError: a file that ONNX Runtime cannot read, no pose network, or a device that is not there.
    """
    import onnxruntime as ort

    tell_if_early("onnxruntime")
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.log_severity_level = 4  # errors are raised too, and told in one line
    settings.intra_op_num_threads = options.cpu_threads() or 0
    providers = _providers(options.device, ort.get_available_providers())
    try:
        retry = int(len(providers) > 1)  # it would print the error, and fail again
        session = ort.InferenceSession(str(path), settings, providers=providers, enable_fallback=retry)
    except Exception as e:  # ONNX Runtime's own exception types share no base but this one
        raise PoseError(f"{path}: ONNX Runtime cannot load it: {first_line(e)}") from None
    _check_fallback(options.device, providers, session.get_providers())
    try:
        inputs, outputs = session.get_inputs(), session.get_outputs()
        shapes = [entry.shape for entry in inputs], [entry.shape for entry in outputs]
        types, metadata = [entry.type for entry in inputs], session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as e:
        raise PoseError(f"{path}: damaged: a name in it is not UTF-8 ({one_line(e)})") from None
    if [len(shape) for shape in shapes[0]] != [4] or not outputs or len(shapes[1][0]) != 3:
        told = f"{shown(shapes[0])} → {shown(shapes[1])}"
        raise PoseError(f"{path}: expected one image input and one decoded (B, 4+C+K·D, A) output, got {told}")
    if types[0] not in ("tensor(float)", "tensor(float16)"):
        raise PoseError(f"{path}: its input is {types[0]}; expected tensor(float) or tensor(float16)")
    info = describe(str(path), metadata, shapes[0][0], shapes[1][0], options.kpt_shape)
    backend = OnnxBackend(str(path), session, info)
    keep_precision(str(path), backend.precision, options)
    return backend


def _providers(device: str | None, available: list[str]) -> list[Any]:
    """ONNX Runtime's execution providers for a device as users name it: None, cpu, cuda, cuda:1, 1."""
    name = str(device or "auto").strip().lower().removeprefix("cuda").removeprefix(":") or "0"
    if not name.isdecimal() and name not in ("auto", "none", "cpu", "-1"):
        raise UsageError(f"device={device}: ONNX Runtime runs on one device: cpu, 0 or another GPU's number, or -1")
    gpu = "CUDAExecutionProvider" in available
    if name == "-1":
        found = "does not tell how busy GPUs are; taking GPU 0" if gpu else "has no CUDA; running on the CPU"
        log.info(f"device=-1: this ONNX Runtime {found}")
    if name == "cpu" or (name in ("auto", "none", "-1") and not gpu):
        return ["CPUExecutionProvider"]
    if not gpu:
        raise PoseError(f"device={device}: this ONNX Runtime has no CUDA; pip install onnxruntime-gpu, or device=cpu")
    index = int(name) if name.isdecimal() else 0
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]


def _check_fallback(device: str | None, wanted: list[Any], given: list[str]) -> None:
    """ONNX Runtime takes the CPU where the libraries of CUDA are not found: is a GPU wanted?

    Raises:
        PoseError: a GPU was asked for; where it was only taken as the default, a warning says so.
    """
    if len(wanted) == 1 or given[0] == "CUDAExecutionProvider":
        return
    told = "this ONNX Runtime cannot load CUDA (is the CUDA and cuDNN that it was built for installed?)"
    if str(device or "auto").lower() not in ("auto", "none", "-1"):
        raise PoseError(f"device={device}: {told}; device=cpu runs on the CPU")
    log.warning(f"{told}; running on the CPU")


def export_onnx(network: PoseNet, config: ExportConfig, info: ModelInfo, target: Path) -> None:
    """Write `network` to `target` as a single ONNX file with the metadata of `info`.

    Raises:
        PoseError: an operator set that torch cannot write, or images for calibrating 8 bits that cannot be read.
    """
    import onnx

    from yolopose.formats.calibration import calibration_images

    model = _graph(network, config, info)
    if config.simplify:
        model = _simplify(model)
    _expect_by_products(model)
    if config.int8:
        model = quantised_onnx(model, batches(calibration_images(info, config.data), info.batch))
    _name_axes(model, info, config)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, info.to_strings())
    onnx.save_model(model, str(target))


def _graph(network: PoseNet, config: ExportConfig, info: ModelInfo) -> Any:
    """The ONNX model as torch writes it; below `OPSET` by torch's older exporter, whose graphs are valid there."""
    import onnx
    import torch

    from yolopose.formats.wrapper import ExportNetwork, suppression_of

    opset, newest = config.opset or OPSET, onnx.defs.onnx_opset_version()
    if opset > newest:
        raise UsageError(f"opset={opset}: the newest that this onnx {onnx.__version__} knows is {newest}")
    wrapper = ExportNetwork(network, half=config.half, suppression=suppression_of(config))
    # an axis of size 1 would be taken for one that is always 1
    example = torch.zeros(max(info.batch, 2 if config.dynamic else 1), 3, *info.imgsz)
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["output0"], "opset_version": opset}
    write = _write_new if opset >= OPSET else _write_old
    with _quiet():
        try:
            model = write(wrapper, example, names, info.stride if config.dynamic else None)
        except (ValueError, torch.onnx.errors.OnnxExporterError) as e:
            raise PoseError(f"opset={opset}: torch cannot write this network in it: {first_line(e)}") from None
    if model.opset_import[0].version != opset:
        raise PoseError(f"opset={opset}: torch cannot convert this network to it; leave opset out")
    return model


def _write_new(wrapper: Any, example: Any, names: dict[str, Any], stride: int | None) -> Any:
    """By torch.export; `stride` opens batch, height and width, the latter two in its multiples."""
    import torch
    from torch.export import Dim

    axes = None
    if stride:
        axes = ({0: Dim("batch", min=1), 2: stride * Dim("rows", min=1), 3: stride * Dim("columns", min=1)},)
    program = torch.onnx.export(wrapper, (example,), dynamo=True, verbose=False, dynamic_shapes=axes, **names)
    assert program is not None
    return program.model_proto


def _write_old(wrapper: Any, example: Any, names: dict[str, Any], stride: int | None) -> Any:
    """By tracing; arguments as for `_write_new`."""
    import onnx
    import torch

    axes = {"images": {0: "batch", 2: "height", 3: "width"}, "output0": {0: "batch", 2: "anchors"}}
    buffer: Any = io.BytesIO()
    torch.onnx.export(wrapper, (example,), buffer, dynamo=False, dynamic_axes=axes if stride else None, **names)
    return onnx.load_from_string(buffer.getvalue())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on its own internals."""
    logger = logging.getLogger("torch.onnx")
    with unwarned():
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def _simplify(model: Any) -> Any:
    """The graph with constants folded and needless nodes removed."""
    import onnxslim

    return onnxslim.slim(model)


def _expect_by_products(model: Any) -> None:
    """Put a matrix product in place of the Einsum of the box distances, which ONNX Runtime is slow at."""
    for node in model.graph.node:
        if node.op_type == "Einsum":  # (B, 4, bins, A), (bins,) → (B, 4, A)
            shares, distances = node.input
            node.op_type = "MatMul"
            node.input[:] = [distances, shares]
            del node.attribute[:]


def _name_axes(model: Any, info: ModelInfo, config: ExportConfig) -> None:
    """Give the input's and output's axes their names or sizes; the exporter leaves formulas there."""
    k, d = info.kpt_shape
    batch, h, w, anchors = (
        ("batch", "height", "width", "anchors") if config.dynamic else (info.batch, *info.imgsz, None)
    )
    output = [batch, config.max_det, 6 + k * d] if config.nms else [batch, info.channels, anchors]
    axes: dict[str, list[Any]] = {"images": [batch, 3, h, w], "output0": output}
    for value in (*model.graph.input, *model.graph.output):
        for dim, size in zip(value.type.tensor_type.shape.dim, axes[value.name], strict=True):
            if isinstance(size, int):
                dim.dim_value = size
            elif size:
                dim.dim_param = size
