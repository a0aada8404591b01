"""OpenVINO: folders converted from torch, quantised by NNCF, run by OpenVINO on the CPU."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.console import log
from yolopose.errors import PoseError, UsageError, one_line
from yolopose.formats.base import (
    Array,
    ExportOptions,
    FileBackend,
    Float,
    OpenOptions,
    candidates_above,
    refuse_other_device,
)
from yolopose.formats.calibration import calibration_batches
from yolopose.formats.quantize import quantised_openvino
from yolopose.formats.quiet import quiet
from yolopose.formats.sparse import Branch, Layer, SparseHead, layer
from yolopose.metadata import METADATA, ModelInfo, load_metadata, save_metadata
from yolopose.telemetry import loaded_before, warn_loaded_before

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

XML = "model.xml"  # so that a folder can be renamed; files of any name are read
BRANCHES = {"2": "box", "3": "class", "4": "keypoint"}  # the head's convolutions are called head.box.0.1 in our files
MIN_SPARSE_CONF = 0.05  # a lower threshold finds many cells: computing the whole head is faster
MOST_CELLS = 500  # per image


class OpenvinoBackend(FileBackend):
    """An OpenVINO model on the CPU; ours, Ultralytics' and others' folders with one decoded output.

    Pixels become floats within the model. The candidates of our files come from a model cut off before the box and
    keypoint branches, which `SparseHead` then runs where the class branch finds something.
    """

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Open a folder that holds one OpenVINO model, whatever its name.

        Raises:
            PoseError: no model in the folder, one that OpenVINO cannot read, or no pose network.
            UsageError: a device other than the CPU, or bf16 on a CPU without it.
        """
        refuse_other_device(str(path), options)
        self._model = model = _read_model(path)
        shapes = ([_sizes(port) for port in ports] for ports in (model.inputs, model.outputs))
        file_options = OpenOptions(kpt_shape=options.kpt_shape)  # device and precision are chosen here
        super().__init__(path, file_options, load_metadata(path / METADATA), *shapes)
        hint, self.precision = _precision(self.path, self.precision, options)
        self._settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
        if threads := options.cpu_threads():
            self._settings["INFERENCE_NUM_THREADS"] = threads
        self._compiled: dict[tuple[str, bool], tuple[Any, list[Any]]] = {}
        self._lock = threading.Lock()
        self._sparse = None if self._end_to_end else _sparse_head(model, self.info)
        self._compile(np.dtype(np.uint8), cut=self._sparse is not None)  # now, not at the first prediction

    def candidates(self, images: Array, conf: float) -> list[Float]:
        """(B, H, W, 3) → rows as `Backend.candidates`."""
        self.check_size(images)
        rows = None
        if self._sparse and conf >= MIN_SPARSE_CONF and self._batch in (None, len(images)):
            with self._outputs(images, cut=True) as outputs:
                maps = [output if self.fixed_shape else output.transpose(0, 2, 3, 1) for output in outputs]
                half = len(maps) // 2
                most = MOST_CELLS * len(images)
                rows = self._sparse.candidates(maps[:half], maps[half:], images.shape[1], conf, most)
        return candidates_above(self.infer(images), len(self.info.names), conf) if rows is None else rows

    def _run(self, images: Array) -> Float:
        with self._outputs(images, cut=False) as (output,):
            return output.astype(np.float32)

    @contextmanager
    def _outputs(self, images: Array, *, cut: bool) -> Iterator[list[Float]]:
        """Run the model, whole or cut off; its outputs are overwritten after the block. Each thread has a request."""
        import openvino as ov

        compiled, idle = self._compile(images.dtype, cut)
        try:
            request = idle.pop()
        except IndexError:
            request = compiled.create_infer_request()
        images = np.ascontiguousarray(images)  # this name keeps the memory alive while OpenVINO reads it
        request.set_input_tensor(ov.Tensor(images, shared_memory=True))
        request.infer(share_outputs=True)
        yield [request.get_output_tensor(i).data for i in range(len(compiled.outputs))]
        idle.append(request)

    def _compile(self, dtype: np.dtype[Any], cut: bool) -> tuple[Any, list[Any]]:
        """The model compiled for images of this type, whole or cut off before the head's branches; idle requests."""
        key = (dtype.name, cut)
        with self._lock:
            if key not in self._compiled:
                model = _cut(self._model) if cut else self._model.clone()
                # maps as they lie in memory; with open sizes that would cost a copy
                model = _with_pixels(model, dtype, channels_last=cut and self.fixed_shape is not None)
                self._compiled[key] = _core().compile_model(model, "CPU", self._settings), []
        return self._compiled[key]


