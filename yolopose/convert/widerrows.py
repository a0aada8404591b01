"""The rows of WIDER FACE's and RetinaFace's lists, read and made into YOLO labels; what is wrong is reported by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError, shown
from yolopose.geometry.boxes import clip_boxes, xyxy_to_cxcywh
from yolopose.images import image_size

Array = NDArray[np.float64]
INVALID = 7  # column of the official lists: x y w h blur expression illumination invalid occlusion pose
POINTS = 5
HIDDEN, NONE = 1.0, -1.0  # RetinaFace's flags; 0 is visible


@dataclass(frozen=True)
class Change:
    """A row (or image) that is not as in the source: where it is, of which image, what was done, before and after."""

    file: Path
    line: int
    image: str
    what: str
    before: str = ""
    after: str = ""

    def words(self) -> str:
        """In one line."""
        return f"{self.file}, line {self.line}: {self.image}: {self.what} {self.before}".rstrip()


@dataclass(frozen=True, eq=False)
class Row:
    """A face in a list: its line, the text, box x y w h in pixels, landmarks (5, 3) x y flag or None."""

    line: int
    text: str
    box: Array
    points: Array | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """An image in a list: EVENT/NAME.jpg, the file, where it is listed, its faces."""

    name: str
    image: Path
    file: Path
    line: int
    rows: list[Row] = field(default_factory=list)

    @property
    def event(self) -> str:
        """The folder, such as 0--Parade."""
        return self.name.rpartition("/")[0]


@dataclass(frozen=True)
class LabelRow:
    """A row of a label file, and whether any landmark is labelled in it."""

    text: str
    landmarks: bool


def read_official(file: Path, images: Path, changes: list[Change]) -> dict[str, Source]:
    """`wider_face_*_bbx_gt.txt`: a name, a count, then `x y w h` and six attributes a line. Invalid faces are left out.

    Raises:
        PoseError: the file is missing or names no image.
    """
    sources: dict[str, Source] = {}
    source: Source | None = None
    for number, line in _lines(file):
        words = line.split()
        if line.lower().endswith(".jpg"):
            source = sources.setdefault(_name(file, number, line), Source(line, images / line, file, number))
        elif source is None:
            raise PoseError(f"{file}, line {number}: expected the name of an image, got {shown(line, 60)}")
        elif len(words) > 1:
            numbers = _numbers(words)
            if numbers is None or len(numbers) < 4:
                changes.append(Change(file, number, source.name, "rows that cannot be read left out", line))
            elif len(numbers) > INVALID and numbers[INVALID] == 1:
                changes.append(Change(file, number, source.name, "faces marked invalid left out", line))
            elif numbers.any():  # a line of zeros stands where an image has no face
                source.rows.append(Row(number, line, numbers[:4]))
    return _some(file, sources)


def read_retinaface(file: Path, images: Path, changes: list[Change]) -> dict[str, Source]:
    """RetinaFace's label.txt: `# NAME`, then `x y w h`, five times `x y flag`, and blur a line; -1 where unknown.

    Raises:
        PoseError: the file names no image.
    """
    sources: dict[str, Source] = {}
    source: Source | None = None
    for number, line in _lines(file):
        if line.startswith("#"):
            name = line.lstrip("# ").strip()
            source = sources.setdefault(_name(file, number, name), Source(name, images / name, file, number))
            continue
        if source is None:
            raise PoseError(f"{file}, line {number}: expected '# EVENT/NAME.jpg' first, got {shown(line, 60)}")
        numbers = _numbers(line.split())
        if numbers is None or (len(numbers) != 4 and len(numbers) < 4 + 3 * POINTS):
            changes.append(Change(file, number, source.name, "rows that cannot be read left out", line))
        else:
            points = numbers[4 : 4 + 3 * POINTS].reshape(POINTS, 3) if len(numbers) > 4 else None
            source.rows.append(Row(number, line, numbers[:4], points))
    return _some(file, sources)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise PoseError(f"{file}: {' '.join(str(getattr(e, 'strerror', None) or e).split())}") from None
    return ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip())


def _name(file: Path, number: int, name: str) -> str:
    """A name that stays in the folder of the images."""
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or ":" in name or any(part in ("", "..", ".", "images") for part in parts):
        raise PoseError(f"{file}, line {number}: {shown(name)} is no name EVENT/NAME.jpg within the images' folder")
    return name


def _some(file: Path, sources: dict[str, Source]) -> dict[str, Source]:
    if not sources:
        raise PoseError(f"{file}: names no image")
    return sources


def _numbers(words: list[str]) -> Array | None:
    """Finite numbers, or None."""
    try:
        numbers = np.array(words, np.float64)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def label_rows(source: Source) -> tuple[list[LabelRow] | None, list[Change]]:
    """An image's label rows, None when the image cannot be read; what was changed or left out."""
    try:
        h, w = image_size(source.image)
    except PoseError as e:
        reason = str(e).removeprefix(f"{source.image}: ")
        return None, [Change(source.file, source.line, source.name, "images that cannot be read left out", reason)]
    changes: list[Change] = []
    rows: dict[str, LabelRow] = {}
    for row in source.rows:
        made = _label_row(source, row, (h, w), changes)
        if made is not None and made.text in rows:
            changes.append(Change(source.file, row.line, source.name, "duplicate rows left out", row.text))
        elif made is not None:
            rows[made.text] = made
    return list(rows.values()), changes


def _label_row(source: Source, row: Row, hw: tuple[int, int], changes: list[Change]) -> LabelRow | None:
    """One face, cut at the image's edges; None when nothing is left of its box."""

    def note(what: str, after: str = "") -> None:
        changes.append(Change(source.file, row.line, source.name, what, row.text, after))

    corners = np.concatenate([row.box[:2], row.box[:2] + row.box[2:]])
    inside = clip_boxes(corners[None], hw)[0]
    if not (row.box[2:] > 0).all() or not (inside[2:] > inside[:2]).all():
        note("boxes without size inside their image left out")
        return None
    if (inside != corners).any():
        note("boxes cut at the image's edge", " ".join(f"{v:g}" for v in (*inside[:2], *(inside[2:] - inside[:2]))))
    points = np.zeros((POINTS, 3))
    if row.points is not None:
        xy, flag = row.points[:, :2], row.points[:, 2]
        labelled = (flag != NONE) & ~(xy == NONE).all(1)
        strayed = labelled & ((xy < 0) | (xy > (hw[1], hw[0]))).any(1)
        if strayed.any():
            note("faces with landmarks outside their image: those not labelled", f"landmarks {np.flatnonzero(strayed)}")
        good = labelled & ~strayed
        points[good, :2] = xy[good] / (hw[1], hw[0])
        points[good, 2] = np.where(flag[good] == HIDDEN, 1, 2)
    box = xyxy_to_cxcywh(inside[None])[0] / (hw[1], hw[0], hw[1], hw[0])
    numbers = [*(f"{v:.6f}" for v in box)]
    for x, y, v in points:
        numbers += [f"{x:.6f}", f"{y:.6f}", f"{v:.0f}"] if v else ["0", "0", "0"]
    return LabelRow(" ".join(["0", *numbers]), bool(points[:, 2].any()))
