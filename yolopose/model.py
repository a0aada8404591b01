"""class Model: a network or an exported file, read once and opened for each device and precision it runs in."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from yolopose import weights
from yolopose.console import log
from yolopose.errors import PoseError, one_line
from yolopose.formats.base import Backend, OpenOptions
from yolopose.formats.pytorch import require_torch
from yolopose.formats.table import needs_torch, open_backend
from yolopose.metadata import ModelInfo

if TYPE_CHECKING:
    from torch import Tensor, nn

    from yolopose.checkpoint import Checkpoint
    from yolopose.nn.network import PoseNet


class Model:
    """A network, or an exported file, with the methods of a torch module that scripts call.

    The network stays on the CPU in float32. `to` and `half` set the device and precision of the copies that run, so
    that the object can be pickled, copied and trained at any time.
    """

    def __init__(self, model: str | Path | None = None) -> None:
        """Find the model and read it. Raises PoseError when that fails."""
        self.model_name = name = str(model) if model is not None else str(weights.default_model())
        self.ckpt_path: Path | None = None
        self._checkpoint: Checkpoint | None = None
        self._network: PoseNet | None = None
        self._random: int | None = None  # the checksum of random weights, while nothing else was there
        self._device: str | None = None
        self._half = False
        self._backends: dict[OpenOptions, Backend] = {}
        self._lock = threading.Lock()
        if Path(name).suffix in (".yaml", ".yml"):
            require_torch(name)
            from yolopose.nn.network import PoseNet, check_maps
            from yolopose.nn.spec import load_spec

            self._hold(check_maps(PoseNet(load_spec(name))), random=True)
        else:
            path = weights.find(name)
            self._open(path, rebuild=Path(name).suffix == ".pt" and weights.is_bundled(path))

    def __repr__(self) -> str:
        kind = "exported file" if self._network is None else "network"
        return f"{type(self).__name__}({self.model_name!r}): {kind} of a pose model"

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the opened runtimes: they cannot be pickled, and are opened again when needed."""
        return {**vars(self), "_backends": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    @property
    def model(self) -> PoseNet:
        """The network, a torch module.

        That of a bundled model is built when it is first asked for; from then on this object runs in torch.

        Raises:
            PoseError: an exported file, which has none.
        """
        if self._network is None and not self._rebuild():
            raise PoseError(f"{self.ckpt_path}: an exported file has no network to change; start from its .pt")
        assert self._network is not None
        return self._network

    @property
    def pretrained(self) -> bool:
        """Whether the weights differ from the random ones of a new architecture."""
        network = self.model
        from yolopose.nn.network import checksum

        return self._random is None or checksum(network) != self._random

    @property
    def model_info(self) -> ModelInfo:
        """The model's metadata: names, keypoints, input size."""
        return self._network.info if self._network is not None else self._backend(OpenOptions()).info

    @property
    def names(self) -> dict[int, str]:
        """Class names by index."""
        return self.model_info.names

    @property
    def ckpt(self) -> dict[str, Any] | None:
        """The checkpoint as a dictionary: the network as `model`, `train_args`, …; None for other models."""
        known = self._checkpoint
        return {**known.extra, "model": self._network, "train_args": known.train_args} if known else None

    @property
    def device(self) -> Any:
        """The device of predictions without `device=`: a torch.device, or the device name of an exported file."""
        if self._network is None:
            return self._backend(OpenOptions()).device
        from yolopose.formats.pytorch import choose_device

        return choose_device(self._device)

    def load(self, source: str | Path) -> Self:
        """Copy the weights that match by name and shape from another checkpoint."""
        network = self.model  # first: without torch it says so
        from yolopose.checkpoint import load_state
        from yolopose.nn.network import transfer, unfitting

        state = load_state(weights.find(str(source)))
        loaded, total = transfer(network, state)
        log.info(f"Transferred {loaded}/{total} items from pretrained weights")
        if loaded and (left := unfitting(network, state)):
            log.info(f"{one_line(source)}: {left}")
        return self._changed()

    def reset_weights(self) -> Self:
        """Make all weights random again."""
        old = self.model
        from yolopose.nn.network import PoseNet

        network = PoseNet(old.spec, names=old.info.names, layout=old.info.layout, channels=old.channels)
        network.info = old.info
        return self._hold(network.eval(), random=True)

    def save(self, path: str | Path = "saved_model.pt") -> Path:
        """Write the model as a checkpoint of plain tensors, without any code."""
        network = self.model  # first: without torch it says so
        from yolopose.checkpoint import Checkpoint, save_checkpoint

        train_args = self._checkpoint.train_args if self._checkpoint else {}
        save_checkpoint(path, Checkpoint(network.state_dict(), network.spec, network.info, train_args))
        return Path(path)

    def info(self, detailed: bool = False, verbose: bool = True, imgsz: int = 640) -> tuple[int, int, int, float]:
        """Layers, parameters, gradients and GFLOPs at `imgsz`; `verbose` prints them, `detailed` every layer."""
        network = self.model
        from yolopose.nn.summary import network_size, summary

        text = summary(network, imgsz)
        if verbose:
            log.info(text if detailed else text.splitlines()[-1])
        return tuple(network_size(network, imgsz))  # type: ignore[return-value]

    def fuse(self) -> Self:
        """Merge batch normalization into the convolutions, for inference only."""
        self.model.fuse()
        return self._changed()

    def to(self, device: Any) -> Self:
        """Run on `device` from now on: cpu, cuda, 0, mps, a torch.device."""
        self._device = str(device)
        return self._changed()

    def cpu(self) -> Self:
        """Run on the CPU from now on."""
        return self.to("cpu")

    def cuda(self, device: Any = 0) -> Self:
        """Run on a GPU from now on."""
        return self.to("cuda:0" if device is None else device)

    def half(self) -> Self:
        """Run in 16-bit floats from now on, where the device can."""
        self._half = True
        return self._changed()

    def float(self) -> Self:
        """Run in 32-bit floats from now on."""
        self._half = False
        return self._changed()

    def eval(self) -> Self:
        """Set the network to evaluation mode, as it is after loading."""
        self.model.eval()
        return self

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """The network's parameters."""
        return self.model.parameters(recurse)

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, nn.Parameter]]:
        """The network's parameters by name."""
        return self.model.named_parameters(prefix, recurse)

    def state_dict(self) -> dict[str, Any]:
        """The network's weights and buffers by name."""
        return self.model.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True) -> Any:
        """Replace the network's weights and buffers."""
        result = self.model.load_state_dict(state, strict)
        self._changed()
        return result

    def _hold(self, network: PoseNet, *, random: bool = False) -> Self:
        """Take a network in memory as this object's model."""
        from yolopose.nn.network import checksum

        self.ckpt_path = self._checkpoint = None
        self._network, self._random = network, checksum(network) if random else None
        return self._changed()

    def _open(self, path: Path, *, rebuild: bool = False) -> None:
        """Take a model file as this object's model: read a checkpoint now, open an exported file when first used.

        With `rebuild` the checkpoint in an ONNX file is read now, too.
        """
        self.ckpt_path = path
        self._checkpoint = self._network = self._random = None
        if needs_torch(path):
            require_torch(str(path))
            from yolopose import checkpoint

            self._checkpoint = checkpoint.load_checkpoint(path)
            self._network = checkpoint.build_network(self._checkpoint)
        elif rebuild:
            self._rebuild()
        self._changed()

    def _rebuild(self) -> bool:
        """Build the network of a bundled model from its ONNX file. Returns False for a file without a checkpoint."""
        if self.ckpt_path is None or self.ckpt_path.suffix != ".onnx":
            return False
        if weights.is_bundled(self.ckpt_path):
            require_torch(f"{self.ckpt_path.stem} as a network")
        elif find_spec("torch") is None:
            return False
        from yolopose import checkpoint

        self._checkpoint = checkpoint.carried_checkpoint(self.ckpt_path)
        if self._checkpoint is None:
            return False
        self._network = checkpoint.build_network(self._checkpoint)
        self._changed()
        return True

    def _changed(self) -> Self:
        """Drop the runtimes that were opened before a change."""
        with self._lock:
            self._backends.clear()
        return self

    def _backend(self, options: OpenOptions) -> Backend:
        """The model ready to run with `options`; opened once."""
        device = self._device if options.device is None else options.device
        options = dataclasses.replace(options, device=device, half=options.half or self._half)
        with self._lock:
            if options not in self._backends:
                if self._network is None:
                    assert self.ckpt_path is not None
                    self._backends[options] = open_backend(self.ckpt_path, options)
                else:
                    from yolopose.formats.pytorch import TorchBackend

                    self._backends[options] = TorchBackend(self._network, options)
            return self._backends[options]
