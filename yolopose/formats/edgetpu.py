"""TF Lite for the Coral Edge TPU: 8-bit integers throughout, with the head's raw maps as outputs.

The chip takes integers only, and coordinates in one tensor with scores, or even with each other, would lose all but
whole pixels. So the file ends where the last convolutions do, each with a scale of its own, and the decoding is done
here, in float. Google's compiler and the chip itself were not at hand: neither was tried by us. The 8-bit file that the
compiler takes is, by the same code, on CPUs.
"""

from __future__ import annotations

import ctypes
import re
import sys
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from yolopose.console import log
from yolopose.errors import PoseError, one_line
from yolopose.formats.base import (
    Array,
    Backend,
    ExportOptions,
    Float,
    OpenOptions,
    as_exported,
    in_batches_of,
    refuse_other_shape,
    to_nhwc,
)
from yolopose.formats.calibration import calibration_images
from yolopose.formats.checks import tool
from yolopose.formats.quiet import quiet
from yolopose.formats.sparse import Raw, decode_cells, logit_threshold
from yolopose.formats.tensorflow import images_spec, keras_model
from yolopose.formats.tflite import TfliteBackend, open_interpreter, quantised, read_metadata, write_metadata
from yolopose.metadata import ModelInfo, info_from_file

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

COMPILED, WHOLE = "_edgetpu.tflite", "_full_integer.tflite"
COMPILER = "edgetpu_compiler"
SOURCE = "uncompiled.tflite"  # an entry of the archive behind a compiled file
CUSTOM = b"edgetpu-custom-op"  # the operator that stands for everything compiled
DRIVERS = {"linux": "libedgetpu.so.1", "darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"}
MAPS = {"cv2": "box", "cv3": "label", "cv4": "point"}  # the head's branches; their outputs sort in this order
LOGITS = 8.0  # scores of 0.0003 to 0.9997 are told apart, whatever the photographs for calibration held


class Map(NamedTuple):
    """An output (1, h, w, c) of an interpreter."""

    place: int
    shape: tuple[int, ...]
    scale: np.float32
    zero: int


