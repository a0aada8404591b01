"""Arguments: one documented, typed, checked field each; the source of the CLI, args.yaml, the help and the docs."""

from yolopose.config.args import MODES, ExportConfig, PredictConfig, TrainConfig, ValConfig
from yolopose.config.schema import Argument, arguments, nearest, parse, replace, to_dict

__all__ = [
    "MODES",
    "Argument",
    "ExportConfig",
    "PredictConfig",
    "TrainConfig",
    "ValConfig",
    "arguments",
    "nearest",
    "parse",
    "replace",
    "to_dict",
]
