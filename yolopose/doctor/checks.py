"""The checks of the doctor: findings, each with a remedy, and facts worth knowing."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from yolopose.data.flips import audit_flip
from yolopose.data.labels import UNSURE, ignore_path, label_path
from yolopose.data.rows import Labels
from yolopose.data.spec import DataSpec
from yolopose.doctor.duplicates import find_pairs
from yolopose.doctor.report import Checked, Match, Report, SplitCounts, plural
from yolopose.errors import PoseError, one_line
from yolopose.files import read_text
from yolopose.geometry.keypoints import BODY_AREA, COCO_SIGMAS, flip_from_names
from yolopose.limits import MAX_LABEL_BYTES

MAX_OUTSIDE = 0.05  # share of labelled keypoints outside their box above which it is a finding


def count_split(images: Sequence[Checked], spec: DataSpec) -> SplitCounts:
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
        classes={name: classes[i] for i, name in spec.names.items()},
        ignored=sum(len(labels.ignore) for labels in usable),
        partial=sum(spec.is_partial(image.path) for image in images if image.usable),
    )


def find_matches(splits: Mapping[str, Sequence[Checked]]) -> list[Match]:
    """Copies of images within each split and between any two of them."""
    prints = {name: {i.path: i.fingerprint for i in images if i.fingerprint} for name, images in splits.items()}
    matches = []
    for later, earlier in [(name, name) for name in prints] + [(b, a) for a, b in itertools.combinations(prints, 2)]:
        files, others = list(prints[later]), list(prints[earlier])
        second = None if earlier == later else list(prints[earlier].values())
        for pair in find_pairs(list(prints[later].values()), second):
            matches.append(Match(later, files[pair.i], earlier, others[pair.j], pair.identical, pair.likeness))
    return matches


def add_findings(report: Report, splits: Mapping[str, Sequence[Checked]]) -> None:
    """Add all problems of the checked images to the report, errors first."""
    images = [image for images in splits.values() for image in images]
    for name, checked in splits.items():
        _check_rows(report, name, checked)
    _check_matches(report)
    _check_partial(report, [image.path for image in images])
    _check_label_files(report, [image.path for image in images])
    _check_instances(report)
    _check_flip(report, [image.entry.labels for image in images])
    report.findings.sort(key=lambda finding: finding.level != "error")


def _check_rows(report: Report, name: str, images: Sequence[Checked]) -> None:
    """Unreadable images, bad and duplicate rows, a split without label files."""
    bad, counts = report.bad[name], report.counts[name]
    for level, topic, noun, remedy, rows in (
        ("error", "images", "unusable file", "replace or remove it", [r for r in bad if not r.line]),
        ("error", "labels", "bad label row", "correct or delete it", [r for r in bad if r.line and not r.kept]),
        ("warning", "labels", "stray keypoint", "correct it, or set v = 0 outside", [r for r in bad if r.kept]),
    ):
        if rows:
            report.add(level, topic, f"{name}: {plural(len(rows), noun)}, left out", remedy, rows)
    if counts.duplicate_rows:
        what = f"{name}: {plural(counts.duplicate_rows, 'duplicate label row')}, left out"
        files = [label_path(image.path) for image in images if image.entry.duplicates]
        report.add("warning", "labels", what, "delete the duplicates", files)
    if counts.unlabelled == counts.images:
        what = f"{name}: none of the {counts.images} images has a label file"
        report.add("error", "labels", what, "the expected path of the first is:", [label_path(images[0].path)])


def _check_matches(report: Report) -> None:
    """Leakage between splits, copies within one."""
    for name, other in dict.fromkeys((match.split, match.other_split) for match in report.matches):
        group = [match for match in report.matches if (match.split, match.other_split) == (name, other)]
        files, identical = {m.file for m in group}, {m.file for m in group if m.identical}
        kinds = (len(identical), "identical"), (len(files - identical), "near-identical")
        how = " and ".join(f"{n} {kind}" for n, kind in kinds if n)
        examples = [f"{m.file} {'=' if m.identical else '≈'} {m.other}" for m in group]
        if name == other:
            remedy = "keep one of each; of the frames of a video, fewer"
            report.add("warning", "duplicates", f"{name} holds images twice: {how}", remedy, examples)
        else:
            what = f"{name} shares {len(files)} of its {report.counts[name].images} images with {other} ({how})"
            remedy = f"they make the metrics of {name} too good: remove them from {other}"
            report.add("error", "leakage", what, remedy, examples)


def _check_partial(report: Report, images: Sequence[Path]) -> None:
    """Entries of `partial` that fit no image."""
    for entry in report.spec.partial:
        if not any(replace(report.spec, partial=(entry,)).is_partial(image) for image in images):
            report.add("warning", "labels", f"partial: {entry}: fits no image", "correct or remove the entry")


def _check_label_files(report: Report, images: Sequence[Path]) -> None:
    """Label files without an image."""
    orphans: list[Path] = []
    for folder, labels in {image.parent: label_path(image).parent for image in images}.items():
        if labels.is_dir():
            known = {file.stem for file in folder.iterdir() if file.suffix != ".txt"}
            known |= {ignore_path(folder / f"{name}.txt").stem for name in known}
            known.add("classes")  # annotation tools write a list of the classes
            orphans += sorted(file for file in labels.glob("*.txt") if file.stem not in known)
    if orphans:
        what = f"{plural(len(orphans), 'label file')} without an image"
        report.add("warning", "labels", what, "add the images, or delete the label files", orphans)


def _check_instances(report: Report) -> None:
    """Classes without an instance; keypoints that are never labelled, or far from their instance."""
    counts, statistics = report.counts, report.statistics
    for split in ("train", "val"):
        missing = [name for name, n in counts[split].classes.items() if not n] if split in counts else []
        if missing:
            what = f"{split}: no instance of {', '.join(missing[:10])}{', …' if len(missing) > 10 else ''}"
            report.add("warning", "classes", what, "add examples, or take the class out of names")
    if not statistics.with_keypoints:
        what = "no instance has a labelled keypoint"
        report.add("error", "keypoints", what, "label keypoints: these labels are of boxes alone")
        return
    if never := [point.name for point in statistics.keypoints if not point.labelled]:
        remedy = "a network cannot learn them: label them, or shorten kpt_shape"
        report.add("warning", "keypoints", f"never labelled: {', '.join(never)}", remedy)
    labelled = sum(point.hidden + point.visible for point in statistics.keypoints)
    if statistics.outside_box > MAX_OUTSIDE * labelled:
        what = f"{statistics.outside_box} of {labelled} labelled keypoints lie far outside their own box"
        remedy = "see the previews: are the columns x y v in the order of kpt_names?"
        report.add("warning", "keypoints", what, remedy)


def _check_flip(report: Report, labels: Sequence[Labels]) -> None:
    """flip_idx that does not agree with the keypoints' names, or with their positions."""
    layout = report.spec.layout
    expected = flip_from_names(layout.names)
    if layout.flip is not None and expected is not None and expected != layout.flip:
        i = next(i for i, j in enumerate(expected) if j != layout.flip[i])
        what = f"flip_idx puts {layout.names[layout.flip[i]]} in the place of {layout.names[i]} in a mirrored image"
        remedy = f"by the names it should be {layout.names[expected[i]]}: correct flip_idx or kpt_names"
        report.add("warning", "flip", what, remedy)
    for problem in audit_flip(labels, layout):
        report.add("warning", "flip", problem, "see the mirrored previews; correct flip_idx or the labels")