class EdgeTpuBackend(Backend):
    """A LiteRT interpreter whose outputs are raw maps; it runs one image at a time, threads take turns."""

    def __init__(self, path: Path, interpreter: Any, info: ModelInfo, device: str) -> None:
        self.info = info
        self.precision = "int8"
        self.device = device
        self.fixed_shape = (1, *info.imgsz)
        self._path, self._interpreter, self._lock = str(path), interpreter, threading.Lock()
        self._entry = interpreter.get_input_details()[0]
        self._levels = _levels(_maps(interpreter))

    def infer(self, images: Array) -> Float:
        """(B, H, W, 3) → (B, 4+C+K·D, A), see `Backend`."""
        refuse_other_shape(self._path, images, self.fixed_shape)
        return in_batches_of(1, images, lambda image: self._decode(self._run(image), 0.0).T[None])

    def candidates(self, images: Array, conf: float) -> list[Float]:
        """(B, H, W, 3) → per image the (M, 4+C+K·D) rows whose best class scores above `conf`, see `Backend`."""
        refuse_other_shape(self._path, images, self.fixed_shape)
        rows = [self._decode(self._run(images[i : i + 1]), conf) for i in range(len(images))]
        return [found[found[:, 4 : 4 + len(self.info.names)].max(1, initial=0.0) > conf] for found in rows]

    def _run(self, images: Array) -> list[Array]:
        """(1, H, W, 3) → the maps as integers (h·w, c), level by level: box, label, point."""
        feed = quantised(to_nhwc(images), self._entry)
        with self._lock:
            self._interpreter.set_tensor(self._entry["index"], feed)
            self._interpreter.invoke()
            maps = (one for level in self._levels for one in level)
            return [self._interpreter.get_tensor(one.place).reshape(-1, one.shape[3]) for one in maps]

    def _decode(self, maps: Sequence[Array], conf: float) -> Float:
        """Integers (h·w, c) → decoded rows (M, 4+C+K·D) of the cells that may score above `conf`, all of them at 0."""
        threshold = logit_threshold(conf)
        rows = [np.empty((0, self.info.channels), np.float32)]
        for i, level in enumerate(self._levels):
            bins, logits, points = maps[3 * i : 3 * i + 3]
            scores = _float(logits, level[1])
            found = np.flatnonzero(scores.max(1) > threshold)
            if len(found):
                h, w = level[0].shape[1:3]
                cell = np.stack((found % w, found // w), 1).astype(np.float32)
                raw = Raw(_float(bins[found], level[0]), _float(points[found], level[2]), scores[found])
                rows.append(decode_cells(raw, cell, self.info.imgsz[0] // h, self.info.kpt_shape))
        return np.concatenate(rows)


def _float(values: Array, one: Map) -> Float:
    """The numbers that integers of an output stand for."""
    return np.asarray((values.astype(np.float32) - one.zero) * one.scale)


def _maps(interpreter: Any) -> list[Map]:
    """The outputs as TensorFlow numbers them in their names, which is by the names they had before."""
    outputs = sorted(interpreter.get_output_details(), key=lambda output: _number(output["name"]))
    return [
        Map(output["index"], tuple(output["shape"].tolist()), np.float32(scale), int(zero))
        for output in outputs
        for scale, zero in [output["quantization"]]
    ]


def _number(name: str) -> int:
    """The number at the end of a name, such as StatefulPartitionedCall:7."""
    found = re.search(r"\d+$", name)
    return int(found[0]) if found else 0


def _levels(maps: Sequence[Map]) -> list[tuple[Map, Map, Map]]:
    """Per stride the maps of boxes, labels and points."""
    n = len(maps) // 3
    return list(zip(maps[:n], maps[n : 2 * n], maps[2 * n :], strict=True))


def open_edgetpu(path: Path, options: OpenOptions) -> Backend:
    """Open a file compiled for the Edge TPU on the chip, or the 8-bit file it is compiled from on the CPU.

    Files of one decoded output, such as Ultralytics', are run as any TF Lite file.

    Without the chip, or its driver, the 8-bit file within a compiled one runs on the CPU, and a warning says so.

    Raises:
        PoseError: a compiled file without chip and without that, one that LiteRT cannot read, or no pose network.
        UsageError: another device than the CPU for a file that runs there.
    """
    compiled = CUSTOM in path.read_bytes()
    driver = _driver() if compiled else None
    if compiled and driver is None:
        interpreter = _uncompiled(path, options)
    else:
        interpreter = open_interpreter(path, options, [driver] if driver else ())
    maps, metadata = _maps(interpreter), _metadata(path)
    entry = interpreter.get_input_details()[0]["shape"].tolist()
    shapes = [one.shape for one in maps]
    if len(maps) == 1 and len(shapes[0]) == 3:
        info = info_from_file(str(path), metadata, (entry[0], 3, *entry[1:3]), shapes[0], options.kpt_shape)
        backend: Backend = TfliteBackend(path, interpreter, info)
    elif len(maps) % 3 or any(len(shape) != 4 for shape in shapes) or not _fit(maps):
        raise PoseError(f"{path}: expected three raw maps per stride, or one decoded output, got {shapes}")
    else:
        cells = sum(one[0].shape[1] * one[0].shape[2] for one in _levels(maps))
        channels = 4 + sum(one.shape[3] for one in _levels(maps)[0][1:])
        info = info_from_file(str(path), metadata, (1, 3, *entry[1:3]), (1, channels, cells), options.kpt_shape)
        backend = EdgeTpuBackend(path, interpreter, info, "edgetpu" if driver else "cpu")
    if driver is None:
        as_exported(str(path), backend.precision, options)
    return backend


def _fit(maps: Sequence[Map]) -> bool:
    """Whether the three maps of each stride are of one size and every stride has the same channels."""
    levels = [[one.shape for one in level] for level in _levels(maps)]
    channels = {tuple(shape[3] for shape in level) for level in levels}
    return len(channels) == 1 and all(len({shape[:3] for shape in level}) == 1 for level in levels)


def _metadata(path: Path) -> dict[str, Any]:
    """The file's metadata, or that of the .tflite next to it if the compiler dropped it."""
    found = read_metadata(path)
    source = path.with_name(path.name.removesuffix(COMPILED) + ".tflite")
    return found or (read_metadata(source) if source != path and source.is_file() else {})


def _driver() -> Any:
    """The Edge TPU's driver for LiteRT; None when it, or the chip, is not there."""
    from ai_edge_litert.interpreter import load_delegate

    library = DRIVERS.get(sys.platform, DRIVERS["linux"])
    try:
        ctypes.CDLL(library)  # LiteRT complains on its own when it is not there
        return load_delegate(library)
    except (OSError, ValueError):
        return None


def _uncompiled(path: Path, options: OpenOptions) -> Any:
    """An interpreter, on the CPU, of the 8-bit file that lies within a compiled one."""
    missing = f"{path}: no Edge TPU here, or not its driver libedgetpu (https://coral.ai/software)"
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.read(SOURCE)
    except (zipfile.BadZipFile, KeyError):
        raise PoseError(f"{missing}; the {WHOLE} file it was compiled from runs on CPUs") from None
    log.warning(f"{missing}: the 8-bit model it was compiled from runs on the CPU in its place")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows deletes no file that is in use
        inner = Path(folder) / path.name
        inner.write_bytes(whole)
        return open_interpreter(inner, options)


def check_edgetpu(options: ExportOptions, target: Path) -> None:
    """Raise PoseError where the file is to be compiled and Google's compiler is not on this machine."""
    if not target.name.endswith(WHOLE) and tool(COMPILER) is None:
        raise PoseError(
            f"format=edgetpu: {COMPILER} is not on this machine (https://coral.ai/docs/edgetpu/compiler); "
            f"out=NAME{WHOLE} writes the 8-bit file that it takes, which also runs on CPUs"
        )


def export_edgetpu(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to `target`, compiled for the Edge TPU, or not compiled where that name ends in `WHOLE`.

    In a zip archive behind a compiled file are its metadata and the 8-bit model it was compiled from, for machines
    without the chip.

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
    """What the compiler makes of a file. Raises PoseError with the end of what it says when it fails."""
    compiler = tool(COMPILER)
    assert compiler is not None  # `check_edgetpu` has looked
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(model)
        with Popen([compiler, "-s", "-o", folder, str(path)], stdout=PIPE, stderr=STDOUT, cwd=folder) as process:
            said = process.communicate()[0].decode(errors="replace").strip().splitlines()
        made = path.with_name(path.stem + COMPILED)
        if process.returncode != 0 or not made.is_file():
            raise PoseError(
                f"format=edgetpu: {COMPILER} failed: {one_line(said[-1]) if said else 'it said nothing'}; "
                f"out=NAME{WHOLE} writes the 8-bit file that it takes"
            )
        return made.read_bytes()


def full_integer(network: PoseNet, options: ExportOptions, info: ModelInfo) -> bytes:
    """`network` as a TF Lite file of 8-bit integers, from pixels to raw maps; ranges measured on `options.data`."""
    images = [to_nhwc(image) for image in calibration_images(info, options.data)]
    for image in images:  # so that the input ranges from 0 to 1 whatever was in the photographs: a number per level
        image[:, 0, :2] = np.array([[0], [1]])
    model = keras_model(network, options, info, outputs=_raw_maps)
    with quiet():
        import tensorflow as tf

        module = tf.Module()
        module.weights = [tf.Variable(weight) for weight in model.trainable_variables]

        def infer(images: Any) -> dict[str, Any]:
            maps = model.stateless_call(module.weights, [], images)[0]
            limited = {
                name: tf.quantization.fake_quant_with_min_max_args(one, -LOGITS, LOGITS)
                for name, one in maps.items()
                if name.startswith(MAPS["cv3"])
            }
            return {**maps, **limited}

        function = tf.function(infer, autograph=False).get_concrete_function(images_spec(model))
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        return bytes(converter.convert())


def _raw_maps(model: Any) -> dict[str, str]:
    """The outputs of the last convolutions of the head's branches in an ONNX model, by branch and level."""
    found = {}
    for node in model.graph.node:
        if node.op_type == "Conv" and (name := re.search(r"\.(cv[234])\.(\d+)\.2\.weight$", node.input[1])):
            found[MAPS[name[1]] + name[2]] = node.output[0]
    return found
