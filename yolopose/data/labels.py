"""Read and check the images and labels of a split, with a cache of the results.

The label cache is a `.npz` file (no pickle), `labels-<yaml>-<split>.npz`, in the user's cache folder. Each image's
entry stores size and times of the image, its label file and its boxes to ignore: an image is checked again when they
change, or when a file could not be read the last time.
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
from yolopose.data.cache_files import file_stats
from yolopose.data.label_cache import Entry, cache_key, load_entries, save_entries
from yolopose.data.rows import BadRow, Labels, no_labels, parse_ignored, parse_rows
from yolopose.data.spec import DataSpec
from yolopose.errors import PoseError, printable, shown
from yolopose.images import ImageError, ImageReadError, check_image, read_image
from yolopose.limits import MAX_PIXELS
from yolopose.rules import DEFAULT, Rules

LARGE = 1 << 25  # pixels: only one thread at a time decodes images with more, since several could fill the memory
_large = Lock()
UNSURE = 0.3  # the score above which a prediction in a partly labelled image may be an instance without a label
SHOWN = 5  # bad rows that are logged; the doctor lists all


@dataclasses.dataclass(frozen=True, eq=False)
class ImageItem:
    """An image file, its (H, W) after the EXIF rotation, and its labels."""

    path: Path
    hw: tuple[int, int]
    labels: Labels


class Counts(NamedTuple):
    """Numbers of a scan: `backgrounds` are images without instances, `corrupt` images were left out."""

    images: int
    backgrounds: int
    corrupt: int
    instances: int
    duplicates: int  # rows
    bad_rows: int
    ignored: int  # boxes to ignore
    partial: int  # images that are only partly labelled


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """The usable images of a split, the bad rows and images, and counts of both."""

    spec: DataSpec
    split: str
    items: list[ImageItem]
    bad: list[BadRow]
    counts: Counts


def label_path(image: Path) -> Path:
    """The label file of an image: the last folder `images` in the path becomes `labels`, the suffix .txt."""
    *folders, name = image.parts
    if "images" in folders:
        folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return Path(*folders, name).with_suffix(".txt")


def ignore_path(label: Path) -> Path:
    """The file of the boxes to ignore that goes with a label file: `NAME.ignore.txt` next to `NAME.txt`."""
    return label.with_suffix(".ignore.txt")


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
    """Check every image and label of a split and log a summary.

    An image is left out if it is damaged, too small or has more than `max_pixels` pixels, if none of its rows is
    valid, and with the rule `whole_rows` if any row is bad. An image without a label file, or with an empty one, is a
    background.

    Raises:
        PoseError: no images; with `strict`, the first bad row or image.
    """
    images = spec.split(split)
    name = f"labels-{spec.yaml.stem}-{split}"
    key = cache_key(spec.layout.shape, len(spec.names), rules, max_pixels)
    known = load_entries(spec.path, name, key) if cache else {}
    entries = {str(image): known.get(str(image)) for image in images}
    labels = [label_path(image) for image in images]
    todo = [i for i, e in enumerate(entries.values()) if e is None or e.stats != _stats(images[i], labels[i])]
    pool = ThreadPoolExecutor(threads)
    try:
        fresh = pool.map(lambda i: scan_image(images[i], labels[i], spec, rules, max_pixels), todo)
        with progress(verbose and log.isEnabledFor(logging.INFO), f"{split}: scanning") as bar:
            for done, (i, entry) in enumerate(zip(todo, fresh, strict=True), start=1):
                entries[str(images[i])] = entry
                bar(done, len(todo))
    finally:  # after an interrupt, images that have not been started are skipped
        pool.shutdown(cancel_futures=True)
    found = {path: entry for path, entry in entries.items() if entry is not None}
    if cache and (todo or len(known) != len(found)):
        save_entries(spec.path, name, key, found)
    result = _collect(spec, split, found)
    if strict and result.bad:
        raise PoseError(f"{result.bad[0]} (strict=True)")
    _log_summary(result, cached=not todo, verbose=verbose)
    return result


def filter_labels(labels: Labels, classes: Sequence[int] | None, single_cls: bool = False) -> Labels:
    """The instances of the given classes (None is all); with `single_cls` all of them as class 0."""
    if classes is not None:
        labels = labels.keep(np.isin(labels.classes, classes))
    return dataclasses.replace(labels, classes=np.zeros_like(labels.classes)) if single_cls else labels


def scan_image(image: Path, label: Path, spec: DataSpec, rules: Rules = DEFAULT, max_pixels: int = MAX_PIXELS) -> Entry:
    """Check one image and its labels; problems are listed in the entry, not raised."""
    stats, nothing = _stats(image, label), no_labels(spec.layout.shape[0])
    try:
        hw = check_image(image, max_pixels=max_pixels)
        with _large if hw[0] * hw[1] > LARGE else nullcontext():
            read_image(image, max_pixels=hw[0] * hw[1], reduce=8)  # finds damaged pixels; for a JPEG the fastest way
    except ImageError as e:
        bad = [BadRow(str(image), 0, e.reason, unreadable=isinstance(e, ImageReadError))]
        return Entry(stats, (0, 0), nothing, bad)
    labels, bad, duplicates = parse_rows(label, spec.layout.shape, len(spec.names), rules=rules)
    if any(not row.kept for row in bad) and (rules.whole_rows or not len(labels)):
        return Entry(stats, (0, 0), nothing, bad, duplicates)
    if stats[6]:  # without the file this costs no time
        ignore, more = parse_ignored(ignore_path(label))
        labels, bad = dataclasses.replace(labels, ignore=ignore), bad + more
    return Entry(stats, hw, labels, bad, duplicates)


def _stats(image: Path, label: Path) -> tuple[int, ...]:
    """The state of the files that an entry is made from."""
    return file_stats(image, label, ignore_path(label))


def with_partial(items: Sequence[ImageItem], spec: DataSpec) -> list[ImageItem]:
    """The items, with the whole of each partly labelled image as one more box to ignore, of the score UNSURE."""
    if not spec.partial:
        return list(items)
    whole = np.array([[0.5, 0.5, 1, 1, UNSURE]], np.float32)
    return [
        dataclasses.replace(i, labels=dataclasses.replace(i.labels, ignore=np.concatenate([i.labels.ignore, whole])))
        if spec.is_partial(i.path)
        else i
        for i in items
    ]


def _collect(spec: DataSpec, split: str, entries: dict[str, Entry]) -> Scan:
    items = [ImageItem(Path(path), entry.hw, entry.labels) for path, entry in entries.items() if entry.hw != (0, 0)]
    ignored, items = sum(len(item.labels.ignore) for item in items), with_partial(items, spec)
    bad = [row for entry in entries.values() for row in entry.bad]
    counts = Counts(
        images=len(entries),
        backgrounds=sum(not len(item.labels) for item in items),
        corrupt=len(entries) - len(items),
        instances=sum(len(item.labels) for item in items),
        duplicates=sum(entry.duplicates for entry in entries.values()),
        bad_rows=sum(row.line > 0 and not row.kept for row in bad),
        ignored=ignored,
        partial=sum(len(item.labels.ignore) for item in items) - ignored,
    )
    if not items:
        first = f": {bad[0]}" if bad else ""
        raise PoseError(f"{spec.yaml}: {split}: none of {len(entries)} images is usable{first}")
    return Scan(spec, split, items, bad, counts)


def _log_summary(scan: Scan, cached: bool, verbose: bool) -> None:
    """Log the counts if `verbose`, and the first few bad rows."""
    n = scan.counts
    folder = printable(str(label_path(scan.items[0].path).parent))
    if verbose:
        found = f"{n.images} images, {n.backgrounds} backgrounds, {n.corrupt} corrupt"
        log.info(f"{scan.split}: Scanning {folder}{' (label cache)' if cached else ''}… {found}")
    if verbose and (n.ignored or n.partial):
        log.info(f"{scan.split}: {n.ignored} boxes to ignore, {n.partial} partly labelled images (docs/data.md)")
    if scan.split == "train" and (entry := scan.spec.unused_partial([item.path for item in scan.items])) is not None:
        hint = "" if "/" in entry else " (a folder ends in a slash)"
        log.warning(f"{scan.spec.yaml}: partial: {shown(entry)} names no image of train{hint}")
    for row in scan.bad[:SHOWN]:
        log.warning(f"{scan.split}: {row}")
    if len(scan.bad) > SHOWN:
        log.warning(f"{scan.split}: {len(scan.bad) - SHOWN} more; `yolo doctor data={scan.spec.yaml}` lists them")
    if not n.instances:
        log.warning(
            f"{scan.split}: no labels found for {n.images} images; they are expected in {folder}, "
            "one .txt file with the name of each image"
        )
    if n.duplicates and verbose:
        log.info(f"{scan.split}: {n.duplicates} duplicate rows left out")
