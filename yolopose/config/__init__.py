"""Arguments of all modes: typed and documented once, for the command line, Python, args.yaml, the help and the docs."""

from yolopose.config.args import (
    MODES,
    BenchmarkConfig,
    ConvertConfig,
    DoctorConfig,
    EvalTracksConfig,
    EvalWiderfaceConfig,
    ExportConfig,
    LabelConfig,
    PredictConfig,
    TrackConfig,
    TrainConfig,
    ValConfig,
    VerifyConfig,
)
from yolopose.config.argument import Argument
from yolopose.config.parse import arguments, parse, pick, required, to_dict
