"""OpenVINO folders: converted from torch, quantised by NNCF, run by OpenVINO on the CPU."""

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
from yolopose.formats.base import Array, ExportOptions, FileBackend, Float, OpenOptions, refuse_other_device, select
from yolopose.formats.quantize import batches, quantised_openvino
from yolopose.formats.quiet import quiet
from yolopose.formats.sparse import Branch, Layer, Level, SparseHead, layer
from yolopose.metadata import METADATA, ModelInfo, load_metadata, save_metadata
from yolopose.telemetry import tell_if_early

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

XML = "model.xml"  # the same in every folder, so that a folder can be renamed; read under any name
BRANCHES = {"2": "box", "3": "class", "4": "keypoint"}  # the head's convolutions are called head.box.0.1 in our files
FEWEST_FOUND = 0.05  # below this threshold many cells are found, and computing the head whole is quicker
MOST_CELLS = 500  # per image


class Session:
    """A compiled model; threads may run it at once, each on a request of its own."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: list[Any] = []

    @contextmanager
    def run(self, images: Array) -> Iterator[list[Float]]:
        """The outputs for images (B, H, W, 3); they are overwritten after the block."""
        import openvino as ov

        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        images = np.ascontiguousarray(images)  # held by this name as long as OpenVINO reads its memory
        request.set_input_tensor(ov.Tensor(images, shared_memory=True))
        request.infer(share_outputs=True)
        yield [request.get_output_tensor(i).data for i in range(len(self._compiled.outputs))]
        self._idle.append(request)


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
        self._settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if threads := options.cpu_threads():
            self._settings["INFERENCE_NUM_THREADS"] = threads
        hint, self.precision = _precision(self.path, self.precision, options)
        self._settings["INFERENCE_PRECISION_HINT"] = hint
        self._sessions: dict[tuple[bool, str], Session] = {}
        self._lock = threading.Lock()
        self._sparse = None if self._end_to_end else _sparse_head(model, self.info)
        self._session(np.dtype(np.uint8), cut=self._sparse is not None)  # compiled now, not at the first prediction

    def candidates(self, images: Array, conf: float) -> list[Float]:
        """(B, H, W, 3) → rows as `Backend.candidates`."""
        self.check_size(images)
        rows = None
        if self._sparse and conf >= FEWEST_FOUND and self._batch in (None, len(images)):
            with self._session(images.dtype, cut=True).run(images) as outputs:
                maps = [output if self.fixed_shape else output.transpose(0, 2, 3, 1) for output in outputs]
                half = len(maps) // 2
                most = MOST_CELLS * len(images)
                rows = self._sparse.candidates(maps[:half], maps[half:], images.shape[1], conf, most)
        return select(self.infer(images), len(self.info.names), conf) if rows is None else rows

    def _run(self, images: Array) -> Float:
        with self._session(images.dtype, cut=False).run(images) as (output,):
            return output.astype(np.float32)

    def _session(self, dtype: np.dtype[Any], cut: bool) -> Session:
        """The model compiled for images of this type, whole or cut off before the head's branches, at first use."""
        key = (cut, dtype.name)
        with self._lock:
            if key not in self._sessions:
                model = _with_pixels(_cut(self._model) if cut else self._model.clone(), dtype)
                if cut and self.fixed_shape:
                    model = _channels_last(model)  # as they lie in memory; with open sizes it would cost a copy
                self._sessions[key] = Session(_core().compile_model(model, "CPU", self._settings))
        return self._sessions[key]


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
    """OpenVINO's entry to its devices."""
    with quiet():
        import openvino as ov
    tell_if_early("openvino")
    return ov.Core()


def _precision(name: str, stated: str, options: OpenOptions) -> tuple[str, str]:
    """OpenVINO's hint and our word for the type that convolutions compute in. Raises UsageError for bf16 without it."""
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


def _with_pixels(model: Any, dtype: np.dtype[Any]) -> Any:
    """The model taking (B, H, W, 3) BGR images, uint8 or float32 from 0 to 1, in place of RGB (B, 3, H, W)."""
    import openvino as ov
    from openvino.preprocess import ColorFormat, PrePostProcessor

    steps = PrePostProcessor(model)
    image = steps.input()
    image.tensor().set_element_type(ov.Type(dtype)).set_layout(ov.Layout("NHWC")).set_color_format(ColorFormat.BGR)
    image.model().set_layout(ov.Layout("NCHW"))
    image.preprocess().convert_element_type(ov.Type.f32).convert_color(ColorFormat.RGB)
    if dtype == np.uint8:
        image.preprocess().scale(255.0)
    return steps.build()