def _read_model(path: Path) -> Any:
    """The OpenVINO model in a folder."""
    files = sorted(path.glob("*.xml")) if path.is_dir() else []
    if len(files) != 1:
        raise PoseError(f"{path}: expected a folder with one .xml and its .bin, found {len(files)} .xml")
    core = _core()
    try:
        return core.read_model(files[0])
    except RuntimeError as e:
        last = (str(e).strip() or "RuntimeError").splitlines()[-1]
        raise PoseError(f"{path}: OpenVINO cannot read it: {one_line(last)}") from None


def _core() -> Any:
    """OpenVINO's `Core`, which lists devices and compiles models."""
    with quiet():
        import openvino as ov
    if "openvino" in loaded_before:
        warn_loaded_before("openvino")
    return ov.Core()


def _precision(name: str, stated: str, options: OpenOptions) -> tuple[str, str]:
    """OpenVINO's and our name of the type that convolutions compute in. Raises UsageError for bf16 without it."""
    able = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if stated == "int8" and (options.half or options.bf16):
        log.warning(f"{name}: computes in int8, as it was exported; half and bf16 change nothing")
    elif options.bf16:
        if "BF16" not in able:
            raise UsageError("bf16=True: this CPU has neither AVX512-BF16 nor AMX; leave it out")
        return "bf16", "bfloat16"
    elif options.half and "FP16" in able:
        return "f16", "float16"
    elif options.half and stated != "float16":
        log.warning(f"{name}: this CPU computes no 16-bit floats; staying in {stated} (bf16=True where the CPU has it)")
    return "f32", stated


def _sizes(port: Any) -> list[int | None]:
    """A shape with None where it is open."""
    if port.partial_shape.rank.is_dynamic:
        return []
    return [dim.get_length() if dim.is_static else None for dim in port.partial_shape]


def _with_pixels(model: Any, dtype: np.dtype[Any], *, channels_last: bool) -> Any:
    """The model taking (B, H, W, 3) BGR images, uint8 or float32 from 0 to 1, in place of RGB (B, 3, H, W).

    With `channels_last` its outputs are (B, h, w, c) in place of (B, c, h, w).
    """
    import openvino as ov
    from openvino.preprocess import ColorFormat, PrePostProcessor

    nchw, nhwc = ov.Layout("NCHW"), ov.Layout("NHWC")
    steps = PrePostProcessor(model)
    image = steps.input()
    image.tensor().set_element_type(ov.Type(dtype)).set_layout(nhwc).set_color_format(ColorFormat.BGR)
    image.model().set_layout(nchw)
    image.preprocess().convert_element_type(ov.Type.f32).convert_color(ColorFormat.RGB)
    if dtype == np.uint8:
        image.preprocess().scale(255.0)
    for output in map(steps.output, range(len(model.outputs) if channels_last else 0)):
        output.model().set_layout(nchw)
        output.tensor().set_layout(nhwc)
    return steps.build()


