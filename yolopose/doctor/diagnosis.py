"""What the doctor makes of what it saw: findings, each with its remedy, and facts worth knowing."""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from yolopose.data.labelcache import Entry
from yolopose.data.labels import Item, audit_flip, label_path
from yolopose.data.rows import BadRow, Labels
from yolopose.data.spec import DataSpec
from yolopose.doctor.likeness import Print, find_pairs
from yolopose.doctor.statistics import Statistics
from yolopose.geometry.keypoints import BODY_AREA, COCO_SIGMAS, KeypointLayout, flip_from_names

EXAMPLES = 5  # per finding
STRAY = 0.05  # share of labelled keypoints outside their box that is worth a word


class Look(NamedTuple):
    """One image as the doctor saw it: its labels and faults, and its fingerprint unless it is unusable."""

    path: Path
    entry: Entry
    taken: Print | None

    @property
    def item(self) -> Item:
        """The image as a data set item."""
        return Item(self.path, self.entry.hw, self.entry.labels)


@dataclass(frozen=True)
class Finding:
    """Something wrong: `level` is error or warning; `examples` are files or rows, relative to the data set."""

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
    """The numbers of a split; `unlabelled` images have no label file, `backgrounds` no instance."""

    images: int
    unlabelled: int
    backgrounds: int
    corrupt: int
    instances: int
    with_keypoints: int
    bad_rows: int
    duplicate_rows: int
    classes: dict[str, int]


def count(looks: Sequence[Look], names: Mapping[int, str]) -> SplitCounts:
    """The numbers of one split."""
    entries = [look.entry for look in looks]
    usable = [entry for entry in entries if entry.hw != (0, 0)]
    classes = Counter(int(c) for entry in usable for c in entry.labels.classes)
    return SplitCounts(
        images=len(entries),
        unlabelled=sum(not entry.stat.label_time for entry in entries),
        backgrounds=sum(not len(entry.labels) for entry in usable),
        corrupt=len(entries) - len(usable),
        instances=sum(len(entry.labels) for entry in usable),
        with_keypoints=sum(int((entry.labels.keypoints[..., 2] > 0).any(1).sum()) for entry in usable),
        bad_rows=sum(row.line > 0 and not row.kept for entry in entries for row in entry.bad),
        duplicate_rows=sum(entry.duplicates for entry in entries),
        classes={name: classes[i] for i, name in names.items()},
    )


def find_matches(splits: Mapping[str, Sequence[Look]]) -> list[Match]:
    """Copies of images within each split and between any two of them."""
    seen = {name: [look for look in looks if look.taken is not None] for name, looks in splits.items()}
    prints = {name: [look.taken for look in looks if look.taken is not None] for name, looks in seen.items()}
    found = []
    for later, earlier in [(name, name) for name in seen] + [(b, a) for a, b in itertools.combinations(seen, 2)]:
        pairs = find_pairs(prints[later], None if earlier == later else prints[earlier])
        for pair in pairs:
            one, other = seen[later][pair.i].path, seen[earlier][pair.j].path
            found.append(Match(later, one, earlier, other, pair.identical, pair.likeness))
    return found


def findings(
    spec: DataSpec,
    splits: Mapping[str, Sequence[Look]],
    counts: Mapping[str, SplitCounts],
    numbers: Statistics,
    matches: Sequence[Match],
) -> list[Finding]:
    """All that is wrong, errors first."""
    found = [finding for name, looks in splits.items() for finding in _of_rows(name, looks, counts[name])]
    found += _of_matches(matches, counts)
    found += _of_orphans([look.path for looks in splits.values() for look in looks])
    found += _of_classes(counts)
    found += _of_keypoints(numbers)
    found += _of_flip(spec.layout, [look.entry.labels for looks in splits.values() for look in looks])
    folder = f"{spec.path}{os.sep}"
    found = [replace(f, examples=tuple(e.replace(folder, "") for e in f.examples)) for f in found]
    return sorted(found, key=lambda finding: finding.level != "error")


