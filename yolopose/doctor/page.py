"""The doctor's report as one HTML file: styles and pictures inside, no scripts, light and dark.

page.html has the text, divided into named parts of `string.Template`; this module collects the values. In `$name` of a
part goes a value, escaped, or for a list each of its entries as the part `name`.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from yolopose.doctor.previews import Preview, thumbnail
from yolopose.doctor.report import Match, Report, plural
from yolopose.doctor.statistics import INPUT, Statistics
from yolopose.geometry.keypoints import KeypointLayout

Values = list[dict[str, object]]  # of the entries of a list

SHOWN_MATCHES = 12  # pairs of copies; report.json has them all
SHOWN_ROWS = 200  # bad rows on the page; report.json has them all
LEGEND = (
    "Left limbs are blue, right limbs orange and red; landmarks have a colour each. In the mirrored image every point "
    "must be on the same feature as before, with left and right exchanged."
)
NO_FLIP = "No mirrored images: the data set has no flip_idx."

_texts = re.split(r"<!-- part (\w+) -->\n", Path(__file__).with_name("page.html").read_text(encoding="utf-8"))[1:]
TEMPLATES = {name: Template(text.rstrip("\n")) for name, text in zip(_texts[::2], _texts[1::2], strict=True)}


def fill(part: str, values: Mapping[str, object]) -> str:
    """A part of page.html with its values, floats in percent; a list entry that is no dict is the value `text`."""
    texts = {}
    for name, value in values.items():
        if isinstance(value, list):
            texts[name] = "".join(fill(name, v if isinstance(v, dict) else {"text": v}) for v in value)
        elif isinstance(value, float):
            texts[name] = f"{value:.1%}"
        else:
            texts[name] = f"{value:,}" if isinstance(value, int) else escape(str(value))
    return TEMPLATES[part].substitute(texts)


def page(report: Report, previews: Sequence[Preview]) -> str:
    """The whole page."""
    spec, statistics = report.spec, report.statistics
    badges = [{"level": level, "text": plural(n, level)} for level, n in report.levels.items() if n]
    classes = [
        {"name": name, "cell": [counts.classes[name] for counts in report.counts.values()]}
        for name in spec.names.values()
    ]
    values: dict[str, object] = {
        "title": f"{spec.yaml.parent.name}/{spec.yaml.name}",
        "path": spec.yaml,
        "shape": str([*spec.layout.shape]),
        "badge": badges or [{"level": "good", "text": "nothing wrong"}],
        "images": sum(counts.images for counts in report.counts.values()),
        "instances": statistics.instances,
        "with_keypoints": statistics.with_keypoints,
        "classes": len(spec.names),
        "keypoints": spec.layout.shape[0],
        "split": [vars(counts) | {"name": name} for name, counts in report.counts.items()],
        "by_class": [{"head": list(report.counts), "row": classes}] if len(classes) > 1 else [],
        "finding": [vars(finding) | {"entry": list(finding.examples)} for finding in report.findings],
        "quiet": [] if report.findings else ["Nothing wrong was found."],
        "entry": report.facts,
        "chart": _charts(statistics),
        **_keypoints(statistics, spec.layout),
        "previews": _previews(report, previews),
        "copies": _copies(report.matches),
        "bad_rows": _bad_rows(report),
    }
    return fill("page", values)


def _previews(report: Report, previews: Sequence[Preview]) -> Values:
    """The sample images."""
    hint = LEGEND if report.spec.layout.flip else NO_FLIP
    pairs = [
        {"image": [_image(p.path, jpeg) for jpeg in (p.picture, p.mirrored) if jpeg], "path": [_path(p.path)]}
        for p in previews
    ]
    return [{"hint": hint, "preview": pairs}] if pairs else []


def _copies(matches: Sequence[Match]) -> Values:
    """The first copies of images, those in two splits before those in one."""
    copies = [
        {
            "kind": "" if match.split == match.other_split else "leak",
            "splits": " ↔ ".join(dict.fromkeys((match.split, match.other_split))),
            "how": "identical" if match.identical else f"likeness {match.likeness:.2f}",
            "image": [_image(path, thumbnail(path)) for path in (match.file, match.other)],
            "path": [_path(match.file), _path(match.other)],
        }
        for match in sorted(matches, key=lambda match: match.split == match.other_split)[:SHOWN_MATCHES]
    ]
    return [{"copy": copies, "quiet": _more(len(matches) - len(copies), "pairs")}] if copies else []


def _bad_rows(report: Report) -> Values:
    """The first rows and files that were left out."""
    folder = f"{report.spec.path}{os.sep}"
    rows = [
        {"name": split, "cell": [row.file.replace(folder, ""), str(row.line or "–"), row.reason]}
        for split, bad in report.bad.items()
        for row in bad
    ]
    more = _more(len(rows) - SHOWN_ROWS, "entries")
    opened = "open" if len(rows) <= 20 else ""
    return [{"open": opened, "count": len(rows), "row": rows[:SHOWN_ROWS], "quiet": more}] if rows else []


def _charts(statistics: Statistics) -> Values:
    """The histograms of sizes, shapes and instances per image."""
    low, middle, high = statistics.size_percentiles
    size_note = f"√(w·h); 5% {low:g}, median {middle:g}, 95% {high:g}"
    charts: Values = []
    for title, note, histogram in (
        (f"Size at imgsz={INPUT}, pixels", size_note, statistics.size),
        ("Shape, width : height", "of the box in pixels", statistics.aspect),
        ("Instances per image", "of the usable images", statistics.per_image),
    ):
        most, total = max(*histogram.counts, 1), max(sum(histogram.counts), 1)
        bars = [
            _bar(name, {"": n / most}, n / total if n else "0")
            for name, n in zip(histogram.bins, histogram.counts, strict=True)
        ]
        charts.append({"title": title, "note": note, "bar": bars})
    return charts


def _keypoints(statistics: Statistics, layout: KeypointLayout) -> dict[str, object]:
    """How often each keypoint is labelled, and the drawing of their mean positions."""
    bars, dots = [], []
    instances = max(statistics.with_keypoints, 1)
    for point in statistics.keypoints:
        filled = {"visible": point.visible / instances, "hidden": point.hidden / instances}
        bars.append(_bar(point.name, filled, f"{point.labelled:.0%}"))
        if point.mean is not None:
            side = next((side for side in ("left", "right") if side in point.name.lower()), "middle")
            dots.append({"side": side, "x": point.mean[0], "y": point.mean[1], "name": point.name})
    ends = [(statistics.keypoints[a].mean, statistics.keypoints[b].mean) for a, b in layout.edges]
    lines = [{"x1": a[0], "y1": a[1], "x2": b[0], "y2": b[1]} for a, b in ends if a and b]
    return {"bar": bars, "line": lines, "dot": dots}


def _bar(name: str, filled: Mapping[str, float], share: object) -> dict[str, object]:
    """A bar of a chart, `filled` by kind (0..1 each)."""
    return {"name": name, "filled": [{"kind": k, "share": part} for k, part in filled.items()], "share": share}


def _image(path: Path, jpeg: bytes) -> dict[str, str]:
    return {"alt": path.name, "data": base64.b64encode(jpeg).decode()}


def _path(path: Path) -> dict[str, object]:
    """The end of a path, with the whole of it on hovering."""
    return {"path": path, "short": "/".join(path.parts[-2:])}


def _more(count: int, what: str) -> list[str]:
    return [f"{count:,} more {what} are in report.json."] if count > 0 else []
