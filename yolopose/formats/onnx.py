"""ONNX files: written by torch's exporter, run by ONNX Runtime."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.console import log
from yolopose.errors import PoseError, UsageError, first_line, one_line
from yolopose.formats.base import Array, ExportOptions, FileBackend, Float, OpenOptions, loading, to_nchw
from yolopose.formats.calibration import calibration_batches
from yolopose.formats.quantize import quantised_onnx
from yolopose.formats.quiet import quiet
from yolopose.metadata import ModelInfo
from yolopose.telemetry import loaded_before, warn_loaded_before

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

OPSET = 18  # the oldest that torch's current exporter writes
TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}  # of the input


class OnnxBackend(FileBackend):
    """An ONNX Runtime session; ours, Ultralytics' and others' files with one decoded output."""

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Open an ONNX file.

        Raises:
            PoseError: a file that ONNX Runtime cannot read, no pose network, or a device that is not there.
        """
        self._session = session = _session(path, options)
        try:
            inputs, outputs = session.get_inputs(), session.get_outputs()
            shapes = [entry.shape for entry in inputs], [entry.shape for entry in outputs[:1]]
            kind, metadata = inputs[0].type if inputs else "", session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError as e:
            raise PoseError(f"{path}: damaged: a name in it is not UTF-8 ({one_line(e)})") from None
        if kind and kind not in TYPES:
            raise PoseError(f"{path}: its input is {kind}; expected {' or '.join(TYPES)}")
        self._type = np.dtype(TYPES.get(kind, "float32"))
        device = "cpu" if session.get_providers()[0] == "CPUExecutionProvider" else "cuda"
        super().__init__(path, options, metadata, *shapes, precision=self._type.name, device=device)
        self._input, self._output = inputs[0].name, outputs[0].name

    def _run(self, images: Array) -> Float:
        feed = {self._input: to_nchw(images).astype(self._type, copy=False)}
        try:
            return np.asarray(self._session.run([self._output], feed)[0], np.float32)
        except Exception as e:  # of many types: faults of the graph, such as maps that do not fit one another
            raise PoseError(f"{self.path}: ONNX Runtime cannot run it: {first_line(e)}") from None


def _session(path: Path, options: OpenOptions) -> Any:
    """Load a file with ONNX Runtime on the device that the options name."""
    import onnxruntime as ort

    if "onnxruntime" in loaded_before:
        warn_loaded_before("onnxruntime")
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.log_severity_level = 4  # errors are raised as well
    settings.intra_op_num_threads = options.cpu_threads() or 0
    providers = _providers(options.device, ort.get_available_providers())
    if path.is_dir():
        raise PoseError(f"{path}: a folder, not an ONNX file")
    with loading(path, "ONNX Runtime"):
        retry = int(len(providers) > 1)  # without it, the CPU alone: no second attempt that prints and fails again
        session = ort.InferenceSession(str(path), settings, providers=providers, enable_fallback=retry)
    if len(providers) > 1 and session.get_providers()[0] != "CUDAExecutionProvider":
        problem = "this ONNX Runtime cannot load CUDA (is the CUDA and cuDNN that it was built for installed?)"
        if str(options.device or "auto").lower() not in ("auto", "none", "-1"):
            raise UsageError(f"device={options.device}: {problem}; device=cpu runs on the CPU")
        log.warning(f"{problem}; running on the CPU")
    return session


def _providers(device: str | None, available: list[str]) -> list[Any]:
    """ONNX Runtime's execution providers for the device None, cpu, cuda, cuda:1, 1 or -1."""
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
        raise UsageError(f"device={device}: this ONNX Runtime has no CUDA; pip install onnxruntime-gpu, or device=cpu")
    index = int(name) if name.isdecimal() else 0
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]


