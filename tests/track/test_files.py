"""Files of tracks: what is written, by frame and after a failure, and what is read back."""

import csv
import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from yolopose.errors import PoseError, UsageError
from yolopose.track import files
from yolopose.track.files import TrackWriter
from yolopose.track.reading import read_tracks
from yolopose.track.table import TrackTable

NAMES = ("nose", "left_eye", "right_eye")
SUFFIXES = (".csv", ".json", ".parquet", ".txt")


def frame_rows(frame: int, ids: tuple[int, ...], *, source: str = "a.mp4", smoothed: bool = False) -> TrackTable:
    random = np.random.default_rng(frame)
    low = random.uniform(0, 500, (len(ids), 2))
    boxes = np.concatenate([low, low + random.uniform(1, 99, (len(ids), 2)), random.random((len(ids), 1))], 1)
    points = random.random((len(ids), 3, 3)).astype(np.float32)
    return TrackTable.of_frame(
        frame, frame / 25, np.array(ids, int), np.concatenate([boxes, np.zeros((len(ids), 1))], 1).astype(np.float32),
        points, source=source, names=NAMES, raw=points + 1 if smoothed else None,
        filled=points[..., 0] > 0.5 if smoothed else None,
    )  # fmt: skip


def write(path: Path, tables: list[TrackTable]) -> TrackTable:
    with TrackWriter(path) as writer:
        for table in tables:
            writer.write(table)
    return TrackTable.join(tables)


def same(a: TrackTable, b: TrackTable, *, mot: bool = False) -> None:
    for name in ("frame", "id", "cls"):
        assert getattr(a, name).tolist() == getattr(b, name).tolist()
    np.testing.assert_allclose(a.box, b.box, atol=2e-3)
    np.testing.assert_allclose(a.score, b.score, atol=1e-5)
    if mot:
        return
    assert [a.sources[i] for i in a.sequence] == [b.sources[i] for i in b.sequence]
    np.testing.assert_allclose(a.time, b.time, atol=1e-6)
    np.testing.assert_allclose(a.keypoints, b.keypoints, atol=1e-3)
    assert (a.raw is None) == (b.raw is None)
    if a.raw is not None:
        np.testing.assert_allclose(a.raw[..., :2], b.raw[..., :2], atol=1e-3)
        assert a.filled.tolist() == b.filled.tolist()


