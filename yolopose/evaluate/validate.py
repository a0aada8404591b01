"""Validation, the same for `val`, during training and of exported files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolopose.callbacks import Hooks
from yolopose.config import ValConfig, pick
from yolopose.console import log, progress
from yolopose.data.image_loading import prefetch
from yolopose.data.labels import ImageItem, Scan, filter_labels, scan
from yolopose.data.spec import DataSpec
from yolopose.detect import detect
from yolopose.errors import PoseError, UsageError, printable
from yolopose.evaluate.batching import BatchOptions, Group, groups, merge_scales, truth_of
from yolopose.evaluate.cocofiles import CocoMeasure, annotated_truths
from yolopose.evaluate.keypoint_errors import LandmarkErrors
from yolopose.evaluate.metrics import Evaluator, Metrics
from yolopose.evaluate.report import report, report_lines
from yolopose.evaluate.sample import Measure, Output, ValidatedImage
from yolopose.evaluate.validator import Validator
from yolopose.evaluate.widerface import WiderFaces, WiderFiles, read_truth
from yolopose.evaluate.writers import LabelFiles, Pictures, PredictionsFile
from yolopose.files import write_text
from yolopose.formats.base import Backend
from yolopose.geometry.keypoints import fixed_sigmas
from yolopose.metadata import ModelInfo
from yolopose.plots.figure import can_plot
from yolopose.predict import check_arguments
from yolopose.rules import RULES, Rules
from yolopose.saving import run_folder
from yolopose.tiling import TileOptions, find

if TYPE_CHECKING:
    from yolopose.evaluate.losses import Losses
    from yolopose.loss.pose import PoseLoss

WIDER_ARGUMENTS: dict[str, Any] = {"iou": 0.6, "max_det": 1000}  # usual for WIDER FACE: up to 2,000 faces an image
REPORTED = ("conf", "iou", "max_det", "imgsz", "agnostic_nms", "single_cls", "classes", "compat", "split", "prefix")


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

    The result depends on the model, the data and the protocol alone, not on batch size, the other images or the number
    of workers. (With compat=True images are batched and padded as Ultralytics 8.3 does, where they matter.)

    Args:
        backend: the model in any format.
        data: a data set, or its split already scanned.
        config: the arguments of val.
        criterion: fills in `Metrics.losses`; needs a torch backend. Only the main table is printed then.
        folder: where files go; None makes a new run folder when `config` asks for files.
        hooks: the user's functions, called at `VAL_EVENTS` with a `Validator`.
        trainer: the training run that this validation belongs to.

    Raises:
        UsageError: an argument does not go with the model or with another argument.
        PoseError: model and data set do not fit, or an image cannot be read.
    """
    config, rules, hooks = _with_metric(config), RULES[config.compat], hooks or Hooks()
    scanned = data if isinstance(data, Scan) else _scan(data, config)
    info, spec = backend.info, scanned.spec
    check_fit(info, spec, config.single_cls)
    check_arguments(backend, config)
    _tiling(config).check(backend, config.given)
    config = replace(config, imgsz=info.size_for(config.imgsz))
    batching = pick(BatchOptions, config, rules=rules)
    batching.check(backend)
    items, sigmas = selected(scanned, config), _sigmas(info, spec, rules)
    measures = _measures(config, spec, info, items, sigmas)
    evaluator = Evaluator(info, sigmas, config.conf, rules)
    losses = _losses(criterion, rules)
    validator = Validator(config, backend, spec, folder or _folder(config), trainer)
    if trainer is not None:
        trainer.validator = validator
    hooks("on_val_start", validator)
    with ExitStack() as stack:
        outputs = [evaluator, *_files(validator.save_dir, config, info, measures, stack), *measures]
        plan = groups(backend, [item.hw for item in items], batching)
        _add_all(_samples(validator, items, plan, losses, hooks), outputs, len(items), verbose=config.verbose)
    metrics = evaluator.metrics(losses.result() if losses else {}, losses.seconds if losses else 0.0)
    measured: dict[str, Any] = {measure.name: measure.figures() for measure in measures}
    metrics = replace(metrics, save_dir=validator.save_dir, **measured)
    metrics = replace(metrics, report=report(metrics, _protocol(validator, evaluator, metrics, batching)))
    validator.metrics, validator.speed = metrics, metrics.speed
    hooks("on_val_end", validator)
    _publish(metrics, config, measures, brief=criterion is not None)
    return metrics


