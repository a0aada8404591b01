"""WIDER FACE in its official layout, with RetinaFace's landmarks if available → a YOLO data set.

Official: `WIDER_{train,val}/images/EVENT/NAME.jpg` and `wider_face_split/wider_face_{train,val}_bbx_gt.txt`. Landmarks
of the training images: `label.txt` (RetinaFace, Deng et al. 2020), whose boxes then count. The new data set has images
and labels in `train` (80 %) and `val` (20 %) of the official training images and, if available, the official
validation set as `test`. The source is only read.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np

from yolopose.console import log
from yolopose.convert.rows import (
    LabelRow,
    check_outputs,
    clip_box,
    ignore_row,
    label_row,
    place_image,
    unlabel_outside,
    write_labels,
)
from yolopose.convert.widerlists import IGNORED, POINTS, Change, Face, ListedImage, read_list
from yolopose.data.spec import CONFIGS
from yolopose.errors import PoseError
from yolopose.files import cell, write_text
from yolopose.images import image_size

LABEL_FILES = ("label.txt", "train/label.txt", "retinaface_gt_v1.1/train/label.txt", "WIDER_train/label.txt")
TEMPLATE = CONFIGS / "widerface-landmarks.yaml"
OUTPUTS = ("images", "labels", "data.yaml", "changes.csv")
VAL_EVERY = 5  # one of so many training images goes to val
HIDDEN, UNKNOWN = 1.0, -1.0  # RetinaFace's flags; 0 is visible


def from_widerface(
    root: str | Path,
    out: str | Path,
    *,
    landmarks: str | Path | None = None,
    seed: int = 0,
    stratify: bool = False,
    copy: bool = False,
    exist_ok: bool = False,
) -> Path:
    """Make a YOLO data set of WIDER FACE in the folder `root` and return its data.yaml.

    Writes images (links, with `copy` copies), labels, data.yaml, and changes.csv with every row that was changed or
    left out. `landmarks` is RetinaFace's label.txt; None looks for it below `root`. `stratify` takes a fifth of every
    event for val instead of a fifth of all training images.

    Raises:
        PoseError: a part of the official layout is missing or unreadable, or outputs exist and not `exist_ok`.
    """
    root, out = Path(root), Path(out)
    check_outputs(out, OUTPUTS, exist_ok)
    training, test, changes = _read_lists(root, landmarks)
    splits = divide(training, seed, stratify=stratify)
    if test:
        splits["test"] = test
    for split, images in splits.items():
        counts = _write_split(split, images, out, changes, copy=copy)
        log.info(
            f"{out / 'images' / split}: {counts['images']} images, {counts['faces']} faces, "
            f"{counts['landmarks']} of them with landmarks"
        )
    _write_changes(out / "changes.csv", changes)
    how = "by event" if stratify else "at random"
    write_text(out / "data.yaml", _data_yaml(f"80/20 {how}, seed {seed}", test=bool(test)))
    log.info(f"train and val: 80/20 {how}, seed {seed}")
    for what, number in Counter(change.what for change in changes).most_common():
        log.info(f"{number} {what}")
    log.info(f"changes.csv lists each of them: {out / 'changes.csv'}; data set: {out / 'data.yaml'}")
    return out / "data.yaml"


def divide(images: Sequence[ListedImage], seed: int, *, stratify: bool) -> dict[str, list[ListedImage]]:
    """The training images as train and val, 4 to 1: every fifth in a random order, with `stratify` event by event."""
    ordered = sorted(images, key=lambda image: image.name)
    shuffled = [ordered[i] for i in np.random.default_rng(seed).permutation(len(ordered))]
    if stratify:
        shuffled.sort(key=lambda image: image.event)  # stable: still random within an event
    val = {image.name for image in shuffled[VAL_EVERY - 1 :: VAL_EVERY]}
    return {
        "train": [image for image in ordered if image.name not in val],
        "val": [image for image in ordered if image.name in val],
    }


def _read_lists(root: Path, landmarks: str | Path | None) -> tuple[list[ListedImage], list[ListedImage], list[Change]]:
    """Training images, validation images (none if that set is missing), rows of the lists that are left out."""
    folder = root / "WIDER_train" / "images"
    if not root.is_dir():
        raise PoseError(f"widerface={root}: no such folder")
    if not folder.is_dir():
        raise PoseError(f"{folder}: no such folder; widerface= is the folder with WIDER_train and wider_face_split")
    if landmarks is not None and not Path(landmarks).is_file():
        raise PoseError(f"landmarks={landmarks}: no such file")
    usual = (root / name for name in LABEL_FILES)
    labels = Path(landmarks) if landmarks is not None else next((file for file in usual if file.is_file()), None)
    official = root / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    changes: list[Change] = []
    training: dict[str, ListedImage] = {}
    if official.is_file() or labels is None:
        training = read_list(official, folder, changes)
    if labels is None:
        log.info("no label.txt of RetinaFace found: boxes without landmarks (name the file with landmarks=)")
    else:
        left_out: list[Change] = []
        with_landmarks = read_list(labels, folder, left_out, retinaface=True)
        changes = left_out + [c for c in changes if c.image not in with_landmarks or c.what == IGNORED]
        for name in with_landmarks.keys() & training.keys():  # RetinaFace's list knows no invalid faces
            with_landmarks[name].faces.extend(face for face in training[name].faces if face.invalid)
        changes += [
            Change(official, image.line, image.name, f"not in {labels.name}: without landmarks")
            for name, image in training.items()
            if name not in with_landmarks
        ]
        training |= with_landmarks
    folder = root / "WIDER_val" / "images"
    official = root / "wider_face_split" / "wider_face_val_bbx_gt.txt"
    test = list(read_list(official, folder, changes).values()) if folder.is_dir() else []
    return list(training.values()), test, changes


def _write_split(
    split: str, images: Sequence[ListedImage], out: Path, changes: list[Change], *, copy: bool
) -> Counter[str]:
    """Write images and labels of one split, append what was changed to `changes`, and return the counts."""
    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(_label_rows, images)
    for image, (rows, ignore, changed) in zip(images, made, strict=True):
        changes += changed
        if rows is None:
            continue
        target = out / "images" / split / image.name
        place_image(image.path, target, copy=copy)
        write_labels(out / "labels" / split / image.name, rows, ignore)
        counts.update(images=1, faces=len(rows), landmarks=sum(row.labelled for row in rows))
    if not counts["images"]:
        c = changes[-len(images)]  # one for each image
        first = f"{c.file}, line {c.line}: {c.image}: {c.what} {c.before}"
        raise PoseError(f"{split}: none of {len(images)} images can be read; the first: {first}")
    return counts


def _label_rows(image: ListedImage) -> tuple[list[LabelRow] | None, list[str], list[Change]]:
    """The label rows of an image, None when the image cannot be read, its boxes to ignore, and the changes."""
    try:
        hw = image_size(image.path)
    except PoseError as e:
        reason = str(e).removeprefix(f"{image.path}: ")
        return None, [], [Change(image.file, image.line, image.name, "images that cannot be read left out", reason)]
    changes: list[Change] = []
    rows: dict[str, LabelRow] = {}
    ignore = [clip_box(face.box, hw)[0] for face in image.faces if face.invalid]
    for face in image.faces:
        if face.invalid:
            continue
        row, notes = _convert_face(face, hw)
        if row is not None and rows.setdefault(row.text, row) is not row:
            notes.append(("duplicate rows left out", ""))
        changes += [Change(image.file, face.line, image.name, what, face.text, after) for what, after in notes]
    texts = [ignore_row(box, hw, "{:.6f}".format) for box in ignore if box is not None]
    return list(rows.values()), list(dict.fromkeys(texts)), changes


def _convert_face(face: Face, hw: tuple[int, int]) -> tuple[LabelRow | None, list[tuple[str, str]]]:
    """The label row of a face, None when its box is outside the image, and the changes with their results."""
    box, cut = clip_box(face.box, hw)
    if box is None:
        return None, [("boxes without size inside their image left out", "")]
    notes = []
    if cut:
        notes.append(("boxes cut at the image's edge", " ".join(f"{v:g}" for v in (*box[:2], *(box[2:] - box[:2])))))
    points = np.zeros((POINTS, 3))
    if face.points is not None:
        labelled = (face.points[:, 2] != UNKNOWN) & ~(face.points[:, :2] == UNKNOWN).all(1)
        points[labelled] = face.points[labelled]
        points[labelled, 2] = np.where(face.points[labelled, 2] == HIDDEN, 1, 2)
        outside = unlabel_outside(points, hw)
        if outside.any():
            what = "faces with landmarks outside their image: those not labelled"
            notes.append((what, f"landmarks {np.flatnonzero(outside)}"))
    return label_row(0, box, points, hw, "{:.6f}".format), notes


def _write_changes(file: Path, changes: Sequence[Change]) -> None:
    """Write the changes as a table."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(field.name for field in fields(Change))
    writer.writerows([cell(str(value)) for value in vars(change).values()] for change in changes)
    write_text(file, table.getvalue())


def _data_yaml(how: str, *, test: bool) -> str:
    """data.yaml: the packaged description with the folder's own path; `how` the images were divided."""
    text = TEMPLATE.read_text(encoding="utf-8")
    body = text[text.index("path:") :].replace("path: widerface-landmarks\n", "path: .\n")
    if not test:
        body = "".join(line for line in body.splitlines(keepends=True) if not line.startswith("test:"))
    head = f"# made from WIDER FACE: its training images, {how}{'; test: its validation set' if test else ''}"
    return f"{head}\n{body}"
