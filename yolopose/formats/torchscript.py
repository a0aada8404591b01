"""TorchScript: the network traced and frozen, for programs that have libtorch and no Python."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.config import ExportConfig
from yolopose.console import log
from yolopose.errors import PoseError, one_line
from yolopose.formats.base import Array, Backend, Float, OpenOptions, in_batches_of, refuse_other_shape, to_rgb
from yolopose.formats.describe import archived, decoded, describe, is_end_to_end, stated_precision
from yolopose.formats.pytorch import choose_device
from yolopose.formats.quiet import quiet, unwarned
from yolopose.limits import MAX_BATCH, MAX_PIXELS, whole
from yolopose.metadata import ModelInfo, check_task, sides

if TYPE_CHECKING:
    import torch

    from yolopose.nn.network import PoseNet

CONFIG = "config.txt"  # JSON, where Ultralytics' files have it too; `_extra_files` of torch.jit.load reads it


class TorchScriptBackend(Backend):
    """A TorchScript module on one device; ours and Ultralytics'. `probe` is its output for one input of zeros."""

    def __init__(self, path: Path, module: Any, info: ModelInfo, probe: torch.Tensor, type_: torch.dtype) -> None:
        self.info = info
        self.device = str(probe.device)
        self.precision = stated_precision(info, str(type_).removeprefix("torch."))
        self.fixed_shape = None if info.dynamic else (info.batch, *info.imgsz)
        self._path, self._module, self._type = str(path), module, type_
        self._device = probe.device
        self._end_to_end = is_end_to_end(list(probe.shape), info)

    def infer(self, images: Array) -> Float:
        """(B, H, W, 3) → (B, 4+C+K·D, A), see `Backend`."""
        refuse_other_shape(self._path, images, self.fixed_shape)
        return in_batches_of(self.info.batch, images, self._run) if self.fixed_shape else self._run(images)

    def _run(self, images: Array) -> Float:
        """One run of the module on a batch it accepts."""
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(to_rgb(images)).to(self._device)
            floats = pixels.permute(0, 3, 1, 2).to(self._type)  # channels last, which convolutions prefer
            output = self._module(floats.div_(255) if pixels.dtype == torch.uint8 else floats)
            numbers = np.asarray(output.float().cpu().numpy())
        return decoded(numbers, len(self.info.names)) if self._end_to_end else numbers


def open_torchscript(path: Path, options: OpenOptions) -> TorchScriptBackend:
    """Open a TorchScript file with torch.

    A TorchScript file is a program: opening it unpickles nothing, but running it runs whatever operators it holds,
    and some of torch's read and write files. Open files of people you trust. What the file says of itself is read
    first, and a model of another task is refused unopened.

    Raises:
        PoseError: a file that torch cannot read or run, or no pose network.
        UsageError: a device that is not there.
    """
    import torch

    metadata = _metadata(path)
    device = choose_device(options.device)
    if options.threads and device.type == "cpu":
        torch.set_num_threads(options.threads)  # the process's setting: torch knows no other
    sizes = _sizes(path, metadata)
    try:
        with unwarned():  # that TorchScript is no longer developed
            module = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
        probe, type_ = _probe(module, sizes, device)
    except (RuntimeError, ValueError) as e:  # what torch throws for a broken archive and a broken program
        raise PoseError(f"{path}: torch cannot run it: {_last_line(e)}") from None
    dims: list[Any] = [None, 3, None, None] if _is_dynamic(metadata) else list(sizes)
    info = describe(str(path), metadata, dims, list(probe.shape), options.kpt_shape)
    backend = TorchScriptBackend(path, module, info, probe, type_)
    if (options.half and backend.precision != "float16") or options.bf16:
        log.warning(f"{path}: computes in {backend.precision}, as it was exported; half and bf16 change nothing")
    return backend


