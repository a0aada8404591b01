"""CoreML packages: written by coremltools, run by CoreML on macOS and interpreted elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.console import log
from yolopose.errors import PoseError, one_line
from yolopose.formats.base import Array, Backend, ExportOptions, Float, OpenOptions, as_exported, refuse_other_shape
from yolopose.formats.quiet import quiet
from yolopose.metadata import ModelInfo, info_from_file, stated_precision

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

IN, OUT = "image", "output"
SMALLEST = 512  # weights with fewer numbers are not worth 8 bit


class CoremlBackend(Backend):
    """A CoreML model of one image: an image input, whose 0 to 255 the model itself divides by 255."""

    def __init__(self, path: Path, run: Callable[[Array], Float], info: ModelInfo, device: str) -> None:
        """`run` takes one (H, W, 3) RGB uint8 image."""
        self.info = info
        self.fixed_shape = (1, *info.imgsz)
        self.precision = stated_precision(info)
        self.device = device
        self._name = str(path)
        self._run = run
        self._lock = threading.Lock()

    def infer(self, images: Array) -> Float:
        """(B, H, W, 3) → (B, 4+C+K·D, A), see `Backend`; floats are rounded to the 256 steps of an image."""
        refuse_other_shape(self._name, images, self.fixed_shape)
        whole = images if images.dtype == np.uint8 else np.rint(images * 255).astype(np.uint8)
        with self._lock:
            return np.concatenate([self._run(np.ascontiguousarray(image[..., ::-1])) for image in whole])


def open_coreml(path: Path, options: OpenOptions) -> CoremlBackend:
    """Open a package, ours or Ultralytics'.

    Raises:
        PoseError: a damaged package or no pose network; without macOS also one that cannot be interpreted.
        UsageError: another device than the CPU; without any, macOS chooses.
    """
    with quiet():
        import coremltools as ct

    native = sys.platform == "darwin"
    units = ct.ComputeUnit.CPU_ONLY if options.device == "cpu" else ct.ComputeUnit.ALL
    try:
        with quiet():
            model = ct.models.MLModel(str(path), compute_units=units, skip_model_load=not native)
            description = model.get_spec().description
    except Exception as e:  # of many types: what is missing or wrong in a folder of protocol buffers
        raise PoseError(f"{path}: CoreML cannot load it: {one_line(e)}") from None
    if len(description.input) != 1 or description.input[0].type.WhichOneof("Type") != "imageType":
        raise PoseError(f"{path}: expected one image input")
    image = description.input[0].type.imageType
    output = list(description.output[0].type.multiArrayType.shape) or [1, None, None]
    inputs = (1, 3, int(image.height), int(image.width))
    metadata = {k: v for k, v in model.user_defined_metadata.items() if not k.startswith("com.github.apple")}
    info = info_from_file(str(path), metadata, inputs, output, options.kpt_shape)
    as_exported(str(path), stated_precision(info), options)
    names = description.input[0].name, description.output[0].name
    run = _native(model, *names) if native else _interpreted(path, model)
    device = ("cpu" if options.device == "cpu" else "macOS' choice") if native else "interpreter"
    return CoremlBackend(path, run, info, device)


def _native(model: Any, entry: str, result: str) -> Callable[[Array], Float]:
    """(H, W, 3) RGB → output, by CoreML itself."""
    from PIL import Image

    return lambda image: np.asarray(model.predict({entry: Image.fromarray(image)})[result], np.float32)


def _interpreted(path: Path, model: Any) -> Callable[[Array], Float]:
    """(H, W, 3) RGB → output, by the program in the package, operation by operation."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise PoseError(f"{path}: CoreML runs on macOS only; to interpret it here: pip install 'yolopose[train]'")
    from yolopose.formats.coreml_interpreter import Interpreter

    try:
        with quiet():
            interpreter = Interpreter(model)
    except Exception as e:  # ours, and all that a damaged package makes coremltools stumble over
        raise PoseError(f"{path}: CoreML runs on macOS only, and here: {one_line(e)}") from None
    log.warning("CoreML runs on macOS only; here the program in the package is interpreted, which is slow")
    return lambda image: interpreter(np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32))


def export_coreml(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` as an ML program for iOS 16 and macOS 13 on, with an RGB image as its input.

    An image input is what Apple's Vision takes. With `half` all but the decoding computes in 16 bit; with `int8` the
    weights of that are stored in 8 bit, which needs no calibration.
    """
    with quiet():
        import coremltools as ct
    import torch

    from yolopose.formats.wrapper import ExportNetwork

    if options.suppression:
        log.warning("nms=True: CoreML's own layer drops keypoints; recorded in the metadata, done by who runs the file")
    shape = (1, 3, *info.imgsz)
    network_in_file = ExportNetwork(network, baked=info.imgsz)
    with quiet():
        program = torch.export.export(network_in_file, (torch.zeros(shape),)).run_decompositions({})
        model = ct.convert(
            program,
            convert_to="mlprogram",
            inputs=[ct.ImageType(IN, shape, scale=1 / 255, color_layout=ct.colorlayout.RGB)],
            outputs=[ct.TensorType(OUT, dtype=np.float32)],
            compute_precision=_precision(ct, network, options, info),
            minimum_deployment_target=ct.target.iOS16,
            skip_model_load=True,
        )
        if options.int8:
            model = _in_8_bit(model)
        model.short_description = f"{info.task} network of yolopose, {len(info.names)} classes"
        model.license = str(info.extra.get("license", ""))
        model.version = str(info.extra.get("version", ""))
        model.user_defined_metadata.update(info.to_strings())
        model.save(str(target))
    (target / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)


def _precision(ct: Any, network: PoseNet, options: ExportOptions, info: ModelInfo) -> Any:
    """What coremltools computes in 16 bit: nothing, or the feature maps but not what has an axis of anchors."""
    if not options.half and not options.int8:
        return ct.precision.FLOAT32
    h, w = info.imgsz
    anchors = sum((h // stride) * (w // stride) for stride in network.head.strides)

    def chosen(operation: Any) -> bool:
        shapes = [variable.shape for variable in operation.outputs]
        return all(len(shape) == 4 and anchors not in shape for shape in shapes)

    return ct.transform.FP16ComputePrecision(op_selector=chosen)


def _in_8_bit(model: Any) -> Any:
    """The model with its weights in 8 bit, one scale per output channel."""
    from coremltools.optimize import coreml

    how = coreml.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=SMALLEST)
    # convolutions alone: anchors are constants, too, and in 8 bit many pixels off
    return coreml.linear_quantize_weights(model, coreml.OptimizationConfig(op_type_configs={"conv": how}))
