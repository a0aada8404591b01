"""ncnn folders: written by pnnx, run by ncnn."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.errors import PoseError
from yolopose.formats.base import (
    Array,
    Backend,
    ExportOptions,
    Float,
    OpenOptions,
    as_exported,
    refuse_other_shape,
    to_nchw,
)
from yolopose.formats.quiet import unwarned
from yolopose.metadata import METADATA, ModelInfo, info_from_file, load_metadata, save_metadata, stated_precision

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

PARAM, BIN = "model.ncnn.param", "model.ncnn.bin"
IN, OUT = "in0", "out0"  # as pnnx names them


class NcnnBackend(Backend):
    """An ncnn network, run on one image after the other."""

    def __init__(self, path: Path, net: Any, info: ModelInfo) -> None:
        self.info = info
        self.fixed_shape = (1, *info.imgsz)
        self.precision = stated_precision(info)
        self.device = "cpu"
        self._name = str(path)
        self._net = net

    def infer(self, images: Array) -> Float:
        """(B, H, W, 3) → (B, 4+C+K·D, A), see `Backend`."""
        refuse_other_shape(self._name, images, self.fixed_shape)
        return np.stack([_run(self._net, planes) for planes in to_nchw(images)])


def _run(net: Any, planes: Float) -> Float:
    """(3, H, W) → (4+C+K·D, A). ncnn checks no shape: another one than the network's gives nonsense."""
    import ncnn

    with net.create_extractor() as extractor:
        extractor.input(IN, ncnn.Mat(planes).clone())  # `planes` has to live until it is cloned
        code, output = extractor.extract(OUT)
        if code != 0:
            raise PoseError(f"ncnn cannot run this network (code {code})")
        return np.array(output)


def open_ncnn(path: Path, options: OpenOptions) -> NcnnBackend:
    """Open a folder of `model.ncnn.param`, `model.ncnn.bin` and `metadata.yaml`, ours or Ultralytics'.

    Raises:
        PoseError: a file of the folder is missing or damaged, or no pose network.
        UsageError: another device than the CPU.
    """
    import ncnn

    info = _describe(path, options)
    precision = stated_precision(info)
    as_exported(str(path), precision, options)
    net = ncnn.Net()
    net.opt.num_threads = options.cpu_threads() or net.opt.num_threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = precision == "float16"
    for name, load in ((PARAM, net.load_param), (BIN, net.load_model)):
        if not (path / name).is_file():
            raise PoseError(f"{path}: has no {name}")
        if load(str(path / name)) != 0:
            raise PoseError(f"{path / name}: ncnn cannot load it; it is damaged or from a newer ncnn")
    ends = net.input_names(), net.output_names()
    if ends != ([IN], [OUT]):
        raise PoseError(f"{path}: expected one input {IN} and one output {OUT}, got {ends[0]} → {ends[1]}")
    backend = NcnnBackend(path, net, info)
    found = backend.infer(np.zeros((1, *info.imgsz, 3), np.uint8)).shape
    if len(found) != 3 or found[1] != info.channels:
        raise PoseError(f"{path}: its output {list(found)} does not have the {info.channels} channels of its metadata")
    return backend


def _describe(path: Path, options: OpenOptions) -> ModelInfo:
    """What the folder's metadata say; ncnn's own files do not even tell the size of the input."""
    metadata = load_metadata(path / METADATA)
    if "imgsz" not in metadata:
        raise PoseError(f"{path / METADATA}: missing, or does not tell imgsz")
    info = info_from_file(str(path), metadata, (1, 3, None, None), (1, None, None), options.kpt_shape)
    return replace(info, dynamic=False)


def export_ncnn(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to the folder `target`; with `half` the weights are stored in 16 bit.

    Raises:
        PoseError: pnnx failed.
    """
    import pnnx
    import torch

    from yolopose.formats.wrapper import ExportNetwork

    target.mkdir()
    example = torch.zeros(1, 3, *info.imgsz)
    with tempfile.TemporaryDirectory() as folder:  # pnnx writes a handful of files more
        traced = Path(folder) / "model.pt"
        with unwarned():  # that TorchScript is no longer developed
            wrapper = ExportNetwork(network, baked=info.imgsz)
            torch.jit.trace(wrapper, example, check_trace=False).save(str(traced))  # type: ignore[no-untyped-call]
        shape = ",".join(str(size) for size in example.shape)
        arguments = [f"inputshape=[{shape}]f32", f"fp16={int(options.half)}"]
        with Popen([pnnx.EXEC_PATH, str(traced), *arguments], stdout=PIPE, stderr=STDOUT, cwd=folder) as process:
            said = process.communicate()[0].decode(errors="replace").strip().splitlines()
        made = [Path(folder) / name for name in (PARAM, BIN)]
        if process.returncode != 0 or not all(path.is_file() for path in made):
            raise PoseError(f"pnnx failed with code {process.returncode}: {said[-1] if said else 'it said nothing'}")
        for path in made:
            shutil.copyfile(path, target / path.name)
    save_metadata(target / METADATA, info)
