"""Figures of tracking against the recorded ones of trackeval 1.3.0 (benchmarks/record_trackeval.py), to 9 decimals."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from yolopose.evaluate.track_files import read_pairs
from yolopose.evaluate.track_frames import pose_frames
from yolopose.evaluate.tracking import count
from yolopose.evaluate.tracks import TrackScores, evaluate_tracks

RECORDER = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "record_trackeval.py"))
RECORDED: dict[str, Any] = json.loads(RECORDER["OUT"].read_text())
NEAR = 1e-9


def test_the_recording_is_of_what_is_generated_here() -> None:
    assert RECORDER["checksum"]() == RECORDED["checksum"]
    assert set(RECORDED["boxes"]) == {*RECORDER["sequences"](), "COMBINED_SEQ"}


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> TrackScores:
    """Ours, from the same files."""
    folder = tmp_path_factory.mktemp("tracks")
    for name, sides in RECORDER["sequences"]().items():
        files = folder / "gt" / name / "gt" / "gt.txt", folder / "pred" / f"{name}.txt"
        for file, rows in zip(files, sides, strict=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(RECORDER["mot_text"](rows))
    return evaluate_tracks(folder / "pred", folder / "gt")


@pytest.mark.parametrize("name", sorted(set(RECORDED["boxes"]) - {"COMBINED_SEQ"}))
def test_boxes(name: str, scores: TrackScores) -> None:
    assert scores.boxes[name].figures() == pytest.approx(RECORDED["boxes"][name], abs=NEAR)


def test_all_sequences_together(scores: TrackScores) -> None:
    assert scores.figures() == pytest.approx(RECORDED["boxes"]["COMBINED_SEQ"], abs=NEAR)
    assert not scores.poses


def test_poses(tmp_path: Path) -> None:
    for name, rows in zip(("gt", "pred"), RECORDER["poses"](), strict=True):
        RECORDER["write_poses"](tmp_path / f"{name}.csv", rows)
    pred, gt = tmp_path / "pred.csv", tmp_path / "gt.csv"
    scores = evaluate_tracks(pred, gt, sigmas=RECORDER["SIGMAS"])
    assert scores.figures("poses") == pytest.approx(RECORDED["poses"], abs=NEAR)
    assert scores.figures("boxes") != pytest.approx(RECORDED["poses"], abs=0.01)
    truth, found = read_pairs(pred, gt)[0]
    assert count(pose_frames(truth, found, RECORDER["SIGMAS"])).figures() == scores.figures("poses")
