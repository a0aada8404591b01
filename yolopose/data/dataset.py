"""The training data set: images and labels in, augmented samples out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from yolopose.console import log
from yolopose.data import augment, paste
from yolopose.data.augment import AugmentOptions, Tile
from yolopose.data.batch import Sample
from yolopose.data.flips import audit_flip
from yolopose.data.image_cache import Reader, open_cache
from yolopose.data.labels import Scan, filter_labels
from yolopose.data.sampler import block, by_aspect, sample_generator, shuffled
from yolopose.rules import DEFAULT, Rules


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """How training samples are made; `docs/arguments.md` explains each field of the same name.

    `imgsz` is the side of the square canvas in pixels, `stride` the network's: sides of `rect` batches are multiples
    of it.
    """

    imgsz: int = 640
    stride: int = 32
    seed: int = 0
    epochs: int = 100
    close_mosaic: int = 10
    mosaic: float = 1.0
    mixup: float = 0.0
    crop: float = 0.0
    crop_range: tuple[float, float] = (0.3, 2.0)
    copy_paste: float = 0.0
    rect: bool = False
    fraction: float = 1.0
    classes: tuple[int, ...] | None = None
    single_cls: bool = False
    cache: bool | str = False
    cache_dir: str | None = None
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    rules: Rules = DEFAULT


class PoseDataset:
    """The augmented samples of a scanned split; `dataset[index]` is a `Sample`.

    A sample is a pure function of (seed, epoch, index): the worker or rank that makes it and the order of the calls do
    not matter. `items` are the images in use: `fraction` thins them out evenly (with the rule `first_images` it keeps
    the first ones). Without flip_idx in the data set images are not mirrored.
    """

    def __init__(self, scan: Scan, options: SampleOptions) -> None:
        self.layout = scan.spec.layout
        self.options = options = replace(options, augment=_check_flips(options.augment, scan))
        indices = np.arange(max(round(len(scan.items) * options.fraction), 1))
        if not options.rules.first_images:
            indices = indices * len(scan.items) // len(indices)
        chosen = [scan.items[i] for i in indices]
        self.items = [replace(i, labels=filter_labels(i.labels, options.classes, options.single_cls)) for i in chosen]
        cache = None
        if options.cache:
            cache = open_cache(options.cache, scan, self.items, options.imgsz, options.rules, options.cache_dir)
        self.read = Reader(self.items, options.imgsz, options.rules, cache)
        self.epoch = -1
        self.set_epoch(0)

    def __len__(self) -> int:
        return len(self.items)

    def set_epoch(self, epoch: int, closing: bool | None = None) -> None:
        """Go to an epoch, counted from 0.

        In `closing` epochs there is no mosaic, mixup or pasting; None means the last `close_mosaic` of `epochs`. Square
        crops go on, since they look like photographs.
        """
        options = self.options
        if closing is None:
            closing = options.close_mosaic > 0 and epoch >= options.epochs - options.close_mosaic
        self.closing = closing
        self.mosaic = 0.0 if closing or options.rect else options.mosaic
        self.mixup = 0.0 if closing else options.mixup
        self.copy_paste = 0.0 if closing or options.rules.nothing_pasted else options.copy_paste
        self.crop = 0.0 if options.rect else options.crop
        if epoch != self.epoch:
            self.epoch = epoch
            sizes = [item.hw for item in self.items]
            self.order = by_aspect(sizes, options.rules) if options.rect else shuffled(len(sizes), options.seed, epoch)
            self._position = np.argsort(self.order)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index, (self.options.imgsz, self.options.imgsz))

    def sample(self, index: int, hw: tuple[int, int]) -> Sample:
        """Sample `index` of this epoch in a canvas of (H, W) pixels. Raises PoseError for an unreadable image."""
        rng = sample_generator(self.options.seed, self.epoch, index)
        sample = self._compose(rng, index, hw)
        if rng.random() < self.mixup:
            (partner,) = self._random_indices(rng, index, 1)
            sample = augment.mixup(rng, sample, self._compose(rng, partner, hw))
        if self.copy_paste and rng.random() < self.copy_paste:
            sample = self._paste(rng, index, sample)
        return augment.finish(rng, sample, self.options.augment, self.layout)

    def _compose(self, rng: np.random.Generator, index: int, hw: tuple[int, int]) -> Sample:
        """A square crop, a mosaic or a single image in its canvas, after the random affine."""
        item, options = self.items[index], self.options
        if self.crop and rng.random() < self.crop:  # without crops no number is drawn: samples stay as they were
            return self._crop(rng, index, hw)
        indices = [index]
        if rng.random() < self.mosaic:
            indices += self._random_indices(rng, index, 3)
        elif not options.augment.moves:
            return augment.letterboxed(self.read(index), item.labels, hw, str(item.path), options.rules)
        images = [self.read(i) for i in indices]
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        if len(images) > 1:
            places = augment.mosaic_places(rng, sizes, options.imgsz)
        else:
            places = [augment.centred(sizes[0], hw)]
        affine = augment.random_affine(rng, options.augment, hw)
        tiles = [
            Tile(image, self.items[i].labels, affine @ place)
            for i, image, place in zip(indices, images, places, strict=True)
        ]
        return augment.compose(tiles, hw, str(item.path))

    def _crop(self, rng: np.random.Generator, index: int, hw: tuple[int, int]) -> Sample:
        """A random square of an image in its canvas; the affine neither zooms nor shifts, the square does that."""
        item, options = self.items[index], self.options
        square = augment.random_square(rng, item.hw, options.crop_range)
        image = self.read.detailed(index, square[2])
        place = augment.square_place(square, item.hw, (image.shape[0], image.shape[1]), hw)
        affine = augment.random_affine(rng, replace(options.augment, scale=0.0, translate=0.0), hw)
        return augment.compose([Tile(image, item.labels, affine @ place)], hw, str(item.path))

    def _paste(self, rng: np.random.Generator, index: int, sample: Sample) -> Sample:
        """The sample with up to `paste.MOST` instances of other images of its block pasted into it."""
        hw = sample.image.shape[0], sample.image.shape[1]
        donors = self._random_indices(rng, index, int(rng.integers(1, paste.MOST + 1)))
        cuts = [paste.cut(rng, self.read(i), self.items[i].labels, hw) for i in donors if i != index]
        return paste.paste(rng, sample, [patch for patch in cuts if patch is not None])

    def _random_indices(self, rng: np.random.Generator, index: int, count: int) -> list[int]:
        """`count` random images from the block of the order that contains `index`."""
        start, end = block(int(self._position[index]), len(self))
        return [int(i) for i in self.order[rng.integers(start, end, count)]]


def _check_flips(options: AugmentOptions, scan: Scan) -> AugmentOptions:
    """The options, without flips if the data set has no flip_idx; warns when flip_idx does not agree with labels."""
    if not (options.fliplr or options.flipud):
        return options
    if scan.spec.layout.flip is None:
        log.info(f"{scan.spec.yaml}: no flip_idx, so images are not mirrored (fliplr=0 flipud=0)")
        return replace(options, fliplr=0.0, flipud=0.0)
    for warning in audit_flip((item.labels for item in scan.items), scan.spec.layout):
        log.warning(f"{scan.spec.yaml}: {warning}; `yolo doctor` shows mirrored previews")
    return options
