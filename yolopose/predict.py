"""Prediction: the frames of a source in batches through `detect`, to Results that are printed and saved."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.callbacks import Hooks
from yolopose.config import PredictConfig, ValConfig, pick
from yolopose.console import LONG, log, progress
from yolopose.detect import Detections, letterboxes_for, unscaled_letterbox
from yolopose.draw.blur import Blur, Blurring, Hidden
from yolopose.errors import PoseError, UsageError, printable
from yolopose.formats.base import Backend
from yolopose.geometry.boxes import Letterbox
from yolopose.images import ImageError
from yolopose.results import Results
from yolopose.rules import RULES
from yolopose.saving import Saver, reduction
from yolopose.sources import Frame, Source, SourceOptions, open_source
from yolopose.tiling import TileOptions, find

Image = NDArray[np.uint8]
OVERVIEW = 2048  # pixels of the long side of the reduced picture that stands for one read in strips
FAR_DOWN = 4.0  # a picture is scaled down so many times before a warning names tiles


class Predictor(Iterator[Results]):
    """An iterator over the results of one source, in order. It holds one batch of images at a time.

    `done` images went through the network; `failed` could not be read, with a warning for each. A file that the user
    named, alone or in a Python list, raises PoseError when its turn comes, or with missing="skip" gives None.
    `save_dir` is the folder of the results, made with the first one, or None.

    Callbacks (`callbacks.PREDICT_EVENTS`) get this object, with Ultralytics' names: `args` (the arguments), `model`,
    `dataset` (the source), `seen`, `batch` (paths, images (H, W, 3) BGR, None, titles) and `results`, those of the
    batch. After on_predict_batch_end `results` may be any iterable: its items are what the caller gets.

    Raises:
        PoseError: the source is not there, or the folder of the results cannot be made.
    """

    mode = "predict"

    def __init__(self, backend: Backend, source: Any, config: PredictConfig, hooks: Hooks | None = None) -> None:
        self.done = 0
        self.failed = 0
        self.args = config
        self.model = getattr(backend, "network", backend)
        self.device = backend.device
        self.results: Iterable[Any] = []
        self.batch: tuple[list[str], list[Image], None, list[str]] = ([], [], None, [])
        self._hooks = hooks
        self._backend = backend
        self._options = pick(TileOptions, config, rect=True, rules=RULES[config.compat])
        self._speed: Counter[str] = Counter()
        self._shape: tuple[int, ...] = ()
        self._warned = False
        check_arguments(backend, config)
        self._options.check(backend, config.given)
        self.dataset = self._open(source)
        self._batch = (
            len(source) if self._options.rules.whole_list and isinstance(source, (list, tuple)) else config.batch
        )
        self._saver = Saver(config, self.mode)
        self._blur = Blur(config.blur, config.blur_style) if config.blur else None
        self._blurring = Blurring(self._blur, backend.info.layout) if self._blur else None
        self._results = self._run()

    def __next__(self) -> Results:
        return next(self._results)

    @property
    def save_dir(self) -> Path | None:
        """The folder of the results, once there is one."""
        return self._saver.folder

    @property
    def seen(self) -> int:
        """The images so far."""
        return self.done

    def close(self) -> None:
        """Stop early and release the source; any thread may call it. What was written so far is complete."""
        with suppress(ValueError):  # another thread is inside: the closed source ends it at the next frame
            self._results.close()
        self.dataset.close()

    def _open(self, source: Any) -> Source:
        """The frames of the source."""
        config = self.args
        skip = config.missing == "skip"
        strips = config.tile is not None if self.mode == "predict" else None
        return open_source(
            source, SourceOptions(config.vid_stride, config.stream_buffer, config.max_pixels, strips, skip)
        )

    def _run(self) -> Generator[Results, None, None]:
        """All batches, then the summary."""
        with self.dataset as source, self._saver, progress(self.args.verbose, lines=False) as bar:
            self._event("on_predict_start")
            for frames in self._batches(source):
                readable = [frame for frame in frames if frame.error is None]
                self.results, last = [], frames[-1]
                try:
                    if readable:
                        self._process(readable)
                except ImageError as error:
                    if last.large is None:
                        raise
                    frames = self._unreadable(last, str(error))
                if last.kind == "image":
                    bar(last.item + 1, source.len_hint or last.items)
                else:
                    bar(last.index + 1, last.total)
                yield from _placed(self.results, frames)
        self.batch = ([], [], None, [])
        if self.args.verbose:
            self._summarise()
        self._event("on_predict_end")

    def _event(self, name: str) -> None:
        """Call the user's functions for an event."""
        if self._hooks:
            self._hooks(name, self)

    def _batches(self, source: Source) -> Iterator[list[Frame]]:
        """Frames in batches: `batch` of them, or one of each live stream.

        An unreadable frame is among them only if its result is None (missing="skip").
        """
        size = source.streams or self._batch
        batch: list[Frame] = []
        for frame in source:
            lost = frame.kind == "stream" and frame.index > 0  # the end of a stream that has given frames
            if frame.error is not None and frame.named and self.args.missing == "error" and not lost:
                if batch:
                    yield batch
                raise PoseError(frame.error)
            if frame.error is not None:
                log.warning(frame.error)
                self.failed += 1
                size -= frame.kind == "stream"  # this stream has ended: the others need not wait for it
                if frame.named and frame.kind != "stream":
                    batch.append(frame)
            elif batch and (frame.large or (frame.kind == "stream" and frame.stream <= batch[-1].stream)):
                yield batch
                batch = [frame]
            else:
                batch.append(frame)
            if batch and (len(batch) >= size or batch[-1].large):
                yield batch
                batch = []
        if batch:
            yield batch

    def _unreadable(self, frame: Frame, error: str) -> list[Frame]:
        """The batch of a picture whose decoder fails in the middle: as if it had not been readable at all."""
        if frame.named and self.args.missing == "error":
            raise PoseError(error)
        log.warning(error)
        self.failed += 1
        frame.error, frame.image = error, None
        return [frame] if frame.named else []

    def _process(self, frames: list[Frame]) -> None:
        """Detect in a batch of frames, log and save the results, and put them into `results`."""
        for frame in frames:
            if frame.large is not None:
                frame.image = frame.large.reduced(OVERVIEW)
        images = [frame.image for frame in frames if frame.image is not None]
        self._saver.begin()
        self.batch = ([frame.path for frame in frames], images, None, [_title(frame) for frame in frames])
        self._event("on_predict_batch_start")
        found = self._detect(frames, images)
        self.results = [self._result(*each) for each in zip(frames, images, found, strict=True)]
        self._event("on_predict_postprocess_end")
        self.results = results = list(self.results)
        for result, frame, one in zip(results, frames, found, strict=False):
            self.done += 1
            self._speed.update(one.speed)
            self._shape, (h, w) = one.shape, one.shape[2:]
            if self.args.verbose:
                log.info(f"{_title(frame)}: {h}x{w} {result.verbose()}{one.speed['inference']:.1f}ms")
            self._saver.add(result, frame)
        self._event("on_predict_batch_end")
        if not self.args.keep_image:
            for result, frame in zip(results, frames, strict=False):
                result.orig_img = frame.image = None

    def _detect(self, frames: list[Frame], images: list[Image]) -> list[Detections]:
        """The instances in each image of a batch."""
        pictures: list[Any] = [frame.large or image for frame, image in zip(frames, images, strict=True)]
        sizes = [(picture.shape[0], picture.shape[1]) for picture in pictures]
        boxes = letterboxes_for(self._backend, sizes, self._options)
        self._warn_of_small(frames, boxes)
        for i, frame in enumerate(frames):
            if frame.exact:
                boxes[i] = unscaled_letterbox(self._backend, sizes[i])
        alone = self.args.verbose and frames[0].kind == "image" and (self.dataset.len_hint or 1) < LONG  # no other bar
        with progress(alone, "tiles") as show:
            return find(self._backend, pictures, self._options, letterboxes=boxes, show=show)

    def _warn_of_small(self, frames: list[Frame], boxes: list[Letterbox]) -> None:
        """Say once if pictures are scaled down so far that small instances are lost."""
        if self._warned or self._options.tile is not None:
            return
        for frame, box in zip(frames, boxes, strict=True):
            times = 1 / min(box.scale)
            if times > FAR_DOWN and not frame.exact:
                self._warned = True
                log.warning(
                    f"{printable(frame.path)}: scaled down {times:.1f} times, to {max(box.size)} pixels: what is small "
                    f"in it is not found; tile={max(box.canvas)} finds it, more slowly (docs/predict.md)"
                )
                return

    def _result(self, frame: Frame, image: Image, found: Detections) -> Results:
        """The result of one frame, blurred if that was asked for."""
        result = self._plain(frame, image, found)
        hidden = self._hidden(frame, found)
        if hidden is not None:
            result.hide(hidden)
            if frame.large is not None:
                frame.image = replace(hidden, regions=hidden.regions * reduction(frame)).apply(image)
        return result

    def _hidden(
        self,
        frame: Frame,
        found: Detections,
        tracked: tuple[NDArray[Any], NDArray[Any]] | None = None,
        lost: Mapping[int, NDArray[Any]] | None = None,
    ) -> Hidden | None:
        """The regions to blur, or None: of all that was found, of tracks (M, 7) and (M, K, D), and of lost ones."""
        if self._blurring is None:
            return None
        blurrer = self._blurring.blurrer(frame.stream, frame.item if frame.kind == "video" else 0)
        if tracked is None:
            return blurrer(found.boxes, found.keypoints)
        boxes, keypoints = tracked
        ids = np.concatenate([np.full(len(found.boxes), -1), boxes[:, 4]])
        boxes = np.concatenate([found.boxes[:, :4], boxes[:, :4]])
        return blurrer(boxes, np.concatenate([found.keypoints, keypoints]), ids, lost)

    def _plain(self, frame: Frame, image: Image, found: Detections) -> Results:
        """The result of one frame with the image as it was read; a picture that is read in strips is not kept."""
        info, path = self._backend.info, os.path.abspath(frame.path) if frame.file else frame.path
        kept, shape = (image, image.shape) if frame.large is None else (None, frame.large.shape)
        return Results(
            kept, path, info.names, found.boxes, found.keypoints, found.speed, layout=info.layout,
            save_dir=self.save_dir, orig_shape=(shape[0], shape[1]),
        )  # fmt: skip

    def _summarise(self) -> None:
        """The last lines: mean times, and where the files are."""
        if self.done:
            pre, inference, post = (self._speed[key] / self.done for key in ("preprocess", "inference", "postprocess"))
            log.info(
                f"Speed: {pre:.1f}ms preprocess, {inference:.1f}ms inference, {post:.1f}ms postprocess per image "
                f"at shape {(min(self._batch, self.done), *self._shape[1:])}, "
                f"{self._backend.precision} on {self._backend.device}"
            )
        if self.save_dir is not None:
            labels = self._saver.labels
            if self.args.save_txt:
                log.info(f"{labels} label{'s' * (labels != 1)} saved to {self.save_dir / 'labels'}")
            log.info(f"Results saved to {self.save_dir}")
        if self.failed and self.failed + self.done > 1:
            log.warning(f"{self.failed} of {self.failed + self.done} could not be read, see above")


