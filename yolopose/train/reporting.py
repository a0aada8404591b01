"""What a training run reports: console lines, args.yaml, results.csv, pictures of labels, batches and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from yolopose.console import log
from yolopose.draw import DrawStyle, SheetTile, mosaic
from yolopose.draw.ignored import draw_ignored
from yolopose.errors import PoseError
from yolopose.evaluate.metrics import KEYS
from yolopose.files import read_bounded, write_text
from yolopose.geometry.boxes import cxcywh_to_xyxy
from yolopose.images.files import write_image
from yolopose.limits import MAX_CSV
from yolopose.plots.training import plot_labels, plot_results
from yolopose.rules import DEFAULT, Rules
from yolopose.train.run import LOSS_NAMES, TrainingRun

TITLES = ("Epoch", "GPU_mem", *LOSS_NAMES, "Instances", "Size")
COLUMNS = (
    "epoch", "time", *(f"train/{name}" for name in LOSS_NAMES), *KEYS,
    *(f"val/{name}" for name in LOSS_NAMES), *(f"lr/pg{group}" for group in range(3)),
)  # fmt: skip
BATCHES = 3  # drawn at the start of training, and again when mosaic ends
TILES = 16


def log_start(run: TrainingRun) -> None:
    """Log what the run is about to do."""
    recipe, (biases, decayed, norms) = run.recipe, (len(group["params"]) for group in run.optimizer.param_groups)
    log.info(
        f"optimizer: {recipe.name}(lr={recipe.lr0:g}, momentum={recipe.momentum:g}) with parameter groups "
        f"{norms} weight(decay=0), {decayed} weight(decay={recipe.weight_decay:g}), {biases} bias(decay=0)"
    )
    log.info(describe_sigmas(run.criterion.sigmas.tolist(), run.data.given_sigmas, run.rules))
    log.info(f"Image sizes {run.args.side} train, {run.args.side} val")
    log.info(f"Using {run.loader.workers} dataloader workers")
    log.info(f"Logging results to {run.save_dir}")
    if run.args.close_mosaic >= run.epochs and (run.args.mosaic or run.args.mixup or run.args.copy_paste):
        few = f"close_mosaic={run.args.close_mosaic}: a run of {run.epochs} epochs"
        log.info(f"{few} has no mosaic, mixup or pasting")
    if run.epoch:
        log.info(f"Resuming after epoch {run.epoch} of {run.epochs}")
    else:
        log.info(f"Starting training for {run.epochs} epochs...")


def describe_sigmas(sigmas: Sequence[float], given: bool, rules: Rules = DEFAULT) -> str:
    """The log line about the OKS sigmas in use and their source; `given` means given in the data YAML."""
    source = "from the data YAML" if given else "the default for this many keypoints"
    values = f"{sigmas[0]:.3g} for all" if len(set(sigmas)) == 1 else " ".join(f"{sigma:.3g}" for sigma in sigmas)
    if rules.fixed_sigmas:
        source = "Ultralytics 8.3's rule"
    return f"OKS sigmas ({source}): {values}"


def table_row(cells: Sequence[str | float]) -> str:
    """A row of the console's table: TITLES, or the values of an epoch with four digits."""
    return "".join(f"{cell if isinstance(cell, str) else format(cell, '.4g'):>11}" for cell in cells)


def epoch_row(run: TrainingRun) -> str:
    """The row of the epoch so far. It reads the mean losses, for which a GPU must finish its work."""
    memory = torch.cuda.memory_reserved(run.device) / 1e9 if run.device.type == "cuda" else 0.0
    instances = len(run.batch.classes) if run.batch else 0
    return table_row((f"{run.epoch + 1}/{run.epochs}", f"{memory:.3g}G", *run.tloss.tolist(), instances, max(run.size)))


