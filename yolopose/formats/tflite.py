"""TF Lite files, for phones and small boards: written with LiteRT's converter for torch, run with LiteRT."""

from __future__ import annotations

import json
import os
import threading
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.errors import PoseError, first_line
from yolopose.formats.base import (
    Array,
    ExportOptions,
    FileBackend,
    Float,
    OpenOptions,
    loading,
    to_nchw,
    to_nhwc,
    to_rgb,
)
from yolopose.formats.calibration import calibration_images
from yolopose.formats.quiet import quiet
from yolopose.metadata import ModelInfo, channels_last, literal, read_archived

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

METADATA = "metadata.json"  # an entry of a zip archive at the end of the file; LiteRT ignores what follows the model
SIGNATURE, INPUT = "serving_default", "args_0"  # as the converter names them
# Operators that stay in float32, by the converter's names: the last convolution of each branch of the head, which costs
# 2 % of the time, and everything after it.
DECODE = "|".join((
    r"PoseHead_\d+/torch.nn.modules.container.Sequential_\d+/torch.nn.modules.conv.Conv2d_2;",
    r"PoseHead_\d+;\d+;?$",
    "Distances_dfl",
    "ExportNetwork_wrapped;",
    "serving_default_output",
))  # fmt: skip
MOST_THREADS = 8  # more do not make networks of this size faster


class TfliteBackend(FileBackend):
    """A LiteRT interpreter, which runs one batch at a time: threads take turns.

    It takes our files, Ultralytics', whose coordinates are fractions of the input's sides, and others' with one decoded
    output, with channels first or last.
    """

    def __init__(
        self,
        path: Path,
        options: OpenOptions,
        interpreter: Any = None,
        metadata: Mapping[str, Any] | None = None,
        device: str | None = None,
    ) -> None:
        """Open a TF Lite file, or take an interpreter of it, its metadata and the device that it runs on.

        Raises:
            PoseError: a file that LiteRT cannot read, or no pose network.
            UsageError: `options` has another device than the CPU, and `device` is None.
        """
        metadata = read_metadata(path) if metadata is None else metadata
        self._interpreter, self._lock = interpreter or open_interpreter(path, options), threading.Lock()
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        shapes = [[tensor["shape"].tolist() for tensor in tensors] for tensors in (inputs, outputs)]
        types = {tensor["dtype"] for tensor in (*inputs, *outputs)}
        if not types <= {np.float32, np.int8, np.uint8}:
            names = ", ".join(sorted(kind.__name__ for kind in types))
            raise PoseError(f"{path}: expected float32, int8 or uint8 in and out, got {names}")
        self._entry, self._result = inputs[0], outputs[0]
        self.channels_last = shapes[0][0][1:2] != [3]
        precision = "float32" if self._entry["dtype"] == np.float32 else "int8"
        super().__init__(path, options, metadata, *shapes, precision=precision, device=device)
        self._levels = quantised(np.arange(256, dtype=np.float32) / np.float32(255), self._entry)  # of each pixel value
        fractions = self.info.extra.get("author") == "Ultralytics" and not self._end_to_end
        self._scale = _scale(self.info) if fractions else None

    def _run(self, images: Array) -> Float:
        feed = self._feed(images)
        with self._lock:
            self._interpreter.set_tensor(self._entry["index"], feed)
            self._interpreter.invoke()
            output = self._interpreter.get_tensor(self._result["index"])
        output = dequantised(output, self._result)
        return output if self._scale is None else np.asarray(output * self._scale)

    def _feed(self, images: Array) -> Array:
        """(B, H, W, 3) BGR → the input tensor; pixels of 8 bits by a lookup table."""
        import cv2

        if not self.channels_last or images.dtype != np.uint8:
            return quantised(to_rgb(images) if self.channels_last else to_nchw(images), self._entry)
        b, h, w, _ = images.shape
        rgb = to_rgb(images).reshape(b * h, w, 3)
        return np.asarray(cv2.LUT(rgb, self._levels)).reshape(images.shape)


def quantised(values: Float, entry: Any) -> Array:
    """Numbers from 0 to 1 in the type of an input tensor: float32, or 8 bits with its scale and zero point."""
    if entry["dtype"] == np.float32:
        return values
    scale, zero = entry["quantization"]
    limits = np.iinfo(entry["dtype"])
    levels = np.rint(values / np.float32(scale)) + zero
    return np.asarray(levels.clip(limits.min, limits.max), entry["dtype"])


def dequantised(values: Array, tensor: Any) -> Float:
    """The numbers that the integers of a tensor stand for; float32 as it is."""
    if tensor["dtype"] == np.float32:
        return values
    scale, zero = tensor["quantization"]
    return np.asarray((values.astype(np.float32) - np.float32(zero)) * np.float32(scale))


def _scale(info: ModelInfo) -> Float:
    """(4+C+K·D, 1): factors that turn fractions of the input's sides into pixels and keep scores."""
    (h, w), (k, d) = info.imgsz, info.kpt_shape
    points = np.ones((k, d))
    points[:, :2] = w, h
    return np.concatenate([[w, h, w, h], np.ones(len(info.names)), points.ravel()]).astype(np.float32)[:, None]