def _placed(results: Iterable[Results], frames: list[Frame]) -> Iterator[Results]:
    """The results of the readable frames in order, and None for each unreadable one."""
    given = iter(results)
    for frame in frames:
        if frame.error is not None:
            yield None  # type: ignore[misc]  # with missing="skip" alone
        else:
            yield from islice(given, 1)
    yield from given  # a callback may have put more there


def _title(frame: Frame) -> str:
    """The start of a frame's line: which of how many, and its path."""
    path = printable(frame.path)
    if frame.kind == "stream":
        return f"{frame.stream}: {path}" if (frame.items or 1) > 1 else path
    count = f"{frame.item + 1}/{frame.items}" if frame.items else f"{frame.item + 1}"
    if frame.kind == "image":
        return f"image {count} {path}"
    return f"video {count} (frame {frame.index + 1}/{frame.total or '?'}) {path}"


def check_arguments(backend: Backend, config: PredictConfig | ValConfig) -> None:
    """Warn of `classes` that the model does not have, and of an `imgsz` that is rounded.

    Raises:
        UsageError: the file takes another size only, or blur_style without blur.
    """
    names = backend.info.names
    if isinstance(config, PredictConfig) and config.blur is None and "blur_style" in config.given:
        raise UsageError("blur_style does nothing without blur: add blur=head or blur=box")
    unknown = [index for index in config.classes or () if index not in names]
    if unknown:
        there = "only class 0" if len(names) == 1 else f"classes 0 to {len(names) - 1}"
        log.warning(f"classes={','.join(map(str, unknown))}: this model has {there}, so nothing is found of them")
    if "imgsz" not in config.given or config.imgsz is None:
        return
    size = backend.info.input_size(config.imgsz)
    fixed = backend.fixed_shape
    asked = "x".join(str(side) for side in np.ravel(config.imgsz))
    if fixed and size != fixed[1:]:
        raise UsageError(
            f"imgsz={asked}: this file takes {fixed[1]}x{fixed[2]} only, not {size[0]}x{size[1]}; "
            f"leave imgsz out, or export it with imgsz={size[0]},{size[1]}"
        )
    if not fixed and size != tuple(np.broadcast_to(config.imgsz, 2)):
        log.warning(f"imgsz={asked}: rounded up to {size[0]}x{size[1]}, multiples of the stride {backend.info.stride}")
