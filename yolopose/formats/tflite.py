"""TF Lite: written by LiteRT's converter for torch, run by LiteRT with XNNPACK; for phones and small boards."""

from __future__ import annotations

import json
import os
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.errors import PoseError, first_line
from yolopose.formats.base import (
    Array,
    Backend,
    ExportOptions,
    Float,
    OpenOptions,
    as_exported,
    decoded,
    in_batches_of,
    refuse_other_shape,
    to_nchw,
    to_nhwc,
    to_rgb,
)
from yolopose.formats.calibration import calibration_images
from yolopose.formats.quiet import quiet
from yolopose.metadata import (
    ModelInfo,
    channels_last,
    info_from_file,
    is_end_to_end,
    literal,
    read_archived,
    stated_precision,
)

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

METADATA = "metadata.json"  # an entry of a zip archive behind the flatbuffer, which ignores what follows it
SIGNATURE, INPUT = "serving_default", "args_0"  # as the converter names them
# What stays in float32, by the names that the converter gives to operators: the last convolution of each branch of the
# head, which costs 2 % of the time, and everything behind it.
DECODE = "|".join((
    r"PoseHead_\d+/torch.nn.modules.container.Sequential_\d+/torch.nn.modules.conv.Conv2d_2;",
    r"PoseHead_\d+;\d+;?$",
    "Distances_dfl",
    "ExportNetwork_wrapped;",
    "serving_default_output",
))  # fmt: skip
MOST_THREADS = 8  # more do not pay for networks of this size


class TfliteBackend(Backend):
    """A LiteRT interpreter; ours, Ultralytics' and others' files with one decoded output.

    Ultralytics' files give coordinates as shares of the input's sides. An interpreter runs one batch at a time:
    threads take turns.
    """

    def __init__(self, path: Path, interpreter: Any, info: ModelInfo) -> None:
        entry, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        self.info = info
        self.precision = stated_precision(info, "float32" if entry["dtype"] == np.float32 else "int8")
        self.device = "cpu"
        self.fixed_shape = (info.batch, *info.imgsz)
        self._path, self._interpreter, self._lock = str(path), interpreter, threading.Lock()
        self._entry, self._result = entry, result
        self._planes = int(entry["shape"][1]) == 3  # NCHW
        self._levels = quantised(np.arange(256, dtype=np.float32) / np.float32(255), entry)  # of each value of a pixel
        self._end_to_end = is_end_to_end(result["shape"].tolist(), info)
        shares = info.extra.get("author") == "Ultralytics" and not self._end_to_end
        self._scale = _scale(info) if shares else None

    def infer(self, images: Array) -> Float:
        """(B, H, W, 3) → (B, 4+C+K·D, A), see `Backend`."""
        refuse_other_shape(self._path, images, self.fixed_shape)
        return in_batches_of(self.info.batch, images, self._run)

    def _run(self, images: Array) -> Float:
        """One run of the interpreter on a batch of its size."""
        feed = self._feed(images)
        with self._lock:
            self._interpreter.set_tensor(self._entry["index"], feed)
            self._interpreter.invoke()
            output = self._interpreter.get_tensor(self._result["index"])
        if self._result["dtype"] != np.float32:
            scale, zero = self._result["quantization"]
            output = (output.astype(np.float32) - np.float32(zero)) * np.float32(scale)
        if self._end_to_end:
            return decoded(output, len(self.info.names))
        return np.asarray(output if self._scale is None else output * self._scale)

    def _feed(self, images: Array) -> Array:
        """(B, H, W, 3) BGR → what the input takes; pixels by one look-up each."""
        import cv2

        if self._planes or images.dtype != np.uint8:
            return quantised(to_nchw(images) if self._planes else to_rgb(images), self._entry)
        b, h, w, _ = images.shape
        rgb = to_rgb(images).reshape(b * h, w, 3)
        return np.asarray(cv2.LUT(rgb, self._levels)).reshape(images.shape)


def quantised(values: Float, entry: Any) -> Array:
    """Numbers from 0 to 1 in the type of an input, float32 or 8 bits with its scale and zero point."""
    if entry["dtype"] == np.float32:
        return values
    scale, zero = entry["quantization"]
    limits = np.iinfo(entry["dtype"])
    levels = np.rint(values / np.float32(scale)) + zero
    return np.asarray(levels.clip(limits.min, limits.max), entry["dtype"])


def _scale(info: ModelInfo) -> Float:
    """(4+C+K·D, 1): what turns shares of the input's sides into pixels, and leaves scores alone."""
    (h, w), (k, d) = info.imgsz, info.kpt_shape
    points = np.ones((k, d))
    points[:, :2] = w, h
    return np.concatenate([[w, h, w, h], np.ones(len(info.names)), points.ravel()]).astype(np.float32)[:, None]