def _with_metric(config: ValConfig) -> ValConfig:
    """The arguments, with metric=widerface those usual for it unless the user gave others.

    Raises:
        UsageError: no ground truth is named.
    """
    if config.metric != "widerface":
        return config
    if config.gt is None:
        raise UsageError("gt is missing: metric=widerface needs gt=FOLDER of the ground truth .mat files")
    return replace(config, **{name: value for name, value in WIDER_ARGUMENTS.items() if name not in config.given})


def _scan(data: DataSpec, config: ValConfig) -> Scan:
    """The images and labels of the split."""
    rules = RULES[config.compat]
    return scan(
        data, config.split, strict=config.strict, rules=rules, max_pixels=config.max_pixels, verbose=config.verbose
    )


def check_fit(info: ModelInfo, spec: DataSpec, single_cls: bool) -> None:
    """Raise PoseError when the data set has other keypoints than the model, or more classes."""
    points, known = spec.layout.shape[0], info.kpt_shape[0]
    if points != known:
        raise PoseError(
            f"{spec.yaml}: {points} keypoints per instance, the model has {known}: not the data of this model"
        )
    if len(spec.names) > len(info.names) and not single_cls:
        raise PoseError(
            f"{spec.yaml}: {len(spec.names)} classes, the model knows {len(info.names)}; "
            "single_cls=True takes all as one"
        )


def selected(scanned: Scan, config: ValConfig) -> list[ImageItem]:
    """The images and labels to measure on. Raises PoseError when `prefix` fits no image."""
    items = [i for i in scanned.items if config.prefix is None or i.path.name.startswith(config.prefix)]
    if not items:
        raise PoseError(
            f"prefix={','.join(config.prefix or ())}: none of the {len(scanned.items)} images of "
            f"{scanned.split} in {scanned.spec.yaml} has a name that begins so"
        )
    return [replace(i, labels=filter_labels(i.labels, config.classes, config.single_cls)) for i in items]


def _sigmas(info: ModelInfo, spec: DataSpec, rules: Rules) -> tuple[float, ...]:
    """The sigmas of OKS: those in the data YAML, else the model's."""
    if rules.fixed_sigmas:
        return fixed_sigmas(spec.layout.shape)
    return spec.layout.sigmas if spec.given_sigmas else info.layout.sigmas


def _measures(
    config: ValConfig, spec: DataSpec, info: ModelInfo, items: Sequence[ImageItem], sigmas: Sequence[float]
) -> list[Measure]:
    """What `config.metric` asks for besides precision, recall and mAP.

    Raises:
        PoseError: the ground truth cannot be read or does not fit, or the model's keypoints have no eyes.
    """
    if config.metric == "coco":
        truths = annotated_truths(
            spec, config.split, items, info.names, classes=config.classes, single_cls=config.single_cls
        )
        return [CocoMeasure(truths, sigmas, list(info.names))]
    if config.metric == "widerface":
        return [WiderFaces(read_truth(str(config.gt)))]
    return [LandmarkErrors(info.layout)] if config.metric == "landmarks" else []


def _losses(criterion: PoseLoss | None, rules: Rules) -> Losses | None:
    """The sums of the losses, None without a criterion."""
    if criterion is None:
        return None
    from yolopose.evaluate.losses import Losses

    return Losses(criterion, whole=not rules.val_batches)


def _folder(config: ValConfig) -> Path | None:
    """A new run folder if `config` asks for files."""
    if config.plots or config.save_json or config.save_txt or config.save_widerface:
        return run_folder(config.project, config.name, "val", exist_ok=config.exist_ok)
    return None


