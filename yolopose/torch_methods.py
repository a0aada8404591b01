"""The methods of a torch module that scripts call on a YOLO object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

from yolopose.console import log

if TYPE_CHECKING:
    from torch import Tensor, nn

    from yolopose.nn.network import PoseNet


class TorchMethods:
    """`to`, `half`, `state_dict` and so on for a class that has the network as `model`.

    The network itself stays on the CPU in float32: where and in what precision predictions run is remembered. The
    arguments of `predict` and `val` come first.
    """

    _device: str | None
    _half: bool

    @property
    def model(self) -> PoseNet:
        """The network, a torch module."""
        raise NotImplementedError

    def _changed(self) -> Self:
        """Called after every change of the network or of where it runs."""
        raise NotImplementedError

    def info(self, detailed: bool = False, verbose: bool = True, imgsz: int = 640) -> tuple[int, int, int, float]:
        """Layers, parameters, gradients and GFLOPs at `imgsz`; printed with `verbose`, every layer with `detailed`."""
        from yolopose.nn.summary import count, summary

        text = summary(self.model, imgsz)
        if verbose:
            log.info(text if detailed else text.splitlines()[-1])
        return tuple(count(self.model, imgsz))  # type: ignore[return-value]

    def fuse(self) -> Self:
        """Fold batch normalisation into the convolutions: for inference only."""
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
        """Run in 16-bit floats from now on, where the device computes them."""
        self._half = True
        return self._changed()

    def float(self) -> Self:
        """Run in 32-bit floats from now on."""
        self._half = False
        return self._changed()

    def eval(self) -> Self:
        """The network in evaluation mode, as it is after loading."""
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