def facts(spec: DataSpec, counts: Mapping[str, SplitCounts], numbers: Statistics) -> list[str]:
    """What is not wrong, but good to know."""
    said = [_flip_fact(spec.layout), _sigma_fact(spec)]
    points = numbers.keypoints
    hidden, visible = sum(p.hidden for p in points), sum(p.visible for p in points)
    unlabelled = sum(p.unlabelled for p in points) + (numbers.instances - numbers.with_keypoints) * len(points)
    said.append(
        f"visibility: {visible} keypoints have v = 2 (visible), {hidden} v = 1 (labelled, hidden), {unlabelled} v = 0 "
        "(not labelled); training only tells v = 0 from the rest"
        if spec.layout.shape[1] == 3
        else "kpt_shape has no v: a keypoint is labelled unless it stands at 0 0"
    )
    if without := numbers.instances - numbers.with_keypoints:
        share = without / numbers.instances
        said.append(
            f"{without} of {numbers.instances} instances ({share:.0%}) have no labelled keypoint: they train the box "
            "alone, and the pose score ignores them"
        )
    if numbers.below_8 >= 0.01:
        said.append(
            f"{numbers.below_8:.0%} of the boxes are smaller than 8 pixels at imgsz=640, the network's finest grid: a "
            "larger imgsz would serve them"
        )
    for name, split in counts.items():
        if 0 < split.unlabelled < split.images:
            said.append(f"{name}: {split.unlabelled} images have no label file and count as backgrounds")
    return said