def export_onnx(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to `target` as a single ONNX file. Raises PoseError as `onnx_model`."""
    import onnx

    onnx.save_model(onnx_model(network, options, info), str(target))


def onnx_model(network: PoseNet, options: ExportOptions, info: ModelInfo, *, symmetric: bool = False) -> Any:
    """Convert `network` to an ONNX model with the metadata of `info`; `symmetric` as for `quantised_onnx`.

    Raises:
        PoseError: an operator set that torch cannot write, or images for calibrating 8 bits that cannot be read.
    """
    import onnx

    model = _graph(network, options, info)
    if options.simplify:
        import onnxslim

        model = onnxslim.slim(model)
    _einsum_as_matmul(model)
    if options.int8:
        model = quantised_onnx(model, calibration_batches(info, options.data), symmetric=symmetric)
    _name_axes(model, info, options)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, info.to_strings())
    return model


def _graph(network: PoseNet, options: ExportOptions, info: ModelInfo) -> Any:
    """Let torch write the ONNX model; below `OPSET` by its older exporter, whose graphs are valid there."""
    import onnx
    import torch

    from yolopose.formats.wrapper import ExportNetwork

    opset, newest = options.opset or OPSET, onnx.defs.onnx_opset_version()
    if opset > newest:
        raise UsageError(f"opset={opset}: the newest that this onnx {onnx.__version__} knows is {newest}")
    wrapper = ExportNetwork(network, half=options.half, suppression=options.suppression)
    # torch would take an axis of size 1 for a constant
    example = torch.zeros(max(info.batch, 2 if info.dynamic else 1), 3, *info.imgsz)
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["output0"], "opset_version": opset}
    write = _write_new if opset >= OPSET else _write_old
    with quiet():
        try:
            model = write(wrapper, example, names, info.stride if info.dynamic else None)
        except (ValueError, torch.onnx.errors.OnnxExporterError) as e:
            raise PoseError(f"opset={opset}: torch cannot write this network in it: {first_line(e)}") from None
    if model.opset_import[0].version != opset:
        raise PoseError(f"opset={opset}: torch cannot convert this network to it; leave opset out")
    return model


def _write_new(wrapper: Any, example: Any, names: dict[str, Any], stride: int | None) -> Any:
    """Write it by torch.export; with `stride` batch, height and width are open, the latter two in its multiples."""
    import torch
    from torch.export import Dim

    axes = None
    if stride:
        axes = ({0: Dim("batch", min=1), 2: stride * Dim("rows", min=1), 3: stride * Dim("columns", min=1)},)
    program = torch.onnx.export(wrapper, (example,), dynamo=True, verbose=False, dynamic_shapes=axes, **names)
    assert program is not None
    return program.model_proto


def _write_old(wrapper: Any, example: Any, names: dict[str, Any], stride: int | None) -> Any:
    """Write it by tracing; arguments as for `_write_new`."""
    import onnx
    import torch

    axes = {"images": {0: "batch", 2: "height", 3: "width"}, "output0": {0: "batch", 2: "anchors"}}
    buffer: Any = io.BytesIO()
    torch.onnx.export(wrapper, (example,), buffer, dynamo=False, dynamic_axes=axes if stride else None, **names)
    return onnx.load_from_string(buffer.getvalue())


def _einsum_as_matmul(model: Any) -> None:
    """Replace the Einsum of the box distances, slow in ONNX Runtime, by a matrix product."""
    for node in model.graph.node:
        if node.op_type == "Einsum":  # (B, 4, bins, A), (bins,) → (B, 4, A)
            shares, distances = node.input
            node.op_type = "MatMul"
            node.input[:] = [distances, shares]
            del node.attribute[:]


def _name_axes(model: Any, info: ModelInfo, options: ExportOptions) -> None:
    """Name the axes of input and output, or set their sizes, in place of the exporter's formulas."""
    k, d = info.kpt_shape
    batch, h, w, anchors = ("batch", "height", "width", "anchors") if info.dynamic else (info.batch, *info.imgsz, None)
    output = (options.suppression.max_det, 6 + k * d) if options.suppression else (info.channels, anchors)
    axes: dict[str, tuple[Any, ...]] = {"images": (batch, 3, h, w), "output0": (batch, *output)}
    for value in (*model.graph.input, *model.graph.output):
        for dim, size in zip(value.type.tensor_type.shape.dim, axes[value.name], strict=True):
            if isinstance(size, int):
                dim.dim_value = size
            elif size:
                dim.dim_param = size