def _channels_last(model: Any) -> Any:
    """The model giving out (B, h, w, c) in place of (B, c, h, w)."""
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    for i in range(len(model.outputs)):
        steps.output(i).model().set_layout(ov.Layout("NCHW"))
        steps.output(i).tensor().set_layout(ov.Layout("NHWC"))
    return steps.build()


def _cut(model: Any) -> Any:
    """A copy that ends with, per level, the class logits, then per level what the head's branches read."""
    import openvino as ov

    model = model.clone()
    head = _head(model)
    levels = range(len(head) // 9)
    outputs = [_end(head[f"head.class.{i}.2"]).output(0) for i in levels]
    outputs += [_input(head[f"head.box.{i}.0"]) for i in levels]
    return ov.Model(outputs, model.get_parameters(), "cut")


def _head(model: Any) -> dict[str, Any]:
    """The convolutions of the head's branches by name; none in files that are not ours."""
    convolutions = (op for op in model.get_ops() if op.get_type_name() == "Convolution")
    return {op.get_friendly_name(): op for op in convolutions if op.get_friendly_name().startswith("head.")}


def _input(conv: Any) -> Any:
    """What a convolution reads, before it is quantised."""
    value = conv.input_value(0)
    node = value.get_node()
    return node.input_value(0) if node.get_type_name() == "FakeQuantize" else value


def _end(conv: Any) -> Any:
    """The addition of a convolution's bias; the convolution itself where the bias was zero, and left out."""
    user = next(iter(conv.output(0).get_target_inputs())).get_node()
    return user if user.get_type_name() == "Add" else conv


def _sparse_head(model: Any, info: ModelInfo) -> SparseHead | None:
    """The box and keypoint branches of a file of ours, in float32; None for others."""
    head = _head(model)
    if not head:
        return None

    def branch(name: str, level: int) -> Branch:
        return Branch(*(_layer(head[f"head.{name}.{level}.{i}"]) for i in range(3)))

    levels = [Level(branch("box", i), branch("keypoint", i)) for i in range(len(head) // 9)]
    return SparseHead(levels, info.kpt_shape)


def _layer(conv: Any) -> Layer:
    """A convolution's weight and bias."""
    weight, end = _constant(conv.input_value(1)), _end(conv)
    has_bias = end.get_type_name() == "Add"
    return layer(weight, _constant(end.input_value(1)) if has_bias else np.zeros(len(weight), np.float32))


def _constant(value: Any) -> Float:
    """A constant of the graph, computed where it is compressed."""
    import openvino as ov
    from openvino import opset13 as ops

    model = ov.Model([ops.result(value)], [], "constant")
    return np.asarray(_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({})[0], np.float32)


def export_openvino(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to the folder `target`: model.xml, model.bin and metadata.yaml.

    Raises:
        PoseError: the images that calibrate 8 bits cannot be read.
    """
    from yolopose.formats.calibration import calibration_images

    with quiet():
        import openvino as ov

        if options.int8:
            import nncf  # noqa: F401  (its absence is told before work begins)
    model = _convert(network, options, info)
    if options.int8:
        last = [_end(op) for name, op in _head(model).items() if name.endswith(".2")]
        model = quantised_openvino(model, batches(calibration_images(info, options.data), info.batch), last)
    target.mkdir(parents=True)
    ov.save_model(model, target / XML, compress_to_fp16=options.half)
    save_metadata(target / METADATA, info)


def _convert(network: PoseNet, options: ExportOptions, info: ModelInfo) -> Any:
    """The network as OpenVINO has it, its head's convolutions named."""
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
    for op in model.get_ops():
        match = re.search(r"\.cv([234])\.(\d+)\.([012])\b", op.get_friendly_name())
        if match and op.get_type_name() == "Convolution":
            branch, level, position = match.groups()
            op.set_friendly_name(f"head.{BRANCHES[branch]}.{level}.{position}")
    _expect_by_sums(model)
    return model


def _expect_by_sums(model: Any) -> None:
    """Put a product and a sum in place of the matrix product that ends the box distances.

    OpenVINO, asked for bfloat16, computes in it whatever lies before a matrix product or convolution, and what lies
    behind the last one in float32, as the decoding needs.
    """
    from openvino import opset13 as ops

    for op in model.get_ops():
        if op.get_type_name() == "Einsum":  # (B, 4, bins, A), (bins,) → (B, 4, A)
            weight = ops.reshape(op.input_value(1), np.array([-1, 1]), False)
            sums = ops.reduce_sum(ops.multiply(op.input_value(0), weight), np.array([2]))
            op.output(0).replace(sums.output(0))
    model.validate_nodes_and_infer_types()
