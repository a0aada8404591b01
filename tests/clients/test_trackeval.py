"""trackeval: its figures of tracks on further generated files than those recorded in tests/recordings."""

import runpy
from pathlib import Path

import pytest

from yolopose.evaluate.tracks import evaluate_tracks

pytestmark = pytest.mark.clients
RECORDER = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "record_trackeval.py"))
SEEDS = range(100, 112)


def test_boxes(tmp_path):
    generated = {}
    for seed in SEEDS:
        generated[f"walkers{seed}"] = RECORDER["walkers"](seed, 3 + seed % 9, 40, noise=seed % 12)
        generated[f"classes{seed}"] = RECORDER["crowd_of_classes"](seed)
        generated[f"ties{seed}"] = RECORDER["ties"](seed)
    theirs = RECORDER["record_boxes"](tmp_path, generated)
    ours = evaluate_tracks(tmp_path / "all" / "us" / "data", tmp_path / "gt")
    assert set(theirs) == {*ours.boxes, "COMBINED_SEQ"}
    for name, counts in ours.boxes.items():
        assert counts.figures() == pytest.approx(theirs[name], abs=1e-6), name
    assert ours.figures() == pytest.approx(theirs["COMBINED_SEQ"], abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_poses(seed, tmp_path):
    sides = RECORDER["poses"](seed)
    RECORDER["write_poses"](tmp_path / "gt.csv", sides[0])
    RECORDER["write_poses"](tmp_path / "pred.csv", sides[1])
    ours = evaluate_tracks(tmp_path / "pred.csv", tmp_path / "gt.csv", sigmas=RECORDER["SIGMAS"])
    assert ours.figures("poses") == pytest.approx(RECORDER["record_poses"](sides), abs=1e-6)
