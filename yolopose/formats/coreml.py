"""CoreML packages: written with coremltools, run with CoreML on macOS and interpreted elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.console import log
from yolopose.errors import PoseError, one_line
from yolopose.formats.base import Array, ExportOptions, FileBackend, Float, OpenOptions, loading
from yolopose.formats.quiet import quiet
from yolopose.metadata import ModelInfo

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

IN, OUT = "image", "output"
SMALLEST = 512  # smaller weights stay in float


class CoremlBackend(FileBackend):
    """A CoreML model, ours or Ultralytics', of one image: its input is an image whose values it divides by 255 itself.

    macOS runs it with CoreML; on other systems its program is interpreted. Threads take turns.
    """

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Open a package.

        Raises:
            PoseError: a damaged package or no pose network; without macOS also one that cannot be interpreted.
            UsageError: another device than the CPU; without any, macOS chooses.
        """
        with quiet():
            import coremltools as ct

        native = sys.platform == "darwin"
        units = ct.ComputeUnit.CPU_ONLY if options.device == "cpu" else ct.ComputeUnit.ALL
        with quiet(), loading(path, "CoreML"):
            model = ct.models.MLModel(str(path), compute_units=units, skip_model_load=not native)
            description = model.get_spec().description
        if len(description.input) != 1 or description.input[0].type.WhichOneof("Type") != "imageType":
            raise PoseError(f"{path}: expected one image input")
        entry, result = description.input[0], description.output[0]
        size = int(entry.type.imageType.height), int(entry.type.imageType.width)
        output = list(result.type.multiArrayType.shape) or [1, None, None]
        metadata = {k: v for k, v in model.user_defined_metadata.items() if not k.startswith("com.github.apple")}
        super().__init__(path, options, metadata, [(1, 3, *size)], [output])
        self._lock = threading.Lock()
        self._predict: Callable[[Array], Any]  # (H, W, 3) RGB uint8 → output
        if native:
            from PIL import Image

            self.device = "cpu" if options.device == "cpu" else "macOS' choice"
            self._predict = lambda image: model.predict({entry.name: Image.fromarray(image)})[result.name]
        else:
            self.device = "interpreter"
            self._predict = _interpreted(path, model)

    def _run(self, images: Array) -> Float:
        whole = images if images.dtype == np.uint8 else np.rint(images * 255).astype(np.uint8)
        with self._lock:
            return np.asarray(self._predict(np.ascontiguousarray(whole[0, ..., ::-1])), np.float32)


def _interpreted(path: Path, model: Any) -> Callable[[Array], Any]:
    """Return a function from a (H, W, 3) RGB uint8 image to the output of the model, computed with torch."""
    if find_spec("torch") is None:
        raise PoseError(f"{path}: CoreML runs on macOS only; to interpret it here: pip install 'yolopose[train]'")
    from yolopose.formats.coreml_interpreter import Interpreter

    try:
        with quiet():
            interpreter = Interpreter(model)
    except Exception as e:  # of many types, for a damaged package
        raise PoseError(f"{path}: CoreML runs on macOS only, and here: {one_line(e)}") from None
    log.warning("CoreML runs on macOS only; here the program in the package is interpreted, which is slow")
    return lambda image: interpreter(np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32))


def export_coreml(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` as an ML program for iOS 16 and macOS 13 on, with an RGB image as its input.

    Apple's Vision takes models with an image input. With `half` all but the decoding computes in 16 bits; with `int8`
    also, and weights are stored in 8 bits, which needs no calibration.
    """
    with quiet():
        import coremltools as ct
    import torch

    from yolopose.formats.wrapper import ExportNetwork

    if options.suppression:
        log.warning("nms=True: the file contains no NMS, as CoreML's drops keypoints; its metadata hold the thresholds")
    shape = (1, 3, *info.imgsz)
    with quiet():
        program = torch.export.export(ExportNetwork(network, baked=info.imgsz), (torch.zeros(shape),))
        program = program.run_decompositions({})
        model = ct.convert(
            program,
            convert_to="mlprogram",
            inputs=[ct.ImageType(IN, shape, scale=1 / 255, color_layout=ct.colorlayout.RGB)],
            outputs=[ct.TensorType(OUT, dtype=np.float32)],
            compute_precision=_precision(ct, network, options, info),
            minimum_deployment_target=ct.target.iOS16,
            skip_model_load=True,
        )
        model = _with_int8_weights(model) if options.int8 else model
        model.short_description = f"{info.task} network of yolopose, {len(info.names)} classes"
        model.license = str(info.extra.get("license", ""))
        model.version = str(info.extra.get("version", ""))
        model.user_defined_metadata.update(info.to_strings())
        model.save(str(target))
    (target / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)


def _with_int8_weights(model: Any) -> Any:
    """The model with the weights of its convolutions in 8 bits; anchors, also constants, would be many pixels off."""
    from coremltools.optimize import coreml as optimize

    per_channel = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=SMALLEST)
    convolutions = optimize.OptimizationConfig(op_type_configs={"conv": per_channel})
    return optimize.linear_quantize_weights(model, convolutions)


def _precision(ct: Any, network: PoseNet, options: ExportOptions, info: ModelInfo) -> Any:
    """The type to compute in: float32, or 16 bits for feature maps but not for tensors with an axis of anchors."""
    if not options.half and not options.int8:
        return ct.precision.FLOAT32
    h, w = info.imgsz
    anchors = sum((h // stride) * (w // stride) for stride in network.head.strides)

    def chosen(operation: Any) -> bool:
        shapes = [variable.shape for variable in operation.outputs]
        return all(len(shape) == 4 and anchors not in shape for shape in shapes)

    return ct.transform.FP16ComputePrecision(op_selector=chosen)
