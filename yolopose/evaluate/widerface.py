"""WIDER FACE average precision (easy, medium, hard) of prediction files or of detections, in NumPy.

The protocol is that of the usual Python evaluation (Yang et al. 2016, and the WIDER FACE toolbox before it): boxes as
written, a pixel added to each side in the overlap, IoU ≥ 0.5, scores scaled to 0..1 over the set, 1000 thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.console import log
from yolopose.errors import PoseError, did_you_mean, one_line, shown
from yolopose.evaluate.sample import Measure, Output, ValidatedImage
from yolopose.files import write_text
from yolopose.geometry.boxes import iou_matrix

Array = NDArray[Any]
SETTINGS = ("easy", "medium", "hard")
IOU = 0.5
THRESHOLDS = 1 - np.arange(1, 1001) / 1000  # 0.999 down to 0
RULE = (
    "WIDER FACE: in order of falling score (file order among equal ones) each detection chooses the face it overlaps "
    "most, IoU >= 0.5 with one pixel added to each side; the first to choose a counted face is right, later ones are "
    "wrong, those that choose a face outside the setting do not count; scores scaled to 0..1 over the set, precision "
    "and recall at 1000 thresholds, AP the area under the monotone envelope"
)


@dataclass(frozen=True, eq=False)
class Photo:
    """An official image: its event and name (no suffix), faces (G, 4) x y w h in pixels, who counts (G,) by setting."""

    event: str
    name: str
    faces: Array
    counted: Mapping[str, Array]


@dataclass(frozen=True)
class Score:
    """Average precision in one setting, None without faces, and how many faces count."""

    ap: float | None
    faces: int


def evaluate_files(pred: str, gt: str, *, images: str | None = None, normalize: str = "full") -> dict[str, Score]:
    """Print and return easy, medium and hard of prediction files.

    Args:
        pred: the folder of the prediction files, EVENT/NAME.txt.
        gt: the folder of wider_face_val.mat and wider_{easy,medium,hard}_val.mat.
        images: a text file of the images to evaluate; None takes all.
        normalize: scale scores over all prediction files, "full", or over those of `images`, "subset".

    Raises:
        PoseError: a file is missing or cannot be read; the line names it.
    """
    truth = read_truth(gt)
    photos = truth if images is None else select_photos(truth, Path(images))
    found = read_predictions(Path(pred), photos, also=truth if normalize == "full" else photos)
    scores = evaluate(photos, found)
    log.info(describe(scores))
    boxes = sum(len(found[photo.name]) for photo in photos)
    log.info(f"{len(photos)} images, {boxes} boxes, scores scaled over {len(found)} images; {pred}")
    return scores


def read_truth(folder: str | Path) -> list[Photo]:
    """The images of `wider_face_val.mat` with the faces that `wider_{easy,medium,hard}_val.mat` count.

    Raises:
        PoseError: a file is missing or is not the official one, or scipy is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise PoseError("reading .mat files needs scipy: pip install 'yolopose[faces]'") from None
    tables = {}
    for key in ("face", *SETTINGS):
        file = Path(folder, f"wider_{key}_val.mat")
        if not file.is_file():
            raise PoseError(f"gt={folder}: no {file.name}; the ground_truth folder of WIDER FACE's eval_tools has it")
        try:
            tables[key] = loadmat(file)
        except Exception as e:  # a damaged file makes scipy raise almost anything
            raise PoseError(f"{file}: not a MATLAB file that scipy reads ({one_line(e)})") from None
    try:
        return _photos(tables)
    except (KeyError, IndexError, TypeError, ValueError):
        raise PoseError(f"gt={folder}: the .mat files are not WIDER FACE's validation ground truth") from None


def _photos(tables: Mapping[str, Any]) -> list[Photo]:
    """Images in the official order; the lists of counted faces start from 1."""
    face = tables["face"]
    photos = []
    for e, event in enumerate(face["event_list"][:, 0]):
        for i, name in enumerate(face["file_list"][e, 0][:, 0]):
            faces = face["face_bbx_list"][e, 0][i, 0].astype(np.float64).reshape(-1, 4)
            counted = {}
            for setting in SETTINGS:
                counted[setting] = np.zeros(len(faces), bool)
                counted[setting][tables[setting]["gt_list"][e, 0][i, 0].ravel().astype(int) - 1] = True
            photos.append(Photo(str(event[0]), str(name[0]), faces, counted))
    return photos


