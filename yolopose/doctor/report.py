"""The doctor's report: its records, and all of them as JSON and as text for the console."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from yolopose.data.label_cache import Entry
from yolopose.data.labels import ImageItem
from yolopose.data.rows import BadRow
from yolopose.data.spec import DataSpec
from yolopose.doctor.duplicates import Fingerprint
from yolopose.doctor.statistics import Statistics
from yolopose.errors import printable

EXAMPLES = 5  # per finding


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
    ignored: int = 0  # boxes to ignore
    partial: int = 0  # partly labelled images


def plural(count: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


@dataclass(frozen=True, eq=False)
class Report:
    """The result of a check of a data set; `folder` holds report.json and report.html."""

    spec: DataSpec
    counts: dict[str, SplitCounts]
    statistics: Statistics
    bad: dict[str, list[BadRow]]
    matches: list[Match]
    folder: Path
    findings: list[Finding] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)

    def add(self, level: str, topic: str, what: str, remedy: str, examples: Iterable[object] = ()) -> None:
        """Append a finding with the first few of `examples`."""
        folder = f"{self.spec.path}{os.sep}"
        texts = tuple(str(example).replace(folder, "") for example in itertools.islice(examples, EXAMPLES))
        self.findings.append(Finding(level, topic, what, remedy, texts))

    @property
    def levels(self) -> dict[str, int]:
        """The number of errors and of warnings."""
        return {level: sum(f.level == level for f in self.findings) for level in ("error", "warning")}

    def to_dict(self) -> dict[str, Any]:
        """The whole report in JSON types."""
        return {
            "data": str(self.spec.yaml),
            "names": self.spec.names,
            "layout": self.spec.layout.to_dict() | {"sigmas_given": self.spec.given_sigmas},
            "splits": {name: asdict(counts) for name, counts in self.counts.items()},
            "findings": [asdict(finding) for finding in self.findings],
            "facts": self.facts,
            "statistics": asdict(self.statistics),
            "bad_rows": {name: [asdict(row) for row in rows] for name, rows in self.bad.items()},
            "matches": [asdict(match) | {"file": str(match.file), "other": str(match.other)} for match in self.matches],
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
        verdict = ", ".join(plural(n, level) for level, n in self.levels.items()) if self.findings else "nothing wrong"
        lines.append(f"{verdict}; report: {self.folder / 'report.html'}")
        return "\n".join(map(printable, lines))
