"""TF Lite files for the Coral Edge TPU: 8-bit integers only, with the raw maps of the head as outputs.

The chip takes integers only. Coordinates in one tensor with scores, or even with each other, would keep no more than
whole pixels. So the file ends after the last convolutions, each with its own scale, and the decoding is done here, in
float. Google's compiler and the chip were not at hand: neither was tried by us. The 8-bit file that the compiler takes
was, by the same code, on CPUs.
"""

from __future__ import annotations

import ctypes
import re
import sys
import tempfile
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.console import log
from yolopose.errors import PoseError, shown
from yolopose.formats.base import Array, Backend, ExportOptions, FileBackend, Float, OpenOptions, to_nhwc
from yolopose.formats.calibration import calibration_images
from yolopose.formats.checks import run_tool, tool
from yolopose.formats.quiet import quiet
from yolopose.formats.sparse import Raw, decode_cells, logit_threshold
from yolopose.formats.tensorflow import keras_model, traced
from yolopose.formats.tflite import (
    TfliteBackend,
    dequantised,
    open_interpreter,
    quantised,
    read_metadata,
    write_metadata,
)
from yolopose.metadata import ModelInfo

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

COMPILED, WHOLE = "_edgetpu.tflite", "_full_integer.tflite"
COMPILER = "edgetpu_compiler"
SOURCE = "uncompiled.tflite"  # an entry of the archive at the end of a compiled file
CUSTOM = b"edgetpu-custom-op"  # the operator that contains all compiled ones
DRIVERS = {"linux": "libedgetpu.so.1", "darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"}
MAPS = {"cv2": "box", "cv3": "label", "cv4": "point"}  # the head's branches; their outputs sort in this order
LOGITS = 8.0  # limits of the class maps: scores of 0.0003 to 0.9997, independent of the calibration images


