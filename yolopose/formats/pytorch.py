"""PyTorch: run a `.pt` checkpoint, or a network in memory, with torch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from yolopose.console import log
from yolopose.errors import PoseError, UsageError
from yolopose.formats.base import DEFAULT_OPTIONS, Array, Backend, Float, OpenOptions, to_rgb
from yolopose.metadata import ModelInfo

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from yolopose.nn.head import Maps
    from yolopose.nn.network import PoseNet


class TorchBackend(Backend):
    """A PoseNet fused and laid out for inference (channels last), on one device in one precision.

    It works on a copy of the network, so that a network in training can be validated.
    """

    def __init__(self, network: PoseNet, options: OpenOptions = DEFAULT_OPTIONS, *, shared: bool = True) -> None:
        """Take a copy of `network`, or with `shared=False` the network itself.

        Raises:
            UsageError: a device or precision that this machine does not have.
        """
        import torch

        from yolopose.nn.onednn import use_onednn

        device = choose_device(options.device)
        self.info: ModelInfo = network.info
        self.device = str(device)
        self._device = device
        self._type = choose_type(options, device)
        self.precision = str(self._type).removeprefix("torch.")
        self.fixed_shape = None
        network = copy.deepcopy(network) if shared else network
        network = network.float().fuse()  # folded in float32, then rounded once
        self._takes_pixels = device.type == "cpu" and network.fold_pixels()
        network = network.to(device, self._type).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = use_onednn(network) if device.type == "cpu" else network
        if options.threads and device.type == "cpu":
            torch.set_num_threads(options.threads)  # the process's setting: torch knows no other

    def infer(self, images: Array) -> Float:
        """(B, H, W, 3) → (B, 4+C+K·D, A), see `Backend`."""
        return np.asarray(self.infer_maps(images)[0].cpu().numpy(), np.float32)

    def infer_maps(self, images: Array) -> tuple[Tensor, Maps]:
        """(B, H, W, 3) → decoded (B, 4+C+K·D, A) float32, and the raw maps of the same forward pass, on the device."""
        import torch

        with torch.inference_mode():
            maps = self.network.maps(self._tensor(images))
            return self.network.decode(maps), maps

    def candidates(self, images: Array, conf: float) -> list[Float]:
        """(B, H, W, 3) → rows as `Backend.candidates`; a CPU computes no others, a GPU copies no others."""
        import torch

        if self._device.type != "cpu":
            return self.candidates_above(self.infer_maps(images)[0], conf)
        with torch.inference_mode():
            return [rows.numpy() for rows in self.network.candidates(self._tensor(images), conf)]

    def candidates_above(self, output: Tensor, conf: float) -> list[Float]:
        """Decoded (B, 4+C+K·D, A) → per image the (M, 4+C+K·D) rows whose best class scores above `conf`."""
        import torch

        with torch.inference_mode():
            hits = output[:, 4 : 4 + len(self.info.names)].amax(1) > conf  # (B, A)
            rows = output.transpose(1, 2)[hits].cpu().numpy()
            ends = hits.sum(1).cumsum(0).tolist()
        return [rows[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]

    def _tensor(self, images: Array) -> Tensor:
        """(B, H, W, 3) BGR → the network's input (B, 3, H, W), channels last, on the device in its precision.

        It is RGB from 0 to 1, or BGR from 0 to 255 where the first convolution converts it (`fold_pixels`).
        """
        import torch

        if self._takes_pixels:
            floats = torch.from_numpy(images).permute(0, 3, 1, 2).to(self._type)
            return floats if images.dtype == np.uint8 else floats * 255
        return as_tensor(images, self._device, self._type)


def as_tensor(images: Array, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(B, H, W, 3) BGR → (B, 3, H, W) RGB from 0 to 1 on `device`, channels last, which convolutions prefer."""
    import torch

    pixels = torch.from_numpy(to_rgb(images)).to(device).permute(0, 3, 1, 2)
    floats = pixels.to(dtype)  # 0 to 255 are exact in 16 bits, too: rounded once, by the division
    return floats.div_(255) if pixels.dtype == torch.uint8 else floats


def open_pytorch(path: Path, options: OpenOptions) -> TorchBackend:
    """Open a `.pt` checkpoint, ours or Ultralytics'.

    Raises:
        PoseError: torch is not installed, or the file is no checkpoint of a pose network.
    """
    return TorchBackend(load_network(path), options, shared=False)


def load_network(path: Path) -> PoseNet:
    """The network of a `.pt` checkpoint, in float32 on the CPU. Raises PoseError as `open_pytorch`."""
    require_torch(str(path))
    from yolopose import checkpoint

    return checkpoint.build_network(checkpoint.load_checkpoint(path))


def require_torch(what: str) -> None:
    """Raise PoseError with the remedy when torch is not installed; `what` is the model file or mode that needs it."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        export = ", or export it to ONNX on a machine that has torch (yolo export format=onnx)"
        raise PoseError(f"{what}: needs torch: pip install 'yolopose[train]'{export if what.endswith('.pt') else ''}")


def choose_device(name: str | None) -> torch.device:
    """The torch device named None, cpu, cuda, cuda:1, 1, -1 or mps. None is a GPU when there is one.

    -1 is the GPU with the most free memory, or the CPU, logged, where there is no GPU.

    Raises:
        UsageError: a device that is not there, or several.
    """
    import torch

    gpus = torch.cuda.device_count()
    text = str(name if name is not None else "").strip().lower().removeprefix("cuda:")
    if text == "cpu" or (not gpus and text in ("", "auto", "none", "-1")):
        if text == "-1":
            log.info("device=-1: this machine has no GPU that torch can use; running on the CPU")
        return torch.device("cpu")
    if text == "mps" and torch.backends.mps.is_available():
        return torch.device("mps")
    if text == "-1":
        free = [torch.cuda.mem_get_info(i)[0] for i in range(gpus)]
        return torch.device(f"cuda:{free.index(max(free))}")
    index = "0" if text in ("", "auto", "none", "cuda") else text
    if index.isdecimal() and int(index) < gpus:
        return torch.device(f"cuda:{index}")
    wrong = "takes one device here" if "," in text else "is not on this machine"
    there = ", ".join(["cpu", *(str(i) for i in range(gpus))])
    raise UsageError(f"device={name} {wrong}; there is {there}")


def choose_type(options: OpenOptions, device: torch.device) -> torch.dtype:
    """The type that convolutions compute in.

    Raises:
        UsageError: bf16 on a CPU without it, where it would only be slow.
    """
    import torch

    if options.bf16:
        if device.type == "cpu" and not cpu_has_bf16():
            raise UsageError("bf16=True: this CPU has neither AVX512-BF16 nor AMX; leave it out")
        return torch.bfloat16
    if options.half and device.type == "cpu":
        log.warning("half=True: CPUs compute 16-bit floats slowly; staying in float32 (bf16=True where the CPU has it)")
        return torch.float32
    return torch.float16 if options.half else torch.float32


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware, as far as torch can tell."""
    import torch

    if hasattr(torch.cpu, "get_capabilities"):
        flags = torch.cpu.get_capabilities()
        return any(flags.get(flag) for flag in ("avx512_bf16", "amx_bf16", "bf16"))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
