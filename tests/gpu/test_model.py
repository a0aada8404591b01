"""A YOLO object on a GPU: where and in what precision it runs, copies of it, tensors that lie there."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from helpers.builders import make_network, make_photo

from yolopose import YOLO
from yolopose.checkpoint import Checkpoint, save_checkpoint

pytestmark = pytest.mark.gpu


@pytest.fixture
def model(tmp_path: Path) -> YOLO:
    network = make_network()
    save_checkpoint(tmp_path / "small.pt", Checkpoint(network.state_dict(), network.spec, network.info))
    return YOLO(tmp_path / "small.pt")


def best(model: YOLO, source: object, **arguments: object) -> float:
    return float(model(source, imgsz=64, conf=0.1, verbose=False, **arguments)[0].boxes.conf.max())


def test_moves_halves_and_copies(model: YOLO) -> None:
    photo = make_photo((64, 64), (8, 8, 40, 40))
    expected = best(model, photo, device="cpu")
    assert best(model.cuda(), photo) == pytest.approx(expected, abs=1e-3)
    assert model.device == torch.device("cuda:0")
    assert model.predictor.device == "cuda:0"
    assert best(model.half(), photo) == pytest.approx(expected, abs=3e-2)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert best(other, photo) == pytest.approx(best(model, photo), abs=1e-3)
        assert other.device == torch.device("cuda:0")
    assert best(model.float().cpu(), photo) == pytest.approx(expected, abs=1e-3)
    assert model.predictor.device == "cpu"


def test_a_tensor_on_the_gpu_runs_as_it_is(model: YOLO) -> None:
    photo = make_photo((64, 96), (8, 8, 40, 40))
    tensor = torch.from_numpy(photo[..., ::-1].copy()).permute(2, 0, 1).cuda()[None] / 255
    found = model(tensor, conf=0.1, verbose=False)[0]
    assert found.orig_shape == (64, 96)
    assert float(found.boxes.conf.max()) == pytest.approx(
        float(model(photo, imgsz=(64, 96), conf=0.1, verbose=False)[0].boxes.conf.max()), abs=1e-3
    )
