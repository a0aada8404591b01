"""The training data set: images and labels in, augmented samples out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from yolopose.config import TrainConfig
from yolopose.console import log
from yolopose.data import augment
from yolopose.data.augment import Tile
from yolopose.data.batch import Sample
from yolopose.data.cache import Reader, open_cache
from yolopose.data.labels import Item, Scan, audit_flip, select
from yolopose.data.order import block, by_aspect, sample_generator, shuffled
from yolopose.rules import DEFAULT, Rules

_AFFINE = ("degrees", "translate", "scale", "shear", "perspective")


class PoseDataset:
    """The samples of a scanned split, augmented as `config` says; `dataset[index]` is a `Sample`.

    A sample is a pure function of (seed, epoch, index): it does not matter which worker or rank makes it, nor when.
    `items` are the images in use: `fraction` thins them out evenly (with the rule `first_images` it keeps the
    first ones). Without flip_idx in the data set there are no flips.
    """

    def __init__(self, scan: Scan, config: TrainConfig, *, stride: int = 32, rules: Rules = DEFAULT) -> None:
        self.layout = scan.spec.layout
        if self.layout.flip is None and (config.fliplr or config.flipud):
            log.info(f"{scan.spec.yaml}: no flip_idx, so images are not mirrored (fliplr=0 flipud=0)")
            config = replace(config, fliplr=0.0, flipud=0.0)
        if config.fliplr or config.flipud:
            for warning in audit_flip((item.labels for item in scan.items), self.layout):
                log.warning(f"{scan.spec.yaml}: {warning}; `yolo doctor` shows mirrored previews")
        self.config, self.stride, self.rules = config, stride, rules
        self.imgsz = config.side
        self.items = _chosen(scan.items, config, rules)
        kind = "disk" if config.cache == "disk" else "ram" if config.cache else None
        cache = open_cache(kind, scan, self.items, self.imgsz, rules, config.cache_dir) if kind else None
        self.read = Reader(self.items, self.imgsz, rules, cache)
        self._moves = any(getattr(config, name) for name in _AFFINE)
        self.epoch = -1
        self.set_epoch(0)

    def __len__(self) -> int:
        return len(self.items)

    def set_epoch(self, epoch: int, closing: bool | None = None) -> None:
        """Go to an epoch, counted from 0.

        `closing` epochs have neither mosaic nor mixup; None means the last `close_mosaic` ones of `config.epochs`.
        """
        config = self.config
        if closing is None:
            closing = config.close_mosaic > 0 and epoch >= config.epochs - config.close_mosaic
        self.closing = closing
        self.mosaic = 0.0 if closing or config.rect else config.mosaic
        self.mixup = 0.0 if closing else config.mixup
        if epoch != self.epoch:
            self.epoch = epoch
            sizes = [item.hw for item in self.items]
            self.order = by_aspect(sizes, self.rules) if config.rect else shuffled(len(sizes), config.seed, epoch)
            self._position = np.argsort(self.order)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index, (self.imgsz, self.imgsz))

    def sample(self, index: int, hw: tuple[int, int]) -> Sample:
        """Sample `index` of this epoch in a canvas of (H, W) pixels. Raises PoseError for an unreadable image."""
        rng = sample_generator(self.config.seed, self.epoch, index)
        sample = self._composed(rng, index, hw)
        if rng.random() < self.mixup:
            (partner,) = self._neighbours(rng, index, 1)
            sample = augment.mixup(rng, sample, self._composed(rng, partner, hw))
        return augment.finish(rng, sample, self.config, self.layout)

    def _composed(self, rng: np.random.Generator, index: int, hw: tuple[int, int]) -> Sample:
        """A mosaic or a single image in its canvas, randomly moved."""
        item = self.items[index]
        indices = [index]
        if rng.random() < self.mosaic:
            indices += self._neighbours(rng, index, 3)
        elif not self._moves:
            return augment.letterboxed(self.read(index), item.labels, hw, str(item.path), self.rules)
        images = [self.read(i) for i in indices]
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        places = augment.mosaic_places(rng, sizes, self.imgsz) if len(images) > 1 else [augment.centred(sizes[0], hw)]
        affine = augment.random_affine(rng, self.config, hw)
        tiles = [
            Tile(image, self.items[i].labels, affine @ place)
            for i, image, place in zip(indices, images, places, strict=True)
        ]
        return augment.compose(tiles, hw, str(item.path))

    def _neighbours(self, rng: np.random.Generator, index: int, count: int) -> list[int]:
        """So many random images of the block that `index` is in."""
        start, end = block(int(self._position[index]), len(self))
        return [int(i) for i in self.order[rng.integers(start, end, count)]]


def _chosen(items: list[Item], config: TrainConfig, rules: Rules) -> list[Item]:
    """The images and instances that the configuration leaves in use."""
    count = max(round(len(items) * config.fraction), 1)
    indices: NDArray[np.int64] = np.arange(count)
    if not rules.first_images:
        indices = indices * len(items) // count
    return [replace(items[i], labels=select(items[i].labels, config.classes, config.single_cls)) for i in indices]
