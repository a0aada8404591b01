"""Rows of numbers as a pandas table, CSV and JSON: what metrics and confusion matrices share."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from yolopose.errors import PoseError

if TYPE_CHECKING:
    import pandas as pd


class Table:
    """Something that has a `summary`: one dict of JSON types per row, all with the same keys."""

    def summary(self, normalize: bool = False, decimals: int = 5) -> list[dict[str, Any]]:
        """The rows; numbers have at most `decimals` places."""
        raise NotImplementedError

    def to_df(self, normalize: bool = False, decimals: int = 5) -> pd.DataFrame:
        """`summary` as a pandas table; PoseError when pandas is not installed."""
        try:
            import pandas as pd
        except ImportError:
            raise PoseError("to_df needs pandas: pip install pandas (to_csv and to_json work without it)") from None
        return pd.DataFrame(self.summary(normalize, decimals))

    def to_csv(self, normalize: bool = False, decimals: int = 5) -> str:
        """`summary` as CSV with a header; empty without rows."""
        rows, text = self.summary(normalize, decimals), io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
        if rows:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def to_json(self, normalize: bool = False, decimals: int = 5) -> str:
        """`summary` as indented JSON."""
        return json.dumps(self.summary(normalize, decimals), indent=2)
