"""User callbacks for the events of training, validation, prediction and export."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolopose.errors import UsageError, did_you_mean

Callback = Callable[[Any], None]
Callbacks = Mapping[str, Iterable[Callback]]

# Each tuple in the order of its first calls; the names are those of Ultralytics 8.3.
TRAIN_EVENTS = (
    "on_pretrain_routine_start", "on_pretrain_routine_end", "on_train_start", "on_train_epoch_start",
    "on_train_batch_start", "on_params_update", "on_before_zero_grad", "optimizer_step", "on_train_batch_end",
    "on_train_epoch_end", "on_model_save", "on_fit_epoch_end", "on_train_end", "teardown",
)  # fmt: skip
VAL_EVENTS = ("on_val_start", "on_val_batch_start", "on_val_batch_end", "on_val_end")
PREDICT_EVENTS = (
    "on_predict_start", "on_predict_batch_start", "on_predict_postprocess_end", "on_predict_batch_end",
    "on_predict_end",
)  # fmt: skip
EXPORT_EVENTS = ("on_export_start", "on_export_end")
EVENTS = (*TRAIN_EVENTS, *VAL_EVENTS, *PREDICT_EVENTS, *EXPORT_EVENTS)


class Hooks:
    """The user's functions for the events of one run."""

    def __init__(self, callbacks: Callbacks | None = None) -> None:
        """Raises UsageError for a name that is not in `EVENTS`."""
        callbacks = callbacks or {}
        check_events(callbacks)
        self._functions = {name: tuple(functions) for name, functions in callbacks.items()}

    def __call__(self, event: str, subject: Any) -> None:
        """Call the functions of `event` in order; `subject` is the run, validator or exporter."""
        for function in self._functions.get(event, ()):
            function(subject)


@dataclass
class Exporter:
    """The running export that `on_export_*` callbacks get; `file` is None until the end."""

    args: Any
    model: Any
    file: Path | None = None


def check_events(names: Iterable[str]) -> None:
    """Raise UsageError for the first name that is not in `EVENTS`."""
    for name in names:
        if name not in EVENTS:
            hint = did_you_mean(name, EVENTS) or f"; known are {', '.join(EVENTS)}"
            raise UsageError(f"unknown callback {name!r}{hint}")
