"""Validation: the one evaluator of `val`, of training and of exported files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.callbacks import Hooks
from yolopose.config import ValConfig
from yolopose.config import replace as change
from yolopose.console import log
from yolopose.data.image_loading import prefetch
from yolopose.data.labels import ImageItem, Scan, scan, select
from yolopose.data.spec import DataSpec
from yolopose.detect import detect
from yolopose.errors import PoseError, printable
from yolopose.evaluate import coco, faces, scales
from yolopose.evaluate.batching import Group, batch_of, groups, truth_of
from yolopose.evaluate.cocofiles import annotated
from yolopose.evaluate.confusion import ConfusionMatrix
from yolopose.evaluate.faces import FaceOutput
from yolopose.evaluate.keypoint_errors import KeypointErrors
from yolopose.evaluate.metrics import KindMetrics, Metrics
from yolopose.evaluate.precision import Judged, judge, score
from yolopose.evaluate.report import Protocol, lines, report, write_report
from yolopose.evaluate.validator import Validator
from yolopose.evaluate.writers import CocoSets, Output, Seen, files
from yolopose.formats.base import Backend
from yolopose.geometry.keypoints import fixed_sigmas
from yolopose.metadata import ModelInfo
from yolopose.plots.figure import can_plot
from yolopose.predict import check_classes, check_size
from yolopose.progress import progress
from yolopose.rules import Rules, rules_of
from yolopose.saving import run_folder

if TYPE_CHECKING:
    from yolopose.evaluate.losses import Losses
    from yolopose.loss.pose import PoseLoss
    from yolopose.nn.head import Maps

STEPS = ("preprocess", "inference", "loss", "postprocess")


def validate(
    backend: Backend,
    data: DataSpec | Scan,
    config: ValConfig,
    *,
    criterion: PoseLoss | None = None,
    folder: Path | None = None,
    hooks: Hooks | None = None,
    trainer: Any = None,
) -> Metrics:
    """Measure a model on a split of a data set.

    The result follows from the model, the data and the protocol alone: batch size, the other images and the number of
    workers do not matter. (In compat mode images are batched and padded as Ultralytics 8.3 does, which does matter.)

    Args:
        backend: the model in any format.
        data: a data set, or its split already scanned.
        config: the arguments of val.
        criterion: fills in `Metrics.losses`; needs a torch backend. Only the main table is printed then.
        folder: where files go; None makes a new run folder when `config` asks for files.
        hooks: functions of the user's, told of `VAL_EVENTS` with a `Validator`.
        trainer: the training run that asks.

    Raises:
        PoseError: model and data set do not fit, or an image cannot be read.
    """
    config = faces.protocol(config)
    hooks = hooks or Hooks()
    if not isinstance(data, Scan):
        data = scan(
            data, config.split, strict=config.strict, rules=rules_of(config.compat), max_pixels=config.max_pixels
        )
    scanned = data
    spec, info = scanned.spec, backend.info
    check_fit(info, spec, config)
    check_size(backend, config)
    check_classes(backend, config)
    config = change(config, imgsz=info.size_for(config.imgsz))
    scales.check(backend, config)
    measures = faces.measures(config, info)
    items = selected(scanned, config)
    if folder is None and (config.plots or config.save_json or config.save_txt or config.save_widerface):
        folder = run_folder(config.project, config.name, "val", exist_ok=config.exist_ok)
    losses = None
    if criterion is not None:
        from yolopose.evaluate.losses import Losses

        losses = Losses(criterion, whole=not rules_of(config.compat).val_batches)
    tally = Tally(info, config, sigmas_of(info, spec, rules_of(config.compat)))
    validator = Validator(config, backend, spec, folder, trainer)
    if trainer is not None:
        trainer.validator = validator
    hooks("on_val_start", validator)
    sets = [CocoSets(annotated(spec, config, items, info.names))] if config.metric == "coco" else []
    with ExitStack() as stack:
        written = [*files(folder, config, info, stack), *faces.files(folder, config, measures)]
        outputs: list[Output] = [*written, *sets, *measures]
        bar = stack.enter_context(progress(config.verbose, "validating"))
        for done, seen in enumerate(look(validator, items, losses, hooks), start=1):
            tally.add(seen)
            for output in outputs:
                output.add(seen)
            bar(done, len(items))
        for output in outputs:
            output.finish()
    figures = {measure.name: measure.figures() for measure in measures}
    metrics = replace(
        tally.metrics(losses), coco=_coco(sets[0], tally.sigmas) if sets else {}, save_dir=folder,
        widerface=figures.get("widerface", {}), landmarks=figures.get("landmarks", {}),
    )  # fmt: skip
    protocol = Protocol(backend, config, str(spec.yaml), metrics, tally.unlabelled, tally.sigmas)
    metrics = replace(metrics, report=report(metrics, protocol))
    validator.metrics, validator.speed = metrics, metrics.speed
    hooks("on_val_end", validator)
    _tell(metrics, config, measures, brief=criterion is not None)
    return metrics


def selected(scanned: Scan, config: ValConfig) -> list[ImageItem]:
    """The images that count, with the labels that count. Raises PoseError when `prefix` fits no image."""
    items = [i for i in scanned.items if config.prefix is None or i.path.name.startswith(config.prefix)]
    if not items:
        raise PoseError(
            f"prefix={','.join(config.prefix or ())}: none of the {len(scanned.items)} images of "
            f"{scanned.split} in {scanned.spec.yaml} has a name that begins so"
        )
    return [replace(i, labels=select(i.labels, config.classes, config.single_cls)) for i in items]


def check_fit(info: ModelInfo, spec: DataSpec, config: ValConfig) -> None:
    """Raise PoseError when the data set labels what the model does not know."""
    points, known = spec.layout.shape[0], info.kpt_shape[0]
    if points != known:
        raise PoseError(
            f"{spec.yaml}: {points} keypoints per instance, the model has {known}: not the data of this model"
        )
    if len(spec.names) > len(info.names) and not config.single_cls:
        raise PoseError(
            f"{spec.yaml}: {len(spec.names)} classes, the model knows {len(info.names)}; "
            "single_cls=True takes all as one"
        )


def sigmas_of(info: ModelInfo, spec: DataSpec, rules: Rules) -> tuple[float, ...]:
    """The OKS sigmas: the data set's, else the model's; with the rule `fixed_sigmas` Ultralytics 8.3's."""
    if rules.fixed_sigmas:
        return fixed_sigmas(spec.layout.shape)
    return spec.layout.sigmas if spec.given_sigmas else info.layout.sigmas


