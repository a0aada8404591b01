"""The doctor: looks through a data set before it is trained on, and says what is wrong and how to mend it.

It reads, and writes only its report: text on the console, report.json, and report.html, one file without scripts that
shows sample images with their labels, mirrored ones among them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from yolopose.config import DoctorConfig
from yolopose.console import log
from yolopose.data.labelcache import Stat
from yolopose.data.labels import examine, label_path, load_data
from yolopose.data.rows import BadRow
from yolopose.data.spec import DataSpec
from yolopose.doctor import diagnosis
from yolopose.doctor.diagnosis import Finding, Look, Match, SplitCounts, number
from yolopose.doctor.likeness import take_print
from yolopose.doctor.page import page
from yolopose.doctor.previews import choose, preview, thumbnail
from yolopose.doctor.statistics import Statistics, statistics
from yolopose.errors import PoseError, UsageError, printable
from yolopose.files import write_text
from yolopose.rules import DEFAULT
from yolopose.saving import run_folder

SHOWN_MATCHES = 12  # pairs of copies with pictures on the page


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """What the doctor found; `folder` holds report.json and report.html."""

    spec: DataSpec
    counts: dict[str, SplitCounts]
    statistics: Statistics
    findings: list[Finding]
    facts: list[str]
    bad: dict[str, list[BadRow]]
    matches: list[Match]
    folder: Path

    def to_dict(self) -> dict[str, Any]:
        """Everything, in JSON types."""
        return {
            "data": str(self.spec.yaml),
            "names": self.spec.names,
            "layout": self.spec.layout.to_dict() | {"sigmas_given": self.spec.given_sigmas},
            "splits": {name: dataclasses.asdict(counts) for name, counts in self.counts.items()},
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "facts": self.facts,
            "statistics": dataclasses.asdict(self.statistics),
            "bad_rows": {name: [dataclasses.asdict(row) for row in rows] for name, rows in self.bad.items()},
            "matches": [
                dataclasses.asdict(match) | {"file": str(match.file), "other": str(match.other)}
                for match in self.matches
            ],
        }

    def text(self) -> str:
        """The report for the console."""
        columns = ("images", "backgrounds", "corrupt", "instances", "with_keypoints", "bad_rows", "duplicate_rows")
        lines = ["  ".join([f"{'split':<6}", *(c.replace("_", " ") for c in columns)])]
        for name, counts in self.counts.items():
            lines.append("  ".join([f"{name:<6}", *(f"{getattr(counts, c):>{len(c)}}" for c in columns)]))
        for finding in self.findings:
            lines += [f"{finding.level.upper()}: {finding.what}", f"  → {finding.remedy}"]
            lines += [f"    {example}" for example in finding.examples]
        lines += [f"note: {fact}" for fact in self.facts]
        errors = sum(finding.level == "error" for finding in self.findings)
        warnings = len(self.findings) - errors
        verdict = f"{number(errors, 'error')}, {number(warnings, 'warning')}" if self.findings else "nothing wrong"
        return "\n".join(printable(line) for line in [*lines, f"{verdict}; report: {self.folder / 'report.html'}"])


def run(config: DoctorConfig) -> int:
    """`yolo doctor`: 0 also when something is wrong with the data, with `strict` 1."""
    report = doctor(config)
    log.info(report.text())
    return int(config.strict and bool(report.findings))


def doctor(config: DoctorConfig) -> Report:
    """Look through the data set of `config.data` and write the report.

    Raises:
        UsageError: no data set named.
        PoseError: the YAML cannot be read, none of its splits has images, or the report is there already.
    """
    if config.data is None:
        raise UsageError("data is missing: name the YAML of a data set, as in data=coco8-pose.yaml")
    spec = load_data(config.data, data_dir=config.data_dir)
    splits, missing = look_through(spec)
    folder = _folder(config)
    items = [look.item for looks in splits.values() for look in looks if look.entry.hw != (0, 0)]
    counts = {name: diagnosis.count(looks, spec.names) for name, looks in splits.items()}
    numbers = statistics(items, spec.layout)
    matches = diagnosis.find_matches(splits)
    report = Report(
        spec=spec,
        counts=counts,
        statistics=numbers,
        findings=[*missing, *diagnosis.findings(spec, splits, counts, numbers, matches)],
        facts=diagnosis.facts(spec, counts, numbers),
        bad=diagnosis.bad_rows(splits),
        matches=matches,
        folder=folder,
    )
    previews = [preview(item, spec) for item in choose(items, config.previews)]
    shown = sorted(matches, key=lambda match: match.split == match.other_split)[:SHOWN_MATCHES]
    pictures = {path: thumbnail(path) for match in shown for path in (match.file, match.other)}
    # file names need not be UTF-8
    write_text(folder / "report.json", json.dumps(report.to_dict(), indent=1, ensure_ascii=False), "backslashreplace")
    write_text(folder / "report.html", page(report, previews, shown, pictures), "backslashreplace")
    return report


def look_through(spec: DataSpec) -> tuple[dict[str, list[Look]], list[Finding]]:
    """Every image of every split that there is, and a finding for each split that there is not.

    Raises:
        PoseError: no split has images.
    """
    splits: dict[str, list[Look]] = {}
    missing: list[Finding] = []
    failed: list[PoseError] = []
    known: dict[Path, Look] = {}
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for name in spec.sources:
            try:
                images = spec.split(name)
            except PoseError as e:
                failed.append(e)
                said = str(e).removeprefix(f"{spec.yaml}: ")
                missing.append(Finding("error", "splits", said, f"mend the {name} line, or take it out"))
                continue
            known.update(pool.map(functools.partial(_look, spec), (path for path in images if path not in known)))
            splits[name] = [known[path] for path in images]
    if not splits:
        raise failed[0]
    return splits, missing


def _look(spec: DataSpec, image: Path) -> tuple[Path, Look]:
    """Look at one image; one that cannot be decoded becomes unusable."""
    label = label_path(image)
    entry = examine(image, label, Stat.of(image, label), spec, DEFAULT)
    if entry.hw == (0, 0):
        return image, Look(image, entry, None)
    try:
        return image, Look(image, entry, take_print(image.read_bytes(), str(image), entry.hw))
    except (PoseError, OSError) as e:
        bad = BadRow(str(image), 0, str(e).removeprefix(f"{image}: "))
        return image, Look(image, dataclasses.replace(entry, hw=(0, 0), bad=[bad, *entry.bad]), None)


def _folder(config: DoctorConfig) -> Path:
    """Where the report goes."""
    if config.out is None:
        return run_folder(None, None, "doctor")
    folder = Path(config.out)
    if (folder / "report.html").exists() and not config.exist_ok:
        raise PoseError(f"{folder / 'report.html'} exists; choose another out, or exist_ok=True to write over it")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