def select_photos(photos: Sequence[Photo], file: Path) -> list[Photo]:
    """The images named in a text file, one per line, as `EVENT/NAME.jpg` or `NAME`; each once, in its order.

    Raises:
        PoseError: the file cannot be read or is empty, or a line names no official image.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise PoseError(f"images={file}: {one_line(e)}") from None
    known = {photo.name: photo for photo in photos}
    chosen: dict[str, Photo] = {}
    for number, line in enumerate(lines, start=1):
        name = Path(line.strip().replace("\\", "/")).name.removesuffix(".jpg")
        if name in known:
            chosen[name] = known[name]
        elif name:
            hint = did_you_mean(name, known)
            raise PoseError(f"{file}, line {number}: {shown(name)} is no image of WIDER FACE's validation set{hint}")
    if not chosen:
        raise PoseError(f"images={file}: names no image; expected lines like 0--Parade/0_Parade_Parade_0_102.jpg")
    return list(chosen.values())


def read_predictions(folder: Path, photos: Sequence[Photo], also: Sequence[Photo] = ()) -> dict[str, Array]:
    """Detections (N, 5) x y w h score by image name: of all `photos`, and of those of `also` that have a file.

    Raises:
        PoseError: an image of `photos` has no file, or a file cannot be read; the line names it.
    """
    if not folder.is_dir():
        raise PoseError(f"pred={folder}: no such folder")
    files = {photo.name: folder / photo.event / f"{photo.name}.txt" for photo in (*photos, *also)}
    missing = [files[photo.name] for photo in photos if not files[photo.name].is_file()]
    if missing:
        raise PoseError(
            f"{missing[0]}: no such file, as for {len(missing)} of {len(photos)} images; "
            "pred= is the folder of the events, images=FILE names a part of the set"
        )
    read = {name: read_rows(file) for name, file in files.items() if file.is_file()}
    wrong = [files[name] for name, (rows, count) in read.items() if count != len(rows)]
    if wrong:
        log.warning(f"{wrong[0]}: says another number of faces than it has rows, as {len(wrong)} files do")
    return {name: rows for name, (rows, _) in read.items()}


def read_rows(file: Path) -> tuple[Array, int]:
    """A prediction file (name, count, then `x y w h score` per line) → rows (N, 5), and the count in the file.

    Further columns are left out. Raises PoseError naming the first line that is not of this form.
    """
    number, rows = 2, []
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
        count = int(float(lines[1]))
        for number, line in enumerate(lines[2:], start=3):  # noqa: B007 - for the message
            if words := line.split():
                x, y, w, h, score = map(float, words[:5])
                if not math.isfinite(x + y + w + h + score):
                    raise ValueError
                rows.append((x, y, w, h, score))
    except (OSError, UnicodeDecodeError) as e:
        raise PoseError(f"{file}: {one_line(e)}") from None
    except (ValueError, IndexError, OverflowError):
        raise PoseError(f"{file}, line {number}: expected a name, a count, then rows x y w h score") from None
    return np.array(rows, np.float64).reshape(-1, 5), count


def evaluate(photos: Sequence[Photo], found: Mapping[str, Array]) -> dict[str, Score]:
    """Easy, medium and hard of detections (N, 5) x y w h score by image name.

    Scores are scaled over all of `found`, which may hold more images than `photos`.
    """
    every_score = np.concatenate([np.zeros(0), *(rows[:, 4] for rows in found.values())])
    low, span = (every_score.min(), np.ptp(every_score) or 1.0) if len(every_score) else (0.0, 1.0)
    scores, owners, faces = [], [], 0
    for photo in photos:
        rows = found[photo.name]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")]
        owner = _owners(rows, photo.faces)
        scores.append((rows[:, 4] - low) / span)
        owners.append(np.where(owner >= 0, owner + faces, -1))
        faces += len(photo.faces)
    score, owner = np.concatenate([np.zeros(0), *scores]), np.concatenate([np.zeros(0, int), *owners])
    counted = {name: np.concatenate([np.zeros(0, bool), *(p.counted[name] for p in photos)]) for name in SETTINGS}
    return {name: _score(score, owner, faces_counted) for name, faces_counted in counted.items()}


def _owners(rows: Array, faces: Array) -> Array:
    """(N, 5), (G, 4) x y w h → (N,) the face that each box overlaps most, -1 where by less than IOU."""
    if not len(rows) or not len(faces):
        return np.full(len(rows), -1)
    a, b = (np.concatenate([t[:, :2], t[:, :2] + t[:, 2:4] + 1], 1) for t in (rows, faces))
    overlap = iou_matrix(a, b)
    best = overlap.argmax(1)
    return np.where(overlap[np.arange(len(best)), best] >= IOU, best, -1)


def _score(score: Array, owner: Array, counted: Array) -> Score:
    """(N,) scores, best first within an image, (N,) faces chosen or -1, (F,) faces that count → AP.

    An image's detections above a threshold are its first ones, so that counting over the whole set is the same as
    image by image.
    """
    faces = int(counted.sum())
    if not faces:
        return Score(None, 0)
    chosen = owner >= 0
    right = np.zeros(len(owner), bool)
    chosen[chosen] = counted[owner[chosen]]
    right[np.flatnonzero(chosen)[np.unique(owner[chosen], return_index=True)[1]]] = True
    parts = score[right], score[chosen | (owner < 0)]  # below (1000,): how many scores reach each threshold
    true, all_ = (len(part) - np.searchsorted(np.sort(part), THRESHOLDS) for part in parts)
    precision = true / np.maximum(all_, 1)
    # the area under the monotone envelope of precision over recall (Pascal VOC 2010)
    recall = np.concatenate([[0.0], true / faces, [1.0]])
    envelope = np.maximum.accumulate(np.concatenate([[0.0], precision, [0.0]])[::-1])[::-1]
    return Score(float((np.diff(recall) * envelope[1:]).sum()), faces)


def describe(scores: Mapping[str, Score]) -> str:
    """One line: AP and number of faces by setting."""
    return "WIDER FACE AP: " + "  ".join(
        f"{name} {'-' if s.ap is None else format(s.ap, '.6f')} ({s.faces} faces)" for name, s in scores.items()
    )


def official_rows(boxes: Array) -> Array:
    """(N, 6) x1 y1 x2 y2 score class → (N, 5) x y w h score, rounded as in the files: both give the same AP."""
    low, high, score, _ = np.split(boxes.astype(np.float64), (2, 4, 5), axis=1)
    return np.concatenate([low.round(2), (high - low).round(2), score.round(6)], axis=1)


class WiderFaces(Measure):
    """Easy, medium and hard of the images of WIDER FACE, recognised by file name."""

    name = "widerface"

    def __init__(self, truth: list[Photo]) -> None:
        self.events = {photo.name: photo.event for photo in truth}
        self._truth = {photo.name: photo for photo in truth}
        self._found: dict[str, Array] = {}
        self._foreign = 0
        self._resized: list[Path] = []
        self._scores: dict[str, Score] = {}

    def add(self, sample: ValidatedImage) -> None:
        """Keep the detections of an official image; check that it has its official size."""
        photo = self._truth.get(sample.item.path.stem)
        if photo is None:
            self._foreign += 1
            return
        self._found[photo.name] = official_rows(sample.found.boxes)
        h, w = sample.item.hw
        if (photo.faces[:, :2] + photo.faces[:, 2:] / 2 > (w, h)).any():  # a face's centre
            self._resized.append(sample.item.path)

    def finish(self) -> None:
        """Evaluate. Raises PoseError when no image is an official one."""
        if not self._found:
            raise PoseError("metric=widerface: none of the images is one of WIDER FACE's validation set, by file name")
        if self._resized:
            log.warning(
                f"{self._resized[0]}: a face of the ground truth lies outside it, as in {len(self._resized)} of "
                f"{len(self._found)} images: WIDER FACE's images must have their official size"
            )
        self._scores = evaluate([self._truth[name] for name in self._found], self._found)

    def figures(self) -> dict[str, Any]:
        """AP and faces by setting, images evaluated and left out."""
        settings = {name: asdict(score) for name, score in self._scores.items()}
        return settings | {"images": len(self._found), "images_left_out": self._foreign}

    def lines(self) -> list[str]:
        """One line."""
        rest = f", {self._foreign} others left out" if self._foreign else ""
        return [f"{describe(self._scores)}; {len(self._found)} official images{rest}"]


class WiderFiles(Output):
    """A prediction file per image in WIDER FACE's form, `EVENT/NAME.txt`; the event is the image's folder."""

    def __init__(self, folder: Path, events: dict[str, str]) -> None:
        self.folder, self.events = folder, events

    def add(self, sample: ValidatedImage) -> None:
        """Write one file."""
        path, rows = sample.item.path, official_rows(sample.found.boxes)
        file = self.folder / self.events.get(path.stem, path.parent.name) / f"{path.stem}.txt"
        body = "".join(f"{x:.2f} {y:.2f} {w:.2f} {h:.2f} {score:.6f}\n" for x, y, w, h, score in rows.tolist())
        write_text(file, f"{path.stem}\n{len(rows)}\n{body}")
