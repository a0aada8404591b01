"""Write pseudo-labels as a data set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from yolopose.console import log
from yolopose.convert.rows import check_outputs, place_image
from yolopose.data.labels import ignore_path, label_path
from yolopose.data.rows import Labels
from yolopose.data.spec import DataSpec
from yolopose.errors import PoseError
from yolopose.files import write_text
from yolopose.metadata import ModelInfo

BY_MODEL = "labels_by_model.json"
FOLDERS = ("images", "labels")


@dataclass(frozen=True, eq=False)
class Labelled:
    """An image file and its new labels."""

    path: Path
    labels: Labels


def check_free(out: Path, exist_ok: bool) -> None:
    """Raise PoseError when `out` cannot be written, or has files of a data set already.

    With `exist_ok` it may have those of an earlier call: other data sets are never written over.
    """
    check_outputs(out, [*FOLDERS, "data.yaml", BY_MODEL], exist_ok)
    if not (out / BY_MODEL).is_file() and any(os.path.lexists(out / name) for name in (*FOLDERS, "data.yaml")):
        raise PoseError(f"out={out}: holds a data set that yolo label did not make; choose another out")
    for folder in (out / name for name in FOLDERS):
        if folder.is_symlink():  # `yolo convert` makes images a link: files would be replaced in another data set
            raise PoseError(f"{folder} is a link to another folder; choose another out")
        there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise PoseError(f"out={out}: {there} is no folder that can be written; choose another out")


def plan(out: Path, images: Sequence[Path]) -> list[Path]:
    """The places of images in `out`; their label files follow from them.

    Raises:
        PoseError: two images would have one place, or share a label file; an image or its labels are in that place
            already, and would be lost.
    """
    places = [out / "images" / name for name in _names(images)]
    entry = cache(os.path.realpath)  # of folders
    for image, place in zip(images, places, strict=True):
        for own, new in ((image, place), (label_path(image), label_path(place))):
            if own.name == new.name and entry(own.parent) == entry(new.parent):
                raise PoseError(f"{own} would be overwritten; choose another out")
    return places


def write_data_set(
    out: Path,
    labelled: Sequence[Labelled],
    spec: DataSpec | None,
    info: ModelInfo,
    split: str,
    *,
    copy: bool,
    partial: bool,
) -> Path:
    """Write images, labels and data.yaml; → the latter. The data set `spec`, if any, is the one that was completed.

    With `partial` its partly labelled images still are: no boxes were added.
    """
    places = plan(out, [one.path for one in labelled])
    for one, place in zip(labelled, places, strict=True):
        place_image(one.path, place, copy=copy)
        label = label_path(place)
        write_text(label, "".join(f"{row}\n" for row in rows_of(one.labels, info.kpt_shape[1])))
        boxes = one.labels.ignore[one.labels.ignore[:, 4] == 0, :4]
        if len(boxes):
            write_text(ignore_path(label), "".join(f"{_numbers(box)}\n" for box in boxes))
        else:
            ignore_path(label).unlink(missing_ok=True)
    write_text(out / "data.yaml", _yaml(spec, info, split, partial=partial))
    return out / "data.yaml"


def rows_of(labels: Labels, numbers: int) -> Iterator[str]:
    """The rows of a label file with `numbers` per keypoint, exact: reading them gives the same float32 values."""
    for cls, box, points in zip(labels.classes.tolist(), labels.boxes, labels.keypoints, strict=True):
        points = np.where(points[:, 2:] > 0, points, 0)[:, :numbers]
        yield f"{cls} {_numbers(box)} {_numbers(points.ravel())}"


def _numbers(values: Any) -> str:
    return " ".join(f"{value:.9g}" for value in values.tolist())


def _names(images: Sequence[Path]) -> list[PurePath]:
    """Names of the images in the new folder: their paths from the folder that all are in, or from one named images.

    Raises:
        PoseError: two images would have one name, or share a label file.
    """
    root = os.path.commonpath([path.parent for path in images])
    names, taken = list[PurePath](), dict[str, Path]()
    for path in images:
        *folders, file = path.relative_to(root).parts
        if "images" in folders:
            folders = folders[len(folders) - folders[::-1].index("images") :]
        name = PurePath(*folders, file)
        label = str(name.with_suffix("")).lower().removesuffix(".ignore")  # of a.ignore.jpg: where a.jpg's boxes are
        other = taken.setdefault(label, path)
        if other != path:
            raise PoseError(f"{other} and {path} would share a label file; rename one, or label them apart")
        names.append(name)
    return names


def _yaml(spec: DataSpec | None, info: ModelInfo, split: str, *, partial: bool) -> str:
    """The text of data.yaml: classes and keypoints of the model or the data set; its other splits stay where they are.

    With `partial` its entries that are beginnings of names are kept.
    """
    import yaml

    layout, names = (info.layout, info.names) if spec is None else (spec.layout, spec.names)
    values: dict[str, Any] = {"path": ".", split if spec else "train": "images"}
    if spec is not None:
        others = {name: [str(spec.path / e) for e in entries] for name, entries in spec.sources.items()}
        values |= {name: entries for name, entries in others.items() if name != split}
        if truths := {name: str(file) for name, file in spec.annotations.items() if name != split}:
            values["annotations"] = truths
    if spec is not None and spec.partial and partial:
        prefixes = [entry for entry in spec.partial if "/" not in entry]
        values["partial"] = True if "" in prefixes else prefixes
        if len(prefixes) < len(spec.partial):
            log.warning(f"{spec.yaml}: partial: folders are not carried over; name their images in the new data.yaml")
    values |= {key: value for key, value in layout.to_dict().items() if value is not None}
    if spec is not None and not spec.given_sigmas:
        del values["kpt_oks_sigmas"]  # those of the layout: given ones would be used instead of the model's
    values |= {"names": dict(names), "labels_by_model": BY_MODEL}
    note = f"# labels made by a model, see {BY_MODEL}: val and test need labels made by people"
    return "\n".join([note, yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=120)])
