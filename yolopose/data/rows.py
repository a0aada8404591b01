"""One label file: rows `class cx cy w h` and K times `x y [v]`, normalised, checked one by one.

A bad row is set aside with its line and reason; the other rows stay. The rules:

- A row needs 5 + K·D finite numbers of at most `LARGEST` and a class that `names` knows; otherwise it is bad (a polygon
  of a segmentation data set, for one, has another length).
- A box needs a positive width and height, and all four numbers within 0..1 (`ROUNDING` is forgiven). A box that
  reaches over the image's edge is cut at the edge.
- A keypoint with v ≤ 0 is unlabelled and may stand anywhere. A labelled one outside the image becomes unlabelled;
  that is reported too, but the row stays. With D = 2 there is no v: a point is labelled unless it stands at 0 0.
- Exact duplicates are removed and counted.

With the rule `whole_rows` any number below 0, or a coordinate above 1, makes a row bad, boxes are not cut, and the
caller drops the whole image; with `zero_is_labelled` every point of D = 2 is labelled. Ultralytics 8.3 does both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import shown
from yolopose.files import read_bounded
from yolopose.geometry.boxes import clip_boxes, cxcywh_to_xyxy, xyxy_to_cxcywh
from yolopose.limits import MAX_BAD_ROWS, MAX_LABEL_BYTES
from yolopose.rules import DEFAULT, Rules

LARGEST = 1e6  # no coordinate is as far out, in normalised units or pixels; beyond 1e38 float32 overflows
ROUNDING = 1e-3  # a box may miss the image's edge by as much: writers round to as few as three decimals


@dataclass(frozen=True, eq=False)
class Labels:
    """The instances of an image.

    classes (N,) int64; boxes (N, 4) float32 cxcywh normalised; keypoints (N, K, 3) float32 x y normalised and v, where
    v = 0 is unlabelled, 1 labelled but hidden, 2 visible.
    """

    classes: NDArray[np.int64]
    boxes: NDArray[np.float32]
    keypoints: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.classes)

    def keep(self, rows: NDArray[Any]) -> Labels:
        """Those of the given indices or mask."""
        return Labels(self.classes[rows], self.boxes[rows], self.keypoints[rows])


@dataclass(frozen=True)
class BadRow:
    """What is wrong in a label file or image: `line` counts from 1, 0 is the whole file.

    `kept` is True where the row stays and only some of its keypoints became unlabelled. `passing` is True where the
    file's bytes could not be had, which may be well the next time.
    """

    file: str
    line: int
    reason: str
    kept: bool = False
    passing: bool = False

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
    try:
        text = _text(file)
    except (FileNotFoundError, NotADirectoryError):
        return no_labels(k), [], 0
    except OSError as e:
        return no_labels(k), [BadRow(str(file), 0, f"cannot be read: {e.strerror or e}", passing=True)], 0
    except ValueError as e:
        return no_labels(k), [BadRow(str(file), 0, f"not readable as text: {e}")], 0
    columns = 5 + k * d
    table, lines, bad = _numbers(text, columns)
    wrong = _faults(table, classes, d, rules)
    bad += [(lines[row], reason) for row, reason in wrong.items()]
    good = np.setdiff1d(np.arange(len(table)), list(wrong))
    table, lines = table[good], [lines[row] for row in good]
    if len(table) > 1:
        _, first = np.unique(table, axis=0, return_index=True)
        duplicates, first = len(table) - len(first), np.sort(first)
        table, lines = table[first], [lines[row] for row in first]
    else:
        duplicates = 0
    labels, strayed = _labels(table, k, d, rules)
    rows = [BadRow(str(file), line, reason) for line, reason in sorted(bad)[:MAX_BAD_ROWS]]
    if len(bad) > MAX_BAD_ROWS:
        rows.append(BadRow(str(file), 0, f"{len(bad) - MAX_BAD_ROWS} more bad rows"))
    rows += [
        BadRow(str(file), lines[row], f"keypoint {point} lies outside the image: now unlabelled", kept=True)
        for row, point in islice(strayed, MAX_BAD_ROWS)
    ]
    return labels, rows, duplicates


def _text(file: Path) -> str:
    """The text of a label file. Raises OSError, or ValueError when it is none."""
    return read_bounded(file, MAX_LABEL_BYTES).decode("utf-8-sig")


def _numbers(text: str, columns: int) -> tuple[NDArray[np.float64], list[int], list[tuple[int, str]]]:
    """(rows, columns) of the lines that hold so many numbers, their line numbers, and the other lines with reasons."""
    tokens: list[list[str]] = []
    lines: list[int] = []
    bad: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if len(parts) == columns:
            tokens.append(parts)
            lines.append(number)
        elif parts:
            bad.append((number, f"{len(parts)} columns, expected {columns}{_hint(len(parts))}"))
    try:
        if text.isascii() and "_" not in text:  # Python reads 1_0 and digits of other scripts as numbers, others do not
            return np.array(tokens, np.float64).reshape(-1, columns), lines, bad
    except ValueError:
        pass
    good: list[list[float]] = []
    kept: list[int] = []
    for number, parts in zip(lines, tokens, strict=True):
        wrong = next((part for part in parts if not _is_number(part)), None)
        if wrong is None:
            good.append([float(part) for part in parts])
            kept.append(number)
        else:
            bad.append((number, f"not a number: {shown(wrong)}"))
    return np.array(good, np.float64).reshape(-1, columns), kept, bad


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text


def _hint(columns: int) -> str:
    """What a row of another length may be."""
    points, rest = divmod(columns - 5, 3)
    if points > 0 and not rest:
        return f"; kpt_shape: [{points}, 3] would fit"
    return "; a segmentation polygon?" if columns > 6 and columns % 2 else ""


def _faults(table: NDArray[np.float64], classes: int, d: int, rules: Rules) -> dict[int, str]:
    """Row → reason, for the rows whose numbers make no sense; the first reason found counts."""
    cls, box = table[:, 0], table[:, 1:5]
    points = table[:, 5:].reshape(len(table), (table.shape[1] - 5) // d, d)
    with np.errstate(invalid="ignore"):
        checks = [
            (~np.isfinite(table).all(1), "a value is not finite"),
            ((np.abs(table) > LARGEST).any(1), f"a value is beyond ±{LARGEST:g}"),
            ((cls < 0) | (cls >= classes) | (cls % 1 != 0), f"class is not one of 0..{classes - 1}"),
        ]
        if rules.whole_rows:
            above = (box > 1).any(1) | (points[..., :2] > 1).any((1, 2))
            checks += [((table < 0).any(1), "negative value"), (above, "coordinate above 1: not normalised")]
        else:
            outside = ((box < -ROUNDING) | (box > 1 + ROUNDING)).any(1)
            checks += [
                ((box[:, 2:] <= 0).any(1), "box has no positive size"),
                (outside, "box lies outside 0..1: not normalised"),
            ]
    faults: dict[int, str] = {}
    for mask, reason in checks:
        for row in np.flatnonzero(mask):
            faults.setdefault(int(row), reason)
    return faults


def _labels(table: NDArray[np.float64], k: int, d: int, rules: Rules) -> tuple[Labels, Iterator[tuple[int, int]]]:
    """The rows as labels, and the (row, keypoint) pairs that were labelled outside the image."""
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
    strayed = ((int(row), int(point)) for row, point in np.argwhere(outside))
    return Labels(table[:, 0].astype(np.int64), boxes, keypoints), strayed
