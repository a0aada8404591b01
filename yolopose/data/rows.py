"""Parse and check one label file: rows of `class cx cy w h` and K times `x y [v]`, normalised.

A bad row is left out and reported with its line and reason; the other rows stay. The rules:

- A row needs 5 + K·D finite numbers of at most `LARGEST` and a class index within `names`; otherwise it is bad (a
  polygon of a segmentation data set, for example, has another length).
- A box needs a positive width and height, and all four numbers within 0..1, with a tolerance of `ROUNDING`. A box that
  crosses the image's edge is clipped.
- A keypoint with v ≤ 0 is unlabelled and may be anywhere. A labelled one outside the image becomes unlabelled; that is
  reported too, but the row stays. With D = 2 there is no v: a point is labelled unless it is at 0 0.
- Exact duplicates are removed and counted.

Boxes to ignore are in a file of their own, `NAME.ignore.txt` next to the label file, which other tools do not look for:
rows of `cx cy w h`, checked like the boxes above.

With the rule `whole_rows` any number below 0, or a coordinate above 1, makes a row bad, boxes are not clipped, and the
caller drops the whole image; with `zero_is_labelled` every point of D = 2 is labelled. Ultralytics 8.3 does both.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import shown
from yolopose.files import read_bounded
from yolopose.geometry.boxes import clip_boxes, cxcywh_to_xyxy, xyxy_to_cxcywh
from yolopose.limits import MAX_BAD_ROWS, MAX_LABEL_BYTES
from yolopose.rules import DEFAULT, Rules

LARGEST = 1e6  # of a coordinate; above 1e38 float32 overflows
ROUNDING = 1e-3  # tolerance of a box at the image's edge: some writers round to three decimals


def no_ignored() -> NDArray[np.float32]:
    """(0, 5): nothing to ignore, see `Labels`."""
    return np.empty((0, 5), np.float32)


@dataclass(frozen=True, eq=False)
class Labels:
    """The instances of an image.

    classes (N,) int64; boxes (N, 4) float32 cxcywh normalised; keypoints (N, K, 3) float32 x y normalised and v, where
    v = 0 is unlabelled, 1 labelled but hidden, 2 visible.

    ignore (M, 5) float32: boxes cxcywh normalised, in which instances may be unlabelled, and the score of each: a
    prediction inside that belongs to no instance is no mistake if its score is higher (`loss.ignore`). The score is 0
    in a box that was labelled as one to ignore.
    """

    classes: NDArray[np.int64]
    boxes: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    ignore: NDArray[np.float32] = field(default_factory=no_ignored)

    def __len__(self) -> int:
        return len(self.classes)

    def keep(self, rows: NDArray[Any]) -> Labels:
        """The instances of the given indices or mask, and all boxes to ignore."""
        return replace(self, classes=self.classes[rows], boxes=self.boxes[rows], keypoints=self.keypoints[rows])


@dataclass(frozen=True)
class BadRow:
    """A problem in a label file or image: `line` counts from 1; 0 is the whole file.

    `kept` means that the row stays, with some keypoints unlabelled; `unreadable` that reading the file failed, so that
    the next scan tries again.
    """

    file: str
    line: int
    reason: str
    kept: bool = False
    unreadable: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


def no_labels(keypoints: int) -> Labels:
    """The labels of an image without instances."""
    return Labels(np.empty(0, np.int64), np.empty((0, 4), np.float32), np.empty((0, keypoints, 3), np.float32))


def parse_rows(
    file: Path, kpt_shape: tuple[int, int], classes: int, *, rules: Rules = DEFAULT
) -> tuple[Labels, list[BadRow], int]:
    """The good rows of a label file, the bad ones, and the number of duplicates left out; no file means no rows."""
    k, d = kpt_shape
    text = _text(file)
    if not isinstance(text, str):
        return no_labels(k), text, 0
    table, lines, bad = _numbers(text, 5 + k * d)
    reasons = _check(table, classes, d, rules)
    bad += [(lines[row], reason) for row, reason in reasons.items()]
    good = unique = np.setdiff1d(np.arange(len(table)), list(reasons))
    if len(good) > 1:
        unique = good[np.sort(np.unique(table[good], axis=0, return_index=True)[1])]
    labels, outside = _labels(table[unique], k, d, rules)
    found = _report(file, bad)
    found += [
        BadRow(str(file), lines[unique[row]], f"keypoint {point} lies outside the image: now unlabelled", kept=True)
        for row, point in outside[:MAX_BAD_ROWS].tolist()
    ]
    return labels, found, len(good) - len(unique)


def parse_ignored(file: Path) -> tuple[NDArray[np.float32], list[BadRow]]:
    """The boxes to ignore of a file as (M, 5), see `Labels`, and its bad rows; no file means no boxes."""
    text = _text(file)
    if not isinstance(text, str):
        return no_ignored(), text
    table, lines, bad = _numbers(text, 4)
    reasons = _first_reasons([*_limits(table), *_box_checks(table)])
    bad += [(lines[row], reason) for row, reason in reasons.items()]
    boxes = np.delete(table, list(reasons), 0).astype(np.float32)
    boxes = xyxy_to_cxcywh(clip_boxes(cxcywh_to_xyxy(boxes), (1, 1)))
    return np.pad(boxes, ((0, 0), (0, 1))), _report(file, bad)


def _text(file: Path) -> str | list[BadRow]:
    """The text of a file, "" if there is none; a list with the reason if it cannot be read."""
    try:
        return read_bounded(file, MAX_LABEL_BYTES).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as e:
        return [BadRow(str(file), 0, f"cannot be read: {e.strerror or e}", unreadable=True)]
    except ValueError as e:
        return [BadRow(str(file), 0, f"not readable as text: {e}")]


def _report(file: Path, bad: list[tuple[int, str]]) -> list[BadRow]:
    """The first bad rows by line, and how many more there are."""
    found = [BadRow(str(file), line, reason) for line, reason in sorted(bad)[:MAX_BAD_ROWS]]
    if len(bad) > MAX_BAD_ROWS:
        found.append(BadRow(str(file), 0, f"{len(bad) - MAX_BAD_ROWS} more bad rows"))
    return found


def _numbers(text: str, columns: int) -> tuple[NDArray[np.float64], list[int], list[tuple[int, str]]]:
    """(rows, columns) of the lines with this many numbers, their line numbers, and the other lines with reasons."""
    tokens, lines, bad = list[list[str]](), list[int](), list[tuple[int, str]]()
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if len(parts) == columns:
            tokens.append(parts)
            lines.append(number)
        elif parts:
            bad.append((number, f"{len(parts)} columns, expected {columns}{_hint(len(parts))}"))
    try:
        if text.isascii() and "_" not in text:  # Python also reads 1_0 and digits of other scripts as numbers
            return np.array(tokens, np.float64).reshape(-1, columns), lines, bad
    except ValueError:
        pass
    wrong = [next((part for part in parts if not _is_number(part)), None) for parts in tokens]
    bad += [(lines[i], f"not a number: {shown(part)}") for i, part in enumerate(wrong) if part is not None]
    good = [i for i, part in enumerate(wrong) if part is None]
    table = np.array([[float(part) for part in tokens[i]] for i in good], np.float64).reshape(-1, columns)
    return table, [lines[i] for i in good], bad


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text


def _hint(columns: int) -> str:
    """A guess at what a row with another number of columns contains."""
    points, rest = divmod(columns - 5, 3)
    if points > 0 and not rest:
        return f"; kpt_shape: [{points}, 3] would fit"
    return "; a segmentation polygon?" if columns > 6 and columns % 2 else ""


def _check(table: NDArray[np.float64], classes: int, d: int, rules: Rules) -> dict[int, str]:
    """Row → the first reason why it is bad."""
    cls, box = table[:, 0], table[:, 1:5]
    points = table[:, 5:].reshape(len(table), (table.shape[1] - 5) // d, d)
    with np.errstate(invalid="ignore"):
        checks = [
            *_limits(table),
            ((cls < 0) | (cls >= classes) | (cls % 1 != 0), f"class is not one of 0..{classes - 1}"),
        ]
        if rules.whole_rows:
            above = (box > 1).any(1) | (points[..., :2] > 1).any((1, 2))
            checks += [((table < 0).any(1), "negative value"), (above, "coordinate above 1: not normalised")]
        else:
            checks += _box_checks(box)
    return _first_reasons(checks)


def _limits(table: NDArray[np.float64]) -> list[tuple[Any, str]]:
    """Masks of rows with impossible numbers, and the reasons."""
    return [
        (~np.isfinite(table).all(1), "a value is not finite"),
        ((np.abs(table) > LARGEST).any(1), f"a value is beyond ±{LARGEST:g}"),
    ]


def _box_checks(box: NDArray[np.float64]) -> list[tuple[Any, str]]:
    """(N, 4) cxcywh → masks of rows with a wrong box, and the reasons."""
    outside = ((box < -ROUNDING) | (box > 1 + ROUNDING)).any(1)
    return [
        ((box[:, 2:] <= 0).any(1), "box has no positive size"),
        (outside, "box lies outside 0..1: not normalised"),
    ]


def _first_reasons(checks: list[tuple[Any, str]]) -> dict[int, str]:
    """Row → the first reason of those whose mask contains it."""
    reasons: dict[int, str] = {}
    for mask, reason in checks:
        for row in np.flatnonzero(mask):
            reasons.setdefault(int(row), reason)
    return reasons


def _labels(table: NDArray[np.float64], k: int, d: int, rules: Rules) -> tuple[Labels, NDArray[np.intp]]:
    """The rows as labels, and (M, 2) the row and index of each keypoint that was labelled outside the image."""
    boxes = table[:, 1:5].astype(np.float32)
    points = table[:, 5:].reshape(-1, k, d)
    keypoints = np.zeros((len(table), k, 3), np.float32)
    keypoints[..., :2] = points[..., :2]
    if d == 3:
        keypoints[..., 2] = np.maximum(points[..., 2], 0)
    else:
        keypoints[..., 2] = 2 if rules.zero_is_labelled else 2 * (points != 0).any(-1)
    outside = ((points[..., :2] < 0) | (points[..., :2] > 1)).any(-1) & (keypoints[..., 2] > 0)
    keypoints[outside, 2] = 0
    if not rules.whole_rows:
        corners = cxcywh_to_xyxy(boxes)
        over = (corners < 0).any(1) | (corners > 1).any(1)
        boxes[over] = xyxy_to_cxcywh(clip_boxes(corners[over], (1, 1)))
    return Labels(table[:, 0].astype(np.int64), boxes, keypoints), np.argwhere(outside)
