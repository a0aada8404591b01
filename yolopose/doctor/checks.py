"""The checks of the doctor: findings, each with a remedy, and facts worth knowing."""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from yolopose.data.flips import audit_flip
from yolopose.data.label_cache import Entry
from yolopose.data.labels import ImageItem, label_path
from yolopose.data.rows import Labels
from yolopose.data.spec import DataSpec
from yolopose.doctor.duplicates import Fingerprint, find_pairs
from yolopose.doctor.statistics import Statistics
from yolopose.geometry.keypoints import BODY_AREA, COCO_SIGMAS, KeypointLayout, flip_from_names

EXAMPLES = 5  # per finding
MAX_OUTSIDE = 0.05  # share of labelled keypoints outside their box above which it is a finding


class Checked(NamedTuple):
    """An image after its check: its labels and faults, and its fingerprint unless it is unusable."""

    path: Path
    entry: Entry
    fingerprint: Fingerprint | None

    @property
    def usable(self) -> bool:
        """Whether the image and at least some of its labels can be read."""
        return self.entry.hw != (0, 0)

    @property
    def item(self) -> ImageItem:
        """The image as an item of a data set."""
        return ImageItem(self.path, self.entry.hw, self.entry.labels)


@dataclass(frozen=True)
class Finding:
    """A problem: `level` is error or warning; `examples` are files or rows, relative to the data set."""

    level: str
    topic: str
    what: str
    remedy: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Match:
    """Two images that show the same, in one split or in two; likeness is 1 for identical files."""

    split: str
    file: Path
    other_split: str
    other: Path
    identical: bool
    likeness: float


@dataclass(frozen=True)
class SplitCounts:
    """The counts of a split; `unlabelled` images have no label file, `backgrounds` no instance."""

    images: int
    unlabelled: int
    backgrounds: int
    corrupt: int
    instances: int
    with_keypoints: int
    bad_rows: int
    duplicate_rows: int
    classes: dict[str, int]


