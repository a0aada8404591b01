"""A split of a data set: its images and their labels, checked once and remembered in a label cache.

The cache is a plain `.npz` file (no pickle), `labels-<yaml>-<split>.npz`, in the user's cache folder. Each image's
entry holds the size and times of the image and of its label file: an entry that no longer fits is read afresh, the
others are reused. What could not be read is read again next time.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np

from yolopose.console import log, progress
from yolopose.data import label_cache
from yolopose.data.label_cache import Entry, Stat
from yolopose.data.rows import BadRow, Labels, no_labels, parse_rows
from yolopose.data.spec import DataSpec, load_data  # noqa: F401
from yolopose.errors import PoseError, printable
from yolopose.images import ImageError, ImageReadError, check_image, read_image
from yolopose.limits import MAX_PIXELS
from yolopose.rules import DEFAULT, Rules

LARGE = 1 << 25  # pixels
_large = Lock()
SHOWN = 5  # bad rows named one by one; the doctor lists them all


@dataclasses.dataclass(frozen=True, eq=False)
class ImageItem:
    """An image: its file, its (H, W) as it is meant to be seen, and its instances."""

    path: Path
    hw: tuple[int, int]
    labels: Labels


class Counts(NamedTuple):
    """Images looked at, those without instances, those left out; instances; duplicate rows left out; bad rows."""

    images: int
    backgrounds: int
    corrupt: int
    instances: int
    duplicates: int
    bad_rows: int


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """The usable images of a split, what was set aside, and the numbers of both."""

    spec: DataSpec
    split: str
    items: list[ImageItem]
    bad: list[BadRow]
    counts: Counts


def label_path(image: Path) -> Path:
    """Where an image's labels are: the last folder `images` on its way becomes `labels`, the suffix .txt."""
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def read_labels(path: Path, spec: DataSpec, *, rules: Rules = DEFAULT) -> tuple[Labels, list[BadRow]]:
    """The good rows of a label file and the bad ones; see `yolopose.data.rows` for what is bad."""
    labels, bad, _ = parse_rows(path, spec.layout.shape, len(spec.names), rules=rules)
    return labels, bad


def scan(
    spec: DataSpec,
    split: str,
    *,
    strict: bool = False,
    rules: Rules = DEFAULT,
    cache: bool = True,
    threads: int = 8,
    max_pixels: int = MAX_PIXELS,
    verbose: bool = True,
) -> Scan:
    """Check every image and label of a split; print the counts if `verbose`, and warn of what is wrong.

    An image is left out when it is damaged, too small or of more than `max_pixels` pixels, when none of its rows can be
    read, and with the rule `whole_rows` when any row is bad. An image without a label file, or with an
    empty one, is a background.

    Raises:
        PoseError: no images; with `strict`, the first thing that is wrong.
    """
    images = spec.split(split)
    name = f"labels-{spec.yaml.stem}-{split}"
    key = label_cache.key(spec.layout.shape, len(spec.names), rules, max_pixels)
    known = label_cache.load(spec.path, name, key) if cache else {}
    labels = [label_path(image) for image in images]
    stats = [Stat.of(image, label) for image, label in zip(images, labels, strict=True)]
    todo = [i for i, image in enumerate(images) if (e := known.get(str(image))) is None or e.stat != stats[i]]
    entries = {str(image): known[str(image)] for image in images if str(image) in known}
    pool = ThreadPoolExecutor(threads)
    try:
        fresh = pool.map(lambda i: examine(images[i], labels[i], stats[i], spec, rules, max_pixels), todo)
        with progress(verbose and log.isEnabledFor(logging.INFO), f"{split}: scanning") as bar:
            for done, (i, entry) in enumerate(zip(todo, fresh, strict=True), start=1):
                entries[str(images[i])] = entry
                bar(done, len(todo))
    finally:  # also when the user breaks off: then what has not begun is not waited for
        pool.shutdown(cancel_futures=True)
    entries = {str(image): entries[str(image)] for image in images}
    if cache and (todo or len(known) != len(entries)):
        label_cache.save(spec.path, name, key, entries)
    result = _collect(spec, split, entries)
    if strict and result.bad:
        raise PoseError(f"{result.bad[0]} (strict=True)")
    _report(result, cached=not todo, verbose=verbose)
    return result


