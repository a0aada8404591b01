"""The doctor's report: everything that was found, as JSON and as text for the console."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from yolopose.data.rows import BadRow
from yolopose.data.spec import DataSpec
from yolopose.doctor.checks import Finding, Match, SplitCounts, plural
from yolopose.doctor.statistics import Statistics
from yolopose.errors import printable


@dataclass(frozen=True, eq=False)
class Report:
    """The result of a check of a data set; `folder` holds report.json and report.html."""

    spec: DataSpec
    counts: dict[str, SplitCounts]
    statistics: Statistics
    findings: list[Finding]
    facts: list[str]
    bad: dict[str, list[BadRow]]
    matches: list[Match]
    folder: Path

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