def _files(
    folder: Path | None, config: ValConfig, info: ModelInfo, measures: Sequence[Measure], stack: ExitStack
) -> Iterator[Output]:
    """The files that `config` asks for; `stack` completes predictions.json, or removes it after an error."""
    if folder is None:
        return
    if config.save_json:
        yield PredictionsFile(folder / "predictions.json", stack)
    if config.save_txt:
        yield LabelFiles(folder / "labels", info, config.save_conf)
    if config.plots:
        yield Pictures(folder, info, config.batch)
    if config.save_widerface:
        yield WiderFiles(folder / "widerface", next((m.events for m in measures if isinstance(m, WiderFaces)), {}))


def _add_all(samples: Iterable[ValidatedImage], outputs: Sequence[Output], total: int, *, verbose: bool) -> None:
    """Give every image to every output, with a progress bar, and finish them."""
    with progress(verbose, "validating") as bar:
        for done, sample in enumerate(samples, start=1):
            for output in outputs:
                output.add(sample)
            bar(done, total)
        for output in outputs:
            output.finish()


def _samples(
    validator: Validator, items: Sequence[ImageItem], plan: Sequence[Group], losses: Losses | None, hooks: Hooks
) -> Iterator[ValidatedImage]:
    """Every image with its truths and detections, group by group, while the next images are being read."""
    backend, config = validator.backend, validator.args
    options = _tiling(config)
    reader = prefetch((items[i] for group in plan for i in group.positions), config.workers)
    for group in plan:
        chosen, images = zip(*islice(reader, len(group.positions)), strict=True)
        validator.batch, validator.batch_i = chosen, validator.batch_i + 1
        hooks("on_val_batch_start", validator)
        boxes = group.letterboxes
        observe = losses.observer([item.labels for item in chosen], boxes) if losses else None
        found = find(backend, images, options, letterboxes=boxes, observe=observe)
        if group.larger:
            more = (detect(backend, images, options, letterboxes=larger) for larger in group.larger)
            found = [merge_scales(parts, options) for parts in zip(found, *more, strict=True)]
        for position, item, image, box, one in zip(group.positions, chosen, images, boxes, found, strict=True):
            if config.single_cls:
                one.boxes[:, 5] = 0
            yield ValidatedImage(position, item, image, truth_of(item.labels, box), one)
        validator.seen += len(chosen)
        hooks("on_val_batch_end", validator)


def _tiling(config: ValConfig) -> TileOptions:
    """How images are detected in, with tiles or without."""
    return pick(
        TileOptions,
        config,
        imgsz=config.imgsz if config.tile is None or "imgsz" in config.given else None,
        agnostic_nms=config.agnostic_nms or config.single_cls,
        multi_label=True,
        rules=replace(RULES[config.compat], zero_unsure=False),  # Ultralytics 8.3 zeroes them in predict only
    )


def _protocol(validator: Validator, evaluator: Evaluator, metrics: Metrics, batching: BatchOptions) -> dict[str, Any]:
    """All that the figures depend on, by name."""
    return {name: getattr(validator.args, name) for name in REPORTED} | {
        "resize": batching.describe(validator.backend),
        "images": metrics.images,
        "instances": int(metrics.class_instances.sum()),
        "instances_without_keypoints": evaluator.unlabelled,
        "unlabelled_instances": "missed poses" if evaluator.rules.unlabelled_count else "ignored for pose",
        "sigmas": evaluator.sigmas,
        "precision": validator.backend.precision,
        "data": str(validator.data.yaml),
        "model": validator.args.model,
    }


def _publish(metrics: Metrics, config: ValConfig, measures: Sequence[Measure], *, brief: bool) -> None:
    """Print the tables, write the report, draw the plots."""
    if config.verbose:
        lines = report_lines(metrics, brief=brief, keypoints=config.per_keypoint)
        for line in chain(lines, *(measure.lines() for measure in measures)):
            log.info(printable(line))
    if metrics.save_dir is None:
        return
    write_text(metrics.save_dir / "report.json", json.dumps(metrics.report, indent=1) + "\n")
    if config.plots and can_plot():
        from yolopose.evaluate.metric_plots import plot_metrics

        plot_metrics(metrics, metrics.save_dir)
        for measure in measures:
            measure.plot(metrics.save_dir)
    if config.verbose and not brief:
        log.info(f"Results saved to {metrics.save_dir}")
