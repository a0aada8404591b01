"""COCO keypoints JSON ↔ YOLO labels; WIDER FACE → YOLO labels is in `yolopose.convert.widerface`.

COCO: boxes left, top, width, height and keypoints x, y, v in pixels (0 not labelled, 1 hidden, 2 visible). YOLO: one
text file per image with rows `class cx cy w h` and K times `x y v`, normalised. Both directions keep persons without
any labelled keypoint, with v = 0 throughout. Crowd regions are no instances: they become boxes to ignore, and these
become crowd regions of every class. The data that is converted is only read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from yolopose.console import log
from yolopose.convert.cocojson import CocoSet, read_coco
from yolopose.convert.rows import check_outputs, write_labels
from yolopose.data.labels import ImageItem, scan
from yolopose.data.spec import DataSpec, load_data
from yolopose.errors import PoseError
from yolopose.files import write_text
from yolopose.geometry.boxes import cxcywh_to_xyxy
from yolopose.geometry.keypoints import COCO_17, flip_from_names


def from_coco(
    file: str | Path, out: str | Path, *, images: str | Path | None = None, split: str = "val", exist_ok: bool = False
) -> Path:
    """Make a YOLO data set of a COCO keypoints JSON and return its data.yaml, a draft with one split.

    Writes `labels/*.txt`, an empty one where an image has no instance, `labels/*.ignore.txt` where there are crowds,
    `images.txt` (the images of the JSON, as `images/NAME`) and data.yaml into `out`. `images` is linked there as
    `images`; without it, put the images there.

    Raises:
        PoseError: the JSON is not of that kind, or something of the above is there already.
    """
    coco, folder = read_coco(Path(file)), Path(out)
    check_outputs(folder, ["labels", "images.txt", "data.yaml", *(["images"] if images is not None else [])], exist_ok)
    if images is not None:
        _link(Path(images), folder / "images", coco)
    for image in coco.images:
        write_labels(folder / "labels" / image.name, image.rows, image.ignore)
    write_text(folder / "images.txt", "".join(f"images/{image.name}\n" for image in coco.images))
    draft = folder / "data.yaml"
    write_text(draft, _draft(coco, split))
    rows = [row for image in coco.images for row in image.rows]
    log.info(
        f"{folder}: {len(coco.images)} images ({sum(not image.rows for image in coco.images)} without instances), "
        f"{len(rows)} instances, "
        f"{sum(row.labelled for row in rows)} of them with keypoints"
    )
    for what, count in coco.changes.items():
        if count:
            log.info(f"{count} {what}")
    log.info(f"data set: {draft} (a draft: check it, then yolo doctor data={draft})")
    return draft


def to_coco(data: str | Path, out: str | Path, *, split: str = "val", exist_ok: bool = False) -> Path:
    """Write a split of a YOLO data set as COCO keypoints JSON and return the file.

    `area` is the box's, for labels have no outline; COCO's own is that of the outline, about half of it for persons.
    Pixels are rounded to 6 decimals.

    Raises:
        PoseError: the data cannot be read, or the file is there already.
    """
    target = Path(out)
    if target.is_dir():
        raise PoseError(f"out={target}: is a folder; name a .json file in it")
    check_outputs(target.parent, [target.name], exist_ok)
    spec = load_data(data)
    items = scan(spec, split, cache=False).items
    root = os.path.commonpath([item.path.parent for item in items])
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, item in zip(_image_ids(items), items, strict=True):
        name = item.path.relative_to(root).as_posix()
        images.append({"id": image_id, "file_name": name, "height": item.hw[0], "width": item.hw[1]})
        for row in chain(_annotations(item), _crowds(item, len(spec.names))):
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **row})
    write_text(target, json.dumps(_document(spec, split, images, annotations)))
    labelled, crowds = (sum(row[key] > 0 for row in annotations) for key in ("num_keypoints", "iscrowd"))
    count = f"{len(annotations) - crowds} instances, {labelled} of them with keypoints"
    log.info(f"{target}: {len(images)} images, {count}{f', {crowds} crowd regions' if crowds else ''}")
    log.info("area is that of the box: with metric=coco figures differ from those with outlines")
    return target


def _link(source: Path, link: Path, coco: CocoSet) -> None:
    """Make `link` point at the folder of the images; warn of images that are not in it."""
    if not source.is_dir():
        raise PoseError(f"images={source}: no such folder")
    if link.exists() and not link.is_symlink():
        raise PoseError(f"{link} is a folder, not a link; leave images= out, or choose another out")
    missing = [image.name for image in coco.images if not (source / image.name).is_file()]
    if missing:
        log.warning(f"{source}: {len(missing)} of {len(coco.images)} images are not there, the first {missing[0]}")
    folder = source.resolve()  # before the link is gone: `source` may be it
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(folder, target_is_directory=True)


def _draft(coco: CocoSet, split: str) -> str:
    """The text of a data.yaml."""
    import yaml

    flip = flip_from_names(coco.keypoints)
    sigmas = COCO_17.sigmas if coco.keypoints == COCO_17.names else None
    values: dict[str, Any] = {
        "path": ".",
        split: "images.txt",
        "kpt_shape": [len(coco.keypoints), 3],
        "kpt_names": list(coco.keypoints),
        "skeleton": [list(edge) for edge in coco.skeleton],
        **({"kpt_oks_sigmas": list(sigmas)} if sigmas else {}),
        **({"flip_idx": list(flip)} if flip else {}),
        "names": dict(enumerate(coco.categories)),
    }
    notes = ["# made from COCO JSON: one split; name the others here (train, val, test: a folder, or such a list)"]
    if not flip:
        notes.append("# flip_idx: state which keypoints change places in a mirrored image; without it none is mirrored")
    if not sigmas:
        notes.append("# kpt_oks_sigmas: state the keypoints' tolerances; without them 1/K each, which is lenient")
    return "\n".join([*notes, yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=120)])


def _image_ids(items: Sequence[ImageItem]) -> Sequence[int]:
    """The file names as numbers, as in COCO, if all are different numbers; otherwise 1, 2, 3 and so on."""
    stems = [item.path.stem for item in items]
    numbered = all(stem.isascii() and stem.isdecimal() for stem in stems) and len({*map(int, stems)}) == len(stems)
    return [int(stem) for stem in stems] if numbered else range(1, len(items) + 1)


def _annotations(item: ImageItem) -> list[dict[str, Any]]:
    """The annotations of an image, without their ids."""
    size = np.array([item.hw[1], item.hw[0]], np.float64)
    centre, extent = np.split(item.labels.boxes.astype(np.float64) * np.tile(size, 2), 2, axis=1)
    boxes = np.concatenate([centre - extent / 2, extent], 1)
    points = item.labels.keypoints.astype(np.float64)
    points[..., :2] *= size
    points[..., 2] = np.clip(np.ceil(points[..., 2]), 0, 2)
    points[points[..., 2] == 0] = 0  # COCO's rule for keypoints that are not labelled
    return [
        {
            "category_id": int(category) + 1,
            "bbox": box.round(6).tolist(),
            "area": round(float(box[2] * box[3]), 6),
            "iscrowd": 0,
            "num_keypoints": int((shape[:, 2] > 0).sum()),
            "keypoints": [value for x, y, v in shape.round(6).tolist() for value in (x, y, int(v))],
        }
        for category, box, shape in zip(item.labels.classes, boxes, points, strict=True)
    ]


def _crowds(item: ImageItem, classes: int) -> Iterator[dict[str, Any]]:
    """The boxes to ignore as crowd annotations, one of each class, without ids."""
    rows = item.labels.ignore[item.labels.ignore[:, 4] == 0, :4].astype(np.float64)
    size = np.tile([item.hw[1], item.hw[0]], 2)
    for left, top, right, bottom in (cxcywh_to_xyxy(rows) * size).round(6).tolist():
        for category in range(classes):
            yield {
                "category_id": category + 1,
                "bbox": [left, top, right - left, bottom - top],
                "area": round((right - left) * (bottom - top), 6),
                "iscrowd": 1,
                "num_keypoints": 0,
                "keypoints": [0] * item.labels.keypoints.shape[1] * 3,
            }


def _document(spec: DataSpec, split: str, images: list[Any], annotations: list[Any]) -> Mapping[str, Any]:
    """The whole of a COCO JSON; category ids and the skeleton's keypoints count from 1."""
    layout = spec.layout
    skeleton = [[a + 1, b + 1] for a, b in layout.edges]
    categories = [
        {"id": i + 1, "name": name, "supercategory": name, "keypoints": list(layout.names), "skeleton": skeleton}
        for i, name in spec.names.items()
    ]
    about = {"description": f"{spec.yaml.name}, {split}; area is that of the box"}
    return {"info": about, "images": images, "annotations": annotations, "categories": categories}
