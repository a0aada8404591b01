"""The doctor's report as one HTML file: styles and pictures inside, no scripts, light and dark."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from yolopose.doctor.diagnosis import Match, number
from yolopose.doctor.previews import Preview
from yolopose.doctor.statistics import INPUT, Histogram, KeypointCount
from yolopose.geometry.keypoints import KeypointLayout

if TYPE_CHECKING:
    from yolopose.doctor.report import Report

STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
SHOWN_ROWS = 200  # bad rows on the page; report.json has them all
FIGURE = 260, 320  # width and height of the mean shape
COLUMNS = {
    "images": "images",
    "backgrounds": "backgrounds",
    "unlabelled": "no label file",
    "corrupt": "corrupt",
    "instances": "instances",
    "with_keypoints": "with keypoints",
    "bad_rows": "bad rows",
    "duplicate_rows": "duplicate rows",
}


def page(report: Report, previews: Sequence[Preview], shown: Sequence[Match], pictures: Mapping[Path, bytes]) -> str:
    """The whole page; `shown` are the copies of which `pictures` holds thumbnails."""
    title = f"{report.spec.yaml.parent.name}/{report.spec.yaml.name}"
    sections = [
        _head(report, title),
        _section("Splits", _splits(report)),
        _section("Findings", _findings(report)),
        _section("Good to know", "<ul class='facts'>" + _join("li", report.facts) + "</ul>"),
        _section("Labels as they are, and mirrored", _previews(previews), wide=True) if previews else "",
        _section("Instances", _charts(report)),
        _section("Keypoints", _keypoints(report)),
        _section("Copies", _copies(report, shown, pictures)) if shown else "",
        _section("Rows and files set aside", _bad(report)) if any(report.bad.values()) else "",
    ]
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<meta name='color-scheme' content='light dark'><title>{escape(title)} — data set report</title>"
        f"<style>{STYLE}</style></head>\n<body><main>{''.join(sections)}"
        "<footer>yolopose doctor. Nothing in the data set was changed.</footer></main></body></html>\n"
    )


def _head(report: Report, title: str) -> str:
    """Title, verdict and the numbers that matter most."""
    errors = sum(finding.level == "error" for finding in report.findings)
    warnings = len(report.findings) - errors
    badges = [
        f"<span class='badge error'>{number(errors, 'error')}</span>" if errors else "",
        f"<span class='badge warning'>{number(warnings, 'warning')}</span>" if warnings else "",
        "" if report.findings else "<span class='badge good'>nothing wrong</span>",
    ]
    k, d = report.spec.layout.shape
    tiles = {
        "images": sum(counts.images for counts in report.counts.values()),
        "instances": report.statistics.instances,
        "with keypoints": report.statistics.with_keypoints,
        "classes": len(report.spec.names),
        "keypoints": k,
    }
    cards = "".join(f"<div class='tile'><b>{value:,}</b>{name}</div>" for name, value in tiles.items())
    return (
        f"<header><h1>{escape(title)}</h1><p class='path'>{escape(str(report.spec.yaml))} · kpt_shape [{k}, {d}]</p>"
        f"<p>{''.join(badges)}</p></header><div class='tiles'>{cards}</div>"
    )


def _section(title: str, body: str, wide: bool = False) -> str:
    return f"<section{' class=wide' if wide else ''}><h2>{escape(title)}</h2>{body}</section>"


def _splits(report: Report) -> str:
    """The numbers of each split, and of its classes when there are several."""
    rows = [
        "<tr><th>"
        + escape(name)
        + "</th>"
        + "".join(_cell(getattr(counts, column), column) for column in COLUMNS)
        + "</tr>"
        for name, counts in report.counts.items()
    ]
    table = f"<table><tr><th></th>{_join('th', COLUMNS.values())}</tr>{''.join(rows)}</table>"
    if len(report.spec.names) == 1:
        return table
    classes = [
        f"<tr><th>{escape(name)}</th>"
        + "".join(f"<td>{c.classes[name]:,}</td>" for c in report.counts.values())
        + "</tr>"
        for name in report.spec.names.values()
    ]
    return table + f"<table><tr><th>class</th>{_join('th', report.counts)}</tr>{''.join(classes)}</table>"


def _cell(value: int, column: str) -> str:
    """A number; one that is wrong to have stands out."""
    wrong = value and column in ("corrupt", "bad_rows", "duplicate_rows")
    return f"<td class='{'wrong' if wrong else 'zero' if not value else ''}'>{value:,}</td>"


def _findings(report: Report) -> str:
    if not report.findings:
        return "<p class='quiet'>Nothing wrong was found.</p>"
    cards = []
    for finding in report.findings:
        examples = f"<ul class='files'>{_join('li', finding.examples)}</ul>" if finding.examples else ""
        cards.append(
            f"<div class='finding {finding.level}'><p><span class='topic'>{escape(finding.topic)}</span> "
            f"<b>{escape(finding.what)}</b></p><p class='remedy'>{escape(finding.remedy)}</p>{examples}</div>"
        )
    return "".join(cards)


def _previews(previews: Sequence[Preview]) -> str:
    """Each image with its labels beside its mirror image."""
    hint = (
        "Left limbs are blue, right limbs orange and red; landmarks have a colour each. In the mirrored image every "
        "point must sit on the same feature as before, left and right exchanged."
        if any(preview.mirrored for preview in previews)
        else "No mirrored images: the data set has no flip_idx."
    )
    figures = []
    for preview in previews:
        pictures = [preview.picture] if preview.mirrored is None else [preview.picture, preview.mirrored]
        images = "".join(_picture(data, f"{preview.path.name} with its labels") for data in pictures)
        figures.append(
            f"<figure class='pair'><div>{images}</div><figcaption>{_name(preview.path)}</figcaption></figure>"
        )
    return f"<p class='quiet'>{hint}</p><div class='previews'>{''.join(figures)}</div>"


def _charts(report: Report) -> str:
    """The histograms of sizes, shapes and numbers."""
    numbers = report.statistics
    low, middle, high = numbers.size_percentiles
    charts = [
        (f"Size at imgsz={INPUT}, pixels", numbers.size, f"√(w·h); 5% {low:g}, median {middle:g}, 95% {high:g}"),
        ("Shape, width : height", numbers.aspect, "of the box in pixels"),
        ("Instances per image", numbers.per_image, "of the usable images"),
    ]
    return "<div class='charts'>" + "".join(_chart(*chart) for chart in charts) + "</div>"


def _chart(title: str, histogram: Histogram, note: str) -> str:
    """A histogram as rows of bars."""
    most, total = max(*histogram.counts, 1), max(sum(histogram.counts), 1)
    rows = "".join(
        f"<div class='bar'><span>{escape(word)}</span><i><u style='width:{100 * n / most:.1f}%'></u></i>"
        f"<em>{_share(n, total)}</em></div>"
        for word, n in zip(histogram.bins, histogram.counts, strict=True)
    )
    return f"<figure><figcaption><b>{escape(title)}</b><br>{escape(note)}</figcaption>{rows}</figure>"


def _keypoints(report: Report) -> str:
    """How often each keypoint is labelled, and the mean shape."""
    rows = []
    for point in report.statistics.keypoints:
        total = max(point.visible + point.hidden + point.unlabelled, 1)
        shares = [(kind, 100 * n / total) for kind, n in (("visible", point.visible), ("hidden", point.hidden))]
        bar = "".join(f"<u class='{kind}' style='width:{share:.1f}%'></u>" for kind, share in shares)
        rows.append(
            f"<div class='bar'><span>{escape(point.name)}</span><i>{bar}</i><em>{point.labelled:.0%}</em></div>"
        )
    legend = (
        "<p class='quiet'><u class='key visible'></u> visible <u class='key hidden'></u> labelled but hidden "
        "<u class='key'></u> not labelled; of the instances with any labelled keypoint</p>"
    )
    shape = _shape(report.statistics.keypoints, report.spec.layout)
    return f"{legend}<div class='points'><figure>{''.join(rows)}</figure>{shape}</div>"


def _shape(points: Sequence[KeypointCount], layout: KeypointLayout) -> str:
    """The mean place of each keypoint in its box, joined by the skeleton, as a drawing."""
    w, h = FIGURE
    at = [None if p.mean is None else (12 + p.mean[0] * (w - 24), 12 + p.mean[1] * (h - 24)) for p in points]
    lines = [
        f"<line x1='{a[0]:.1f}' y1='{a[1]:.1f}' x2='{b[0]:.1f}' y2='{b[1]:.1f}'/>"
        for i, j in layout.edges
        if (a := at[i]) and (b := at[j])
    ]
    dots = [
        f"<circle class='{_side(point.name)}' cx='{p[0]:.1f}' cy='{p[1]:.1f}' r='5'><title>{escape(point.name)}</title>"
        "</circle>"
        for p, point in zip(at, points, strict=True)
        if p
    ]
    return (
        f"<figure class='shape'><svg viewBox='0 0 {w} {h}' role='img' aria-label='mean shape'>"
        f"<rect x='12' y='12' width='{w - 24}' height='{h - 24}'/>{''.join(lines)}{''.join(dots)}</svg>"
        "<figcaption>Mean place of each keypoint in its box: <span class='left'>left</span>, <span class='right'>right"
        "</span>, <span class='middle'>middle</span></figcaption></figure>"
    )


def _side(name: str) -> str:
    """left, right or middle, by the keypoint's name."""
    return next((side for side in ("left", "right") if side in name.lower()), "middle")


