"""class PredictModel: a model with the methods predict and track, and the user's callbacks and overrides."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from yolopose.callbacks import Callback, Hooks, check_events
from yolopose.config import PredictConfig, TrackConfig, parse, pick, required
from yolopose.config import arguments as known_arguments
from yolopose.config.parse import Config
from yolopose.formats.base import OpenOptions
from yolopose.model import Model
from yolopose.predict import Predictor
from yolopose.results import Results

if TYPE_CHECKING:
    from yolopose._signatures import PredictArguments, TrackArguments
    from yolopose.track.sequence import TrackMemory
    from yolopose.tracking import TrackPredictor

Method = TypeVar("Method", bound=Callable[..., Any])


def takes(config: type[Any]) -> Callable[[Method], Method]:
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


class PredictModel(Model):
    """A model that predicts and tracks; `YOLO` adds the other modes."""

    def __init__(self, model: str | Path | None = None) -> None:
        """Find the model and read it. Raises PoseError when that fails."""
        self.callbacks: dict[str, list[Callback]] = {}
        self.predictor: Predictor | None = None
        self._memory: TrackMemory | None = None
        super().__init__(model)
        self.overrides: dict[str, Any] = {"task": "pose", "model": self.model_name}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "predictor": None}

    def _changed(self) -> Self:
        self.predictor = None  # it holds the network as it was
        return super()._changed()

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

    @takes(PredictConfig)
    def predict(self, source: Any = None, stream: bool = False, **arguments: Any) -> list[Results] | Predictor:
        """Find instances and keypoints: one `Results` per image or frame of `source`.

        Returns a list; with `stream=True` an iterator that holds one batch of images at a time.

            >>> from importlib.resources import files
            >>> photo = files("yolopose") / "assets/samples/images/val/intel_three_people.jpg"
            >>> model = YOLO("yolov8n-face")
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

    @takes(TrackConfig)
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
            >>> model = YOLO("yolov8n-face")
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
        from yolopose.track.sequence import TrackMemory
        from yolopose.tracking import OfflineTrackPredictor, TrackPredictor

        source, hooks = required(config, "source"), Hooks(self.callbacks) if self.callbacks else None
        with self._lock:
            self._memory = self._memory or TrackMemory()
        kind = OfflineTrackPredictor if config.smooth == "offline" else TrackPredictor
        run = kind(self._backend(pick(OpenOptions, config)), source, config, hooks, self._memory)
        self.predictor = run
        return run

    def add_callback(self, event: str, function: Callback) -> None:
        """Call `function` at an event, such as on_train_epoch_end, with the run, validator or exporter as argument.

            >>> model = YOLO("yolov8n-face")
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