def open_interpreter(
    path: Path, options: OpenOptions, delegates: Sequence[Any] = (), content: bytes | None = None
) -> Any:
    """Load a file, or its `content`, with LiteRT, with XNNPACK and further delegates. Raises PoseError if it cannot."""
    with quiet():
        from ai_edge_litert.interpreter import Interpreter

    threads = options.cpu_threads() or min(os.cpu_count() or 1, MOST_THREADS)
    with quiet(), loading(path, "LiteRT"):
        model: dict[str, Any] = {"model_content": content} if content else {"model_path": str(path)}
        interpreter = Interpreter(**model, num_threads=threads, experimental_delegates=list(delegates) or None)
        interpreter.allocate_tensors()
    return interpreter


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata in the zip archive at the end of a file; empty when it has none."""
    try:
        text = read_archived(path, METADATA, (".json", ".txt"))
    except zipfile.BadZipFile:
        return {}
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError):
        values = literal(text)  # Ultralytics' older files hold a Python dictionary
    return values if isinstance(values, dict) else {}


def write_metadata(path: Path, info: ModelInfo) -> None:
    """Append metadata to a TF Lite file, as `METADATA` in a zip archive."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA, json.dumps(channels_last(info).file_metadata(), ensure_ascii=False))


def export_tflite(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to `target` as a TF Lite file, NHWC, with its metadata as JSON in a zip archive at its end.

    With `half` weights are stored in 16 bits and the file computes in float32. With `int8` convolutions and the
    operators between them take 8 bits, with ranges measured on `options.data`; the decoding stays in float32.

    Raises:
        PoseError: the converter cannot write the network, or the calibration data cannot be read.
    """
    with quiet():
        import litert_torch
        import torch

        from yolopose.formats.wrapper import ExportNetwork

        wrapper = ExportNetwork(network, baked=info.imgsz, suppression=options.suppression).eval()
        nhwc = litert_torch.to_channel_last_io(wrapper, args=[0])
        try:
            model = litert_torch.convert(nhwc, (torch.zeros(info.batch, *info.imgsz, 3),))
        except (ValueError, RuntimeError) as e:
            raise PoseError(f"format=tflite: LiteRT cannot convert this network: {first_line(e)}") from None
        model.export(str(target))
    if options.int8:
        _to_int8(target, info, options.data)
    elif options.half:
        _to_half(target)
    write_metadata(target, info)


def _to_half(path: Path) -> None:
    """Store the weights of a file in 16 bits."""
    with quiet():
        from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe_manager

        recipe = recipe_manager.RecipeManager()
        recipe.add_weight_only_config(
            ".*", qtyping.TFLOperationName.ALL_SUPPORTED, num_bits=16,
            algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
        )  # fmt: skip
        tool = quantizer.Quantizer(path.read_bytes(), recipe.get_quantization_recipe())
        path.write_bytes(tool.quantize().quantized_model)


def _to_int8(path: Path, info: ModelInfo, data: str | None) -> None:
    """Quantise a file to 8 bits, all but the last convolutions and the decoding, with ranges measured on photographs.

    Box mAP50-95 of the bundled face model: float32 0.198; this 0.198; with the last convolutions in 8 bits 0.199, but
    larger errors of keypoints; with ranges averaged over photographs, the quantiser's default, 0.186.
    """
    images = calibration_images(info, data)
    with quiet():
        from ai_edge_quantizer import qtyping, quantizer, recipe

        tool = quantizer.Quantizer(path.read_bytes(), recipe.static_wi8_ai8())
        tool.update_quantization_recipe(DECODE, qtyping.TFLOperationName.ALL_SUPPORTED, algorithm_key="no_quantize")
        path.write_bytes(tool.quantize(_ranges(tool, images)).quantized_model)


def _ranges(tool: Any, images: list[Array]) -> dict[str, dict[str, Any]]:
    """The minimum and maximum of each tensor over all (1, H, W, 3) images."""
    from ai_edge_quantizer import calibrator

    profiling = calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED  # the faster way
    ranges: dict[str, dict[str, Any]] = {}
    for image in images:  # one at a time: the tool would average over them
        feed = {INPUT: to_nhwc(image)}
        found = tool.calibrate({SIGNATURE: [feed]}, num_threads=os.cpu_count() or 1, mode=profiling)
        for name, entry in found.items():
            known = ranges.setdefault(name, entry)
            known["min"] = np.minimum(known["min"], entry["min"])
            known["max"] = np.maximum(known["max"], entry["max"])
    low, high = (ranges[f"{SIGNATURE}_{INPUT}"][key] for key in ("min", "max"))
    for entry in ranges.values():  # the input and its padded copy: 0 to 1, one integer for each of 256 pixel values
        if np.array_equal(entry["min"], low) and np.array_equal(entry["max"], high):
            entry |= {"min": np.zeros_like(low), "max": np.ones_like(high)}
    return ranges
