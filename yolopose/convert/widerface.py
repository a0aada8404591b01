"""WIDER FACE in its official layout, with RetinaFace's landmarks where they are there → a YOLO data set.

Official: `WIDER_{train,val}/images/EVENT/NAME.jpg` and `wider_face_split/wider_face_{train,val}_bbx_gt.txt`. Landmarks
of the training images: `label.txt` (RetinaFace, Deng et al. 2020), whose boxes then count. The new data set has images
and labels in `train` (80 %) and `val` (20 %) of the official training images and, when it is there, the official
validation set as `test`. What is converted is only read.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from yolopose.config import ConvertConfig
from yolopose.console import log
from yolopose.convert.widerrows import Change, Source, label_rows, read_official, read_retinaface
from yolopose.data.spec import CONFIGS
from yolopose.errors import PoseError
from yolopose.files import beside, cell, write_text

LABEL_FILES = ("label.txt", "train/label.txt", "retinaface_gt_v1.1/train/label.txt", "WIDER_train/label.txt")
TEMPLATE = CONFIGS / "widerface-landmarks.yaml"
OUTPUTS = ("images", "labels", "data.yaml", "changes.csv")
PARTS = 5  # one of so many training images validates


def from_widerface(config: ConvertConfig) -> Path:
    """Make a data set of the folder `config.widerface` in `config.out` and return its data.yaml.

    Writes images (links, or copies), labels, data.yaml, and changes.csv with every row that was changed or left out.

    Raises:
        PoseError: something of the official layout is missing or unreadable, or outputs are there already.
    """
    root, out = Path(str(config.widerface)), Path(str(config.out))
    there = next((out / name for name in OUTPUTS if os.path.lexists(out / name)), None)
    if there is not None and not config.exist_ok:
        raise PoseError(f"{there} exists; choose another out, or exist_ok=True to write over it")
    training, test, changes = _sources(root, config)
    splits = divide(training, config.seed, stratify=config.stratify)
    if test:
        splits["test"] = test
    counts = {}
    for split, sources in splits.items():
        counts[split], changed = _write_split(split, sources, out, copy=config.copy)
        changes += changed
    write_text(out / "changes.csv", _table(changes))
    write_text(out / "data.yaml", _yaml(config, test=bool(test)))
    _tell(out, counts, changes, config)
    return out / "data.yaml"


def divide(sources: Sequence[Source], seed: int, *, stratify: bool) -> dict[str, list[Source]]:
    """The training images as train and val, 4 to 1: every fifth in a random order, with `stratify` event by event."""
    ordered = sorted(sources, key=lambda source: source.name)
    shuffled = [ordered[i] for i in np.random.default_rng(seed).permutation(len(ordered))]
    if stratify:
        shuffled.sort(key=lambda source: source.event)  # stable: still random within an event
    parts: dict[str, list[Source]] = {"train": [], "val": []}
    for i, source in enumerate(shuffled):
        parts["val" if i % PARTS == PARTS - 1 else "train"].append(source)
    return {name: sorted(part, key=lambda source: source.name) for name, part in parts.items()}


def _sources(root: Path, config: ConvertConfig) -> tuple[list[Source], list[Source], list[Change]]:
    """Training images, validation images (none where the set is not there), what was wrong with the lists."""
    if not root.is_dir():
        raise PoseError(f"widerface={root}: no such folder")
    changes: list[Change] = []
    noted: list[Change] = []  # of the official list, where RetinaFace's has not the last word
    images = root / "WIDER_train" / "images"
    if not images.is_dir():
        raise PoseError(f"{images}: no such folder; widerface= is the folder with WIDER_train and wider_face_split")
    official = root / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    labels = _label_file(root, config.landmarks)
    training: dict[str, Source] = {}
    if official.is_file() or labels is None:
        training = read_official(official, images, noted)
    if labels is None:
        changes += noted
        log.info("no label.txt of RetinaFace found: boxes without landmarks (name the file with landmarks=)")
    else:
        marked = read_retinaface(labels, images, changes)
        missing = [source for name, source in training.items() if name not in marked]
        changes += [change for change in noted if change.image not in marked]
        changes += [
            Change(official, source.line, source.name, f"not in {labels.name}: without landmarks") for source in missing
        ]
        training |= marked
    validation = root / "wider_face_split" / "wider_face_val_bbx_gt.txt"
    place = root / "WIDER_val" / "images"
    test = list(read_official(validation, place, changes).values()) if place.is_dir() else []
    return list(training.values()), test, changes


def _label_file(root: Path, named: str | None) -> Path | None:
    """RetinaFace's label.txt: the one named, else where it usually lies, else None."""
    if named is None:
        return next((root / name for name in LABEL_FILES if (root / name).is_file()), None)
    if not Path(named).is_file():
        raise PoseError(f"landmarks={named}: no such file")
    return Path(named)


def _write_split(split: str, sources: Sequence[Source], out: Path, *, copy: bool) -> tuple[Counter[str], list[Change]]:
    """Images and labels of one split; how many there are, and what was changed."""
    changes: list[Change] = []
    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(label_rows, sources)
    for source, (rows, changed) in zip(sources, made, strict=True):
        changes += changed
        if rows is None:
            continue
        _place(source.image, out / "images" / split / source.name, copy=copy)
        text = "".join(f"{row.text}\n" for row in rows)
        write_text((out / "labels" / split / source.name).with_suffix(".txt"), text)
        counts.update(images=1, faces=len(rows), landmarks=sum(row.landmarks for row in rows))
    if not counts["images"]:
        raise PoseError(f"{split}: none of {len(sources)} images can be read; the first: {changes[0].words()}")
    return counts, changes


def _place(image: Path, target: Path, *, copy: bool) -> None:
    """Link to an image, or copy it."""
    with beside(target) as part:
        if copy:
            shutil.copyfile(image, part)
            return
        try:
            part.symlink_to(image.resolve())
        except OSError as e:
            raise PoseError(f"{target}: cannot link ({e.strerror or e}); copy=True copies the images") from None


def _table(changes: Sequence[Change]) -> str:
    """changes.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "line", "image", "what", "before", "after"))
    texts = ((str(c.file), c.line, c.image, c.what, c.before, c.after) for c in changes)
    writer.writerows([cell(str(value)) for value in row] for row in texts)
    return text.getvalue()


def _yaml(config: ConvertConfig, *, test: bool) -> str:
    """data.yaml: the packaged description with the folder's own path."""
    text = TEMPLATE.read_text(encoding="utf-8")
    body = text[text.index("path:") :].replace("path: widerface-landmarks\n", "path: .\n")
    if not test:
        body = "".join(line for line in body.splitlines(keepends=True) if not line.startswith("test:"))
    how = "by event" if config.stratify else "at random"
    head = f"# made from WIDER FACE: its training images, 80/20 {how}, seed {config.seed}"
    head += "; test: its validation set" if test else ""
    return f"{head}\n{body}"


def _tell(out: Path, counts: dict[str, Counter[str]], changes: Sequence[Change], config: ConvertConfig) -> None:
    """Say what was written and what was changed."""
    for split, count in counts.items():
        log.info(
            f"{out / 'images' / split}: {count['images']} images, {count['faces']} faces, "
            f"{count['landmarks']} of them with landmarks"
        )
    log.info(f"train and val: 80/20 with seed {config.seed}" + (", event by event" if config.stratify else ""))
    for what, number in Counter(change.what for change in changes).most_common():
        log.info(f"{number} {what}")
    log.info(f"every one of them is in {out / 'changes.csv'}; data set: {out / 'data.yaml'}")