def _metadata(path: Path) -> dict[str, Any]:
    """What the file says of itself, read from the archive without torch; empty when it says nothing."""
    try:
        text = archived(path, lambda names: next((name for name in names if name.endswith(f"/extra/{CONFIG}")), None))
        values = json.loads(text or "{}")
    except (zipfile.BadZipFile, ValueError, RecursionError) as e:
        raise PoseError(f"{path}: not a TorchScript file: {one_line(e)}") from None
    if not isinstance(values, dict):
        raise PoseError(f"{path}: {CONFIG} within it is no JSON object")
    try:
        check_task(values)
    except PoseError as e:
        raise PoseError(f"{path}: {e}") from None
    return values


def _is_dynamic(metadata: Mapping[str, Any]) -> bool:
    """Whether a file takes any size, as ours and Ultralytics' state it."""
    args = metadata.get("args")
    return bool(metadata.get("dynamic", isinstance(args, dict) and args.get("dynamic", False)))


def _sizes(path: Path, metadata: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """(B, 3, H, W) that the file states to have been traced with; (1, 3, 640, 640) when it states nothing."""
    try:
        h, w = sides(metadata.get("imgsz", 640))
        batch = whole(metadata.get("batch", 1), "batch", 1, MAX_BATCH)
        whole(batch * h * w, "the pixels of its input", 1, MAX_PIXELS)
    except PoseError as error:
        raise PoseError(f"{path}: its metadata are damaged: {error}") from None
    return batch, 3, h, w


def _probe(module: Any, sizes: tuple[int, ...], device: torch.device) -> tuple[torch.Tensor, torch.dtype]:
    """The output for zeros, and the type that the module takes: float32, or float16 for files of other makers.

    Raises:
        RuntimeError: it does not run, or gives anything but one (B, N, A) tensor.
    """
    import torch

    for type_ in (torch.float32, torch.float16):
        try:
            with torch.inference_mode():
                output = module(torch.zeros(sizes, dtype=type_, device=device))
            break
        except RuntimeError:
            if type_ == torch.float16:
                raise
    if not isinstance(output, torch.Tensor) or output.ndim != 3:
        raise RuntimeError("expected one decoded (B, 4+C+K·D, A) output")
    return output, type_


def _last_line(error: Exception) -> str:
    """What went wrong: torch's own lines come after the trace of the program, if there is one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("RuntimeError: ")] or lines[:1] or [type(error).__name__]
    return told[-1].removeprefix("RuntimeError: ")


def export_torchscript(network: PoseNet, config: ExportConfig, info: ModelInfo, target: Path) -> None:
    """Write `network` to `target` as a frozen TorchScript module, its metadata as JSON in the extra file `CONFIG`.

    With `optimize` the weights lie channels last, so that callers who hand over ordinary NCHW images get the quicker
    convolutions (66 → 51 ms at 640 on two cores); torch's own optimize_for_inference saves a file that it cannot
    load again, and optimize_for_mobile needs a build of torch with XNNPACK. A file that is not `dynamic` holds the
    anchors of its one size as constants.
    """
    import torch

    from yolopose.formats.wrapper import ExportNetwork

    wrapper = ExportNetwork(network, half=config.half, baked=None if config.dynamic else info.imgsz).eval()
    layout = torch.channels_last if config.optimize else torch.contiguous_format
    wrapper = wrapper.to(memory_format=layout)  # type: ignore[call-overload]
    example = torch.zeros(info.batch, 3, *info.imgsz).contiguous(memory_format=layout)
    stated = replace(info, batch=1) if config.dynamic else info
    with quiet():
        traced = torch.jit.trace(wrapper, example, check_trace=False)  # type: ignore[no-untyped-call]
        frozen = torch.jit.freeze(traced)
        _follow_input(frozen.graph)
        torch.jit.save(frozen, str(target), _extra_files={CONFIG: json.dumps(stated.described(), ensure_ascii=False)})


def _follow_input(graph: Any) -> None:
    """Let what the trace placed on the CPU be made on the device of the images instead, wherever the file will run."""
    images = list(graph.inputs())[1]  # the first is the module itself
    for node in graph.findAllNodes("prim::Constant"):
        if node.output().type().kind() == "DeviceObjType":
            device = graph.create("prim::device", [images], 1)
            device.output().setType(node.output().type())
            graph.prependNode(device)
            node.output().replaceAllUsesWith(device.output())