def write_args(run: TrainingRun, arguments: Mapping[str, Any]) -> None:
    """Write args.yaml: every argument, and in `given` those that the user gave; `cfg=args.yaml` reads it."""
    values = {"task": "pose", "mode": "train", **arguments, "given": sorted(run.args.given)}
    _write(run.save_dir / "args.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def append_results(path: Path, row: Mapping[str, float]) -> None:
    """Add an epoch to results.csv, or start the file with its titles.

    Raises:
        PoseError: the file cannot be written.
    """
    # Six digits; of losses and metrics at most five decimals.
    values = ((name, row.get(name, 0.0)) for name in COLUMNS)
    cells = [format(value if name.startswith("lr/") else round(value, 5), ".6g") for name, value in values]
    text = path.read_text(encoding="utf-8") if path.exists() else ",".join(COLUMNS) + "\n"
    _write(path, text + ",".join(cells) + "\n")


def read_results(path: Path) -> dict[str, list[float]]:
    """The columns of results.csv by name; empty without such a file. Raises PoseError as `truncate_results` does."""
    titles, rows = _read_rows(path)
    return {name: [row[i] for _, row in rows] for i, name in enumerate(titles.split(",") if rows else ())}


def truncate_results(path: Path, epochs: int) -> None:
    """Drop the rows after the first `epochs` epochs, which a resumed run will write again.

    Raises:
        PoseError: the file cannot be read or written, or another program has changed its format.
    """
    if path.exists():
        titles, rows = _read_rows(path)
        kept = [line for line, numbers in rows if numbers[0] <= epochs]
        _write(path, "".join(f"{line}\n" for line in (titles, *kept)))


def _read_rows(path: Path) -> tuple[str, list[tuple[str, list[float]]]]:
    """The line of titles, and each row as text and as numbers."""
    if not path.exists():
        return "", []
    try:
        titles, *lines = read_bounded(path, MAX_CSV).decode().split() or [",".join(COLUMNS)]
        rows = [(line, [float(cell) for cell in line.split(",")]) for line in lines]
        if any(len(numbers) != len(titles.split(",")) for _, numbers in rows):
            raise ValueError
    except OSError as error:
        raise PoseError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise PoseError(f"{path}: no longer the table of a run; move it away to start a new one") from None
    return titles, rows


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise PoseError(f"{path}: cannot be written: {error.strerror or error}") from None


def draw_batch(run: TrainingRun, index: int) -> None:
    """Write train_batch<iteration>.jpg, the images and labels of a batch as the network gets them.

    Only for the first batches of a run and the first ones without mosaic; nothing is written for others.
    """
    starts = run.epoch == 0 or run.epoch == run.epochs - run.args.close_mosaic
    if not (run.args.plots and run.ranks.main and starts and index < BATCHES and run.batch is not None):
        return
    batch, info = run.batch.to("cpu"), run.network.info
    images = np.ascontiguousarray(batch.images[:TILES].permute(0, 2, 3, 1).numpy()[..., ::-1])
    h, w = images.shape[1:3]
    boxes = cxcywh_to_xyxy(batch.boxes.numpy()) * (w, h, w, h)
    rows = np.concatenate([boxes, np.ones((len(boxes), 1)), batch.classes.numpy()[:, None]], 1).astype(np.float32)
    keypoints, owner = batch.keypoints.numpy() * (w, h, 1), batch.image_index.numpy()
    if batch.ignore is not None:
        for row in batch.ignore[(batch.ignore[:, 5] == 0) & (batch.ignore[:, 0] < len(images))].numpy():
            draw_ignored(images[int(row[0])], row[None, 1:5] * (w, h, w, h))
    tiles = [
        SheetTile(image, rows[owner == i], keypoints[owner == i], Path(batch.paths[i]).name)
        for i, image in enumerate(images)
    ]
    path = run.save_dir / f"train_batch{run.iteration}.jpg"
    write_image(mosaic(tiles, info.layout, info.names, DrawStyle(conf=False)), path)


def draw_labels(run: TrainingRun) -> None:
    """Write labels.jpg: statistics of the training labels."""
    labels = [item.labels for item in run.loader.dataset.items]
    plot_labels(
        run.save_dir / "labels.jpg",
        classes=np.concatenate([each.classes for each in labels]),
        boxes=np.concatenate([each.boxes for each in labels]),
        labelled=np.concatenate([each.keypoints[..., 2] > 0 for each in labels]),
        names=list(run.network.info.names.values()),
        keypoint_names=run.network.info.layout.names,
    )


def draw_results(run: TrainingRun) -> None:
    """Write results.png: the columns of results.csv."""
    if columns := read_results(run.csv):
        plot_results(columns, run.save_dir / "results.png")
