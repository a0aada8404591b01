"""The table of model formats; opening a model file and writing one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from yolopose import weights
from yolopose.config import ExportConfig, arguments, pick
from yolopose.console import log
from yolopose.errors import PoseError, UsageError, did_you_mean, one_line, shown
from yolopose.files import atomic_path, cache_dir, remove_leftovers
from yolopose.formats.base import DEFAULT_OPTIONS, Backend, ExportOptions, OpenOptions, Suppression
from yolopose.formats.calibration import calibration_paths
from yolopose.formats.checks import check_packages, check_place
from yolopose.formats.coreml import CoremlBackend, export_coreml
from yolopose.formats.edgetpu import WHOLE, check_edgetpu, export_edgetpu, open_edgetpu
from yolopose.formats.ncnn import NcnnBackend, export_ncnn
from yolopose.formats.onnx import OnnxBackend, export_onnx
from yolopose.formats.openvino import OpenvinoBackend, export_openvino
from yolopose.formats.paddle import PaddleBackend, export_paddle
from yolopose.formats.pytorch import load_network, open_pytorch, require_torch
from yolopose.formats.tensorflow import TensorflowBackend, export_graphdef, export_saved_model
from yolopose.formats.tensorrt import TensorRtBackend, check_tensorrt, export_tensorrt
from yolopose.formats.tfjs import TfjsBackend, check_tfjs, export_tfjs
from yolopose.formats.tflite import TfliteBackend, export_tflite
from yolopose.formats.torchscript import TorchScriptBackend, export_torchscript
from yolopose.metadata import METADATA, SUPPRESSED, ModelInfo
from yolopose.version import __version__

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

Export = Callable[["PoseNet", ExportOptions, ModelInfo, Path], None]
Check = Callable[["PoseNet", Path, Path, str | None], None]
Open = Callable[[Path, OpenOptions], Backend]

COMMON = frozenset(
    {"model", "format", "imgsz", "device", "project", "name", "exist_ok", "verbose", "compat", "out", "data", "verify"}
)
SUPPRESSION = frozenset(Suppression._fields)  # with nms


@dataclass(frozen=True)
class Format:
    """A model format: its names, and how its files are recognised, opened and written.

    `runtime` and `exporter` are what pip installs to run and to write a file, `options` the export arguments beyond
    `COMMON` that the format takes, `tolerance` the largest difference in pixels from float32 torch, on equal input
    tensors, that a float32 export may have.

    An export checks before it begins: `packages` are modules it imports, as for `check_packages`, `files` the names in
    the folder that it writes, and `check` tests for anything else that it needs.
    """

    title: str
    argument: str
    suffix: str
    open: Open
    runtime: str
    export: Export | None
    exporter: str
    options: frozenset[str]
    tolerance: float
    packages: str = ""
    files: tuple[str, ...] = ()
    check: Callable[[ExportOptions, Path], None] | None = None
    also: str = ""  # a second suffix of its files
    tools: str = ""  # what pip does not install with `exporter`; for docs/export.md
    tested: str = "yes"  # what we have run; for docs/export.md


ONNX = "onnx onnxscript simplify:onnxslim"
KERAS = "tensorflow keras onnx onnxscript onnxslim"  # by way of ONNX
FORMATS = (
    Format("PyTorch", "pytorch", ".pt", open_pytorch, "yolopose[train]", None, "", frozenset(), 0.0),
    Format(
        "TorchScript", "torchscript", ".torchscript", TorchScriptBackend, "yolopose[train]",
        export_torchscript, "yolopose[train]", frozenset({"batch", "dynamic", "half", "optimize"}), 1e-2,
    ),
    Format(
        "ONNX", "onnx", ".onnx", OnnxBackend, "onnxruntime", export_onnx, "yolopose[train]",
        frozenset({"batch", "dynamic", "half", "int8", "nms", "opset", "simplify"}), 1e-2,
        packages=f"{ONNX} int8:onnxruntime verify:onnxruntime",
        tested="yes, also in Chromium ([browser](browser.md))",
    ),
    Format(
        "OpenVINO", "openvino", "_openvino_model", OpenvinoBackend, "openvino", export_openvino,
        "yolopose[train,openvino]", frozenset({"batch", "dynamic", "half", "int8", "nms"}), 1e-2,
        packages="openvino int8:nncf", files=("model.xml", "model.bin", METADATA),
    ),
    Format(
        "TensorRT", "engine", ".engine", TensorRtBackend, "yolopose[tensorrt]", export_tensorrt,
        "yolopose[train,tensorrt]", frozenset({"batch", "dynamic", "half", "int8", "simplify", "workspace"}), 1e-2,
        packages=f"{ONNX} int8:onnxruntime tensorrt", check=check_tensorrt,
        tested="**no**: tested with a stand-in for TensorRT only",
    ),
    Format(
        "CoreML", "coreml", ".mlpackage", CoremlBackend, "yolopose[coreml]", export_coreml, "yolopose[train,coreml]",
        frozenset({"half", "int8", "nms"}), 1e-2, packages="coremltools", files=("Manifest.json", "Data"),
        tested="the program yes, by interpretation; **not on macOS**",
    ),
    Format(
        "TF SavedModel", "saved_model", "_saved_model", TensorflowBackend, "yolopose[tensorflow]",
        export_saved_model, "yolopose[train,tensorflow]", frozenset({"int8", "keras", "nms"}), 1e-2, packages=KERAS,
        files=("saved_model.pb", "fingerprint.pb", "variables", "assets", "model.keras", METADATA),
    ),
    Format(
        "TF GraphDef", "pb", ".pb", TensorflowBackend, "yolopose[tensorflow]",
        export_graphdef, "yolopose[train,tensorflow]", frozenset(), 1e-2, packages=KERAS,
    ),
    Format(
        "TF Lite", "tflite", ".tflite", TfliteBackend, "ai-edge-litert", export_tflite, "yolopose[train,tflite]",
        frozenset({"half", "int8", "nms"}), 1e-2,
        packages="litert_torch half:ai_edge_quantizer int8:ai_edge_quantizer verify:ai_edge_litert",
    ),
    Format(
        "TF Edge TPU", "edgetpu", "_edgetpu.tflite", open_edgetpu, "ai-edge-litert", export_edgetpu,
        "yolopose[train,tensorflow,tflite]", frozenset(), 1e-2,
        packages=f"{KERAS} verify:ai_edge_litert", check=check_edgetpu, also=WHOLE,
        tools="`edgetpu_compiler`", tested="the 8-bit file yes, on the CPU; **not compiled, not on an Edge TPU**",
    ),
    Format(
        "TF.js", "tfjs", "_web_model", TfjsBackend, "yolopose", export_tfjs, "yolopose[train,tensorflow]",
        frozenset({"half", "int8"}), 1e-2, packages=KERAS, check=check_tfjs,
        files=("model.json", "group*-shard*of*.bin", METADATA),
        tools="`tensorflowjs`; to run: Node", tested="yes, in Node by WebAssembly",
    ),
    Format(
        "PaddlePaddle", "paddle", "_paddle_model", PaddleBackend, "yolopose[paddle]", export_paddle,
        "yolopose[train,paddle]", frozenset(), 1e-2,
        packages="paddle", files=("model.json", "model.pdiparams", METADATA),
    ),
    Format(
        "ncnn", "ncnn", "_ncnn_model", NcnnBackend, "yolopose[ncnn]", export_ncnn, "yolopose[train,ncnn]",
        frozenset({"half"}), 5e-2, packages="pnnx verify:ncnn", files=("model.ncnn.param", "model.ncnn.bin", METADATA),
    ),
)  # fmt: skip


def format_of(path: str | Path) -> Format:
    """The row of a model file or folder, by its longest suffix. Raises UsageError when there is none."""
    rows = {suffix: row for row in FORMATS for suffix in (row.suffix, row.also) if suffix}
    fitting = [suffix for suffix in rows if Path(path).name.endswith(suffix)]
    if not fitting:
        raise UsageError(f"{path}: not a model file; known are {', '.join(row.suffix for row in FORMATS)} and .yaml")
    return rows[max(fitting, key=len)]


def needs_torch(path: str | Path) -> bool:
    """Whether the file is a checkpoint, which only torch runs. Raises UsageError for no model file at all."""
    return format_of(path).argument == "pytorch"


def open_backend(path: str | Path, options: OpenOptions = DEFAULT_OPTIONS) -> Backend:
    """The model file at `path`, ready to run.

    Raises:
        PoseError: the file is missing or damaged, its runtime is not installed, or the device is not there.
    """
    row = format_of(path)
    if not Path(path).exists():
        raise PoseError(f"{path}: no such file")
    with _failures(row.title, str(path), row.runtime, f"{path}: cannot be opened"):
        return row.open(Path(path), options)


@contextmanager
def _failures(title: str, subject: str, package: str, os_error: str) -> Iterator[None]:
    """Turn the error of a package that is missing or cannot be loaded, and any OSError, into a PoseError."""
    try:
        yield
    except ModuleNotFoundError as e:
        raise PoseError(f"{subject}: needs {e.name}: pip install '{package}'") from None
    except ImportError as e:  # the package is installed, but not a system library that it needs
        raise PoseError(f"{subject}: the package for {title} cannot be loaded: {one_line(e)}") from None
    except OSError as e:
        raise PoseError(f"{os_error}: {one_line(e.strerror or e)}") from None


def export(model: str | Path | PoseNet, config: ExportConfig, check: Check | None = None) -> Path:
    """Write a checkpoint or a network in another format; return the path, next to the model unless `out` is set.

    The file gets its name when it is complete and `check` has raised nothing; that receives the network, the file's
    temporary path, its final path and the device to run it on. The network is not changed.

    Raises:
        UsageError: an unknown format, or an argument that the format does not take.
        PoseError: what the export needs is not installed, or the export failed.
    """
    row = check_options(config)
    assert row.export is not None
    config = replace(config, format=row.argument)
    if isinstance(model, (str, Path)) and not needs_torch(model):
        raise UsageError(f"{model}: an export starts from a .pt checkpoint, not from another export")
    require_torch(f"format={row.argument}")
    target = _target(model, row, config)
    suppression = Suppression(config.conf, config.iou, config.max_det, config.agnostic_nms) if config.nms else None
    options = pick(ExportOptions, config, verify=check is not None, suppression=suppression)
    _check(row, options, target)
    network = load_network(Path(model)) if isinstance(model, (str, Path)) else model
    info = _info(network, config)
    with _failures(row.title, f"format={row.argument}", row.exporter, f"{target}: cannot be written"):
        remove_leftovers(target)
        with atomic_path(target) as part:
            try:
                row.export(network, options, info, part)
                if check is not None:
                    check(network, part, target, config.device if row.argument == "engine" else None)
            except PoseError as e:  # with the final name, not that of the unfinished file
                raise type(e)(str(e).replace(str(part), str(target)).replace(part.name, target.name)) from None
    return target


def _check(row: Format, options: ExportOptions, target: Path) -> None:
    """Raise PoseError for what would stop an export, before it begins."""
    if row.check:
        row.check(options, target)
    check_packages(row.argument, row.packages, row.exporter, options)
    if options.int8 or row.argument == "edgetpu":
        calibration_paths(options.data)
    check_place(target, row.files)


def check_options(config: ExportConfig) -> Format:
    """The format asked for.

    Raises:
        UsageError: it does not exist, is not written by an export, or does not take an argument that was set.
    """
    row = _format_called(config.format)
    if row.export is None:
        raise UsageError(f"format={row.argument}: the model has it already; to write another copy use YOLO(…).save()")
    if config.int8 and config.half:
        raise UsageError("int8=True and half=True: a file is either int8 or half")
    taken = COMMON | row.options | (SUPPRESSION if config.nms else frozenset())
    for key, argument in arguments(ExportConfig).items():
        value = getattr(config, key)
        if key not in taken and value != argument.default:
            takes = ", ".join(sorted(row.options)) or "no options"
            raise UsageError(f"{key}={value}: format={row.argument} does not take it; it takes {takes}")
    return row


def _format_called(name: str) -> Format:
    """The format of an argument. Raises UsageError when there is none."""
    by_name = {row.argument: row for row in FORMATS}
    wanted = name.lower()
    if wanted not in by_name:
        by_title = {row.title.lower(): row.argument for row in FORMATS}
        hint = did_you_mean(by_title.get(wanted, wanted), by_name, "{}")
        raise UsageError(f"format={shown(name)}: known are {', '.join(by_name)}{hint}")
    return by_name[wanted]


def _info(network: PoseNet, config: ExportConfig) -> ModelInfo:
    """The metadata of the exported file; sides of the input are rounded up to multiples of the stride."""
    stride = network.info.stride
    asked = network.info.size_for(config.imgsz)
    h, w = network.info.input_size(asked)
    if asked not in (h, (h, w)):
        log.warning(f"imgsz={asked}: no multiple of the stride {stride}, exporting {h},{w}")
    precision = "int8" if config.int8 else "float16" if config.half else "float32"
    rights = {"license": "not stated: that of the checkpoint and of its training data", "data_card": "not stated"}
    extra = rights | network.info.extra | {"precision": precision, "version": __version__}
    if config.nms:
        if config.format != "coreml":  # whose own layer drops keypoints: suppression is left to the host
            extra["decoding"] = SUPPRESSED
        extra |= {"nms": True} | {key: getattr(config, key) for key in sorted(SUPPRESSION)}
    return replace(network.info, imgsz=(h, w), batch=config.batch, dynamic=config.dynamic, extra=extra)


def _target(model: str | Path | PoseNet, row: Format, config: ExportConfig) -> Path:
    """The path to write: `out`, or the model's name with the format's suffix, next to the model.

    Exports of a model from the package or the download cache go to the current folder.
    """
    if config.out:
        target = Path(config.out)
        suffixes = tuple(filter(None, (row.suffix, row.also)))
        if not target.name.endswith(suffixes):
            ends = " or ".join(suffixes)
            raise UsageError(f"out={config.out}: format={row.argument} needs a name that ends in {ends}")
        return target
    path = Path(model if isinstance(model, (str, Path)) else config.model or "model.pt")
    ours = path.resolve().parent in (weights.ASSETS.resolve(), cache_dir().resolve())
    return (Path() if ours else path.parent) / (path.stem + row.suffix)
