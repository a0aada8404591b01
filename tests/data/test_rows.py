from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolopose.data.rows import parse_rows
from yolopose.rules import RULES

GOOD = "0 0.5 0.5 0.2 0.4 0.45 0.5 2 0.55 0.5 1"


def parse(tmp_path: Path, text: str | bytes, kpt_shape=(2, 3), classes=2, compat=False):
    file = tmp_path / "a.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return parse_rows(file, kpt_shape, classes, rules=RULES[compat])


def test_good_rows_become_labels(tmp_path: Path) -> None:
    labels, bad, duplicates = parse(tmp_path, f"{GOOD}\n\n1 .1 .2 .1 .1 0 0 0 .1 .2 2\n")
    assert (bad, duplicates) == ([], 0)
    assert labels.classes.tolist() == [0, 1]
    np.testing.assert_allclose(labels.boxes, [[0.5, 0.5, 0.2, 0.4], [0.1, 0.2, 0.1, 0.1]], rtol=1e-6)
    np.testing.assert_allclose(labels.keypoints[0], [[0.45, 0.5, 2], [0.55, 0.5, 1]], rtol=1e-6)
    assert (labels.classes.dtype, labels.boxes.dtype, labels.keypoints.dtype) == (np.int64, np.float32, np.float32)


@pytest.mark.parametrize("text", ["", "\n \n", None])
def test_an_empty_or_absent_file_is_a_background(tmp_path: Path, text: str | None) -> None:
    labels, bad, _ = parse_rows(tmp_path / "no.txt", (2, 3), 1) if text is None else parse(tmp_path, text)
    assert (len(labels), bad) == (0, [])
    assert labels.keypoints.shape == (0, 2, 3)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("0 0.5 0.5 0.2 0.4", "5 columns, expected 11"),
        ("0 .1 .1 .2 .2 .3 .3 .4 .4", "polygon"),
        (GOOD + " 7", "12 columns"),
        (GOOD.replace("0.4 ", "wide "), "not a number"),
        (GOOD.replace("0.4 ", "nan "), "not finite"),
        (GOOD.replace("0.4 ", "inf "), "not finite"),
        (GOOD.replace("0.45 ", "1e308 "), "beyond ±1e+06"),
        (GOOD.replace("0.45 ", "-1e39 "), "beyond ±1e+06"),
        (GOOD.replace("0.4 ", "1_0 "), "not a number: '1_0'"),
        (GOOD.replace("0.4 ", "\u0663 "), "not a number: '\u0663'"),
        (GOOD.replace("0.4 ", "\x1b[31m "), r"not a number: '\x1b[31m'"),
        ("2" + GOOD[1:], "class is not one of 0..1"),
        ("-1" + GOOD[1:], "class"),
        ("0.5" + GOOD[1:], "class"),
        (GOOD.replace("0.2 0.4", "-0.2 0.4"), "no positive size"),
        (GOOD.replace("0.2 0.4", "0 0.4"), "no positive size"),
        (GOOD.replace("0 0.5", "0 1.2", 1), "outside 0..1"),
        (GOOD.replace("0 0.5", "0 -0.1", 1), "outside 0..1"),
        ("0 320 240 100 100 1 1 1 2 2 2", "outside 0..1"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_line_and_the_others_stay(tmp_path: Path, row: str, words: str) -> None:
    labels, bad, _ = parse(tmp_path, f"{GOOD}\n{row}\n1{GOOD[1:]}\n")
    assert labels.classes.tolist() == [0, 1]
    assert [(b.line, b.kept) for b in bad] == [(2, False)]
    assert words in bad[0].reason
    assert str(bad[0]).startswith(f"{tmp_path / 'a.txt'}:2: ")


def test_rounding_at_the_edge_is_forgiven(tmp_path: Path) -> None:
    labels, bad, _ = parse(tmp_path, "0 1.0004 0.5 0.2 0.4 0 0 0 0 0 0")
    assert (len(labels), bad) == (1, [])


def test_a_box_over_the_edge_is_cut_but_not_in_compat_mode(tmp_path: Path) -> None:
    row = "0 0.1 0.5 0.4 0.2 0 0 0 0 0 0"
    assert parse(tmp_path, row)[0].boxes[0] == pytest.approx([0.15, 0.5, 0.3, 0.2])
    assert parse(tmp_path, row, compat=True)[0].boxes[0] == pytest.approx([0.1, 0.5, 0.4, 0.2])


def test_unlabelled_points_may_stand_anywhere(tmp_path: Path) -> None:
    labels, bad, _ = parse(tmp_path, "0 .5 .5 .2 .2 -1 -1 -1 5 5 0")
    assert (len(labels), bad) == (1, [])
    assert labels.keypoints[0, :, 2].tolist() == [0, 0]


def test_a_labelled_point_outside_becomes_unlabelled_and_is_reported(tmp_path: Path) -> None:
    labels, bad, _ = parse(tmp_path, f"{GOOD}\n0 .5 .5 .2 .2 .5 .5 2 1.5 .5 2")
    assert labels.keypoints[1, :, 2].tolist() == [2, 0]
    assert [(b.line, b.kept) for b in bad] == [(2, True)]
    assert "keypoint 1" in bad[0].reason


@pytest.mark.parametrize(
    "row", ["0 .5 .5 .2 .2 -1 -1 0 .5 .5 2", "0 .5 .5 .2 .2 1.5 .5 0 .5 .5 2", "0 -.1 .5 .2 .2 0 0 0 0 0 0"]
)
def test_compat_mode_checks_every_number(tmp_path: Path, row: str) -> None:
    assert [b.kept for b in parse(tmp_path, row, compat=True)[1]] == [False]


def test_duplicates_are_removed_in_place(tmp_path: Path) -> None:
    other = "1" + GOOD[1:]
    labels, bad, duplicates = parse(tmp_path, f"{other}\n{GOOD}\n{other}\n{GOOD}\n")
    assert (labels.classes.tolist(), bad, duplicates) == ([1, 0], [], 2)


def test_two_numbers_per_point(tmp_path: Path) -> None:
    row = "0 .5 .5 .2 .2 .4 .4 0 0 1.2 .5"
    labels, bad, _ = parse(tmp_path, row, kpt_shape=(3, 2))
    assert labels.keypoints[0, :, 2].tolist() == [2, 0, 0]
    assert [b.kept for b in bad] == [True]
    compat = parse(tmp_path, row.replace("1.2", ".2"), kpt_shape=(3, 2), compat=True)[0]
    assert compat.keypoints[0, :, 2].tolist() == [2, 2, 2]


def test_a_byte_order_mark_is_no_number(tmp_path: Path) -> None:
    assert len(parse(tmp_path, b"\xef\xbb\xbf" + GOOD.encode())[0]) == 1


def test_a_binary_file_is_one_bad_row(tmp_path: Path) -> None:
    labels, bad, _ = parse(tmp_path, b"\xff\xfe\x00\x01")
    assert len(labels) == 0
    assert [b.line for b in bad] == [0]


@given(st.lists(st.text("0123456789.-+e naif\t", max_size=60), max_size=5))
def test_every_line_becomes_a_label_or_is_reported(tmp_path_factory, lines: list[str]) -> None:
    file = tmp_path_factory.mktemp("rows") / "a.txt"
    file.write_text("\n".join(lines))
    labels, bad, duplicates = parse_rows(file, (1, 2), 3)
    lost = sum(not b.kept for b in bad)
    assert len(labels) + duplicates + lost == sum(bool(line.strip()) for line in lines)
    assert np.isfinite(labels.boxes).all()


def test_a_file_of_bad_rows_names_some_and_counts_the_rest(tmp_path: Path) -> None:
    _, bad, _ = parse(tmp_path, "x\n" * 5000)
    assert len(bad) == 1001
    assert bad[-1].reason == "4000 more bad rows"


def test_a_file_larger_than_labels_are_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(1 << 40)  # a hole
    labels, (bad,), _ = parse_rows(tmp_path / "a.txt", (2, 3), 1)
    assert len(labels) == 0
    assert "more than 16 MB" in bad.reason
    assert not bad.unreadable


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (56, "56 columns, expected 20; kpt_shape: [17, 3] would fit"),
        (9, "9 columns, expected 20; a segmentation polygon?"),
        (7, "7 columns, expected 20; a segmentation polygon?"),
        (4, "4 columns, expected 20"),
    ],
)
def test_a_row_of_the_wrong_length_is_reported_with_the_right_lengths(tmp_path: Path, columns: int, says: str) -> None:
    bad = parse(tmp_path, " ".join(["0"] * columns), kpt_shape=(5, 3))[1]
    assert [row.reason for row in bad] == [says]
