"""class YOLO: a model with the methods predict, track, val, train, export and benchmark."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from yolopose.callbacks import Callback, Exporter, Hooks, check_events
from yolopose.config import (
    BenchmarkConfig,
    ExportConfig,
    PredictConfig,
    TrackConfig,
    TrainConfig,
    ValConfig,
    parse,
    pick,
    required,
)
from yolopose.config import arguments as known_arguments
from yolopose.config.foreign import ABSENT
from yolopose.config.parse import Config
from yolopose.errors import PoseError, UsageError
from yolopose.formats.base import OpenOptions
from yolopose.formats.pytorch import require_torch
from yolopose.formats.table import check_options
from yolopose.formats.table import export as export_file
from yolopose.model import Model
from yolopose.predict import Predictor
from yolopose.results import Results
from yolopose.track.sequence import TrackMemory
from yolopose.tracking import TrackPredictor

if TYPE_CHECKING:
    from yolopose._signatures import (
        BenchmarkArguments,
        ExportArguments,
        PredictArguments,
        TrackArguments,
        TrainArguments,
        ValArguments,
    )
    from yolopose.evaluate.benchmark import FormatFigures
    from yolopose.evaluate.metrics import Metrics
    from yolopose.train.loop import Outcome


Method = TypeVar("Method", bound=Callable[..., Any])


def _takes(config: type[Any]) -> Callable[[Method], Method]:
    """A decorator that lists the arguments of `config` in the method's signature, where help() and notebooks look.

    Python passes all of them as `**arguments`, so that `parse` knows which ones were given.
    """

    def decorate(method: Method) -> Method:
        signature = inspect.signature(method)
        shown = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        shown += [
            inspect.Parameter(a.name, inspect.Parameter.KEYWORD_ONLY, default=a.default, annotation=a.hint)
            for a in known_arguments(config).values()
            if a.name != "model" and a.name not in signature.parameters
        ]
        method.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
        return method

    return decorate


class YOLO(Model):
    """A pose model.

    `model` is a checkpoint (.pt), an exported file, the name of published weights (downloaded once), or an architecture
    (.yaml, with random weights); None is the bundled model, which finds faces.

        >>> model = YOLO()
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
        self.callbacks: dict[str, list[Callback]] = {}
        self.metrics: Metrics | None = None
        self.predictor: Predictor | None = None
        self.trainer: Outcome | None = None
        self._memory = TrackMemory()
        super().__init__(model)
        self.overrides: dict[str, Any] = {"task": task, "model": self.model_name}
        if verbose and self._network is not None:
            self.info()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "predictor": None, "trainer": None}

    def _changed(self) -> Self:
        self.predictor = None  # it holds the network as it was
        return super()._changed()

    def __getattr__(self, name: str) -> Any:
        """Raise AttributeError; for methods that only Ultralytics has, it names what to use instead."""
        raise AttributeError(ABSENT.get(name, f"YOLO has no attribute {name!r}"))

    @overload
    def predict(
        self, source: Any = ..., stream: Literal[False] = ..., **arguments: Unpack[PredictArguments]
    ) -> list[Results]: ...

    @overload
    def predict(
        self, source: Any = ..., *, stream: Literal[True], **arguments: Unpack[PredictArguments]
    ) -> Predictor: ...

    @overload
    def predict(
        self, source: Any = ..., *, stream: bool, **arguments: Unpack[PredictArguments]
    ) -> list[Results] | Predictor: ...

    @_takes(PredictConfig)
    def predict(self, source: Any = None, stream: bool = False, **arguments: Any) -> list[Results] | Predictor:
        """Find instances and keypoints: one `Results` per image or frame of `source`.

        Returns a list; with `stream=True` an iterator that holds one batch of images at a time.

            >>> from importlib.resources import files
            >>> photo = files("yolopose") / "assets/samples/images/val/intel_three_people.jpg"
            >>> model = YOLO()
            >>> results = model.predict(photo, conf=0.5)
            >>> tuple(results[0].keypoints.xy.shape)
            (3, 5, 2)
            >>> for result in model([photo, photo], stream=True):
            ...     print(len(result))
            3
            3

        Raises:
            UsageError: an unknown or impossible argument.
            PoseError: the source does not exist. Files found in a folder, a pattern or a list file that cannot be read
                are skipped with a warning; a file that you name raises, or with missing="skip" gives None.
        """
        run = self.predict_with(self._parsed(PredictConfig, {"source": source, **arguments}))
        return run if stream else list(run)

    __call__ = predict

    def predict_with(self, config: PredictConfig) -> Predictor:
        """`predict` with arguments that are parsed already; always an iterator."""
        source, hooks = required(config, "source"), Hooks(self.callbacks) if self.callbacks else None
        run = Predictor(self._backend(pick(OpenOptions, config)), source, config, hooks)
        self.predictor = run
        return run

    @overload
    def track(
        self, source: Any = ..., stream: Literal[False] = ..., persist: bool = ..., **arguments: Unpack[TrackArguments]
    ) -> list[Results]: ...

    @overload
    def track(
        self, source: Any = ..., *, stream: Literal[True], persist: bool = ..., **arguments: Unpack[TrackArguments]
    ) -> TrackPredictor: ...

    @overload
    def track(
        self, source: Any = ..., *, stream: bool, persist: bool = ..., **arguments: Unpack[TrackArguments]
    ) -> list[Results] | TrackPredictor: ...

    @_takes(TrackConfig)
    def track(
        self, source: Any = None, stream: bool = False, persist: bool = False, **arguments: Any
    ) -> list[Results] | TrackPredictor:
        """Find instances in videos and streams, with ids that they keep from frame to frame in `boxes.id`.

        Returns a list of `Results`, or with `stream=True` an iterator, as `predict` does. In the results are the
        instances of confirmed tracks alone. With `persist=True` the tracks of the call before go on, so that a program
        may hand over one frame at a time. Threads that track different videos with `persist` need a copy of the object
        each.

            >>> from importlib.resources import files
            >>> photo = files("yolopose") / "assets/samples/images/val/intel_three_people.jpg"
            >>> model = YOLO()
            >>> for _ in range(2):
            ...     print(model.track(photo, persist=True)[0].boxes.id.int().tolist())
            [1, 2, 3]
            [1, 2, 3]

        Raises:
            UsageError: an unknown or impossible argument, or no such tracker.
            PoseError: the source does not exist or cannot be read, see `predict`; or the tracker's file is wrong.
        """
        given = {"source": source, "persist": persist, **arguments}
        run = self.track_with(self._parsed(TrackConfig, given))
        return run if stream else list(run)

    def track_with(self, config: TrackConfig) -> TrackPredictor:
        """`track` with arguments that are parsed already; always an iterator."""
        source, hooks = required(config, "source"), Hooks(self.callbacks) if self.callbacks else None
        run = TrackPredictor(self._backend(pick(OpenOptions, config)), source, config, hooks, self._memory)
        self.predictor = run
        return run

    @_takes(ValConfig)
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

    @_takes(TrainConfig)
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

        if self._network is None and not config.resume:
            raise PoseError(f"{config.model}: an exported file cannot be trained; start from its .pt or a model YAML")
        base = None if config.resume else self._network
        outcome = train(config, base, pretrained=self.pretrained, callbacks=self.callbacks)
        if outcome.args.save and outcome.best.exists():  # not on a rank of another machine
            self._open(outcome.best)
        else:
            self._hold(outcome.network.cpu())
        self.trainer, self.metrics = replace(outcome, network=self.model), outcome.metrics
        return self.metrics

    @_takes(ExportConfig)
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

    @_takes(BenchmarkConfig)
    def benchmark(self, **arguments: Unpack[BenchmarkArguments]) -> list[FormatFigures]:
        """Export to every format, or the one named; compare, measure and time each. Returns a row per format."""
        from tempfile import TemporaryDirectory

        from yolopose.evaluate.benchmark import benchmark

        with TemporaryDirectory(prefix="yolopose-") as folder:
            copy = self.save(Path(folder) / f"{Path(self.model_name).stem}.pt")  # the weights as they are now
            return benchmark(self._parsed(BenchmarkConfig, {**arguments, "model": str(copy)}))

    def add_callback(self, event: str, function: Callback) -> None:
        """Call `function` at an event, such as on_train_epoch_end, with the run, validator or exporter as argument.

            >>> model = YOLO()
            >>> model.add_callback("on_predict_end", lambda run: print(run.seen, "image"))
            >>> results = model(np.zeros((64, 64, 3), np.uint8))
            1 image

        Raises:
            UsageError: there is no such event.
        """
        check_events([event])
        self.callbacks.setdefault(event, []).append(function)

    def clear_callback(self, event: str) -> None:
        """Remove the functions of an event."""
        self.callbacks.pop(event, None)

    def reset_callbacks(self) -> None:
        """Remove the functions of all events."""
        self.callbacks.clear()

    def _parsed(self, cls: type[Config], arguments: Mapping[str, Any]) -> Config:
        """The arguments of a mode: those given, and those of `overrides` for the others."""
        own = {key: value for key, value in self.overrides.items() if key in known_arguments(cls) and key != "model"}
        own |= {"model": str(self.ckpt_path)} if self.ckpt_path else {}
        return parse(cls, {**own, **arguments})
