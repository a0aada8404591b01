"""Reports of a training run: a line per epoch on the console, a row per epoch in results.csv."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from yolopose.console import log
from yolopose.console import progress as show_progress
from yolopose.errors import PoseError
from yolopose.evaluate.metrics import KEYS
from yolopose.files import read_bounded, write_text
from yolopose.limits import MAX_CSV
from yolopose.loss.pose import PARTS

if TYPE_CHECKING:
    from yolopose.train.run import Run

HEADER = ("Epoch", "GPU_mem", *(f"{part}_loss" for part in PARTS), "Instances", "Size")
COLUMNS = (
    "epoch", "time", *(f"train/{part}_loss" for part in PARTS), *KEYS,
    *(f"val/{part}_loss" for part in PARTS), *(f"lr/pg{group}" for group in range(3)),
)  # fmt: skip


def header() -> str:
    """The titles above the epochs' lines."""
    return "".join(f"{title:>11}" for title in HEADER)


def line(cells: Sequence[str | float]) -> str:
    """An epoch's values under the titles: numbers with four digits."""
    return "".join(f"{cell if isinstance(cell, str) else format(cell, '.4g'):>11}" for cell in cells)


def append(path: Path, row: Mapping[str, float]) -> None:
    """Add an epoch to results.csv (beside, then renamed); the file is begun when there is none.

    Raises:
        PoseError: the file cannot be written.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ",".join(COLUMNS) + "\n"
    _write(path, text + ",".join(_digits(column, row.get(column, 0.0)) for column in COLUMNS) + "\n")


def read(path: Path) -> dict[str, list[float]]:
    """The columns of results.csv by name; none when there is no such file. Raises PoseError as `truncate` does."""
    titles, rows = _table(path)
    return {name: [row[i] for _, row in rows] for i, name in enumerate(titles.split(",") if rows else ())}


def truncate(path: Path, epochs: int) -> None:
    """Drop the rows after the first `epochs` epochs: they will be written again.

    Raises:
        PoseError: the file cannot be read or written, or has been changed to something else.
    """
    if path.exists():
        titles, rows = _table(path)
        kept = [line for line, numbers in rows if numbers[0] <= epochs]
        _write(path, "".join(f"{line}\n" for line in (titles, *kept)))


def _table(path: Path) -> tuple[str, list[tuple[str, list[float]]]]:
    """The line of titles, and each row as it stands and as numbers."""
    if not path.exists():
        return "", []
    try:
        titles, *lines = read_bounded(path, MAX_CSV).decode().split() or [",".join(COLUMNS)]
        rows = [(line, [float(cell) for cell in line.split(",")]) for line in lines]
        if any(len(numbers) != len(titles.split(",")) for _, numbers in rows):
            raise ValueError
    except OSError as error:
        raise PoseError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise PoseError(f"{path}: not the table of a run any more; move it away to begin another") from None
    return titles, rows


def _digits(column: str, value: float) -> str:
    """Six digits, of losses and metrics at most five after the point."""
    return format(value if column.startswith("lr/") else round(value, 5), ".6g")


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise PoseError(f"{path}: cannot be written: {error.strerror or error}") from None


def progress(run: Run, means: Tensor) -> str:
    """The line of the epoch under way; `means` (5,) are its losses so far."""
    memory = torch.cuda.memory_reserved(run.device) / 1e9 if run.device.type == "cuda" else 0.0
    instances = len(run.batch.classes) if run.batch else 0
    return line((f"{run.epoch + 1}/{run.epochs}", f"{memory:.3g}G", *means.tolist(), instances, max(run.size)))


@contextmanager
def epoch_line(batches: int, wanted: bool = True) -> Iterator[Callable[[int, Callable[[], str]], None]]:
    """A function (batches done, text) that shows how an epoch goes (`console.progress`), then logs the last text.

    `text` is asked for only when it is shown, because reading losses makes a GPU wait.
    """
    latest: Callable[[], str] = str
    with show_progress(wanted, least=1) as shows:

        def show(done: int, text: Callable[[], str]) -> None:
            nonlocal latest
            latest = text
            shows(done, batches, text)

        yield show
    if wanted:
        log.info(latest())
