"""Experiment trackers behind one small protocol; each is used only when it is asked for, and installed."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from yolopose.console import log
from yolopose.errors import PoseError, UsageError, did_you_mean, one_line


class Logger(Protocol):
    """Told of a run's arguments once, of its numbers after every epoch, and of its end."""

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Record the numbers of an epoch, counted from 1."""

    def close(self) -> None:
        """The run has ended."""


class TensorBoard:
    """Event files in the run's folder."""

    def __init__(self, args: Mapping[str, Any], save_dir: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(save_dir))

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """See `Logger`."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """See `Logger`."""
        self._writer.close()


class WandB:
    """A Weights & Biases run; who and where is wandb's own business (its login, its environment)."""

    def __init__(self, args: Mapping[str, Any], save_dir: Path) -> None:
        import wandb

        project = re.sub(r"[/\\#?%:]+", "-", str(args.get("project") or "yolopose")).strip("-")  # wandb refuses them
        self._run = wandb.init(project=project, name=save_dir.name, config=dict(args), dir=str(save_dir))

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """See `Logger`."""
        self._run.log(dict(metrics), step=epoch)

    def close(self) -> None:
        """See `Logger`."""
        self._run.finish()


class MLflow:
    """An MLflow run, at MLFLOW_TRACKING_URI or in mlflow's default place."""

    def __init__(self, args: Mapping[str, Any], save_dir: Path) -> None:
        import mlflow

        self._mlflow = mlflow
        mlflow.set_experiment(str(args.get("project") or "yolopose"))
        mlflow.start_run(run_name=save_dir.name)
        mlflow.log_params(dict(args))

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """See `Logger`. MLflow allows no parentheses in names."""
        plain = {name.replace("(", "").replace(")", ""): value for name, value in metrics.items()}
        self._mlflow.log_metrics(plain, step=epoch)

    def close(self) -> None:
        """See `Logger`."""
        self._mlflow.end_run()


LOGGERS: dict[str, type[TensorBoard] | type[WandB] | type[MLflow]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
}
LOCAL = frozenset({"tensorboard"})  # those that send nothing; only the caller may ask for another


def check_loggers(names: Sequence[str]) -> None:
    """Raise UsageError for an unknown name, PoseError for one whose package is not installed."""
    for name in names:
        if name not in LOGGERS:
            raise UsageError(f"loggers={name}: known are {', '.join(LOGGERS)}{did_you_mean(name, LOGGERS)}")
        if importlib.util.find_spec(name) is None:
            raise PoseError(f"loggers={name}: not installed: pip install {name}")


def open_loggers(names: Sequence[str], args: Mapping[str, Any], save_dir: Path) -> list[Logger]:
    """The loggers of a run, begun. Raises PoseError for one that cannot begin, with its own reason."""
    opened: list[Logger] = []
    for name in names:
        try:
            opened.append(Guarded(name, LOGGERS[name](args, save_dir)))
        except Exception as error:  # whatever a tracker fails with
            for logger in opened:
                logger.close()
            raise PoseError(f"loggers={name}: cannot begin: {one_line(error)}") from error
    return opened


class Guarded:
    """A logger whose failure ends no run: it is warned of, and the logger gets nothing more."""

    def __init__(self, name: str, logger: Logger) -> None:
        self._name = name
        self._logger: Logger | None = logger

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """See `Logger`."""
        self._try(lambda logger: logger.log(metrics, epoch))

    def close(self) -> None:
        """See `Logger`."""
        self._try(lambda logger: logger.close())

    def _try(self, action: Callable[[Logger], None]) -> None:
        if self._logger is None:
            return
        try:
            action(self._logger)
        except Exception as error:  # whatever a tracker fails with
            self._logger = None
            log.warning(f"loggers={self._name}: failed, the run goes on without it: {one_line(error)}")