def select(labels: Labels, classes: Sequence[int] | None, single_cls: bool = False) -> Labels:
    """The instances of the given classes (None is all), with `single_cls` all as class 0."""
    if classes is not None:
        labels = labels.keep(np.isin(labels.classes, classes))
    return dataclasses.replace(labels, classes=np.zeros_like(labels.classes)) if single_cls else labels


def examine(image: Path, label: Path, stat: Stat, spec: DataSpec, rules: Rules, max_pixels: int = MAX_PIXELS) -> Entry:
    """Look at one image and its labels; what is wrong is in the entry."""
    nothing = no_labels(spec.layout.shape[0])
    try:
        hw = check_image(image, max_pixels=max_pixels)
        _decode(image, hw)
    except ImageError as e:
        return Entry(stat, (0, 0), nothing, [BadRow(str(image), 0, e.reason, passing=isinstance(e, ImageReadError))])
    labels, bad, duplicates = parse_rows(label, spec.layout.shape, len(spec.names), rules=rules)
    lost = [row for row in bad if not row.kept]
    if lost and (rules.whole_rows or not len(labels)):
        return Entry(stat, (0, 0), nothing, bad, duplicates)
    return Entry(stat, hw, labels, bad, duplicates)


def _decode(image: Path, hw: tuple[int, int]) -> None:
    """Raise ImageError where the damage is in the pixels: at an eighth of its size, a JPEG tells that soonest.

    Only one thread at a time decodes an image so large that several of them would fill the memory.
    """
    with _large if hw[0] * hw[1] > LARGE else nullcontext():
        read_image(image, max_pixels=hw[0] * hw[1], reduce=8)


def _collect(spec: DataSpec, split: str, entries: dict[str, Entry]) -> Scan:
    items = [ImageItem(Path(path), entry.hw, entry.labels) for path, entry in entries.items() if entry.hw != (0, 0)]
    bad = [row for entry in entries.values() for row in entry.bad]
    counts = Counts(
        images=len(entries),
        backgrounds=sum(not len(item.labels) for item in items),
        corrupt=len(entries) - len(items),
        instances=sum(len(item.labels) for item in items),
        duplicates=sum(entry.duplicates for entry in entries.values()),
        bad_rows=sum(row.line > 0 and not row.kept for row in bad),
    )
    if not items:
        first = f": {bad[0]}" if bad else ""
        raise PoseError(f"{spec.yaml}: {split}: none of {len(entries)} images is usable{first}")
    return Scan(spec, split, items, bad, counts)


def _report(scan: Scan, cached: bool, verbose: bool) -> None:
    """Print the counts if `verbose`, and the first few things that are wrong."""
    n = scan.counts
    folder = printable(str(label_path(scan.items[0].path).parent))
    source = " (label cache)" if cached else ""
    if verbose:
        log.info(
            f"{scan.split}: Scanning {folder}{source}… {n.images} images, {n.backgrounds} backgrounds, "
            f"{n.corrupt} corrupt"
        )
    for row in scan.bad[:SHOWN]:
        log.warning(f"{scan.split}: {row}")
    if len(scan.bad) > SHOWN:
        log.warning(f"{scan.split}: {len(scan.bad) - SHOWN} more; `yolo doctor data={scan.spec.yaml}` lists them")
    if not n.instances:
        log.warning(
            f"{scan.split}: no labels found for {n.images} images; they are looked for in {folder}, "
            "a .txt file of the image's name each"
        )
    if n.duplicates and verbose:
        log.info(f"{scan.split}: {n.duplicates} duplicate rows left out")