def look(validator: Validator, items: Sequence[ImageItem], losses: Losses | None, hooks: Hooks) -> Iterator[Seen]:
    """Every image with its truths and detections, group by group, while the next images are being read."""
    backend, config = validator.backend, validator.args
    plan = groups(backend, [item.hw for item in items], config)
    options = scales.detect_options(config)
    reader = prefetch((items[i] for group in plan for i in group.positions), config.workers)
    for group in plan:
        chosen, images = zip(*islice(reader, len(group.positions)), strict=True)
        validator.batch, validator.batch_i = chosen, validator.batch_i + 1
        hooks("on_val_batch_start", validator)
        boxes = group.letterboxes

        def observe(maps: Maps, rows: list[int], chosen: Sequence[ImageItem] = chosen, group: Group = group) -> None:
            if losses is not None:
                losses.add(maps, batch_of([chosen[i].labels for i in rows], [group.letterboxes[i] for i in rows]))

        found = detect(backend, images, options, letterboxes=boxes, observe=observe if losses else None)
        more = scales.further(backend, [item.hw for item in chosen], config)
        if more:
            parts = zip(found, *(detect(backend, images, options, letterboxes=scale) for scale in more), strict=True)
            found = [scales.merge(part, options) for part in parts]
        for position, item, image, box, one in zip(group.positions, chosen, images, boxes, found, strict=True):
            if config.single_cls:
                one.boxes[:, 5] = 0
            yield Seen(position, item, image, truth_of(item.labels, box), one)
        validator.seen += len(chosen)
        hooks("on_val_batch_end", validator)


class Tally:
    """Adds up what the images show; the order in which they come does not matter."""

    def __init__(self, info: ModelInfo, config: ValConfig, sigmas: tuple[float, ...]) -> None:
        self.info, self.sigmas, self.rules = info, sigmas, rules_of(config.compat)
        self.unlabelled = 0
        self._judged: dict[int, Judged] = {}
        self._confusion = ConfusionMatrix(info.names, config.conf)
        self._errors = KeypointErrors(info.layout.names)
        self._speed = dict.fromkeys(STEPS, 0.0)

    def add(self, seen: Seen) -> None:
        """Judge one image."""
        found, truth = seen.found, seen.truth
        judged = judge(
            found.boxes, found.keypoints, truth, self.sigmas, ignore_unlabelled=not self.rules.unlabelled_count
        )
        self._judged[seen.position] = judged
        self._confusion.add(found.boxes, truth.boxes, truth.classes)
        self._errors.add(found.keypoints, truth, judged)
        for step, ms in found.speed.items():
            self._speed[step] += ms
        self.unlabelled += int((~truth.posed).sum())

    def metrics(self, losses: Losses | None) -> Metrics:
        """The metrics of all images."""
        judged = [self._judged[i] for i in sorted(self._judged)]  # equal scores rank by image: a fixed order
        count, images = len(self.info.names), max(len(judged), 1)
        box, pose = (KindMetrics.of(score(judged, kind), count) for kind in ("box", "pose"))
        per_image = np.array([np.bincount(j.truth_classes, minlength=count) for j in judged]).reshape(-1, count)
        if losses is not None:
            self._speed["loss"] += losses.seconds * 1e3
            self._speed["inference"] -= losses.seconds * 1e3
        return Metrics(
            box, pose, self.info.names, len(judged), (per_image > 0).sum(0), per_image.sum(0), self._confusion,
            speed={step: self._speed[step] / images for step in STEPS},
            losses=losses.result() if losses else {},
            keypoints=self._errors.table(),
        )  # fmt: skip


def _coco(sets: CocoSets, sigmas: tuple[float, ...]) -> dict[str, dict[str, float]]:
    """COCO's figures for boxes and keypoints."""
    truths, found = sets.sets()
    return {kind: coco.evaluate(truths, found, kind, sigmas) for kind in ("bbox", "keypoints")}


def _tell(metrics: Metrics, config: ValConfig, measures: Sequence[FaceOutput], *, brief: bool) -> None:
    """Print the tables, write the report, draw the plots."""
    if config.verbose:
        for line in lines(metrics, brief=brief, keypoints=config.per_keypoint):
            log.info(printable(line))
        for measure in measures:
            for line in measure.lines():
                log.info(printable(line))
    if metrics.save_dir is None:
        return
    write_report(metrics, metrics.save_dir / "report.json")
    if config.plots and can_plot():
        from yolopose.evaluate.metric_plots import plot_metrics

        plot_metrics(metrics, metrics.save_dir)
        for measure in measures:
            measure.draw(metrics.save_dir)
    if config.verbose and not brief:
        log.info(f"Results saved to {metrics.save_dir}")
