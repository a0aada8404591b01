"""class YOLO: a model with the methods predict, track, val, train, export, benchmark and label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from yolopose.callbacks import Exporter, Hooks
from yolopose.config import (
    BenchmarkConfig,
    ExportConfig,
    LabelConfig,
    TrainConfig,
    ValConfig,
    pick,
    required,
)
from yolopose.config.foreign import ABSENT
from yolopose.errors import PoseError, UsageError
from yolopose.formats.base import OpenOptions
from yolopose.formats.pytorch import require_torch
from yolopose.formats.table import check_options
from yolopose.formats.table import export as export_file
from yolopose.predict_model import PredictModel, takes

if TYPE_CHECKING:
    from yolopose._signatures import (
        BenchmarkArguments,
        ExportArguments,
        LabelArguments,
        TrainArguments,
        ValArguments,
    )
    from yolopose.evaluate.benchmark import FormatFigures
    from yolopose.evaluate.metrics import Metrics
    from yolopose.train.loop import Outcome


class YOLO(PredictModel):
    """A pose model.

    `model` is a checkpoint (.pt), an exported file, the name of a bundled model (yolov8n-face) or of published weights
    (downloaded once), or an architecture (.yaml, random weights); None is the package's default, which finds faces.

        >>> model = YOLO("yolov8n-face")
        >>> model.names
        {0: 'face'}
        >>> model.overrides["conf"] = 0.4  # for all calls that follow

    The methods take the arguments of their mode (docs/arguments.md). Many threads may call `predict` of one object at
    the same time; `train`, `load`, `fuse` and `to` change the object and must run alone. `predictor` and `trainer` are
    the latest prediction and training, None before.
    """

    task = "pose"

    def __init__(self, model: str | Path | None = None, task: str = "pose", verbose: bool = False) -> None:
        """Find the model and read it.

        Raises:
            PoseError: the file is missing, damaged or no pose model; the message names the remedy.
        """
        if task != "pose":
            raise UsageError(f"task={task!r}: yolopose knows the task 'pose' only")
        self.metrics: Metrics | None = None
        self.trainer: Outcome | None = None
        super().__init__(model)
        if verbose and self._network is not None:
            self.info()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "trainer": None}

    def __getattr__(self, name: str) -> Any:
        """Raise AttributeError; for methods that only Ultralytics has, it names what to use instead."""
        raise AttributeError(ABSENT.get(name, f"YOLO has no attribute {name!r}"))

    @takes(ValConfig)
    def val(self, **arguments: Unpack[ValArguments]) -> Metrics:
        """Measure the model on a data set.

            >>> model = YOLO("yolov8n-pose.yaml")  # random weights
            >>> metrics = model.val(data="sample-pose.yaml", imgsz=64, workers=0, plots=False)
            >>> metrics.pose.map
            0.0

        Raises:
            UsageError: an unknown argument, or no data set named and none known to the model.
            PoseError: the data set cannot be read.
        """
        return self.val_with(self._parsed(ValConfig, arguments))

    def val_with(self, config: ValConfig) -> Metrics:
        """`val` with arguments that are parsed already.

        Data set and `single_cls` are those of the training unless they are given.
        """
        from yolopose.data.spec import load_data
        from yolopose.evaluate.validate import validate

        trained = self._checkpoint.train_args if self._checkpoint else {}
        if config.data is None and isinstance(trained.get("data"), str):
            config = replace(config, data=trained["data"])
        if "single_cls" not in config.given and trained.get("single_cls") is True:
            config = replace(config, single_cls=True)
        if config.model is None and self.ckpt_path is not None:
            config = replace(config, model=str(self.ckpt_path))
        if config.data is None:
            raise UsageError("data is missing: name the YAML of a data set, as in data=coco8-pose.yaml")
        backend = self._backend(pick(OpenOptions, config))
        try:
            data = load_data(config.data, data_dir=config.data_dir)
        except PoseError as error:
            if "data" in config.given:
                raise
            raise PoseError(f"{error} (the name comes from {self.ckpt_path}; give data=… for another)") from None
        self.metrics = validate(backend, data, config, hooks=Hooks(self.callbacks))
        return self.metrics

    @takes(TrainConfig)
    def train(self, **arguments: Unpack[TrainArguments]) -> Metrics | None:
        """Train on a data set; afterwards this object holds the best weights. Returns their metrics.

            >>> model = YOLO("yolov8n-pose.yaml")
            >>> metrics = model.train(data="sample-pose.yaml", epochs=1, imgsz=64, workers=0, plots=False)
            >>> model.ckpt_path.name
            'best.pt'

        Raises:
            UsageError: an unknown argument, or no data set named.
            PoseError: the data set cannot be read, or the run failed; the message names the remedy.
        """
        config = self._parsed(TrainConfig, arguments)
        if config.model is None and self._network is not None and not self.pretrained:
            config = replace(config, model=self.model_name)  # an architecture alone: with it args.yaml repeats the run
        return self.train_with(config)

    def train_with(self, config: TrainConfig) -> Metrics | None:
        """`train` with arguments that are parsed already."""
        require_torch("train")
        from yolopose.train.loop import train

        if self._network is None and not config.resume and not self._rebuild():
            raise PoseError(f"{config.model}: an exported file cannot be trained; start from its .pt or a model YAML")
        base = None if config.resume else self._network
        outcome = train(config, base, pretrained=self.pretrained, callbacks=self.callbacks)
        if outcome.args.save and outcome.best.exists():  # not on a rank of another machine
            self._open(outcome.best)
        else:
            self._hold(outcome.network.cpu())
        self.trainer, self.metrics = replace(outcome, network=self.model), outcome.metrics
        return self.metrics

    @takes(ExportConfig)
    def export(self, **arguments: Unpack[ExportArguments]) -> str:
        """Write the model in another format and return the path of the new file.

            >>> model = YOLO("yolov8n-pose.yaml")
            >>> model.export(format="torchscript", imgsz=64, out="tiny.torchscript", verify=False)
            'tiny.torchscript'

        Raises:
            UsageError: an unknown format, or an argument it does not take.
            PoseError: what the export needs is not installed.
        """
        return self.export_with(self._parsed(ExportConfig, arguments))

    def export_with(self, config: ExportConfig) -> str:
        """`export` with arguments that are parsed already; without `out` the file is named after the model's."""
        from yolopose.evaluate.verify import check_export

        check_options(config)  # before the network is read, or torch asked for
        if config.model is None and self.ckpt_path is not None:
            config = replace(config, model=str(self.ckpt_path))
        hooks, exporter = Hooks(self.callbacks), Exporter(config, self.model)
        hooks("on_export_start", exporter)
        exporter.file = export_file(self.model, config, check_export if config.verify else None)
        hooks("on_export_end", exporter)
        return str(exporter.file)

    @takes(BenchmarkConfig)
    def benchmark(self, **arguments: Unpack[BenchmarkArguments]) -> list[FormatFigures]:
        """Export to every format, or the one named; compare, measure and time each. Returns a row per format."""
        return self.benchmark_with(self._parsed(BenchmarkConfig, {**arguments, "model": None}))

    def benchmark_with(self, config: BenchmarkConfig) -> list[FormatFigures]:
        """`benchmark` with arguments that are parsed already."""
        from tempfile import TemporaryDirectory

        from yolopose.evaluate.benchmark import benchmark

        with TemporaryDirectory(prefix="yolopose-") as folder:
            copy = self.save(Path(folder) / f"{Path(self.model_name).stem}.pt")  # the weights as they are now
            return benchmark(replace(config, model=str(copy)))

    @takes(LabelConfig)
    def label(self, **arguments: Unpack[LabelArguments]) -> Path:
        """Make labels of what the model finds: a data set in the folder `out`. Returns its data.yaml.

            >>> from importlib.resources import files
            >>> photo = files("yolopose") / "assets/samples/images/val/intel_three_people.jpg"
            >>> YOLO("yolov8n-face").label(source=photo, out="labelled", verbose=False).name
            'data.yaml'

        Raises:
            UsageError: arguments that do not go together.
            PoseError: a photograph or the data set cannot be read, does not fit the model, or `out` has such files.
        """
        return self.label_with(self._parsed(LabelConfig, arguments))

    def label_with(self, config: LabelConfig) -> Path:
        """`label` with arguments that are parsed already."""
        from yolopose.label import make_labels

        required(config, "out")
        return make_labels(self._backend(pick(OpenOptions, config)), config, self.ckpt_path)
