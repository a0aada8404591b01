"""A teacher: what it adds to a batch, what it leaves, and training, resuming and refusing with one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.builders import FakeBackend, make_dataset, make_network, make_photo

from yolopose import YOLO, checkpoint
from yolopose.checkpoint import Checkpoint, save_checkpoint
from yolopose.config import TrainConfig, parse
from yolopose.data.batch import Batch, Sample, collate
from yolopose.errors import PoseError, UsageError
from yolopose.train import checkpointing
from yolopose.train.loop import train
from yolopose.train.teacher import Teacher

K = 5
BOX = (40, 60, 200, 180)  # of the white rectangle that the fake teacher finds, with a score of 0.9
HW = (224, 320)
WHOLE = (0, 0, 320, 224, 0.1)  # a partly labelled image


def sample(boxes: list[tuple[float, ...]], v: float = 2, ignore: tuple[tuple[float, ...], ...] = ()) -> Sample:
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    points = np.full((len(rows), K, 3), (5, 5, v), np.float32)
    own = np.array(ignore, np.float32).reshape(-1, 5)
    return Sample(make_photo(HW, BOX), np.zeros(len(rows), np.int64), rows, points, ignore=own)


class Unsure(FakeBackend):
    """The same with a score between the thresholds."""

    def infer(self, images: Any) -> Any:
        out = super().infer(images)
        out[:, 4] *= 0.3 / 0.9
        return out


def completed(*samples: Sample, backend: type[FakeBackend] = FakeBackend) -> tuple[Batch, Batch]:
    before = collate(samples)
    return before, Teacher(backend(K), None, "").complete(before)


def pixels(batch: Batch, image: int) -> list[list[float]]:
    x, y, w, h = (batch.boxes[batch.image_index == image] * torch.tensor([HW[1], HW[0]] * 2)).T
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1).round().tolist()


def test_boxes_are_added_to_partly_labelled_images_alone() -> None:
    _, after = completed(sample([]), sample([], ignore=(WHOLE,)), sample([(250, 10, 300, 50)], ignore=(WHOLE,)))
    assert after.image_index.tolist() == [1, 2, 2]
    assert pixels(after, 1) == [list(map(float, BOX))]
    assert pixels(after, 2) == [[250, 10, 300, 50], list(map(float, BOX))]
    assert after.ignore is None  # what the teacher does not find is background again
    corners = after.keypoints[0, :, :2] * torch.tensor([HW[1], HW[0]])
    np.testing.assert_allclose(corners[0], BOX[:2], atol=1)
    assert after.keypoints[0, :, 2].tolist() == [2] * K
    assert (after.classes.dtype, after.boxes.dtype, after.keypoints.dtype) == (
        torch.int64, torch.float32, torch.float32,
    )  # fmt: skip


def test_only_the_region_of_a_partly_labelled_tile_counts() -> None:
    left, right = (0, 0, 110, 224, 0.1), (110, 0, 320, 224, 0.1)  # the rectangle's centre is at x = 120
    _, after = completed(sample([], ignore=(left,)), sample([], ignore=(right,)))
    assert after.image_index.tolist() == [1]


def test_unsure_detections_become_boxes_to_ignore() -> None:
    _, after = completed(sample([], ignore=(WHOLE,)), sample([]), backend=Unsure)
    assert not len(after.boxes)
    assert after.ignore is not None
    np.testing.assert_allclose(after.ignore, [[0, 40 / 320, 60 / 224, 200 / 320, 180 / 224, 0]], atol=1e-6)


def test_labels_stay_and_get_keypoints_they_lack() -> None:
    near = (42, 62, 198, 178)
    before, after = completed(sample([near], v=0), sample([near], v=1), sample([near], v=0, ignore=(WHOLE,)))
    torch.testing.assert_close(after.boxes, before.boxes, rtol=0, atol=0)
    assert after.keypoints[:, 0, 2].tolist() == [2, 1, 2]
    torch.testing.assert_close(after.keypoints[1], before.keypoints[1], rtol=0, atol=0)
    _, unsure = completed(sample([near], v=0), backend=Unsure)
    assert unsure.keypoints[:, 0, 2].tolist() == [0]


def test_boxes_to_ignore_stay() -> None:
    crowd = (30, 50, 210, 190, 0)
    before, after = completed(sample([], ignore=(crowd, WHOLE)))
    assert not len(after.boxes)
    torch.testing.assert_close(after.ignore, before.ignore[:1], rtol=0, atol=1e-6)


# --- in a training

ARGS = {"imgsz": 64, "epochs": 2, "batch": 2, "workers": 0, "device": "cpu", "plots": False, "optimizer": "AdamW",
        "lr0": 0.001, "verbose": False}  # fmt: skip


def save(path: Path, k: int = K, classes: int = 1, names: dict[int, str] | None = None, seed: int = 1) -> Path:
    network = make_network(k, classes=classes, seed=seed)
    info = replace(network.info, names=names or {i: "thing" for i in range(classes)})
    save_checkpoint(path, Checkpoint(network.state_dict(), network.spec, info, {}, {}))
    return path


def start(root: Path, name: str, callbacks: Any = None, **values: Any) -> Path:
    data = root / "data" / "data.yaml"
    if not data.exists():
        make_dataset(root / "data", 6, extra="partial: true\n")
    config = parse(TrainConfig, ARGS | {"data": data, "project": root / "runs", "name": name} | values)
    return train(config, make_network(), callbacks=callbacks).save_dir


def state(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_checkpoint(folder / "weights" / "last.pt").state


def test_a_teacher_changes_the_training_and_is_not_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = save(tmp_path / "teacher.pt")
    taught = start(tmp_path, "taught", teacher=str(teacher), verbose=True)
    assert "completes 6 partly labelled images" in capsys.readouterr().out
    alone = start(tmp_path, "alone")
    assert any(not torch.equal(a, b) for a, b in zip(state(taught).values(), state(alone).values(), strict=True))
    sizes = [(folder / "weights" / "last.pt").stat().st_size for folder in (taught, alone)]
    assert abs(sizes[0] - sizes[1]) < 2000


class Killed(BaseException):
    """The end of a run in the middle of things."""


def killed(root: Path, name: str, teacher: Path) -> Path:
    def kill(run: Any) -> None:
        if run.epoch == 1:
            raise Killed

    with pytest.raises(Killed):
        start(root, name, {"on_train_epoch_start": [kill]}, teacher=str(teacher))
    return root / "runs" / name / "weights" / "last.pt"


def test_a_resumed_run_has_the_same_teacher(tmp_path: Path) -> None:
    teacher = save(tmp_path / "teacher.pt")
    whole = start(tmp_path, "whole", teacher=str(teacher))
    last = killed(tmp_path, "killed", teacher)
    train(parse(TrainConfig, {"resume": str(last)}))
    assert all(torch.equal(a, b) for a, b in zip(state(whole).values(), state(last.parents[1]).values(), strict=True))


def test_another_file_in_its_place_is_refused(tmp_path: Path) -> None:
    teacher = save(tmp_path / "teacher.pt")
    last = killed(tmp_path, "killed", teacher)
    before = last.read_bytes()
    save(teacher, seed=2)
    for words, error in (("not the file that this run began with", PoseError), ("teacher.pt", PoseError)):
        with pytest.raises(error, match=words) as caught:
            train(parse(TrainConfig, {"resume": str(last)}))
        assert "\n" not in str(caught.value)
        teacher.unlink(missing_ok=True)
    with pytest.raises(UsageError, match="a resumed run keeps teacher"):
        checkpointing.load_for_resume(parse(TrainConfig, {"resume": str(last), "teacher": "other.pt"}))
    assert last.read_bytes() == before


@pytest.mark.parametrize(
    ("made", "name", "words"),
    [
        ({"k": 4}, "teacher.pt", r"kpt_shape is \[4, 3\], the data set's \[5, 3\]"),
        ({"names": {0: "cat"}}, "teacher.pt", "its classes are cat, the data set's thing"),
        ({"classes": 2}, "teacher.pt", "its classes are thing, thing"),
        ({}, "teacher.onnx", "must be a checkpoint"),
        ({}, "none.pt", "none.pt"),
        (None, "teacher.pt", "teacher.pt"),
    ],
)
def test_a_teacher_that_does_not_fit_is_one_line(
    tmp_path: Path, made: dict[str, Any] | None, name: str, words: str
) -> None:
    if made is None:
        (tmp_path / name).write_bytes(b"nothing")
    elif name != "none.pt":
        save(tmp_path / name, **made)
    with pytest.raises((PoseError, UsageError), match=words) as error:
        start(tmp_path, "run", teacher=str(tmp_path / name))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_a_teacher_without_work_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_dataset(tmp_path / "data", 2)
    for label in (tmp_path / "data" / "labels").glob("*.txt"):
        label.write_text("0 0.5 0.5 0.2 0.2" + " 0.5 0.5 2" * K + "\n")
    start(tmp_path, "run", teacher=str(save(tmp_path / "teacher.pt")), data=data, epochs=1, val=False)
    assert "nothing to add" in capsys.readouterr().err


def test_the_bundled_model_is_found_by_its_name(tmp_path: Path) -> None:
    names = YOLO("yolov8n-face").names
    make_dataset(tmp_path / "data", 2, extra="partial: true\n")
    file = tmp_path / "data" / "data.yaml"
    file.write_text(file.read_text().replace("[thing]", f"{list(names.values())}"))
    start(tmp_path, "run", teacher="yolov8n-face", epochs=1, val=False)
