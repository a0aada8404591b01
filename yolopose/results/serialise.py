"""Results as rows and text: what `summary`, `to_csv` and `save_txt` write."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from yolopose.errors import PoseError, one_line, printable, shown
from yolopose.results.arrays import Boxes, Keypoints
from yolopose.results.host import Array
from yolopose.tables import Rows

SQL_TYPES = {"class": "INTEGER", "confidence": "REAL", "track_id": "INTEGER"}
COLUMNS = ("name", "class", "confidence", "box", "track_id", "keypoints")


def summary_rows(
    boxes: Boxes, keypoints: Keypoints, names: Mapping[int, str], *, normalize: bool, decimals: int
) -> list[dict[str, Any]]:
    """One dict of JSON types per instance, with those keys of `COLUMNS` that it has.

    Coordinates are pixels, or fractions of the image's width and height with `normalize`.
    """
    boxes, keypoints = boxes.numpy(), keypoints.numpy()
    corners = boxes.xyxyn if normalize else boxes.xyxy
    points = keypoints.xyn if normalize else keypoints.xy
    out = []
    for i, (cls, conf) in enumerate(zip(boxes.cls.tolist(), boxes.conf.tolist(), strict=True)):
        name, number = names.get(int(cls), str(int(cls))), int(cls)
        row: dict[str, Any] = {"name": name, "class": number, "confidence": round(conf, decimals)}
        row["box"] = dict(zip(("x1", "y1", "x2", "y2"), rounded(corners[i], decimals), strict=True))
        if boxes.id is not None:
            row["track_id"] = int(boxes.id[i])
        if len(keypoints):
            row["keypoints"] = {"x": rounded(points[i, :, 0], decimals), "y": rounded(points[i, :, 1], decimals)}
            if keypoints.conf is not None:
                row["keypoints"]["visible"] = rounded(keypoints.conf[i], decimals)
        out.append(row)
    return out


def rounded(values: Array, decimals: int) -> list[float]:
    """The values as Python floats of at most `decimals` places."""
    return [round(value, decimals) for value in values.tolist()]


class Exports(Rows):
    """`summary` in other forms, of instances that need not all have the same keys."""

    tojson = Rows.to_json

    def _columns(self, rows: list[dict[str, Any]]) -> list[str]:
        """The keys of the rows of `summary_rows`, in order; of no rows, those that any instance has."""
        keys = {key for row in rows for key in row} or set(COLUMNS) - {"track_id"}
        return [key for key in COLUMNS if key in keys]

    def to_xml(self, normalize: bool = False, decimals: int = 5) -> str:
        """`to_df` as XML, a `row` per instance; box and keypoints are Python literals in their elements."""
        table = self.to_df(normalize, decimals)
        return str(table.assign(name=table["name"].map(printable)).to_xml(index=False, parser="etree"))

    def to_sql(
        self,
        table_name: str = "results",
        normalize: bool = False,
        decimals: int = 5,
        db_path: str | Path = "results.db",
    ) -> None:
        """Append `to_df` to a table of an SQLite file, made when missing; box and keypoints are JSON in their cells.

        Raises:
            PoseError: pandas is not installed, the file is no database, or the table has other columns.
        """
        table = self.to_df(normalize, decimals)
        table = table.assign(**{name: table[name].map(json.dumps) for name in ("box", "keypoints") if name in table})
        try:
            with closing(sqlite3.connect(db_path)) as database:
                kinds = {name: SQL_TYPES.get(name, "TEXT") for name in table}  # pandas cannot infer types without rows
                table.to_sql(table_name, database, if_exists="append", index=False, dtype=kinds)
        except (sqlite3.Error, OSError, ValueError) as error:
            raise PoseError(
                f"{db_path}: cannot write table {shown(table_name)}: {one_line(error.__cause__ or error)}"
            ) from None


def label_lines(boxes: Boxes, keypoints: Keypoints, *, save_conf: bool) -> list[str]:
    """One label row per instance: `cls cx cy w h [px py [v]]… [conf] [id]`, normalised, six significant digits."""
    boxes, keypoints = boxes.numpy(), keypoints.numpy()
    columns = [boxes.cls[:, None], boxes.xywhn]
    if len(keypoints):
        points = np.concatenate([keypoints.xyn, keypoints.data[..., 2:]], -1)
        columns.append(points.reshape(len(boxes), -1))
    if save_conf:
        columns.append(boxes.conf[:, None])
    if boxes.id is not None:
        columns.append(boxes.id[:, None])
    return [" ".join(f"{value:g}" for value in row) for row in np.concatenate(columns, 1).tolist()]
