"""The object that callbacks of a validation get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolopose.data.labels import ImageItem
from yolopose.data.spec import DataSpec
from yolopose.evaluate.metrics import Metrics
from yolopose.formats.base import Backend


@dataclass
class Validator:
    """A running validation, as `on_val_*` callbacks get it.

    `args` are the arguments of val, `trainer` is the training run that the validation belongs to, or None. `batch` are
    the items of the images that run together, `batch_i` counts these from 0, `seen` the images so far. `metrics` is
    None until `on_val_end`; `speed` is in milliseconds per image by step.
    """

    args: Any
    backend: Backend
    data: DataSpec
    save_dir: Path | None
    trainer: Any = None
    batch: Sequence[ImageItem] = ()
    batch_i: int = -1
    seen: int = 0
    metrics: Metrics | None = None
    speed: dict[str, float] = field(default_factory=dict)

    @property
    def training(self) -> bool:
        """Whether this validation is part of a training run."""
        return self.trainer is not None

    @property
    def model(self) -> Any:
        """The network when the model runs in torch, otherwise the backend of the exported file."""
        return getattr(self.backend, "network", self.backend)

    @property
    def device(self) -> str:
        """The device of the model."""
        return self.backend.device

    @property
    def names(self) -> dict[int, str]:
        """Class names by index."""
        return self.backend.info.names

    @property
    def nc(self) -> int:
        """Number of classes of the model."""
        return len(self.names)
