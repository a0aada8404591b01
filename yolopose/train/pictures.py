"""What a run draws: the batches it trains on, the labels of its data set, the curves of its results."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from yolopose.data.batch import Batch
from yolopose.draw import DrawStyle, Tile, mosaic
from yolopose.files import write_bytes
from yolopose.geometry.boxes import cxcywh_to_xyxy
from yolopose.images import encode_jpeg
from yolopose.plots.training import plot_labels, plot_results
from yolopose.train import report
from yolopose.train.run import Run

BATCHES = 3  # drawn at the start, and as many when mosaic ends
TILES = 16


def keep_batch(run: Run, index: int) -> None:
    """Write train_batch<iteration>.jpg for the first batches, and for the first ones without mosaic."""
    begins = run.epoch == 0 or run.epoch == run.epochs - run.args.close_mosaic
    if run.args.plots and run.ranks.main and begins and index < BATCHES and run.batch is not None:
        draw_batch(run.batch, run, run.save_dir / f"train_batch{run.iteration}.jpg")


def draw_batch(batch: Batch, run: Run, path: Path) -> None:
    """The first images of a batch with their labels, as the network gets them."""
    batch = batch.to("cpu")
    images = np.ascontiguousarray(batch.images[:TILES].permute(0, 2, 3, 1).numpy()[..., ::-1])
    h, w = images.shape[1:3]
    boxes = cxcywh_to_xyxy(batch.boxes.numpy()) * (w, h, w, h)
    rows = np.concatenate([boxes, np.ones((len(boxes), 1)), batch.classes.numpy()[:, None]], 1).astype(np.float32)
    keypoints = batch.keypoints.numpy() * (w, h, 1)
    owner = batch.image_index.numpy()
    tiles = [
        Tile(image, rows[owner == i], keypoints[owner == i], Path(batch.paths[i]).name)
        for i, image in enumerate(images)
    ]
    info = run.network.info
    write_bytes(path, encode_jpeg(mosaic(tiles, info.layout, info.names, DrawStyle(conf=False))))


def draw_labels(run: Run) -> None:
    """Write labels.jpg: the instances that are trained on."""
    items = run.loader.dataset.items
    info = run.network.info
    plot_labels(
        run.save_dir / "labels.jpg",
        classes=np.concatenate([item.labels.classes for item in items]),
        boxes=np.concatenate([item.labels.boxes for item in items]),
        labelled=np.concatenate([item.labels.keypoints[..., 2] > 0 for item in items]),
        names=list(info.names.values()),
        keypoint_names=info.layout.names,
    )


def draw_results(run: Run) -> None:
    """Write results.png: the columns of results.csv."""
    if columns := report.read(run.csv):
        plot_results(columns, run.save_dir / "results.png")
