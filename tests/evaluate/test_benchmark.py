"""The benchmark measures what runs and names what fails."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.builders import make_network

from yolopose.checkpoint import Checkpoint, save_checkpoint
from yolopose.config import BenchmarkConfig
from yolopose.errors import PoseError, UsageError
from yolopose.evaluate import benchmark as module
from yolopose.evaluate.benchmark import FormatFigures, benchmark, size_of, table, to_csv
from yolopose.formats.table import FORMATS

pytest.importorskip("torch")


@pytest.fixture
def model(tmp_path: Path) -> str:
    network = make_network()
    save_checkpoint(tmp_path / "m.pt", Checkpoint(network.state_dict(), network.spec, network.info))
    return str(tmp_path / "m.pt")


@pytest.fixture
def three_formats(monkeypatch: Any) -> None:
    """PyTorch, which runs, and formats whose exports fail: in our words, and in a toolchain's own."""

    def fail(*_: Any) -> None:
        raise PoseError("the converter is broken")

    def die(*_: Any) -> None:
        raise RuntimeError("an assertion\nof theirs")

    pytorch, onnx = (next(row for row in FORMATS if row.argument == name) for name in ("pytorch", "onnx"))
    rows = (
        replace(onnx, export=die, title="Dead", argument="dead"), pytorch, replace(onnx, export=fail, title="Broken")
    )  # fmt: skip
    monkeypatch.setattr(module, "FORMATS", rows)
    monkeypatch.setattr("yolopose.formats.table.FORMATS", rows)


@pytest.mark.usefixtures("three_formats")
def test_formats_that_run_are_measured_and_failures_are_named(
    model: str, tmp_path: Path, caplog: Any, figures: list[Any]
) -> None:
    with caplog.at_level("INFO", "yolopose"):
        rows = benchmark(BenchmarkConfig(model=model, imgsz=64, project=str(tmp_path / "runs")))
    dead, good, bad = rows
    assert dead.failure == "RuntimeError: an assertion of theirs"
    assert (good.verified, good.difference_px, good.failure, good.precision) == ("yes", 0.0, "", "float32")
    assert good.latency_ms > 0
    assert good.fps == pytest.approx(1000 / good.latency_ms, rel=0.1)
    assert good.size_mb == pytest.approx(Path(model).stat().st_size / 1e6, abs=0.01)
    assert bad.failure == "the converter is broken"
    assert bad.latency_ms is None
    assert "failed: the converter is broken" in caplog.text
    folder = tmp_path / "runs" / "benchmark"
    read = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert [row["format"] for row in read] == ["Dead", "PyTorch", "Broken"]
    assert (folder / "formats.png").is_file()
    notes = [text.get_text().strip() for text in figures[0].axes[0].texts]
    assert notes == ["not run", f"{good.latency_ms:.0f} ms, float32", "not run"]


def test_exports_and_unknown_formats_are_refused(model: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a checkpoint"):
        benchmark(BenchmarkConfig(model="m.onnx"))
    with pytest.raises(UsageError, match="format='onxx': known are pytorch"):
        benchmark(BenchmarkConfig(model=model, format="onxx", project=str(tmp_path)))


def test_the_tables_show_every_row() -> None:
    rows = [
        FormatFigures("PyTorch", "pytorch", "float32", 6.5, None, 0.0, "yes", 0.5, 0.6, 41.2, 24.3),
        FormatFigures("X", "x", failure="f"),
    ]
    assert [line.split()[0] for line in table(rows)[1:]] == ["PyTorch", "X", "failed:"]
    assert to_csv(rows).splitlines()[1].startswith("PyTorch,pytorch,float32,6.5,,0.0,yes,0.5")


def test_a_folder_is_as_large_as_its_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x").write_bytes(b"12345")
    (tmp_path / "a" / "b" / "y").write_bytes(b"123")
    assert size_of(tmp_path / "a") == 8
    assert size_of(tmp_path / "a" / "x") == 5
