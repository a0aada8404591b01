"""TorchScript: the network traced and frozen, for programs with libtorch and without Python."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.errors import PoseError, one_line
from yolopose.formats.base import Array, ExportOptions, FileBackend, Float, OpenOptions
from yolopose.formats.pytorch import as_tensor, choose_device
from yolopose.formats.quiet import quiet, without_warnings
from yolopose.limits import MAX_BATCH, MAX_PIXELS, int_of
from yolopose.metadata import ModelInfo, check_task, read_archived, sides

if TYPE_CHECKING:
    import torch

    from yolopose.nn.network import PoseNet

CONFIG = "config.txt"  # JSON, where Ultralytics' files have it too; `_extra_files` of torch.jit.load reads it


class TorchScriptBackend(FileBackend):
    """A TorchScript module on one device; ours and Ultralytics'.

    A TorchScript file is a program: opening it unpickles nothing, but running it runs whatever operators it holds,
    and some of torch's read and write files. Open files of people you trust. The metadata are read first, and a model
    of another task is refused unopened.
    """

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Open a TorchScript file.

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
            with without_warnings():  # that TorchScript is no longer developed
                self._module = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
            probe, self._type = _probe(self._module, sizes, device)
        except (RuntimeError, ValueError) as e:  # what torch throws for a broken archive and a broken program
            raise PoseError(f"{path}: torch cannot run it: {_last_line(e)}") from None
        self._device = probe.device
        args = metadata.get("args")
        dynamic = metadata.get("dynamic", isinstance(args, dict) and args.get("dynamic", False))
        shapes = [[None, 3, None, None] if dynamic else sizes], [list(probe.shape)]
        precision = str(self._type).removeprefix("torch.")
        super().__init__(path, options, metadata, *shapes, precision=precision, device=str(probe.device))

    def _run(self, images: Array) -> Float:
        import torch

        with torch.inference_mode():
            output = self._module(as_tensor(images, self._device, self._type))
            return np.asarray(output.float().cpu().numpy())


def _metadata(path: Path) -> dict[str, Any]:
    """The file's metadata, read from the zip archive without torch; empty when it has none."""
    try:
        values = json.loads(read_archived(path, f"/extra/{CONFIG}") or "{}")
    except (zipfile.BadZipFile, ValueError, RecursionError) as e:
        raise PoseError(f"{path}: not a TorchScript file: {one_line(e)}") from None
    if not isinstance(values, dict):
        raise PoseError(f"{path}: {CONFIG} within it is no JSON object")
    try:
        check_task(values)
    except PoseError as e:
        raise PoseError(f"{path}: {e}") from None
    return values


def _sizes(path: Path, metadata: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """(B, 3, H, W) of the traced input by the metadata; (1, 3, 640, 640) where they lack it."""
    try:
        h, w = sides(metadata.get("imgsz", 640))
        batch = int_of(metadata.get("batch", 1), "batch", 1, MAX_BATCH)
        int_of(batch * h * w, "the pixels of its input", 1, MAX_PIXELS)
    except PoseError as error:
        raise PoseError(f"{path}: its metadata are damaged: {error}") from None
    return batch, 3, h, w


def _probe(module: Any, sizes: tuple[int, ...], device: torch.device) -> tuple[torch.Tensor, torch.dtype]:
    """The output for zeros, and the type that the module takes: float32, or float16 for files of other makers.

    Raises:
        RuntimeError: it does not run, or gives anything but one (B, N, A) tensor.
    """
    import torch

    with torch.inference_mode():
        try:
            type_ = torch.float32
            output = module(torch.zeros(sizes, device=device))
        except RuntimeError:
            type_ = torch.float16
            output = module(torch.zeros(sizes, dtype=type_, device=device))
    if not isinstance(output, torch.Tensor) or output.ndim != 3:
        raise RuntimeError("expected one decoded (B, 4+C+K·D, A) output")
    return output, type_


def _last_line(error: Exception) -> str:
    """The cause in an error of torch, whose own lines come after the trace of the program, if there is one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("RuntimeError: ")] or lines[:1] or [type(error).__name__]
    return causes[-1].removeprefix("RuntimeError: ")


def export_torchscript(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to `target` as a frozen TorchScript module, its metadata as JSON in the extra file `CONFIG`.

    With `optimize` the weights lie channels last, so that callers who hand over ordinary NCHW images get the quicker
    convolutions (66 → 51 ms at 640 on two cores); torch's own optimize_for_inference saves a file that it cannot
    load again, and optimize_for_mobile needs a build of torch with XNNPACK. A file that is not `dynamic` holds the
    anchors of its one size as constants.
    """
    import torch

    from yolopose.formats.wrapper import ExportNetwork

    wrapper = ExportNetwork(network, half=options.half, baked=None if info.dynamic else info.imgsz).eval()
    layout = torch.channels_last if options.optimize else torch.contiguous_format
    wrapper = wrapper.to(memory_format=layout)  # type: ignore[call-overload]
    example = torch.zeros(info.batch, 3, *info.imgsz).contiguous(memory_format=layout)
    stated = replace(info, batch=1) if info.dynamic else info
    with quiet():
        traced = torch.jit.trace(wrapper, example, check_trace=False)  # type: ignore[no-untyped-call]
        frozen = torch.jit.freeze(traced)
        _follow_input(frozen.graph)
        config = json.dumps(stated.file_metadata(), ensure_ascii=False)
        torch.jit.save(frozen, str(target), _extra_files={CONFIG: config})


def _follow_input(graph: Any) -> None:
    """Create on the device of the images what the trace has placed on the CPU, so that the file runs on GPUs too."""
    images = list(graph.inputs())[1]  # the first is the module itself
    for node in graph.findAllNodes("prim::Constant"):
        if node.output().type().kind() == "DeviceObjType":
            device = graph.create("prim::device", [images], 1)
            device.output().setType(node.output().type())
            graph.prependNode(device)
            node.output().replaceAllUsesWith(device.output())
