"""Tracker files: the packaged ones, a user's own, and what is wrong with one."""

import dataclasses
from pathlib import Path

import pytest

from yolopose.cli import main
from yolopose.config.foreign import TRACKER_ENTRIES
from yolopose.errors import PoseError, UsageError
from yolopose.track.options import TRACKERS, TYPES, TrackerOptions, read_tracker


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("form", ["{}", "{}.yaml", "{}.yml"])
def test_packaged_trackers_have_the_documented_values(kind: str, form: str) -> None:
    camera = {"pose": "none", "bytetrack": "none", "botsort": "sparseOptFlow"}[kind]
    expected = TrackerOptions(tracker_type=kind, gmc_method=camera)
    if kind == "pose":  # our own
        expected = dataclasses.replace(expected, fuse_score=False, track_buffer=60)
    assert read_tracker(form.format(kind)) == expected


def test_every_packaged_file_is_a_type() -> None:
    assert {file.stem for file in TRACKERS.glob("*.yaml")} == set(TYPES)


def test_a_file_of_ones_own_goes_first_and_may_be_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "botsort.yaml").write_text("tracker_type: botsort\ntrack_buffer: 90\nmatch_thresh: 1\n")
    monkeypatch.chdir(tmp_path)
    options = read_tracker("botsort.yaml")
    assert (options.track_buffer, options.match_thresh) == (90, 1.0)
    assert options.gmc_method == "sparseOptFlow"  # of the packaged botsort
    assert read_tracker(tmp_path / "botsort.yaml") == options
    assert read_tracker("botsort").track_buffer == 30


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("track_bufer: 30", "unknown entry 'track_bufer'; did you mean 'track_buffer'?"),
        ("zzz: 30", "unknown entry 'zzz'; the entries are tracker_type, track_high_thresh"),
        ("match_thresh: 1.2", "match_thresh must be a number from 0 to 1, got 1.2"),
        ("match_thresh: .nan", "match_thresh must be a number from 0 to 1, got nan"),
        ("track_buffer: -1", "track_buffer must be from 0 to 1000000, got -1"),
        ("track_buffer: 2.5", "track_buffer must be a whole number, got 2.5"),
        ("fuse_score: 1", "fuse_score must be True or False, got 1"),
        ("with_reid: True", "with_reid: there are no appearance features"),
        ("gmc_method: orb", "gmc_method: orb is not built here; use sparseOptFlow"),
        ("gmc_method: sparseflow", "gmc_method must be one of sparseOptFlow, none, got 'sparseflow'; did you mean"),
        ("tracker_type: deepocsort", "tracker_type: deepocsort is not one of our trackers; use pose"),
        ("tracker_type: bytetracks", "got 'bytetracks'; did you mean 'bytetrack'?"),
        ("tracker_type: [1]", "tracker_type must be one of pose, bytetrack, botsort, got [1]"),
        ("model: 3", "model must be text, got 3"),
    ],
)
def test_a_wrong_entry_is_named_with_its_file(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    head = "" if line.startswith("tracker_type") else "tracker_type: pose\n"
    file.write_text(f"{head}{line}\n")
    with pytest.raises(PoseError) as told:
        read_tracker(file)
    assert str(told.value).startswith(f"{file}: ")
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_a_file_without_type_and_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("track_buffer: 3\n")
    with pytest.raises(PoseError, match=r"a\.yaml: no tracker_type entry; add for example 'tracker_type: pose'"):
        read_tracker(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("just words\n")
    with pytest.raises(PoseError, match=r"b\.yaml: expected lines of the form key: value"):
        read_tracker(tmp_path / "b.yaml")


@pytest.mark.parametrize("word", ["None", "none", "null", "''"])
def test_camera_motion_can_be_switched_off(tmp_path: Path, word: str) -> None:
    (tmp_path / "a.yaml").write_text(f"tracker_type: botsort\ngmc_method: {word}\n")
    if word == "''":
        with pytest.raises(PoseError, match="gmc_method must be one of"):
            read_tracker(tmp_path / "a.yaml")
    else:
        assert read_tracker(tmp_path / "a.yaml").gmc_method == "none"


@pytest.mark.parametrize("name", ["ocsort", "deepocsort.yaml", "fasttrack", "tracktrack.yaml"])
def test_documented_trackers_that_are_not_here_get_one_line(name: str) -> None:
    with pytest.raises(UsageError, match=r"tracker=\w+(\.yaml)?: \w+ is not one of our trackers; use pose"):
        read_tracker(name)


def test_an_unknown_tracker_gets_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tracker=bytetrak\.yaml: no such tracker or file; did you mean 'bytetrack'"):
        read_tracker("bytetrak.yaml")
    with pytest.raises(UsageError, match="there are pose, bytetrack, botsort and files of your own"):
        read_tracker(tmp_path / "q.yaml")


def test_an_entry_given_as_an_argument_gets_a_line_that_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    entries = {field.name for field in dataclasses.fields(TrackerOptions)}
    assert set(TRACKER_ENTRIES) == entries - {"model"}  # which is an argument of track, too
    assert main(["track", "source=a.mp4", "track_buffer=60"]) == 2
    assert (
        "unknown argument 'track_buffer'; it is an entry of a tracker's file: tracker=my.yaml"
        in capsys.readouterr().err
    )