def _cut(model: Any) -> Any:
    """A copy that ends with, per level, the class logits, then per level what the head's branches read."""
    import openvino as ov

    model = model.clone()
    head = _head(model)
    levels = range(len(head) // 9)
    features = [head[f"head.box.{i}.0"].input_value(0) for i in levels]
    makers = [value.get_node() for value in features]
    for i, maker in enumerate(makers):
        if maker.get_type_name() == "FakeQuantize":  # what lies before it is in floats
            features[i] = maker.input_value(0)
    outputs = [_end(head[f"head.class.{i}.2"]).output(0) for i in levels] + features
    return ov.Model(outputs, model.get_parameters(), "cut")


def _head(model: Any) -> dict[str, Any]:
    """The convolutions of the head's branches by name; none in files that are not ours."""
    convolutions = (op for op in model.get_ops() if op.get_type_name() == "Convolution")
    return {op.get_friendly_name(): op for op in convolutions if op.get_friendly_name().startswith("head.")}


def _end(conv: Any) -> Any:
    """The node that adds a convolution's bias; the convolution itself where a bias of zero was left out."""
    user = next(iter(conv.output(0).get_target_inputs())).get_node()
    return user if user.get_type_name() == "Add" else conv


def _sparse_head(model: Any, info: ModelInfo) -> SparseHead | None:
    """The box and keypoint branches of one of our files, in float32; None for others."""
    head = _head(model)
    if not head:
        return None

    def convolution(name: str) -> Layer:
        weight, end = _constant(head[name].input_value(1)), _end(head[name])
        has_bias = end.get_type_name() == "Add"
        return layer(weight, _constant(end.input_value(1)) if has_bias else np.zeros(len(weight), np.float32))

    def branch(name: str) -> Branch:
        return [convolution(f"{name}.{i}") for i in range(3)]

    levels = [(branch(f"head.box.{i}"), branch(f"head.keypoint.{i}")) for i in range(len(head) // 9)]
    return SparseHead(levels, info.kpt_shape)


def _constant(value: Any) -> Float:
    """The value of a constant of the graph, decompressed."""
    import openvino as ov
    from openvino import opset13 as ops

    model = ov.Model([ops.result(value)], [], "constant")
    return np.asarray(_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({})[0], np.float32)


def export_openvino(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to the folder `target`: model.xml, model.bin and metadata.yaml.

    Raises:
        PoseError: the images that calibrate 8 bits cannot be read.
    """
    with quiet():
        import openvino as ov
    model = _convert(network, options, info)
    if options.int8:
        last = [_end(op) for name, op in _head(model).items() if name.endswith(".2")]
        model = quantised_openvino(model, calibration_batches(info, options.data), last)
    target.mkdir(parents=True)
    ov.save_model(model, target / XML, compress_to_fp16=options.half)
    save_metadata(target / METADATA, info)


def _convert(network: PoseNet, options: ExportOptions, info: ModelInfo) -> Any:
    """Convert the network, with names for the convolutions of its head."""
    import openvino as ov
    import torch

    from yolopose.formats.wrapper import ExportNetwork

    baked = None if info.dynamic else info.imgsz
    wrapper = ExportNetwork(network, baked=baked, suppression=options.suppression)
    example = torch.zeros(2 if info.dynamic else info.batch, 3, *info.imgsz)
    shape = [-1, 3, -1, -1] if info.dynamic else list(example.shape)
    with quiet():
        model = ov.convert_model(wrapper, example_input=example, input=[shape])
    model.output(0).get_tensor().set_names({"output0"})
    _name_head(model)
    _einsum_as_sum(model)
    return model


def _name_head(model: Any) -> None:
    """Rename the convolutions of the head's branches, as `_head` finds them."""
    for op in model.get_ops():
        match = re.search(r"\.cv([234])\.(\d+)\.([012])\b", op.get_friendly_name())
        if match and op.get_type_name() == "Convolution":
            branch, level, position = match.groups()
            op.set_friendly_name(f"head.{BRANCHES[branch]}.{level}.{position}")


def _einsum_as_sum(model: Any) -> None:
    """Replace the matrix product that ends the box distances by a product and a sum.

    With bfloat16 OpenVINO computes everything before the last matrix product or convolution in 16 bits, and what
    follows in float32, which the decoding needs.
    """
    from openvino import opset13 as ops

    for op in model.get_ops():
        if op.get_type_name() == "Einsum":  # (B, 4, bins, A), (bins,) → (B, 4, A)
            weight = ops.reshape(op.input_value(1), np.array([-1, 1]), False)
            sums = ops.reduce_sum(ops.multiply(op.input_value(0), weight), np.array([2]))
            op.output(0).replace(sums.output(0))
    model.validate_nodes_and_infer_types()
