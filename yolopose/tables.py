"""Rows of plain values as a pandas table, CSV and JSON: what results, metrics and confusion matrices share."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from yolopose.errors import PoseError
from yolopose.files import cell

if TYPE_CHECKING:
    import pandas as pd


class Rows(ABC):
    """Base class that gives a `summary` in other forms; `to_df` needs pandas."""

    @abstractmethod
    def summary(self, normalize: bool = False, decimals: int = 5) -> list[dict[str, Any]]:
        """The rows, as dicts of JSON types; numbers have at most `decimals` places."""

    def _columns(self, rows: list[dict[str, Any]]) -> list[str]:
        """The keys of the rows of `summary`, in order."""
        return list(rows[0]) if rows else []

    def to_json(self, normalize: bool = False, decimals: int = 5) -> str:
        """`summary` as indented JSON."""
        return json.dumps(self.summary(normalize, decimals), indent=2)

    def to_csv(self, normalize: bool = False, decimals: int = 5) -> str:
        """`summary` as CSV with a header, boxes and keypoints as Python literals in their cells.

        A name that a spreadsheet would calculate gets an apostrophe in front.
        """
        rows, text = self.summary(normalize, decimals), io.StringIO()
        columns = self._columns(rows)
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        if columns:
            writer.writerow({name: cell(name) for name in columns})
        writer.writerows({key: cell(v) if isinstance(v, str) else v for key, v in row.items()} for row in rows)
        return text.getvalue()

    def to_df(self, normalize: bool = False, decimals: int = 5) -> pd.DataFrame:
        """`summary` as a pandas table; PoseError when pandas is not installed."""
        try:
            import pandas as pd
        except ImportError:
            raise PoseError("this needs pandas: pip install pandas (to_csv and to_json work without it)") from None
        rows = self.summary(normalize, decimals)
        return pd.DataFrame(rows, columns=self._columns(rows))


def text_table(
    head: Sequence[str], rows: Iterable[Sequence[Any]], *, form: str = ".4f", first: int = 14, width: int = 10
) -> Iterator[str]:
    """Lines of a table: the first column `first` characters wide, the others `width`, floats in `form`, None as "-"."""
    yield f"{head[0]:>{first}}" + "".join(f"{word:>{width}}" for word in head[1:])
    for name, *values in rows:
        cells = ("-" if v is None else format(v, form) if isinstance(v, float) else str(v) for v in values)
        yield f"{name:>{first}}" + "".join(f"{text:>{width}}" for text in cells)
