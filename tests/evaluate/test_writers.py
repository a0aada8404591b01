"""Files that a validation writes image by image."""

import json
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from yolopose.evaluate.writers import PredictionsFile


def sample(name: str) -> Any:
    found = SimpleNamespace(boxes=np.array([[1, 2, 5, 8, 0.5, 0]]), keypoints=np.ones((1, 2, 2)))
    return SimpleNamespace(item=SimpleNamespace(path=Path(name)), found=found)


@pytest.mark.parametrize(
    ("name", "image_id"), [("0007.jpg", 7), ("²", "²"), ("٣.png", "٣"), ("a-1.jpg", "a-1"), ("-1.jpg", "-1")]
)
def test_an_image_is_known_by_its_number_or_its_name(tmp_path: Path, name: str, image_id: object) -> None:
    with ExitStack() as stack:
        file = PredictionsFile(tmp_path / "predictions.json", stack)
        file.add(sample(name))
        file.finish()
    (row,) = json.loads((tmp_path / "predictions.json").read_text())
    assert row == {
        "image_id": image_id, "category_id": 1, "bbox": [1, 2, 4, 6], "keypoints": [1] * 6, "score": 0.5,
    }  # fmt: skip


def test_a_failed_validation_leaves_no_files(tmp_path: Path) -> None:
    (tmp_path / "predictions.json").write_text("older")
    stack = ExitStack()
    PredictionsFile(tmp_path / "predictions.json", stack).add(sample("1.jpg"))
    with pytest.raises(KeyboardInterrupt), stack:
        raise KeyboardInterrupt
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_no_detection_is_an_empty_list(tmp_path: Path) -> None:
    with ExitStack() as stack:
        PredictionsFile(tmp_path / "predictions.json", stack).finish()
    assert json.loads((tmp_path / "predictions.json").read_text()) == []
