"""The rows of the console's table and results.csv."""

from __future__ import annotations

import pytest

from yolopose.errors import PoseError
from yolopose.train import reporting


def test_lines_stand_under_their_titles():
    row = reporting.table_row(("1/3", "0G", 3.92443, 10.4435, 0.733134, 3.79834, 4.38458, 18, 320))
    assert (
        reporting.table_row(reporting.TITLES)
        == "      Epoch    GPU_mem   box_loss  pose_loss  kobj_loss   cls_loss   dfl_loss  Instances       Size"
    )
    assert row == "        1/3         0G      3.924      10.44     0.7331      3.798      4.385         18        320"


def test_rows_are_added_read_and_dropped_again(tmp_path):
    path = tmp_path / "results.csv"
    assert reporting.read_results(path) == {}
    for epoch in (1, 2, 3):
        reporting.append_results(
            path, {"epoch": epoch, "time": 1.23456789, "train/box_loss": 3.8417149, "lr/pg1": 9.175e-05}
        )
    lines = path.read_text().splitlines()
    assert lines[0].startswith(
        "epoch,time,train/box_loss,train/pose_loss,train/kobj_loss,train/cls_loss,train/dfl_loss,metrics/"
    )
    assert lines[1] == "1,1.23457,3.84171" + ",0" * 18 + ",9.175e-05,0"
    reporting.truncate_results(path, 1)
    assert reporting.read_results(path)["epoch"] == [1.0]
    assert [name for name in tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("text", ["epoch;time\n1;2\n", 'epoch,time\n"1","2"\n', "epoch,time\n1\n", "\xff"])
def test_a_table_that_a_spreadsheet_has_changed_is_named(text, tmp_path):
    path = tmp_path / "results.csv"
    path.write_text(text, encoding="latin-1")
    for use in (reporting.read_results, lambda path: reporting.truncate_results(path, 1)):
        with pytest.raises(PoseError, match=r"results\.csv: no longer the table of a run"):
            use(path)
    assert path.read_text(encoding="latin-1") == text


def test_an_empty_table_and_blank_lines_are_no_damage(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("")
    assert reporting.read_results(path) == {}
    path.write_text("epoch,time\n1,2\n\n2,3\n\n")
    reporting.truncate_results(path, 1)
    assert reporting.read_results(path) == {"epoch": [1.0], "time": [2.0]}
