"""Loggers for experiment trackers: TensorBoard, Weights & Biases, MLflow. Each is used only when asked for."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from yolopose.console import log
from yolopose.errors import PoseError, UsageError, did_you_mean, one_line


class Logger(NamedTuple):
    """The functions of a started tracker: log(metrics, epoch), epochs counted from 1, and close()."""

    log: Callable[[Mapping[str, float], int], object]
    close: Callable[[], object]


def start_tensorboard(args: Mapping[str, Any], save_dir: Path) -> Logger:
    """TensorBoard event files in the run's folder."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(save_dir))

    def log_scalars(metrics: Mapping[str, float], epoch: int) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, epoch)
        writer.flush()

    return Logger(log_scalars, writer.close)


def start_wandb(args: Mapping[str, Any], save_dir: Path) -> Logger:
    """A Weights & Biases run, with the account and settings of wandb's login and environment."""
    import wandb

    project = re.sub(r"[/\\#?%:]+", "-", str(args.get("project") or "yolopose")).strip("-")  # wandb rejects these
    run = wandb.init(project=project, name=save_dir.name, config=dict(args), dir=str(save_dir))
    return Logger(lambda metrics, epoch: run.log(dict(metrics), step=epoch), run.finish)


def start_mlflow(args: Mapping[str, Any], save_dir: Path) -> Logger:
    """An MLflow run, at MLFLOW_TRACKING_URI or in MLflow's default place."""
    import mlflow

    def log_metrics(metrics: Mapping[str, float], epoch: int) -> None:
        allowed = {name.replace("(", "").replace(")", ""): value for name, value in metrics.items()}
        mlflow.log_metrics(allowed, step=epoch)  # MLflow allows no parentheses in names

    mlflow.set_experiment(str(args.get("project") or "yolopose"))
    mlflow.start_run(run_name=save_dir.name)
    mlflow.log_params(dict(args))
    return Logger(log_metrics, mlflow.end_run)


LOGGERS: dict[str, Callable[[Mapping[str, Any], Path], Logger]] = {
    "tensorboard": start_tensorboard,
    "wandb": start_wandb,
    "mlflow": start_mlflow,
}
LOCAL = frozenset({"tensorboard"})  # these send nothing over the network; a checkpoint cannot switch on the others


class GuardedLogger:
    """A logger whose errors do not end the run: it is dropped with a warning."""

    def __init__(self, name: str, logger: Logger) -> None:
        self._name = name
        self._logger: Logger | None = logger

    def log(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Log the metrics of an epoch, counted from 1."""
        self._call("log", metrics, epoch)

    def close(self) -> None:
        """End the log."""
        self._call("close")

    def _call(self, method: str, *args: Any) -> None:
        try:
            if self._logger is not None:
                getattr(self._logger, method)(*args)
        except Exception as error:  # trackers raise exceptions of many types
            self._logger = None
            log.warning(f"loggers={self._name}: failed, the run goes on without it: {one_line(error)}")


def check_loggers(names: Sequence[str]) -> None:
    """Raise UsageError for an unknown name, PoseError for a logger whose package is not installed."""
    for name in names:
        if name not in LOGGERS:
            raise UsageError(f"loggers={name}: known are {', '.join(LOGGERS)}{did_you_mean(name, LOGGERS)}")
        if importlib.util.find_spec(name) is None:
            raise PoseError(f"loggers={name}: not installed: pip install {name}")


def open_loggers(names: Sequence[str], args: Mapping[str, Any], save_dir: Path) -> list[GuardedLogger]:
    """The loggers of a run, started. Raises PoseError for one that cannot start, with its reason."""
    opened: list[GuardedLogger] = []
    for name in names:
        try:
            opened.append(GuardedLogger(name, LOGGERS[name](args, save_dir)))
        except Exception as error:  # trackers raise exceptions of many types
            for logger in opened:
                logger.close()
            raise PoseError(f"loggers={name}: cannot begin: {one_line(error)}") from error
    return opened