def open_tflite(path: Path, options: OpenOptions) -> TfliteBackend:
    """Open a TF Lite file with LiteRT.

    Raises:
        PoseError: a file that LiteRT cannot read, or no pose network.
        UsageError: another device than the CPU.
    """
    metadata = read_metadata(path)
    interpreter = open_interpreter(path, options)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    shapes = [[side["shape"].tolist() for side in sides] for sides in (inputs, outputs)]
    types = {side["dtype"] for side in (*inputs, *outputs)}
    fits = [len(shape) for side in shapes for shape in side] == [4, 3] and types <= {np.float32, np.int8, np.uint8}
    if not fits or 3 not in (shapes[0][0][1], shapes[0][0][3]):
        told = f"{shapes[0]} → {shapes[1]} of {', '.join(sorted(kind.__name__ for kind in types))}"
        raise PoseError(f"{path}: expected one image input and one decoded (B, 4+C+K·D, A) output, got {told}")
    b, *sides = shapes[0][0]
    h, w = sides[1:] if sides[0] == 3 else sides[:2]
    info = info_from_file(str(path), metadata, (b, 3, h, w), shapes[1][0], options.kpt_shape)
    backend = TfliteBackend(path, interpreter, info)
    as_exported(str(path), backend.precision, options)
    return backend


def open_interpreter(path: Path, options: OpenOptions, delegates: Sequence[Any] = ()) -> Any:
    """A file in LiteRT, ready to run, with XNNPACK and further delegates. Raises PoseError when it cannot be loaded."""
    with quiet():
        from ai_edge_litert.interpreter import Interpreter

    threads = options.cpu_threads() or min(os.cpu_count() or 1, MOST_THREADS)
    try:
        with quiet():
            interpreter = Interpreter(str(path), num_threads=threads, experimental_delegates=list(delegates) or None)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as e:
        raise PoseError(f"{path}: LiteRT cannot load it: {first_line(e)}") from None
    return interpreter


def read_metadata(path: Path) -> dict[str, Any]:
    """What the file says of itself, in the archive behind it; empty when it has none."""
    try:
        text = read_archived(path, _choose)
    except zipfile.BadZipFile:
        return {}
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError):
        values = literal(text)  # Ultralytics' older files hold a Python dictionary
    return values if isinstance(values, dict) else {}


def _choose(names: list[str]) -> str | None:
    """The entry with the metadata: ours, or the first that may be some."""
    found = sorted(name for name in names if name.endswith((".json", ".txt")))
    return METADATA if METADATA in found else next(iter(found), None)


def write_metadata(path: Path, info: ModelInfo) -> None:
    """Append what a model says of itself to its TF Lite file, as `METADATA` in a zip archive."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA, json.dumps(channels_last(info).described(), ensure_ascii=False))


def export_tflite(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to `target` as a TF Lite file, NHWC, its metadata as JSON in a zip archive behind it.

    With `half` the weights are stored in 16 bits and computed with in float32. With `int8` convolutions and what lies
    between them take 8 bits, ranges measured on `options.data`; the decoding stays in float32.

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

    Measured on the bundled face model, box mAP50-95: float32 0.198, this 0.198, with the last convolutions in 8 bits,
    too, 0.199 and points further off; with ranges averaged over photographs, as the tool would do it, 0.186.
    """
    images = calibration_images(info, data)
    with quiet():
        from ai_edge_quantizer import qtyping, quantizer, recipe

        tool = quantizer.Quantizer(path.read_bytes(), recipe.static_wi8_ai8())
        tool.update_quantization_recipe(DECODE, qtyping.TFLOperationName.ALL_SUPPORTED, algorithm_key="no_quantize")
        ranges = _ranges(tool, images)
        path.write_bytes(tool.quantize(ranges).quantized_model)


def _ranges(tool: Any, images: list[Array]) -> dict[str, dict[str, Any]]:
    """The least and the greatest number that each tensor takes on any of (1, H, W, 3) images."""
    from ai_edge_quantizer import calibrator

    profiling = calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED  # the quicker way
    ranges: dict[str, dict[str, Any]] = {}
    for image in images:  # one by one, or the tool averages
        feed = {INPUT: to_nhwc(image)}
        found = tool.calibrate({SIGNATURE: [feed]}, num_threads=os.cpu_count() or 1, mode=profiling)
        for name, entry in found.items():
            known = ranges.setdefault(name, entry)
            known["min"] = np.minimum(known["min"], entry["min"])
            known["max"] = np.maximum(known["max"], entry["max"])
    first = dict(ranges[f"{SIGNATURE}_{INPUT}"])
    for entry in ranges.values():  # the input and its padded copy: from 0 to 1, so that each level of a pixel keeps
        if (entry["min"].tolist(), entry["max"].tolist()) == (first["min"].tolist(), first["max"].tolist()):
            entry |= {"min": np.zeros_like(first["min"]), "max": np.ones_like(first["max"])}  # a number of its own
    return ranges
