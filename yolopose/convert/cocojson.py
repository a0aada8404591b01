"""Read and check a COCO keypoints JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from yolopose.convert.rows import Array, LabelRow, clip_box, finite_numbers, ignore_row, label_row, unlabel_outside
from yolopose.errors import PoseError, one_line, shown


@dataclass(frozen=True, eq=False)
class CocoImage:
    """An image: its name (with folders, as in the file), its (H, W), the rows of its label file and of crowds."""

    name: str
    hw: tuple[int, int]
    rows: list[LabelRow] = field(default_factory=list)
    ignore: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class CocoSet:
    """All images; category names by new index; keypoint names and skeleton (from 0); changes, counted by kind."""

    images: list[CocoImage]
    categories: list[str]
    keypoints: tuple[str, ...]
    skeleton: list[tuple[int, int]]
    changes: Counter[str]


def read_coco(file: Path) -> CocoSet:
    """Read and check a COCO keypoints JSON; categories are numbered anew in the order of their ids.

    Raises:
        PoseError: naming the file, the entry and what is wrong with it.
    """
    values = _read_json(file)
    try:
        categories = sorted(values["categories"], key=lambda category: category["id"])
        index = {category["id"]: i for i, category in enumerate(categories)}
        names, skeleton = _keypoints(file, categories)
        images = _images(file, values["images"])
        changes: Counter[str] = Counter()
        for annotation in values["annotations"]:
            image = images.get(annotation["image_id"])
            if image is None:
                changes["annotations of images that the file does not list left out"] += 1
                continue
            place = f"{file}: annotation {annotation.get('id')}"
            if annotation.get("iscrowd"):
                changes.update(_add_crowd(place, annotation, image))
            else:
                changes.update(_add_row(place, annotation, image, index, len(names)))
    except KeyError as e:
        raise PoseError(f"{file}: an entry lacks {e}: not COCO keypoints as documented") from None
    except (TypeError, AttributeError) as e:
        raise PoseError(f"{file}: not COCO keypoints as documented ({one_line(e)})") from None
    return CocoSet(list(images.values()), [str(c["name"]) for c in categories], names, skeleton, changes)


def _read_json(file: Path) -> Any:
    """The JSON of an annotation file, which has the three lists."""
    try:
        values = json.loads(file.read_bytes())
    except OSError as e:
        raise PoseError(f"coco={file}: {e.strerror or e}") from None
    except ValueError as e:
        raise PoseError(f"{file}: not JSON: {one_line(e)}") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(values, dict) or key not in values:
            raise PoseError(f"{file}: no {key!r} list; a COCO annotation file has images, annotations, categories")
    return values


def _add_row(
    place: str, annotation: Mapping[str, Any], image: CocoImage, index: Mapping[Any, int], keypoints: int
) -> dict[str, int]:
    """Append the label row of an annotation to its image; returns what was changed, counted by kind."""
    if annotation["category_id"] not in index:
        raise PoseError(f"{place}: category_id {annotation['category_id']} is not among the categories")
    box, cut = clip_box(_numbers(place, "bbox", annotation["bbox"], 4), image.hw)
    if box is None:
        return {"boxes without size inside their image left out": 1}
    flat = annotation.get("keypoints") or [0] * 3 * keypoints
    points = _numbers(place, "keypoints", flat, 3 * keypoints).reshape(-1, 3)
    outside = int(unlabel_outside(points, image.hw).sum())
    image.rows.append(label_row(index[annotation["category_id"]], box, points, image.hw, _short))
    return {"keypoints outside their image: now not labelled": outside, "boxes cut at the image's edge": int(cut)}


def _add_crowd(place: str, annotation: Mapping[str, Any], image: CocoImage) -> dict[str, int]:
    """Append a crowd region to the boxes to ignore of its image; returns what was done, counted."""
    box, _ = clip_box(_numbers(place, "bbox", annotation["bbox"], 4), image.hw)
    if box is None:
        return {"boxes without size inside their image left out": 1}
    image.ignore.append(ignore_row(box, image.hw, _short))
    return {"crowd regions: now boxes to ignore": 1}


def _keypoints(file: Path, categories: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[tuple[int, int]]]:
    """The keypoints' names and skeleton; all categories that have keypoints must have the same."""
    known = [category for category in categories if category.get("keypoints")]
    if not known:
        raise PoseError(f"{file}: no category has keypoints; use the person_keypoints file of the data set")
    names = tuple(str(name) for name in known[0]["keypoints"])
    other = next((c for c in known if tuple(c["keypoints"]) != names), None)
    if other is not None:
        raise PoseError(f"{file}: {known[0]['name']} and {other['name']} have other keypoints: one layout per data set")
    edges = [(int(a) - 1, int(b) - 1) for a, b in known[0].get("skeleton") or ()]
    if any(not 0 <= end < len(names) for edge in edges for end in edge):
        raise PoseError(f"{file}: the skeleton names a keypoint outside 1..{len(names)}")
    return names, edges


def _image_path(file: Path, name: str) -> PurePosixPath:
    """The path of an image below the folder of all images, checked."""
    name = name.replace("\\", "/").removeprefix("images/")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or ":" in name or "\n" in name:
        raise PoseError(f"{file}: file_name {shown(name)} leads out of the folder of the images")
    if "images" in path.parts[:-1]:
        raise PoseError(f"{file}: file_name {shown(name)}: a folder in it is called images, as that of all images is")
    return path


def _images(file: Path, entries: Sequence[Mapping[str, Any]]) -> dict[Any, CocoImage]:
    """The images by id, in the file's order."""
    images: dict[Any, CocoImage] = {}
    stems: dict[str, str] = {}
    for entry in entries:
        path = _image_path(file, str(entry["file_name"]))
        name, stem = str(path), str(path.with_suffix(""))
        if stems.setdefault(stem, name) != name:
            raise PoseError(f"{file}: {stems[stem]} and {name} would share a label file")
        hw = (int(entry.get("height") or 0), int(entry.get("width") or 0))
        if min(hw) <= 0:
            raise PoseError(f"{file}: image {name} has no width and height")
        if entry["id"] in images:
            raise PoseError(f"{file}: two images have the id {entry['id']}")
        images[entry["id"]] = CocoImage(name, hw)
    return images


def _numbers(place: str, name: str, values: Any, count: int) -> Array:
    """(count,) finite numbers."""
    numbers = finite_numbers(values)
    if numbers is None or numbers.shape != (count,):
        raise PoseError(f"{place}: {name} must be {count} numbers, got {shown(values)}")
    return numbers


def _short(number: float) -> str:
    """At most 9 decimals."""
    return f"{number:.9f}".rstrip("0").rstrip(".")