class EdgeTpuBackend(FileBackend):
    """A LiteRT interpreter whose outputs are raw maps; it runs one image at a time, threads take turns."""

    channels_last = True

    def __init__(
        self, path: Path, options: OpenOptions, interpreter: Any, metadata: Mapping[str, Any], device: str | None
    ) -> None:
        """Take an interpreter of the file, its metadata and the device that it runs on, None for the CPU.

        Raises:
            PoseError: the outputs are not three raw maps per stride.
            UsageError: `options` has another device than the CPU, and `device` is None.
        """
        self._interpreter, self._lock = interpreter, threading.Lock()
        self._entry = interpreter.get_input_details()[0]
        # by the number at the end of a name such as StatefulPartitionedCall:7, which is the order of our own names
        outputs = sorted(interpreter.get_output_details(), key=lambda o: int("0" + re.findall(r"\d*$", o["name"])[0]))
        n = len(outputs) // 3
        self._levels = list(zip(outputs[:n], outputs[n : 2 * n], outputs[2 * n :], strict=False))  # one per stride
        shapes = [[tuple(output["shape"].tolist()) for output in level] for level in self._levels]
        channels = {tuple(shape[3:] for shape in level) for level in shapes}  # (c,) of each map, the same per stride
        fits = len(outputs) == 3 * n and len(channels) == 1 and {len(c) for level in channels for c in level} == {1}
        if not fits or any(len({shape[:3] for shape in level}) > 1 for level in shapes):
            found = shown([output["shape"].tolist() for output in outputs])
            raise PoseError(f"{path}: expected three raw maps per stride, or one decoded output, got {found}")
        output = (1, 4 + shapes[0][1][3] + shapes[0][2][3], sum(h * w for (_, h, w, _), *_ in shapes))
        entry = self._entry["shape"].tolist()
        super().__init__(path, options, metadata, [entry], [output], precision="int8", device=device)

    def candidates(self, images: Array, conf: float) -> list[Float]:
        """(B, H, W, 3) → per image the (M, 4+C+K·D) rows whose best class scores above `conf`, see `Backend`."""
        self.check_size(images)
        rows = [self._decode(images[i : i + 1], conf) for i in range(len(images))]
        return [found[found[:, 4 : 4 + len(self.info.names)].max(1, initial=0.0) > conf] for found in rows]

    def _run(self, images: Array) -> Float:
        return self._decode(images, 0.0).T[None]

    def _decode(self, images: Array, conf: float) -> Float:
        """(1, H, W, 3) → decoded rows (M, 4+C+K·D) of the cells that may score above `conf`, all of them at 0."""
        feed = quantised(to_nhwc(images), self._entry)
        with self._lock:
            self._interpreter.set_tensor(self._entry["index"], feed)
            self._interpreter.invoke()
            levels = [[self._interpreter.get_tensor(output["index"]) for output in level] for level in self._levels]
        rows = [np.empty((0, self.info.channels), np.float32)]
        for maps, outputs in zip(levels, self._levels, strict=True):  # integers (1, h, w, c): bins, logits, points
            _, h, w, _ = maps[0].shape
            bins, logits, points = (one.reshape(h * w, -1) for one in maps)
            scores = dequantised(logits, outputs[1])
            found = np.flatnonzero(scores.max(1) > logit_threshold(conf))
            if len(found):
                cell = np.stack((found % w, found // w), 1).astype(np.float32)
                raw = Raw(dequantised(bins[found], outputs[0]), dequantised(points[found], outputs[2]), scores[found])
                rows.append(decode_cells(raw, cell, self.info.imgsz[0] // h, self.info.kpt_shape))
        return np.concatenate(rows)


def open_edgetpu(path: Path, options: OpenOptions) -> Backend:
    """Open a file compiled for the Edge TPU on the chip, or the 8-bit file it is compiled from on the CPU.

    Files of one decoded output, such as Ultralytics', run as any TF Lite file. Without the chip or its driver the 8-bit
    model inside a compiled file runs on the CPU, with a warning. A compiler drops metadata: those of a compiled file
    without any are read from the .tflite next to it.

    Raises:
        PoseError: a compiled file without chip and 8-bit model, one that LiteRT cannot read, or no pose network.
        UsageError: another device than the CPU.
    """
    compiled = CUSTOM in path.read_bytes()
    driver = _driver() if compiled else None
    content = _uncompiled(path) if compiled and not driver else None
    interpreter = open_interpreter(path, options, [driver] if driver else (), content)
    source = path.with_name(path.name.removesuffix(COMPILED) + ".tflite")
    metadata = read_metadata(path) or (read_metadata(source) if source.is_file() else {})
    decoded = [len(output["shape"]) for output in interpreter.get_output_details()] == [3]
    device = "edgetpu" if driver else None
    return (TfliteBackend if decoded else EdgeTpuBackend)(path, options, interpreter, metadata, device)


def _driver() -> Any:
    """The Edge TPU's driver for LiteRT; None without the driver or the chip."""
    from ai_edge_litert.interpreter import load_delegate

    library = DRIVERS.get(sys.platform, DRIVERS["linux"])
    try:
        ctypes.CDLL(library)  # fails without output where LiteRT would print an error
        return load_delegate(library)
    except (OSError, ValueError):
        return None


def _uncompiled(path: Path) -> bytes:
    """The 8-bit model inside a compiled file. Raises PoseError when it has none."""
    missing = f"{path}: no Edge TPU here, or not its driver libedgetpu (https://coral.ai/software)"
    try:
        with zipfile.ZipFile(path) as archive:
            model = archive.read(SOURCE)
    except (zipfile.BadZipFile, KeyError):
        raise PoseError(f"{missing}; the {WHOLE} file it was compiled from runs on CPUs") from None
    log.warning(f"{missing}: the 8-bit model it was compiled from runs on the CPU in its place")
    return model


def check_edgetpu(options: ExportOptions, target: Path) -> None:
    """Raise PoseError where the file is to be compiled and Google's compiler is not on this machine."""
    if not target.name.endswith(WHOLE) and tool(COMPILER) is None:
        raise PoseError(
            f"format=edgetpu: {COMPILER} is not on this machine (https://coral.ai/docs/edgetpu/compiler); "
            f"out=NAME{WHOLE} writes the 8-bit file that it takes, which also runs on CPUs"
        )


def export_edgetpu(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to `target`, compiled for the Edge TPU, or not compiled when the name ends in `WHOLE`.

    A zip archive at the end of a compiled file holds its metadata and the 8-bit model it was compiled from, for
    machines without the chip.

    Raises:
        PoseError: Google's compiler failed.
    """
    info = replace(info, extra=info.extra | {"precision": "int8"})
    model = full_integer(network, options, info)
    whole = target.name.endswith(WHOLE)
    target.write_bytes(model if whole else _compiled(model))
    write_metadata(target, info)
    if not whole:
        with zipfile.ZipFile(target, "a") as archive:
            archive.writestr(SOURCE, model)


def _compiled(model: bytes) -> bytes:
    """Compile a TF Lite file. Raises PoseError with the last line of the compiler's output when it fails."""
    compiler = tool(COMPILER)
    assert compiler is not None  # `check_edgetpu` has tested that
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(model)
        code, message = run_tool([compiler, "-s", "-o", folder, str(path)], folder)
        made = path.with_name(path.stem + COMPILED)
        if code != 0 or not made.is_file():
            remedy = f"out=NAME{WHOLE} writes the 8-bit file that it takes"
            raise PoseError(f"format=edgetpu: {COMPILER} failed: {message}; {remedy}")
        return made.read_bytes()


def full_integer(network: PoseNet, options: ExportOptions, info: ModelInfo) -> bytes:
    """Return `network` as a TF Lite file of 8-bit integers, pixels to raw maps, ranges measured on `options.data`."""
    images = [to_nhwc(image) for image in calibration_images(info, options.data)]
    for image in images:  # the input ranges from 0 to 1 in every photograph: one integer for each of 256 pixel values
        image[:, 0, :2] = np.array([[0], [1]])
    model = keras_model(network, options, info, outputs=_raw_maps)
    with quiet():
        import tensorflow as tf

        module = tf.Module()
        module.weights = [tf.Variable(weight) for weight in model.trainable_variables]

        def infer(images: Any) -> dict[str, Any]:
            maps = dict(model.stateless_call(module.weights, [], images)[0])
            for name in (name for name in maps if name.startswith(MAPS["cv3"])):
                maps[name] = tf.quantization.fake_quant_with_min_max_args(maps[name], -LOGITS, LOGITS)
            return maps

        converter = tf.lite.TFLiteConverter.from_concrete_functions([traced(infer, model)], module)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        return bytes(converter.convert())


def _raw_maps(model: Any) -> dict[str, str]:
    """Map branch and level to the output of the last convolution of each branch of the head in an ONNX model."""
    found = {}
    for node in model.graph.node:
        if node.op_type == "Conv" and (name := re.search(r"\.(cv[234])\.(\d+)\.2\.weight$", node.input[1])):
            found[MAPS[name[1]] + name[2]] = node.output[0]
    return found
