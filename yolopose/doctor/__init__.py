"""The data set doctor: checks a data set before training. It never writes into the data set.

It writes a report: text for the console, report.json, and report.html, one file without scripts that shows sample
images with their labels, as they are and mirrored.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yolopose.data.labels as data_labels
from yolopose.data.labels import label_path
from yolopose.data.rows import BadRow
from yolopose.data.spec import DataSpec, load_data
from yolopose.doctor.checks import add_findings, count_split, facts, find_matches
from yolopose.doctor.duplicates import fingerprint
from yolopose.doctor.page import page
from yolopose.doctor.previews import preview, select_samples
from yolopose.doctor.report import Checked, Report
from yolopose.doctor.statistics import statistics
from yolopose.errors import PoseError
from yolopose.files import write_text
from yolopose.saving import run_folder

__all__ = ["Report", "examine"]


def examine(
    data: str | Path,
    *,
    data_dir: str | None = None,
    out: str | Path | None = None,
    exist_ok: bool = False,
    previews: int = 8,
) -> Report:
    """Check the data set of the YAML `data` and write report.json and report.html to the folder `out`.

    Without `out` it is the next free runs/pose/doctor. A data set that is not at its own path is looked for, and
    downloaded to, `data_dir`. `previews` is the number of sample images on the page.

    Raises:
        PoseError: the YAML cannot be read, none of its splits has images, or the report exists and not `exist_ok`.
    """
    spec = load_data(data, data_dir=data_dir)
    splits, failed = check_images(spec)
    folder = run_folder(None, None, "doctor") if out is None else Path(out)
    if (folder / "report.html").exists() and not exist_ok:
        raise PoseError(f"{folder / 'report.html'} exists; choose another out, or exist_ok=True to write over it")
    folder.mkdir(parents=True, exist_ok=True)
    items = [image.item for images in splits.values() for image in images if image.usable]
    report = Report(
        spec=spec,
        counts={name: count_split(images, spec) for name, images in splits.items()},
        statistics=statistics(items, spec.layout),
        bad={name: [row for image in images for row in image.entry.bad] for name, images in splits.items()},
        matches=find_matches(splits),
        folder=folder,
    )
    for name, error in failed.items():
        what = str(error).removeprefix(f"{spec.yaml}: ")
        report.add("error", "splits", what, f"correct the {name} line, or remove it")
    add_findings(report, splits)
    report.facts.extend(facts(report))
    samples = [preview(item, spec) for item in select_samples(items, previews)]
    # file names need not be UTF-8
    write_text(folder / "report.json", json.dumps(report.to_dict(), indent=1, ensure_ascii=False), "backslashreplace")
    write_text(folder / "report.html", page(report, samples), "backslashreplace")
    return report


def check_images(spec: DataSpec) -> tuple[dict[str, list[Checked]], dict[str, PoseError]]:
    """Every image of every split of `spec`, and the errors of the splits without images.

    Raises:
        PoseError: no split has images.
    """
    splits, failed, known = dict[str, list[Checked]](), dict[str, PoseError](), dict[Path, Checked]()
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for name in spec.sources:
            try:
                images = spec.split(name)
            except PoseError as error:
                failed[name] = error
                continue
            new = [path for path in images if path not in known]
            known.update(zip(new, pool.map(functools.partial(_check_image, spec), new), strict=True))
            splits[name] = [known[path] for path in images]
    if not splits:
        raise next(iter(failed.values()))
    return splits, failed


def _check_image(spec: DataSpec, image: Path) -> Checked:
    """Check an image and its labels; one that cannot be decoded becomes unusable."""
    entry = data_labels.scan_image(image, label_path(image), spec)
    if entry.hw == (0, 0):
        return Checked(image, entry, None)
    try:
        return Checked(image, entry, fingerprint(image.read_bytes(), str(image), entry.hw))
    except (PoseError, OSError) as e:
        bad = BadRow(str(image), 0, str(e).removeprefix(f"{image}: "))
        return Checked(image, dataclasses.replace(entry, hw=(0, 0), bad=[bad, *entry.bad]), None)
