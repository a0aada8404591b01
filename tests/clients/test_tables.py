"""pandas and polars: results as data frames."""

import io

import numpy as np
import pandas as pd
import polars as pl
import pytest

pytestmark = pytest.mark.clients
COLUMNS = ["x1", "y1", "x2", "y2"]


def test_pandas(faces):
    assert faces.to_df().to_dict("records") == faces.summary()
    flat = pd.json_normalize(faces.summary())
    np.testing.assert_allclose(flat["box.x1"], faces.boxes.table[:, 0], atol=1e-4)
    assert pd.read_csv(io.StringIO(faces.to_csv()))["name"].tolist() == ["face"] * 4
    boxes = pd.DataFrame(faces.boxes.xyxy, columns=COLUMNS).assign(conf=faces.boxes.conf, cls=faces.boxes.cls.int())
    np.testing.assert_array_equal(boxes[COLUMNS], faces.boxes.table[:, :4])
    assert boxes.conf.tolist() == faces.boxes.conf.tolist()


def test_polars(faces):
    frame = pl.DataFrame(faces.summary())
    assert frame["box"].struct.field("x1").len() == frame.height == 4
    assert frame.filter(pl.col("confidence") > 2).is_empty()
    boxes = pl.DataFrame(faces.boxes.xyxy.cpu().numpy(), schema=COLUMNS)
    np.testing.assert_array_equal(boxes.to_numpy(), faces.boxes.table[:, :4])
    assert pl.read_csv(io.StringIO(faces.to_csv()))["name"].to_list() == ["face"] * 4


def test_no_detections(nobody):
    assert pd.DataFrame(nobody.boxes.xyxy.cpu().numpy()).shape == (0, 4)
    assert nobody.to_df().empty
    assert pl.DataFrame(nobody.summary()).is_empty()
