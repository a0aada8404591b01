"""ncnn folders: written with pnnx, run with ncnn."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.errors import PoseError
from yolopose.formats.base import Array, ExportOptions, FileBackend, Float, OpenOptions, to_nchw
from yolopose.formats.checks import run_tool
from yolopose.formats.quiet import without_warnings
from yolopose.metadata import METADATA, ModelInfo, load_metadata, save_metadata

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

PARAM, BIN = "model.ncnn.param", "model.ncnn.bin"
IN, OUT = "in0", "out0"  # as pnnx names them


class NcnnBackend(FileBackend):
    """An ncnn network, run on one image after the other; ours and Ultralytics'.

    ncnn checks no shapes: an image of another size than the network's would give nonsense.
    """

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Open a folder of `model.ncnn.param`, `model.ncnn.bin` and `metadata.yaml`.

        Raises:
            PoseError: a file of the folder is missing or damaged, or no pose network.
            UsageError: another device than the CPU.
        """
        import ncnn

        metadata = load_metadata(path / METADATA)
        if "imgsz" not in metadata:
            raise PoseError(f"{path / METADATA}: missing, or does not tell imgsz")
        super().__init__(path, options, metadata, [(1, 3, None, None)], [(1, None, None)])
        self.info = replace(self.info, dynamic=False)  # the size is in the metadata only, not in ncnn's files
        self.fixed_shape = (1, *self.info.imgsz)
        self._net = net = ncnn.Net()
        net.opt.num_threads = options.cpu_threads() or net.opt.num_threads
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = self.precision == "float16"
        _load(net, path)
        self.infer(np.zeros((1, *self.info.imgsz, 3), np.uint8))  # checks the shape of the output

    def _run(self, images: Array) -> Float:
        import ncnn

        planes = to_nchw(images)[0]
        with self._net.create_extractor() as extractor:
            extractor.input(IN, ncnn.Mat(planes).clone())  # `planes` has to live until it is cloned
            code, output = extractor.extract(OUT)
            if code != 0:
                raise PoseError(f"{self.path}: ncnn cannot run this network (code {code})")
            return np.array(output)[None]


def _load(net: Any, path: Path) -> None:
    """Load the files of the folder `path` into a network. Raises PoseError as `NcnnBackend`."""
    for name, load in ((PARAM, net.load_param), (BIN, net.load_model)):
        if not (path / name).is_file():
            raise PoseError(f"{path}: has no {name}")
        if load(str(path / name)) != 0:
            raise PoseError(f"{path / name}: ncnn cannot load it; it is damaged or from a newer ncnn")
    ends = net.input_names(), net.output_names()
    if ends != ([IN], [OUT]):
        raise PoseError(f"{path}: expected one input {IN} and one output {OUT}, got {ends[0]} → {ends[1]}")


def export_ncnn(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to the folder `target`; with `half` the weights are stored in 16 bits.

    Raises:
        PoseError: pnnx failed.
    """
    import pnnx
    import torch

    from yolopose.formats.wrapper import ExportNetwork

    target.mkdir()
    example = torch.zeros(1, 3, *info.imgsz)
    with tempfile.TemporaryDirectory() as folder:  # pnnx writes several files more
        traced = Path(folder) / "model.pt"
        with without_warnings():  # that TorchScript is no longer developed
            wrapper = ExportNetwork(network, baked=info.imgsz)
            torch.jit.trace(wrapper, example, check_trace=False).save(str(traced))  # type: ignore[no-untyped-call]
        shape = ",".join(str(size) for size in example.shape)
        command = [pnnx.EXEC_PATH, str(traced), f"inputshape=[{shape}]f32", f"fp16={int(options.half)}"]
        code, message = run_tool(command, folder)
        made = [Path(folder) / name for name in (PARAM, BIN)]
        if code != 0 or not all(path.is_file() for path in made):
            raise PoseError(f"pnnx failed with code {code}: {message}")
        for path in made:
            shutil.copyfile(path, target / path.name)
    save_metadata(target / METADATA, info)
