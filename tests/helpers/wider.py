"""WIDER FACE's ground truth and prediction files in miniature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

Faces = dict[str, tuple[Any, dict[str, list[int]]]]  # by EVENT/NAME: boxes x y w h, and who counts (from 1) by setting


def cells(values: list[Any]) -> np.ndarray:
    """A column of MATLAB cells."""
    column = np.empty((len(values), 1), object)
    for i, value in enumerate(values):
        column[i, 0] = value
    return column


def ground_truth(folder: Path, photos: Faces) -> Path:
    """The four .mat files of the official evaluation."""
    from scipy.io import savemat

    folder.mkdir(parents=True)
    events = sorted({name.split("/")[0] for name in photos})
    members = {event: [name for name in photos if name.startswith(f"{event}/")] for event in events}
    base = {
        "event_list": cells(events),
        "file_list": cells([cells([name.split("/")[1] for name in members[e]]) for e in events]),
        "face_bbx_list": cells([cells([np.array(photos[n][0], np.uint16) for n in members[e]]) for e in events]),
    }
    savemat(folder / "wider_face_val.mat", base)
    for setting in ("easy", "medium", "hard"):
        lists = [cells([np.array(photos[n][1][setting], np.uint8)[:, None] for n in members[e]]) for e in events]
        savemat(folder / f"wider_{setting}_val.mat", base | {"gt_list": cells(lists)})
    return folder


def predictions(folder: Path, found: dict[str, Any]) -> Path:
    """A prediction file for each EVENT/NAME, of rows x y w h score."""
    for name, rows in found.items():
        file = folder / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [" ".join(f"{v:g}" for v in row) for row in rows]
        file.write_text("\n".join([name.split("/")[1], str(len(lines)), *lines]) + "\n")
    return folder