def number(count: int, what: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def bad_rows(splits: Mapping[str, Sequence[Look]]) -> dict[str, list[BadRow]]:
    """Every row and file that is set aside, by split."""
    return {name: [row for look in looks for row in look.entry.bad] for name, looks in splits.items()}


def _of_rows(name: str, looks: Sequence[Look], counts: SplitCounts) -> Iterator[Finding]:
    """What is wrong with the images and rows of one split."""
    bad = [row for look in looks for row in look.entry.bad]
    groups = [
        ("error", "images", "unusable file", "replace or remove", [r for r in bad if not r.line]),
        ("error", "labels", "bad label row", "mend or delete", [r for r in bad if r.line and not r.kept]),
        (
            "warning",
            "labels",
            "stray keypoint",
            "outside the image: v = 0, or mend",
            [r for r in bad if r.kept],
        ),
    ]
    for level, topic, what, remedy, rows in groups:
        if rows:
            yield Finding(level, topic, f"{name}: {number(len(rows), what)}, set aside", remedy, _some(rows))
    if counts.duplicate_rows:
        doubled = [look.path for look in looks if look.entry.duplicates]
        what = f"{name}: {number(counts.duplicate_rows, 'duplicate label row')}, left out"
        yield Finding("warning", "labels", what, "delete the second ones", _some(label_path(path) for path in doubled))
    if counts.unlabelled == counts.images:
        place = label_path(looks[0].path)
        what = f"{name}: none of the {counts.images} images has a label file"
        yield Finding("error", "labels", what, "put them where they are looked for", (str(place),))


def _of_matches(matches: Sequence[Match], counts: Mapping[str, SplitCounts]) -> Iterator[Finding]:
    """Leakage between splits, copies within one."""
    groups: dict[tuple[str, str], list[Match]] = {}
    for match in matches:
        groups.setdefault((match.split, match.other_split), []).append(match)
    for (name, other), group in groups.items():
        same = {m.file for m in group if m.identical}
        near = {m.file for m in group} - same
        kinds = " and ".join(f"{len(n)} {kind}" for n, kind in ((same, "identical"), (near, "near-identical")) if n)
        examples = _some(f"{m.file} = {m.other}" if m.identical else f"{m.file} ≈ {m.other}" for m in group)
        if name == other:
            what, remedy = f"{name} holds images twice: {kinds}", "keep one of each; of a film's frames, fewer"
            yield Finding("warning", "duplicates", what, remedy, examples)
        else:
            what = f"{name} shares {len(same | near)} of its {counts[name].images} images with {other} ({kinds})"
            remedy = f"they flatter the figures of {name}: remove them from {other}"
            yield Finding("error", "leakage", what, remedy, examples)


def _of_orphans(images: Sequence[Path]) -> Iterator[Finding]:
    """Label files that no image goes with."""
    folders: dict[Path, Path] = {}
    for image in images:
        folders.setdefault(image.parent, label_path(image).parent)
    orphans = []
    for place, labels in folders.items():
        if labels.is_dir():
            stems = {file.stem for file in place.iterdir() if file.suffix != ".txt"}
            known = stems | {"classes"}  # annotation tools leave a list of them there
            orphans += sorted(file for file in labels.glob("*.txt") if file.stem not in known)
    if orphans:
        what = f"{number(len(orphans), 'label file')} without an image"
        yield Finding("warning", "labels", what, "find the images, or delete", _some(orphans))


def _of_classes(counts: Mapping[str, SplitCounts]) -> Iterator[Finding]:
    """Classes that cannot be learnt or measured."""
    for split in ("train", "val"):
        known = counts[split].classes if split in counts else {}
        if missing := [name for name, n in known.items() if not n]:
            what = f"{split}: no instance of {', '.join(missing[:10])}{', …' if len(missing) > 10 else ''}"
            yield Finding("warning", "classes", what, "add examples, or take the class out of names")


def _of_keypoints(numbers: Statistics) -> Iterator[Finding]:
    """Keypoints that are never labelled, or far from their instance."""
    if not numbers.with_keypoints:
        yield Finding(
            "error", "keypoints", "no instance has a labelled keypoint", "the labels are those of boxes alone"
        )
        return
    if never := [point.name for point in numbers.keypoints if not point.labelled]:
        what = f"never labelled: {', '.join(never)}"
        yield Finding("warning", "keypoints", what, "a network cannot learn them: shorten kpt_shape, or label them")
    labelled = sum(point.hidden + point.visible for point in numbers.keypoints)
    if numbers.outside_box > STRAY * labelled:
        what = f"{numbers.outside_box} of {labelled} labelled keypoints lie far outside their own box"
        yield Finding("warning", "keypoints", what, "look at the previews: are the columns x y v in kpt_names' order?")


def _of_flip(layout: KeypointLayout, labels: Sequence[Labels]) -> Iterator[Finding]:
    """Where flip_idx does not fit the keypoints' names, or their places."""
    named = flip_from_names(layout.names)
    if layout.flip is not None and named is not None and named != layout.flip:
        i = next(i for i, j in enumerate(named) if j != layout.flip[i])
        what = f"a mirrored image puts {layout.names[layout.flip[i]]} in the place of {layout.names[i]}, says flip_idx"
        remedy = f"by the names it should be {layout.names[named[i]]}: mend flip_idx or kpt_names"
        yield Finding("warning", "flip", what, remedy)
    for said in audit_flip(labels, layout):
        yield Finding("warning", "flip", said, "look at the mirrored previews; mend flip_idx or the labels")


def _flip_fact(layout: KeypointLayout) -> str:
    if layout.flip is None:
        return "flip_idx is not given: no image is mirrored in training (fliplr and flipud are off)"
    pairs = [f"{layout.names[i]} ↔ {layout.names[j]}" for i, j in enumerate(layout.flip) if i < j]
    return f"flip_idx undoes itself, as it must; a mirrored image exchanges {', '.join(pairs) or 'no keypoints'}"


def _sigma_fact(spec: DataSpec) -> str:
    """Where the sigmas come from, and what error they forgive (solved from OKS = exp(-d² / (2·(2σ)²·0.53·w·h)))."""
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


def _some(rows: Iterable[object]) -> tuple[str, ...]:
    """The first few as text."""
    return tuple(str(row) for row in itertools.islice(rows, EXAMPLES))
