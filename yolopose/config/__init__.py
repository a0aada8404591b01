"""Arguments of all modes: typed and documented once, for the command line, Python, args.yaml, the help and the docs."""

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
from yolopose.config.parse import parse
from yolopose.config.schema import Argument, arguments, pick, replace, required, to_dict

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
    "parse",
    "pick",
    "replace",
    "required",
    "to_dict",
]
