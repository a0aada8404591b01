"""Arguments: one documented, typed, checked field each; the source of the CLI, args.yaml, the help and the docs."""

from yolopose.config.args import (
    MODES,
    BenchmarkConfig,
    ConvertConfig,
    DoctorConfig,
    EvalWiderfaceConfig,
    ExportConfig,
    PredictConfig,
    TrainConfig,
    ValConfig,
    VerifyConfig,
)
from yolopose.config.schema import Argument, arguments, nearest, parse, replace, to_dict

__all__ = [
    "MODES",
    "Argument",
    "BenchmarkConfig",
    "ConvertConfig",
    "DoctorConfig",
    "EvalWiderfaceConfig",
    "ExportConfig",
    "PredictConfig",
    "TrainConfig",
    "ValConfig",
    "VerifyConfig",
    "arguments",
    "nearest",
    "parse",
    "replace",
    "to_dict",
]