@pytest.mark.parametrize("smoothed", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str, smoothed: bool) -> None:
    tables = [frame_rows(0, (1, 2), smoothed=smoothed), frame_rows(1, (), smoothed=smoothed)]
    tables.append(frame_rows(7, (2, 3, 11), smoothed=smoothed))
    path = tmp_path / "new" / f"tracks{suffix}"
    written = write(path, tables)
    same(read_tracks(path), written, mot=suffix == ".txt")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_run_without_tracks_gives_an_empty_file_that_can_be_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    write(path, [frame_rows(0, ()), frame_rows(1, ())])
    assert len(read_tracks(path)) == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_until_a_failure_are_in_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"

    def run() -> None:
        with TrackWriter(path) as writer:
            writer.write(frame_rows(0, (1, 2)))
            writer.write(frame_rows(1, (1,)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert read_tracks(path).id.tolist() == [1, 2, 1]


def test_text_reaches_the_disk_frame_by_frame(tmp_path: Path) -> None:
    writer = TrackWriter(tmp_path / "t.csv")
    writer.write(frame_rows(0, (1, 2)))
    [part] = tmp_path.iterdir()
    assert len(part.read_text().splitlines()) == 3  # a killed process leaves this file
    writer.close()


@pytest.mark.parametrize("suffix", [".csv", ".json", ".txt"])
def test_a_full_disk_keeps_the_frames_that_were_written(tmp_path: Path, suffix: str) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / f"t{suffix}"
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    frames = 0

    def run() -> None:
        nonlocal frames
        with TrackWriter(path) as writer:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
            for frames in range(1000):
                writer.write(frame_rows(frames, (1, 2)))

    try:
        with pytest.raises(PoseError, match=r"t\.\w+: cannot be written: "):
            run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 3 < frames < 999
    assert read_tracks(path).frame.tolist() == [frame for frame in range(frames) for _ in range(2)]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_killed_process_leaves_json_that_can_be_read(tmp_path: Path) -> None:
    writer = TrackWriter(tmp_path / "t.json")
    writer.write(frame_rows(0, ()))
    for frame in (1, 2):
        writer.write(frame_rows(frame, (1, 2)))
        [part] = tmp_path.iterdir()
        assert len(json.loads(part.read_text())) == 2 * frame
    writer.close()


@pytest.mark.parametrize("name", ["folder.csv", "a\0b.csv", "x" * 250 + ".csv", "folder.csv/../file/t.csv"])
def test_where_no_file_can_be_made_nothing_starts(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(PoseError, match="cannot be written: ") as error:
        TrackWriter(tmp_path / name)
    assert "\0" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.csv"]


def test_motchallenge_text_counts_frames_from_one_and_has_ten_columns(tmp_path: Path) -> None:
    boxes = np.array([[10, 20, 15, 40, 0.5, 0]], np.float32)
    table = TrackTable.of_frame(0, 0.0, np.array([4]), boxes, np.zeros((1, 3, 3)), names=NAMES)
    write(tmp_path / "t.txt", [table])
    assert (tmp_path / "t.txt").read_text() == "1,4,10.0,20.0,5.0,20.0,0.5,-1,-1,-1\n"


def test_every_sequence_has_a_file_of_motchallenge_text_and_rows_of_all_are_in_one_csv(tmp_path: Path) -> None:
    for suffix in (".txt", ".csv"):
        with TrackWriter(tmp_path / f"t{suffix}") as writer:
            for frame in range(2):  # two streams, in rounds
                for stream in ("a", "b"):
                    writer.write(frame_rows(frame, (1,), source=stream), stream)
            writer.end("a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t-2.txt", "t.csv", "t.txt"]
    assert read_tracks(tmp_path / "t-2.txt").frame.tolist() == [0, 1]
    table = read_tracks(tmp_path / "t.csv")
    assert (table.sources, table.sequence.tolist()) == (("a", "b"), [0, 1, 0, 1])


def test_csv_names_every_keypoint_and_json_looks_like_a_summary(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", [frame_rows(3, (1,), smoothed=True)])
    write(tmp_path / "t.json", [frame_rows(3, (1,))])
    [row] = csv.DictReader((tmp_path / "t.csv").read_text().splitlines())
    assert {
        "source",
        "frame",
        "time",
        "id",
        "x2",
        "nose_x",
        "nose_score",
        "nose_raw_y",
        "left_eye_filled",
    } <= row.keys()
    [entry] = json.loads((tmp_path / "t.json").read_text())
    assert (entry["time"], entry["box"].keys(), entry["keypoints"].keys()) == (
        0.12, {"x1", "y1", "x2", "y2"}, {"x", "y", "visible"},
    )  # fmt: skip


def test_parquet_is_written_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet

    monkeypatch.setattr(files, "GROUP", 4)
    written = write(tmp_path / "t.parquet", [frame_rows(i, (1, 2, 3)) for i in range(5)])
    assert pyarrow.parquet.ParquetFile(tmp_path / "t.parquet").num_row_groups == 3
    same(read_tracks(tmp_path / "t.parquet"), written)


def test_an_unknown_suffix_and_parquet_without_pyarrow_stop_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"save_tracks=.*t\.cvs: .*\.csv.*did you mean '\.csv'"):
        TrackWriter(tmp_path / "t.cvs")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    with pytest.raises(PoseError, match=r"Parquet needs pyarrow: pip install 'yolopose\[tracks\]'"):
        TrackWriter(tmp_path / "t.parquet")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PoseError, match=r"file.t\.csv: cannot be written: "):
        TrackWriter(tmp_path / "file" / "t.csv").write(frame_rows(0, (1,)))


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("t.txt", "1,1,2,3,4,5\n1,1,2\n", "row 2: expected frame"),
        ("t.txt", "0,1,2,3,4,5\n", "row 1: expected frame"),
        ("t.txt", "1,1,2,x,4,5\n", "row 1: expected numbers"),
        ("t.txt", "1,1e300,2,3,4,5\n", "row 1: expected frame"),
        ("t.txt", "1,1,2,3,4,5,1,inf\n", "row 1: expected frame"),
        ("t.csv", "a,b\n1,2\n", "no column source"),
        ("t.csv", "a,b\n1\n", "row 2: 1 cells under 2 columns"),
        ("t.csv", "", "not a CSV file"),
        ("t.csv", ",".join(files.COLUMNS) + "\na,1.5,0,1,0,1,0,0,1,1\n", "row 2: frame is 1.5"),
        ("t.csv", ",".join(files.COLUMNS) + "\na,1,0,1e300,0,1,0,0,1,1\n", "row 2: id is 1e"),
        ("t.csv", ",".join(files.COLUMNS) + "\na,1,0,1,0,1,zero,0,1,1\n", "column 'x1': could not convert"),
        ("t.json", "{", "not JSON"),
        ("t.json", "{}", "expected a list of rows"),
        ("t.json", '[{"source": "a"}]', "row 1: not a row of tracks"),
        ("t.parquet", "PAR1", "cannot be read as Parquet"),
        ("t.xml", "", "files of tracks are .csv"),
    ],
)
def test_a_damaged_file_of_tracks_gives_one_line(tmp_path: Path, name: str, text: str, line: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PoseError, match=line) as error:
        read_tracks(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_motchallenge_files_of_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text("1, 3, 10, 20, 5, 6, 1, 1, 0.8\n\n2 3 11 20 5 6\n")
    table = read_tracks(tmp_path / "gt.txt")
    assert (table.frame.tolist(), table.id.tolist(), table.cls.tolist(), table.score.tolist()) == (
        [0, 1], [3, 3], [1, 0], [1, 1],
    )  # fmt: skip
    assert table.box.tolist() == [[10, 20, 15, 26], [11, 20, 16, 26]]
