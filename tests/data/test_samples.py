"""The data set that comes with the package."""

from pathlib import Path

import pytest

import yolopose
from yolopose.data.dataset import PoseDataset, SampleOptions
from yolopose.data.labels import scan
from yolopose.data.spec import load_data

SAMPLES = Path(yolopose.__file__).parent / "assets" / "samples"


def files() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in SAMPLES.rglob("*")}


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_samples_have_labels_without_faults(split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = files()
    found = scan(load_data("sample-pose.yaml"), split, strict=True)
    assert found.counts.images == 4
    assert found.counts.backgrounds == found.counts.corrupt == found.counts.duplicates == 0
    assert sum((item.labels.keypoints[..., 2] > 0).sum() for item in found.items) > 60
    assert PoseDataset(found, SampleOptions(imgsz=64))[0].image.shape == (64, 64, 3)
    assert files() == before


def test_the_samples_have_licences_and_are_small() -> None:
    photos = [p for p in SAMPLES.rglob("*.jpg")]
    text = (SAMPLES / "LICENSES.md").read_text()
    for photo in photos:
        (line,) = [row for row in text.splitlines() if f"| {photo.parent.name}/{photo.name} |" in row]
        assert "CC BY" in line or "public domain" in line or "no known copyright" in line
    assert sum(p.stat().st_size for p in SAMPLES.rglob("*") if p.is_file()) < 600_000
