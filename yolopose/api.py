"""class YOLO: a model loaded once, and the door to predict, val, train and export."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from yolopose import weights
from yolopose.callbacks import EXPORT_EVENTS, TRAIN_EVENTS, VAL_EVENTS, Callback, Exporter, Hooks, check_events
from yolopose.config import (
    ExportConfig,
    PredictConfig,
    TrainConfig,
    ValConfig,
    parse,
    replace,
)
from yolopose.console import log
from yolopose.errors import PoseError, UsageError
from yolopose.formats.base import Backend, OpenOptions
from yolopose.formats.pytorch import require_torch
from yolopose.formats.table import export as export_file
from yolopose.formats.table import needs_torch, open_backend
from yolopose.metadata import ModelInfo
from yolopose.predict import Run, predict
from yolopose.results import Results
from yolopose.torch_methods import TorchMethods

if TYPE_CHECKING:
    from yolopose.checkpoint import Checkpoint
    from yolopose.evaluate.metrics import Metrics
    from yolopose.nn.network import PoseNet
    from yolopose.train.loop import Outcome


class YOLO(TorchMethods):
    """A pose model: `YOLO('yolov8n-pose.pt')('photo.jpg')`.

    `model` is a checkpoint (.pt), an exported file, a known name that is downloaded once, or an architecture (.yaml,
    with random weights); None is the bundled model. One object may predict from many threads at once; `train`, `load`,
    `fuse` and `to` change it and want it to themselves. The methods take the arguments of their mode by name
    (`yolo MODE help` lists them).
    """

    task = "pose"

    def __init__(self, model: str | Path | None = None, task: str = "pose", verbose: bool = False) -> None:
        """Find the model and read it.

        Raises:
            PoseError: the file is missing, damaged or no pose model; the line says what to do.
        """
        if task != "pose":
            raise UsageError(f"task={task!r}: yolopose knows the task 'pose' only")
        self.callbacks: dict[str, list[Callback]] = {}
        self.metrics: Metrics | None = None
        self.ckpt_path: Path | None = None
        self._checkpoint: Checkpoint | None = None
        self._network: PoseNet | None = None
        self._random: int | None = None  # the checksum of random weights, while nothing else was there
        self._device = None
        self._half = False
        self._backends: dict[OpenOptions, Backend] = {}
        self._lock = threading.Lock()
        name = str(model) if model is not None else str(weights.default_model())
        if Path(name).suffix in (".yaml", ".yml"):
            self._begin_anew(_fresh(name))
        else:
            self._open(weights.find(name))
        if verbose:
            self.info()

    def __call__(self, source: Any = None, stream: bool = False, **arguments: Any) -> list[Results] | Iterator[Results]:
        """The same as `predict`."""
        return self.predict(source, stream, **arguments)

    def predict(self, source: Any = None, stream: bool = False, **arguments: Any) -> list[Results] | Iterator[Results]:
        """Find the instances in whatever `source` points at: one `Results` per image or frame.

        A list, or with `stream=True` an iterator that holds one batch at a time.

        Raises:
            UsageError: an unknown or impossible argument.
            PoseError: the source is not there. An unreadable image among others is warned of and left out.
        """
        run = self._run(parse(PredictConfig, {"source": source, **arguments}))
        return run if stream else list(run)

    def _run(self, config: PredictConfig) -> Run:
        """The results of `config.source` as an iterator that counts failures."""
        if config.source is None:
            raise UsageError("source is missing: an image, video, folder, list, URL, stream, camera number or array")
        return predict(self._backend(_options(config)), config.source, config)

    def val(self, **arguments: Any) -> Metrics:
        """Measure the model on a data set; see `evaluate.metrics.Metrics`.

        Raises:
            UsageError: an unknown argument, or no data set named and none known to the model.
            PoseError: the data set cannot be read.
        """
        return self._val(parse(ValConfig, arguments))

    def _val(self, config: ValConfig) -> Metrics:
        """`val` with arguments that are checked."""
        from yolopose.data.labels import load_data
        from yolopose.evaluate.validate import validate

        config = self._remembering(config)
        data = config.data
        if data is None:
            raise UsageError("data is missing: name the YAML of a data set, as in data=coco8-pose.yaml")
        self.metrics = validate(
            self._backend(_options(config)),
            load_data(data, data_dir=config.data_dir),
            config,
            hooks=Hooks(self.callbacks),
        )
        return self.metrics

    def train(self, **arguments: Any) -> Metrics | None:
        """Train on a data set; afterwards this object holds the best weights. Returns their metrics.

        Raises:
            UsageError: an unknown argument, or no data set named.
            PoseError: the data set cannot be read, or the run failed; the line says which and how to go on.
        """
        return self._fit(parse(TrainConfig, {"model": self.ckpt_path and str(self.ckpt_path), **arguments}))

    def _fit(self, config: TrainConfig) -> Metrics | None:
        """`train` with arguments that are checked."""
        outcome = train_model(config, self._network, self.callbacks, pretrained=self.pretrained)
        if outcome.saved:
            self._open(outcome.best)
        else:
            self.ckpt_path, self._checkpoint, self._network, self._random = None, None, outcome.network, None
            self._changed()
        self.metrics = outcome.metrics
        return self.metrics

    def export(self, **arguments: Any) -> Path:
        """Write the model in another format and return the new file.

        Raises:
            UsageError: an unknown format, or an argument it does not take.
            PoseError: what the export needs is not installed.
        """
        return self._export(parse(ExportConfig, arguments))

    def _export(self, config: ExportConfig) -> Path:
        """`export` with arguments that are checked; the file is named after the model's own unless told otherwise."""
        from yolopose.evaluate.verify import check_export

        if config.model is None and self.ckpt_path is not None:
            config = replace(config, model=str(self.ckpt_path))
        hooks, exporter = Hooks(self.callbacks), Exporter(config, self.model)
        hooks("on_export_start", exporter)
        exporter.file = export_file(self.model, config, check_export if config.verify else None)
        hooks("on_export_end", exporter)
        return exporter.file

    @property
    def model(self) -> PoseNet:
        """The network, a torch module. Raises PoseError for an exported file, which has none."""
        if self._network is None:
            raise PoseError(f"{self.ckpt_path}: an exported file has no network to change; start from its .pt")
        return self._network

    @property
    def pretrained(self) -> bool:
        """Whether the weights are more than the random ones that an architecture begins with."""
        from yolopose.nn.network import checksum

        return self._random is None or checksum(self.model) != self._random

    @property
    def model_info(self) -> ModelInfo:
        """What the model says of itself."""
        return self._network.info if self._network is not None else self._backend(OpenOptions()).info

    @property
    def names(self) -> dict[int, str]:
        """Class names by index."""
        return self.model_info.names

    @property
    def device(self) -> str:
        """Where the next prediction runs unless `device=` says otherwise."""
        return self._backend(OpenOptions()).device

    def load(self, source: str | Path) -> Self:
        """Take over the weights that fit by name and shape from another checkpoint."""
        from yolopose.checkpoint import load_state
        from yolopose.nn.network import transfer

        loaded, total = transfer(self.model, load_state(weights.find(str(source))))
        log.info(f"Transferred {loaded}/{total} items from pretrained weights")
        return self._changed()

    def save(self, path: str | Path = "saved_model.pt") -> Path:
        """Write the model as a checkpoint of plain tensors that cannot run code."""
        from yolopose.checkpoint import Checkpoint, save

        known = self._checkpoint
        info, spec = self.model.info, self.model.spec
        checkpoint = Checkpoint(self.model.state_dict(), spec, info, known.train_args if known else {})
        save(path, checkpoint)
        return Path(path)

    def add_callback(self, event: str, function: Callback) -> None:
        """Call `function` at an event, such as on_train_epoch_end, with the object that the event is about.

        Raises:
            UsageError: no such event; names the nearest one.
        """
        check_events([event], (*TRAIN_EVENTS, *VAL_EVENTS, *EXPORT_EVENTS))
        self.callbacks.setdefault(event, []).append(function)

    def clear_callback(self, event: str) -> None:
        """Forget the functions of an event."""
        self.callbacks.pop(event, None)

    def _remembering(self, config: ValConfig) -> ValConfig:
        """`config` with the data set, and single_cls, of the training where they are not given."""
        known = self._checkpoint.train_args if self._checkpoint else {}
        if config.data is None and known.get("data"):
            config = replace(config, data=str(known["data"]))
        if "single_cls" not in config.given and known.get("single_cls") is True:
            config = replace(config, single_cls=True)
        if config.model is None and self.ckpt_path is not None:
            config = replace(config, model=str(self.ckpt_path))
        return config

    def _begin_anew(self, network: PoseNet) -> None:
        """Make a network with random weights this object's model."""
        from yolopose.nn.network import checksum

        self._network, self._random = network, checksum(network)

    def _open(self, path: Path) -> None:
        """Make a model file this object's model; a checkpoint is read, an exported file opened when first used."""
        self.ckpt_path = path
        self._checkpoint = self._network = self._random = None
        if needs_torch(path):
            require_torch(str(path))
            from yolopose import checkpoint

            self._checkpoint = checkpoint.load(path)
            self._network = checkpoint.build(self._checkpoint)
        self._changed()

    def _changed(self) -> Self:
        """Forget what was opened for the model as it was before."""
        with self._lock:
            self._backends.clear()
        return self

    def _backend(self, options: OpenOptions) -> Backend:
        """The model ready to run with `options`, opened once."""
        device = self._device if options.device is None else options.device
        options = dataclasses.replace(options, device=device, half=options.half or self._half)
        with self._lock:
            backend = self._backends.get(options)
            if backend is None:
                backend = self._backends[options] = self._opened(options)
        return backend

    def _opened(self, options: OpenOptions) -> Backend:
        """A new backend for the network, or for the exported file."""
        if self._network is None:
            assert self.ckpt_path is not None
            return open_backend(
                self.ckpt_path,
                device=options.device,
                half=options.half,
                bf16=options.bf16,
                threads=options.threads,
                kpt_shape=options.kpt_shape,
            )
        from yolopose.formats.pytorch import TorchBackend

        return TorchBackend(self._network, options)


def _options(config: PredictConfig | ValConfig) -> OpenOptions:
    """How a configuration wants the model opened."""
    return OpenOptions(config.device, config.half, config.bf16, config.threads, config.kpt_shape)


def _fresh(name: str) -> PoseNet:
    """A network with random weights from a model YAML."""
    require_torch(name)
    from yolopose.nn.network import PoseNet, load_spec

    return PoseNet(load_spec(name)).eval()


def train_model(
    config: TrainConfig, base: PoseNet | None, callbacks: dict[str, list[Callback]], *, pretrained: bool
) -> Outcome:
    """A new run from `base`, or one that is resumed; exported files are refused."""
    require_torch("train")
    from yolopose.train.loop import train

    if config.resume:
        return train(config, callbacks=callbacks)
    if config.data is None:
        raise UsageError("data is missing: name the YAML of a data set, as in data=coco8-pose.yaml")
    if base is None:
        raise PoseError(f"{config.model}: an exported file cannot be trained; start from its .pt or a model YAML")
    return train(config, base, pretrained=pretrained, callbacks=callbacks)
