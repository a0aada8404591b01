"""Quantise models to 8-bit integers with ranges measured on images; the decoding stays in floats.

Coordinates go up to 640 and scores to 1: one scale for both would round all scores to 0.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolopose.formats.base import Array, Float, to_nchw
from yolopose.formats.quiet import quiet

SYMMETRIC = {"ActivationSymmetric": True, "QuantizeBias": False, "OpTypesToExcludeOutputQuantization": ["Conv"]}


def quantised_onnx(model: Any, calibration: Sequence[Array], *, symmetric: bool = False) -> Any:
    """Quantise the weights, per channel, and activations of an ONNX model, except its first layer and its decoding.

    `calibration` is batches (B, H, W, 3) BGR uint8. On three channels ONNX Runtime is faster in floats. `symmetric`
    is what TensorRT needs: signed numbers around zero, at convolutions only, biases in floats.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    feeds = ({"images": to_nchw(batch)} for batch in calibration)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """The calibration images as the network's inputs."""

        def get_next(self) -> dict[str, Float] | None:
            return next(feeds, None)

    with tempfile.TemporaryDirectory() as folder, quiet():
        float32, prepared, done = (Path(folder) / name for name in ("float32.onnx", "prepared.onnx", "int8.onnx"))
        onnx.save(model, float32)
        quant_pre_process(float32, prepared, skip_symbolic_shape=True)
        plain = onnx.load(prepared)
        quantization.quantize_static(
            plain,
            done,
            Reader(),
            per_channel=True,
            activation_type=quantization.QuantType.QInt8 if symmetric else quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["Conv"] if symmetric else None,
            extra_options=SYMMETRIC if symmetric else {},
            nodes_to_exclude=sorted(_decoding(plain) | _first_layer(plain)),
        )
        return onnx.load(done)


def _decoding(model: Any) -> set[str]:
    """The names of the nodes from the last convolutions, whose own output would be rounded, to the model's output."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    waiting = [value.name for value in model.graph.output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            waiting.extend(node.input if node.op_type != "Conv" else ())
    return found


def _first_layer(model: Any) -> set[str]:
    """The names of the nodes of the convolution that reads the image, and of its SiLU."""
    image = model.graph.input[0].name
    convolutions = [node for node in model.graph.node if image in node.input and node.op_type == "Conv"]
    first = {name for node in convolutions for name in node.output}
    return {node.name for node in model.graph.node if first & {*node.input, *node.output}}


def quantised_openvino(model: Any, calibration: Sequence[Array], last: Sequence[Any]) -> Any:
    """Quantise an OpenVINO model, except all that follows the nodes `last`; `calibration` as for ONNX."""
    with quiet():
        import nncf  # here, so that it cannot send statistics

        return nncf.quantize(
            model,
            nncf.Dataset(calibration, to_nchw),
            preset=nncf.QuantizationPreset.MIXED,  # SiLU's small negative numbers need an offset
            subset_size=len(calibration),
            ignored_scope=nncf.IgnoredScope(names=sorted(_behind(last))),
        )


def _behind(nodes: Sequence[Any]) -> set[str]:
    """The names of all OpenVINO nodes that use the results of `nodes`, and of those that use theirs."""
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        for output in waiting.pop().outputs():
            for user in (port.get_node() for port in output.get_target_inputs()):
                if user.get_friendly_name() not in found and user.get_type_name() != "Result":
                    found.add(user.get_friendly_name())
                    waiting.append(user)
    return found