def _copies(report: Report, shown: Sequence[Match], pictures: Mapping[Path, bytes]) -> str:
    """Pairs of images that show the same."""
    more = len(report.matches) - len(shown)
    figures = []
    for match in shown:
        how = "identical" if match.identical else f"likeness {match.likeness:.2f}"
        where = match.split if match.split == match.other_split else f"{match.split} ↔ {match.other_split}"
        images = "".join(_picture(pictures[path], path.name) for path in (match.file, match.other))
        figures.append(
            f"<figure class='copy{' leak' if match.split != match.other_split else ''}'><div>{images}</div>"
            f"<figcaption><b>{escape(where)}</b>, {how}<br>{_name(match.file)}<br>{_name(match.other)}</figcaption>"
            "</figure>"
        )
    rest = f"<p class='quiet'>{more:,} more pairs are in report.json.</p>" if more else ""
    return f"<div class='copies'>{''.join(figures)}</div>{rest}"


def _bad(report: Report) -> str:
    """The rows that are set aside, with reasons."""
    rows = [(split, row) for split, found in report.bad.items() for row in found]
    folder = f"{report.spec.path}{os.sep}"
    body = "".join(
        f"<tr><th>{escape(split)}</th><td>{escape(row.file.replace(folder, ''))}</td><td>{row.line or '–'}</td>"
        f"<td>{escape(row.reason)}</td></tr>"
        for split, row in rows[:SHOWN_ROWS]
    )
    more = len(rows) - SHOWN_ROWS
    rest = f"<p class='quiet'>{more:,} more are in report.json.</p>" if more > 0 else ""
    table = f"<table class='text'><tr>{_join('th', ('split', 'file', 'line', 'reason'))}</tr>{body}</table>"
    return (
        f"<details{' open' if len(rows) <= 20 else ''}><summary>{len(rows):,} entries</summary>{table}{rest}</details>"
    )


def _picture(data: bytes, alt: str) -> str:
    source = base64.b64encode(data).decode()
    return f"<img alt='{escape(alt)}' src='data:image/jpeg;base64,{source}'>"


def _name(path: Path) -> str:
    """The end of a path, with the whole of it on hovering."""
    return f"<span title='{escape(str(path))}'>{escape('/'.join(path.parts[-2:]))}</span>"


def _join(tag: str, texts: Iterable[str]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)


def _share(count: int, total: int) -> str:
    """A share in per cent, one decimal below 10."""
    share = 100 * count / total
    if not count:
        return "0"
    return f"{share:.0f}%" if share >= 9.95 else f"{share:.1f}%" if share >= 0.1 else "< 0.1%"