def plural(count: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def count_split(images: Sequence[Checked], names: Mapping[int, str]) -> SplitCounts:
    """The counts of one split."""
    usable = [image.entry.labels for image in images if image.usable]
    classes = Counter(int(c) for labels in usable for c in labels.classes)
    return SplitCounts(
        images=len(images),
        unlabelled=sum(not image.entry.stats[3] for image in images),  # no label file
        backgrounds=sum(not len(labels) for labels in usable),
        corrupt=len(images) - len(usable),
        instances=sum(len(image.entry.labels) for image in images),
        with_keypoints=sum(int((labels.keypoints[..., 2] > 0).any(1).sum()) for labels in usable),
        bad_rows=sum(row.line > 0 and not row.kept for image in images for row in image.entry.bad),
        duplicate_rows=sum(image.entry.duplicates for image in images),
        classes={name: classes[i] for i, name in names.items()},
    )


def find_matches(splits: Mapping[str, Sequence[Checked]]) -> list[Match]:
    """Copies of images within each split and between any two of them."""
    prints = {
        name: {image.path: image.fingerprint for image in images if image.fingerprint is not None}
        for name, images in splits.items()
    }
    matches = []
    for later, earlier in [(name, name) for name in prints] + [(b, a) for a, b in itertools.combinations(prints, 2)]:
        files, others = list(prints[later]), list(prints[earlier])
        second = None if earlier == later else list(prints[earlier].values())
        for pair in find_pairs(list(prints[later].values()), second):
            matches.append(Match(later, files[pair.i], earlier, others[pair.j], pair.identical, pair.likeness))
    return matches


def findings(
    spec: DataSpec,
    splits: Mapping[str, Sequence[Checked]],
    counts: Mapping[str, SplitCounts],
    statistics: Statistics,
    matches: Sequence[Match],
) -> list[Finding]:
    """All problems, errors first."""
    found: list[Finding] = []
    for name, images in splits.items():
        found += _check_rows(name, images, counts[name])
    images = [image for images in splits.values() for image in images]
    found += _check_matches(matches, counts)
    found += _check_label_files([image.path for image in images])
    found += _check_instances(counts, statistics)
    found += _check_flip(spec.layout, [image.entry.labels for image in images])
    folder = f"{spec.path}{os.sep}"
    found = [replace(f, examples=tuple(e.replace(folder, "") for e in f.examples)) for f in found]
    return sorted(found, key=lambda finding: finding.level != "error")


def _check_rows(name: str, images: Sequence[Checked], counts: SplitCounts) -> Iterator[Finding]:
    """Unreadable images, bad and duplicate rows, a split without label files."""
    bad = [row for image in images for row in image.entry.bad]
    for level, topic, noun, remedy, rows in (
        ("error", "images", "unusable file", "replace or remove it", [r for r in bad if not r.line]),
        ("error", "labels", "bad label row", "correct or delete it", [r for r in bad if r.line and not r.kept]),
        ("warning", "labels", "stray keypoint", "correct it, or set v = 0 outside", [r for r in bad if r.kept]),
    ):
        if rows:
            yield Finding(level, topic, f"{name}: {plural(len(rows), noun)}, set aside", remedy, _examples(rows))
    if counts.duplicate_rows:
        files = _examples(label_path(image.path) for image in images if image.entry.duplicates)
        what = f"{name}: {plural(counts.duplicate_rows, 'duplicate label row')}, left out"
        yield Finding("warning", "labels", what, "delete the duplicates", files)
    if counts.unlabelled == counts.images:
        what, first = f"{name}: none of the {counts.images} images has a label file", str(label_path(images[0].path))
        yield Finding("error", "labels", what, "the expected path of the first is:", (first,))


def _check_matches(matches: Sequence[Match], counts: Mapping[str, SplitCounts]) -> Iterator[Finding]:
    """Leakage between splits, copies within one."""
    groups: dict[tuple[str, str], list[Match]] = {}
    for match in matches:
        groups.setdefault((match.split, match.other_split), []).append(match)
    for (name, other), group in groups.items():
        identical = {m.file for m in group if m.identical}
        files = {m.file for m in group}
        kinds = (len(identical), "identical"), (len(files - identical), "near-identical")
        how = " and ".join(f"{n} {kind}" for n, kind in kinds if n)
        examples = _examples(f"{m.file} {'=' if m.identical else '≈'} {m.other}" for m in group)
        if name == other:
            remedy = "keep one of each; of the frames of a video, fewer"
            yield Finding("warning", "duplicates", f"{name} holds images twice: {how}", remedy, examples)
        else:
            what = f"{name} shares {len(files)} of its {counts[name].images} images with {other} ({how})"
            remedy = f"they make the metrics of {name} too good: remove them from {other}"
            yield Finding("error", "leakage", what, remedy, examples)


def _check_label_files(images: Sequence[Path]) -> Iterator[Finding]:
    """Label files without an image."""
    folders = {image.parent: label_path(image).parent for image in images}
    orphans = []
    for folder, labels in folders.items():
        if labels.is_dir():
            known = {file.stem for file in folder.iterdir() if file.suffix != ".txt"}
            known.add("classes")  # annotation tools write a list of the classes
            orphans += sorted(file for file in labels.glob("*.txt") if file.stem not in known)
    if orphans:
        what = f"{plural(len(orphans), 'label file')} without an image"
        yield Finding("warning", "labels", what, "add the images, or delete the label files", _examples(orphans))


def _check_instances(counts: Mapping[str, SplitCounts], statistics: Statistics) -> Iterator[Finding]:
    """Classes without an instance; keypoints that are never labelled, or far from their instance."""
    for split in ("train", "val"):
        missing = [name for name, n in counts[split].classes.items() if not n] if split in counts else []
        if missing:
            what = f"{split}: no instance of {', '.join(missing[:10])}{', …' if len(missing) > 10 else ''}"
            yield Finding("warning", "classes", what, "add examples, or take the class out of names")
    if not statistics.with_keypoints:
        what = "no instance has a labelled keypoint"
        yield Finding("error", "keypoints", what, "label keypoints: these labels are of boxes alone")
        return
    if never := [point.name for point in statistics.keypoints if not point.labelled]:
        what = f"never labelled: {', '.join(never)}"
        yield Finding("warning", "keypoints", what, "a network cannot learn them: label them, or shorten kpt_shape")
    labelled = sum(point.hidden + point.visible for point in statistics.keypoints)
    if statistics.outside_box > MAX_OUTSIDE * labelled:
        what = f"{statistics.outside_box} of {labelled} labelled keypoints lie far outside their own box"
        yield Finding(
            "warning", "keypoints", what, "see the previews: are the columns x y v in the order of kpt_names?"
        )


def _check_flip(layout: KeypointLayout, labels: Sequence[Labels]) -> Iterator[Finding]:
    """flip_idx that does not agree with the keypoints' names, or with their positions."""
    expected = flip_from_names(layout.names)
    if layout.flip is not None and expected is not None and expected != layout.flip:
        i = next(i for i, j in enumerate(expected) if j != layout.flip[i])
        what = f"flip_idx puts {layout.names[layout.flip[i]]} in the place of {layout.names[i]} in a mirrored image"
        remedy = f"by the names it should be {layout.names[expected[i]]}: correct flip_idx or kpt_names"
        yield Finding("warning", "flip", what, remedy)
    for problem in audit_flip(labels, layout):
        yield Finding("warning", "flip", problem, "see the mirrored previews; correct flip_idx or the labels")


def _examples(rows: Iterable[object]) -> tuple[str, ...]:
    """The first few as text."""
    return tuple(map(str, itertools.islice(rows, EXAMPLES)))


def facts(spec: DataSpec, counts: Mapping[str, SplitCounts], statistics: Statistics) -> list[str]:
    """Texts about the data set that are no problems, but good to know."""
    layout, points = spec.layout, statistics.keypoints
    if layout.flip is None:
        texts = ["flip_idx is not given: no image is mirrored in training (fliplr and flipud are off)"]
    else:
        pairs = [f"{layout.names[i]} ↔ {layout.names[j]}" for i, j in enumerate(layout.flip) if i < j]
        texts = [f"flip_idx is its own inverse, as it must be; it exchanges {', '.join(pairs) or 'no keypoints'}"]
    texts.append(_sigma_fact(spec))
    without = statistics.instances - statistics.with_keypoints
    if layout.shape[1] == 3:
        visible, hidden = sum(p.visible for p in points), sum(p.hidden for p in points)
        unlabelled = sum(p.unlabelled for p in points) + without * len(points)
        texts.append(
            f"visibility: {visible} keypoints have v = 2 (visible), {hidden} v = 1 (labelled, hidden), {unlabelled} "
            "v = 0 (not labelled); training uses only whether v = 0"
        )
    else:
        texts.append("kpt_shape has no v: a keypoint is labelled unless it is at 0 0")
    if without:
        texts.append(
            f"{without} of {statistics.instances} instances ({without / statistics.instances:.0%}) have no labelled "
            "keypoint: they train the box only, and the pose metrics ignore them"
        )
    if statistics.below_8 >= 0.01:
        texts.append(
            f"{statistics.below_8:.0%} of the boxes are smaller than 8 pixels at imgsz=640, the network's finest "
            "stride: use a larger imgsz"
        )
    texts += [
        f"{name}: {split.unlabelled} images have no label file and count as backgrounds"
        for name, split in counts.items()
        if 0 < split.unlabelled < split.images
    ]
    return texts


def _sigma_fact(spec: DataSpec) -> str:
    """Where the sigmas come from, and what error they allow (solved from OKS = exp(-d² / (2·(2σ)²·0.53·w·h)))."""
    sigmas = spec.layout.sigmas
    if spec.given_sigmas:
        return "kpt_oks_sigmas are given: " + ", ".join(f"{s:g}" for s in sigmas)
    if sigmas == COCO_SIGMAS:
        return "kpt_oks_sigmas are COCO's, the default for 17 keypoints"
    half, strict = (2 * sigmas[0] * math.sqrt(-2 * BODY_AREA * math.log(oks)) for oks in (0.5, 0.95))
    return (
        f"kpt_oks_sigmas are not given: 1/K = {sigmas[0]:.3g} for each keypoint, which is lenient: an error of "
        f"{half:.0%} of the box's size, √(w·h), still counts as right at OKS 0.5, and {strict:.0%} at 0.95; with "
        "COCO's sigma of an eye it is 4% and 1%"
    )