def facts(report: Report) -> list[str]:
    """Texts about the data set that are no problems, but good to know."""
    return [*_layout_facts(report.spec), *_instance_facts(report), *_model_facts(report.spec)]


def _model_facts(spec: DataSpec) -> Iterator[str]:
    """Which model made the labels, if one did."""
    if spec.by_model is None:
        return
    try:
        known = json.loads(read_text(spec.by_model, MAX_LABEL_BYTES))
        words = [f"{name}={one_line(known[name])[:80]}" for name in ("model", "sha256", "what", "conf", "kpt_conf")]
    except (PoseError, ValueError, LookupError, TypeError):
        yield f"labels made by a model (labels_by_model in the YAML); {one_line(spec.by_model)} cannot be read"
        return
    yield f"labels made by a model: {', '.join(words)}; they measure no other model"


def _layout_facts(spec: DataSpec) -> Iterator[str]:
    """Facts about flip_idx and the sigmas."""
    names, flip = spec.layout.names, spec.layout.flip
    if flip is None:
        yield "flip_idx is not given: no image is mirrored in training (fliplr and flipud are off)"
    else:
        pairs = ", ".join(f"{names[i]} ↔ {names[j]}" for i, j in enumerate(flip) if i < j) or "no keypoints"
        yield f"flip_idx is its own inverse, as it must be; it exchanges {pairs}"
    yield _sigma_fact(spec)


def _instance_facts(report: Report) -> Iterator[str]:
    """Facts about the keypoints that are not labelled, small boxes and images without labels."""
    statistics, points = report.statistics, report.statistics.keypoints
    without = statistics.instances - statistics.with_keypoints
    if report.spec.layout.shape[1] == 3:
        unlabelled = sum(p.unlabelled for p in points) + without * len(points)
        yield (
            f"visibility: {sum(p.visible for p in points)} keypoints have v = 2 (visible), "
            f"{sum(p.hidden for p in points)} v = 1 (labelled, hidden), {unlabelled} v = 0 (not labelled); "
            "training uses only whether v = 0"
        )
    else:
        yield "kpt_shape has no v: a keypoint is labelled unless it is at 0 0"
    if without:
        yield (
            f"{without} of {statistics.instances} instances ({without / statistics.instances:.0%}) have no labelled "
            "keypoint: they train the box only, and the pose metrics ignore them"
        )
    if statistics.below_8 >= 0.01:
        yield (
            f"{statistics.below_8:.0%} of the boxes are smaller than 8 pixels at imgsz=640, the network's finest "
            "stride: use a larger imgsz"
        )
    for name, split in report.counts.items():
        if 0 < split.unlabelled < split.images:
            yield f"{name}: {split.unlabelled} images have no label file and count as backgrounds"
        if split.ignored:
            boxes = "1 box" if split.ignored == 1 else f"{split.ignored} boxes"
            yield f"{name}: {boxes} to ignore: in training nothing found there is a mistake"
        if split.partial:
            yield (
                f"{name}: {split.partial} of {split.images} images are only partly labelled (partial in the YAML): "
                f"what scores above {UNSURE:g} outside their labels counts neither as instance nor as background"
            )


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
