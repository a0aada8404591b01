"""Shared by the converters to YOLO labels: check numbers, boxes and keypoints of a row, and format the row."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolopose.data.labels import ignore_path
from yolopose.errors import PoseError
from yolopose.files import atomic_path, write_text
from yolopose.geometry.boxes import clip_boxes, xyxy_to_cxcywh

Array = NDArray[np.float64]


class LabelRow(NamedTuple):
    """A row of a label file, and whether any of its keypoints is labelled."""

    text: str
    labelled: bool


def check_outputs(folder: Path, names: Iterable[str], exist_ok: bool) -> None:
    """Raise PoseError when one of the files `names` is in `folder`, unless `exist_ok`."""
    existing = next((folder / name for name in names if os.path.lexists(folder / name)), None)
    if existing is not None and not exist_ok:
        raise PoseError(f"{existing} exists; choose another out, or exist_ok=True to write over it")


def finite_numbers(values: Any) -> Array | None:
    """An array of finite numbers, or None when a value is something else."""
    try:
        numbers = np.array(values, np.float64)
    except (ValueError, TypeError):
        return None
    return numbers if np.isfinite(numbers).all() else None


def clip_box(box: Array, hw: tuple[int, int]) -> tuple[Array | None, bool]:
    """Box x y w h → x1 y1 x2 y2 inside the (H, W) image, None when it has no size there; and whether it was cut."""
    corners = np.concatenate([box[:2], box[:2] + box[2:]])
    inside = clip_boxes(corners[None], hw)[0]
    return inside if (inside[2:] > inside[:2]).all() else None, bool((inside != corners).any())


def unlabel_outside(points: Array, hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Zero, in place, keypoints (K, 3) x y v with v ≤ 0 or outside the image; returns (K,) which were outside."""
    points[points[:, 2] <= 0] = 0
    outside = ((points[:, :2] < 0) | (points[:, :2] > (hw[1], hw[0]))).any(1)
    points[outside] = 0
    return np.asarray(outside)


def place_image(image: Path, target: Path, *, copy: bool) -> None:
    """Link or copy an image file. Raises PoseError when it cannot be linked."""
    with atomic_path(target) as part:
        if copy:
            shutil.copyfile(image, part)
            return
        try:
            part.symlink_to(image.resolve())
        except OSError as e:
            raise PoseError(f"{target}: cannot link ({e.strerror or e}); copy=True copies the images") from None


def write_labels(image: Path, rows: Collection[LabelRow], ignore: Collection[str] = ()) -> None:
    """Write the label file of `image`, a path in the folder of the labels; no rows make an empty file.

    Boxes to ignore go to a file of their own; without any there is none, and an older one is removed.
    """
    label = image.with_suffix(".txt")
    write_text(label, "".join(f"{row.text}\n" for row in rows))
    if ignore:
        write_text(ignore_path(label), "".join(f"{row}\n" for row in ignore))
    else:
        ignore_path(label).unlink(missing_ok=True)


def ignore_row(box: Array, hw: tuple[int, int], number: Callable[[float], str]) -> str:
    """A row of a file of boxes to ignore, of a box x1 y1 x2 y2 in pixels."""
    return " ".join(map(number, xyxy_to_cxcywh(box[None])[0] / np.tile(hw[::-1], 2)))


def label_row(
    category: int, box: Array, points: Array, hw: tuple[int, int], number: Callable[[float], str]
) -> LabelRow:
    """A row of a label file of a box x1 y1 x2 y2 and keypoints (K, 3) x y v in pixels; `number` formats coordinates."""
    words = [str(category), *map(number, xyxy_to_cxcywh(box[None])[0] / np.tile(hw[::-1], 2))]
    for x, y, v in points:
        words += [number(x / hw[1]), number(y / hw[0]), f"{v:g}"] if v else ["0"] * 3
    return LabelRow(" ".join(words), bool(points[:, 2].any()))
