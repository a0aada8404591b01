"""`yolo eval-tracks`: which files and rows are compared, what is printed and written, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolopose.cli import main
from yolopose.errors import PoseError
from yolopose.evaluate.tracks import evaluate_tracks
from yolopose.track.files import TrackWriter
from yolopose.track.table import TrackTable

STEADY = [(frame, 1, 10, 10, 20, 50, 1, 1) for frame in range(1, 11)]
CLIPS = Path(__file__).resolve().parents[2] / "benchmarks" / "clips"


def mot(path: Path, rows: list[tuple[Any, ...]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def table(path: Path, frames: list[tuple[int, int, float, Any]], source: str = "clip.mp4") -> Path:
    """A file with a row for each (frame, id, shift of the box, keypoints (K, 3))."""
    with TrackWriter(path) as writer:
        for frame, number, shift, points in frames:
            box = np.array([[10 + shift, 10, 30 + shift, 60, 0.9, 0]])
            writer.write(TrackTable.of_frame(frame, None, np.array([number]), box, np.array([points]), source=source))
    return path


def points(shift: float = 0, visible: float = 2, k: int = 17) -> Any:
    return np.stack([np.linspace(10, 30, k) + shift, np.linspace(10, 60, k), np.full(k, visible)], 1)


def test_figures_that_can_be_worked_out_by_hand(tmp_path: Path) -> None:
    """A person in 10 frames, of which 8 are found: 4 as track 1, then 4 as track 2; one found box is of nobody."""
    gt = mot(tmp_path / "gt.txt", STEADY)
    found = [(*row[:1], 1 + (row[0] > 5), *row[2:]) for row in STEADY if row[0] not in (5, 10)]
    pred = mot(tmp_path / "pred.txt", [*found, (5, 9, 300, 10, 20, 50, 1, 1)])
    figures = evaluate_tracks(pred, gt).figures()
    assert (figures["IDSW"], figures["FN"], figures["FP"], figures["Frag"]) == (1, 2, 1, 1)
    assert (figures["MT"], figures["PT"], figures["ML"]) == (0, 1, 0)  # 80 % is not more than 80 %
    assert figures["MOTA"] == pytest.approx(1 - (1 + 2 + 1) / 10)
    assert figures["IDF1"] == pytest.approx(2 * 4 / (10 + 9))
    assert figures["DetA"] == pytest.approx(8 / (8 + 2 + 1))
    assert figures["AssA"] == pytest.approx(4 / 10)  # of each match: 4 in common, of 10 true ones
    assert figures["HOTA"] == pytest.approx((8 / 11 * 0.4) ** 0.5)
    assert figures["LocA"] == figures["MOTP"] == 1


@pytest.mark.parametrize(("frames", "kind"), [(1, "ML"), (2, "PT"), (8, "PT"), (9, "MT")])
def test_who_is_tracked_mostly_partly_and_hardly(tmp_path: Path, frames: int, kind: str) -> None:
    """Of 10 frames: 20 % and 80 % are both partly."""
    pred = mot(tmp_path / "pred.txt", STEADY[:frames])
    figures = evaluate_tracks(pred, mot(tmp_path / "gt.txt", STEADY)).figures()
    assert {name: figures[name] for name in ("MT", "PT", "ML")} == {"MT": 0, "PT": 0, "ML": 0, kind: 1}


def test_truth_on_every_fifth_frame(tmp_path: Path) -> None:
    """Frames in between are not counted, but an empty frame that was labelled is."""
    gt = mot(tmp_path / "gt.txt", [STEADY[0], STEADY[5]])
    found = [(frame, 1, *STEADY[0][2:]) for frame in range(1, 17)]
    pred = mot(tmp_path / "pred.txt", found)
    figures = evaluate_tracks(pred, gt, every=5).figures()
    assert (figures["FP"], figures["FN"], figures["IDF1"]) == (2, 0, pytest.approx(2 * 2 / (2 + 4)))  # frames 11, 16
    assert evaluate_tracks(pred, gt).figures()["FP"] == 14
    mot(gt, [STEADY[0], STEADY[3]])
    with pytest.raises(PoseError, match=r"gt.txt: frame 4 has truth, but every=5 counts 1, 6, …"):
        evaluate_tracks(pred, gt, every=5)


def test_rows_of_motchallenge_that_do_not_count(tmp_path: Path) -> None:
    """Confidence 0 and cars are not to be found; what lies on a reflection is no error, on a car it is one."""
    places = {1: (1, 1), 2: (0, 1), 3: (1, 3), 4: (1, 12)}  # id: confidence, class
    gt = mot(tmp_path / "gt.txt", [(1, i, 100 * i, 0, 20, 50, *places[i], 1) for i in places])
    pred = mot(tmp_path / "pred.txt", [(1, i, 100 * i, 0, 20, 50, 0.9, -1, -1, -1) for i in places])
    figures = evaluate_tracks(pred, gt).figures()
    assert (figures["FN"], figures["FP"], figures["MOTA"]) == (0, 2, -1)


def test_a_truth_without_labelled_keypoints_is_left_out_of_poses_with_what_matches_its_box(tmp_path: Path) -> None:
    gt = table(tmp_path / "gt.csv", [(0, 1, 0, points()), (1, 1, 0, points(visible=0))])
    pred = table(tmp_path / "pred.csv", [(0, 5, 1, points(1, 0.9)), (1, 5, 1, points(900, 0.9))])
    scores = evaluate_tracks(pred, gt)
    assert (scores.figures("poses")["MOTA"], scores.figures("poses")["FP"]) == (1, 0)
    assert scores.figures("boxes")["MOTA"] == 1
    far = table(tmp_path / "far.csv", [(0, 5, 1, points(1, 0.9)), (1, 5, 300, points(300, 0.9))])
    assert evaluate_tracks(far, gt).figures("poses")["FP"] == 1


def test_nothing_found_in_a_file_with_keypoints(tmp_path: Path) -> None:
    gt = table(tmp_path / "gt.json", [(0, 1, 0, points())])
    (tmp_path / "pred.json").write_text("[]")
    scores = evaluate_tracks(tmp_path / "pred.json", gt)
    assert scores.figures("poses")["FN"] == scores.figures("boxes")["FN"] == 1


@pytest.mark.parametrize("suffix", [".csv", ".json", ".txt"])
def test_formats_of_both_sides_may_differ(tmp_path: Path, suffix: str) -> None:
    """MOTChallenge counts frames from 1, our tables from 0."""
    pred = table(tmp_path / f"pred{suffix}", [(frame, 4, 0, points()) for frame in range(10)])
    assert evaluate_tracks(pred, mot(tmp_path / "gt.txt", STEADY)).figures()["HOTA"] == pytest.approx(1)


def test_folders_and_files_with_several_videos_are_matched_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        mot(tmp_path / "benchmark" / name / "gt" / "gt.txt", STEADY)
        mot(tmp_path / "truths" / f"{name}.txt", STEADY)
        mot(tmp_path / "found" / f"{name}.txt", STEADY[:5] if name == "b" else STEADY)
    mot(tmp_path / "found" / "more.txt", STEADY)
    by_benchmark = evaluate_tracks(tmp_path / "found", tmp_path / "benchmark")
    assert "more: no truth, left out" in caplog.text
    assert [counts.figures()["FN"] for counts in by_benchmark.boxes.values()] == [0, 5]
    assert by_benchmark.summary() == evaluate_tracks(tmp_path / "found", tmp_path / "truths").summary()
    one = evaluate_tracks(tmp_path / "found" / "b.txt", tmp_path / "benchmark" / "b")
    assert [*one.boxes] == ["b"]
    assert one.figures()["FN"] == 5
    both = [(frame, 1, 0, points()) for frame in range(5)]
    tables = [table(tmp_path / f"{name}.csv", both, source=f"video/{name}.mp4") for name in ("a", "b")]
    joined = tables[0].read_text() + "".join(tables[1].read_text().splitlines(keepends=True)[1:])
    (tmp_path / "both.csv").write_text(joined)
    assert [*evaluate_tracks(tmp_path / "both.csv", tmp_path / "benchmark").boxes] == ["a", "b"]


def test_the_command_prints_and_writes_all_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gt = table(tmp_path / "gt.csv", [(frame, 1, 0, points()) for frame in range(4)])
    pred = table(tmp_path / "pred.csv", [(frame, 2, 1, points(2, 0.5)) for frame in range(4)])
    for name in ("figures.csv", "figures.json"):
        assert main(["eval-tracks", f"pred={pred}", f"gt={gt}", f"out={tmp_path / name}"]) == 0
    text = capsys.readouterr().out
    assert [line.split()[0] for line in text.splitlines() if "(" in line] == ["boxes", "boxes", "poses", "poses"] * 2
    assert "OKS of 17 keypoints, sigmas 0.026, 0.025" in text
    rows = json.loads((tmp_path / "figures.json").read_text())
    assert [(row["by"], row["sequence"]) for row in rows] == [("boxes", "gt"), ("poses", "gt")]
    assert rows[0]["MOTP"] == round(19 / 21, 5)
    with (tmp_path / "figures.csv").open() as file:
        assert [float(row["HOTA"]) for row in csv.DictReader(file)] == [row["HOTA"] for row in rows]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([(1, 1, 0, 0, 5, 5), (2, 7, 0, 0, 5, 5), (2, 7, 9, 0, 5, 5)], "frame 2: id 7 is there twice"),
        ([(1, -1, 0, 0, 5, 5), (1, -1, 9, 0, 5, 5)], "id -1 is there twice; -1 is for detections without tracks"),
        ([(0, 1, 0, 0, 5, 5)], r"row 1: expected frame \(from 1\)"),
        ([(1, 1, 0, 0, 5)], "row 1: expected frame"),
        ([(1, 1, 0, 0, "nan", 5)], "row 1: expected frame"),
        ([(1, 1, 0, 0, -5, 5)], "frame 1: the box of id 1 has a width or height below 0"),
        ([(1, 1, 0, 0, 5, 5, 1, 14)], "frame 1: class 14 is none of MOTChallenge's 1 to 13"),
        ([(3, 1, 0, 0, 5, 5, 1, 3)], "frame 3: class 3; only pedestrians"),
    ],
)
def test_a_row_that_cannot_be_compared_is_named(tmp_path: Path, rows: list[tuple[Any, ...]], line: str) -> None:
    pred = mot(tmp_path / "pred.txt", rows)
    with pytest.raises(PoseError, match=line) as error:
        evaluate_tracks(pred, mot(tmp_path / "gt.txt", STEADY))
    assert str(error.value).startswith(str(pred))


def test_other_keypoints_and_keypoints_that_are_no_numbers(tmp_path: Path) -> None:
    gt = table(tmp_path / "gt.csv", [(0, 1, 0, points())])
    with pytest.raises(PoseError, match=r"pred.csv: 5 keypoints, .*gt.csv has 17"):
        evaluate_tracks(table(tmp_path / "pred.csv", [(0, 1, 0, points(k=5))]), gt)
    with pytest.raises(PoseError, match=r"pred.csv: frame 0: a keypoint of id 1 is not a number"):
        evaluate_tracks(table(tmp_path / "pred.csv", [(0, 1, 0, points() * np.nan)]), gt)
    with pytest.raises(PoseError, match="5 sigmas, the tracks have 17 keypoints"):
        evaluate_tracks(gt, gt, sigmas=[0.1] * 5)
    for name, k in (("a", 17), ("b", 5)):
        table(tmp_path / "two" / f"{name}.csv", [(0, 1, 0, points(k=k))], source=f"{name}.mp4")
    with pytest.raises(PoseError, match=r"b.csv: 5 keypoints, .*a.csv has 17"):
        evaluate_tracks(tmp_path / "two", tmp_path / "two")


def test_places_without_tracks_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gt = mot(tmp_path / "gt.txt", STEADY)
    mot(tmp_path / "two" / "a.txt", STEADY)
    mot(tmp_path / "two" / "b.txt", STEADY)
    (tmp_path / "empty").mkdir()
    for words, line in (
        ([f"pred={tmp_path}/none.txt", f"gt={gt}"], "none.txt: no such file or folder"),
        ([f"pred={tmp_path}/empty", f"gt={gt}"], "empty: no files of tracks"),
        ([f"pred={gt}", f"gt={tmp_path}/two"], "no tracks of a, as for 2 of 2 sequences of the truth; it has gt"),
        ([f"gt={gt}"], "pred"),
        ([f"pred={gt}", f"gt={gt}", "out=figures.txt"], "out=figures.txt: the suffix says what to write"),
        ([f"pred={gt}", f"gt={gt}", "every=0"], "every"),
    ):
        assert main(["eval-tracks", *words]) in (1, 2)
        error = capsys.readouterr().err
        assert line in error
        assert error.count("\n") == 1


def test_the_boxes_by_hand_are_files_of_tracks() -> None:
    scores = evaluate_tracks(CLIPS, CLIPS, every=5)
    assert {name: counts.figures()["MT"] for name, counts in scores.boxes.items()} == {
        "one_by_one_persons": 2, "walking_faces": 3, "walking_persons": 3,
    }  # fmt: skip
