"""Functions of the user's, called by name at fixed points of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from yolopose.config import nearest
from yolopose.errors import UsageError

Callback = Callable[[Any], None]
Callbacks = Mapping[str, Iterable[Callback]]

# In the order of their first calls.
TRAIN_EVENTS = (
    "on_pretrain_routine_start", "on_pretrain_routine_end", "on_train_start", "on_train_epoch_start",
    "on_train_batch_start", "on_before_zero_grad", "optimizer_step", "on_train_batch_end", "on_train_epoch_end",
    "on_val_start", "on_val_end", "on_fit_epoch_end", "on_model_save", "on_train_end", "teardown",
)  # fmt: skip


class Hooks:
    """The callbacks of one run; calling a hook passes them the run's state."""

    def __init__(self, callbacks: Callbacks | None = None) -> None:
        """Raises UsageError for a name that training does not know, with the nearest one."""
        callbacks = callbacks or {}
        check_events(callbacks, TRAIN_EVENTS)
        self._functions = {name: tuple(functions) for name, functions in callbacks.items()}

    def __call__(self, event: str, run: Any) -> None:
        """Call the functions of `event` in their order."""
        for function in self._functions.get(event, ()):
            function(run)


def check_events(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise UsageError for the first name that is not known, with the nearest one."""
    known = tuple(known)
    for name in names:
        if name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close!r}?" if close else f"known are {', '.join(known)}"
            raise UsageError(f"unknown callback {name!r}; {hint}")
