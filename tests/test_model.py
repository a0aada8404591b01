"""A YOLO object as a model: its facts, the habits of a torch module, copies and pickles."""

import copy
import multiprocessing
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.builders import make_network, make_photo, tiny_onnx

from yolopose import YOLO, PoseError
from yolopose.checkpoint import Checkpoint, save_checkpoint


@pytest.fixture
def small(tmp_path: Path) -> Path:
    network = make_network()
    network.info = replace(network.info, imgsz=(64, 64))
    path = tmp_path / "small.pt"
    extra = {"epoch": 7, "metrics": {"fitness": 0.5}}
    save_checkpoint(
        path, Checkpoint(network.state_dict(), network.spec, network.info, {"imgsz": 64, "data": "d.yaml"}, extra)
    )
    return path


def boxes(model: YOLO) -> np.ndarray:
    return np.asarray(model(make_photo((64, 64), (8, 8, 40, 40)), conf=0.3, verbose=False)[0].boxes.data)


@pytest.mark.parametrize("kind", ["pt", "onnx"])
def test_a_model_that_has_predicted_can_be_pickled_and_copied(kind: str, small: Path, tmp_path: Path) -> None:
    model = YOLO(small if kind == "pt" else tiny_onnx(tmp_path / "tiny.onnx"))
    model.overrides["max_det"] = 4
    expected = boxes(model)
    assert len(expected) == 4
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        np.testing.assert_array_equal(boxes(other), expected)
        assert other.names == model.names
    np.testing.assert_array_equal(boxes(model), expected)


@pytest.mark.slow
def test_a_model_goes_to_another_process(small: Path) -> None:
    model = YOLO(small)
    expected = boxes(model)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        photo = make_photo((64, 64), (8, 8, 40, 40))
        found = pool.apply(YOLO.predict, (model, photo), {"conf": 0.3, "verbose": False})
    np.testing.assert_array_equal(np.asarray(found[0].boxes.data), expected)


def test_a_pickled_architecture_is_still_untrained(tmp_path: Path) -> None:
    model = YOLO("yolov8n-pose.yaml")
    assert not copy.deepcopy(model).pretrained
    assert pickle.loads(pickle.dumps(model.reset_weights())).pretrained is False


def test_yolo_has_the_methods_of_a_torch_module(small: Path) -> None:
    model = YOLO(small)
    names = list(model.state_dict())
    assert names == list(model.model.state_dict())
    assert [name for name, _ in model.named_parameters()] == [n for n, _ in model.model.named_parameters()]
    assert sum(p.numel() for p in model.parameters()) == model.info(verbose=False)[1]
    assert model.eval() is model.cpu() is model.float() is model.to(torch.device("cpu")) is model
    assert model.device == torch.device("cpu")
    expected = boxes(model)
    doubled = {key: value * 2 if ".conv." in key else value for key, value in model.state_dict().items()}
    assert not model.load_state_dict(doubled).missing_keys
    assert not np.array_equal(boxes(model), expected)


def test_half_is_remembered(small: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = YOLO(small)
    with caplog.at_level("WARNING", "yolopose"):
        boxes(model.half())
    assert "half=True: CPUs compute 16-bit floats slowly" in caplog.text
    caplog.clear()
    boxes(model.float())
    assert not caplog.text


def test_a_missing_gpu_is_reported_when_it_is_used(small: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(PoseError, match="not on this machine"):
        boxes(YOLO(small).cuda())


def test_weights_can_be_made_random_again(small: Path) -> None:
    model = YOLO(small)
    before = model.state_dict()["model.0.conv.weight"].clone()
    assert model.pretrained
    assert model.reset_weights() is model
    assert not model.pretrained
    assert not torch.equal(before, model.state_dict()["model.0.conv.weight"])
    assert (model.names, model.model_info.imgsz) == ({0: "class0"}, (64, 64))


def test_yolo_has_the_attributes_that_scripts_read(small: Path) -> None:
    model = YOLO(str(small))
    assert (model.model_name, model.task, model.ckpt_path) == (str(small), "pose", small)
    assert model.overrides == {"task": "pose", "model": str(small)}
    assert model.predictor is model.trainer is model.metrics is None
    assert (model.ckpt["epoch"], model.ckpt["train_args"]["data"]) == (7, "d.yaml")
    assert model.ckpt["model"] is model.model
    network = model.model
    assert (network.names, network.kpt_shape, network.args["imgsz"]) == ({0: "class0"}, (5, 3), 64)
    assert network.yaml["kpt_shape"] == [5, 3]
    assert network.stride.tolist() == [8, 16, 32]
    assert repr(model) == f"YOLO({str(small)!r}): network of a pose model"
    boxes(model)
    assert model.predictor.seen == 1


def test_a_model_named_without_suffix_is_found(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small.parent)
    assert YOLO("small").ckpt_path == Path("small.pt")
    assert YOLO(small.with_suffix("")).ckpt_path == small


@pytest.mark.parametrize(
    ("name", "says"),
    [("tune", "call train"), ("embed", "no embeddings"), ("xyz", "'xyz'")],
)
def test_missing_methods_name_the_alternative(small: Path, name: str, says: str) -> None:
    model = YOLO(small)
    assert not hasattr(model, name)
    with pytest.raises(AttributeError, match=says) as failure:
        getattr(model, name)
    assert "\n" not in str(failure.value)


def test_a_predictor_does_not_outlive_its_network(small: Path) -> None:
    model = YOLO(small)
    for change in (model.half, model.cpu, model.fuse, model.reset_weights):
        boxes(model)
        assert model.predictor is not None
        change()
        assert model.predictor is None


def test_a_verbose_model_tells_of_a_network_only(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    YOLO(small, verbose=True)
    assert "layers" in capsys.readouterr().out
    YOLO(tiny_onnx(tmp_path / "tiny.onnx"), verbose=True)
    assert "layers" not in capsys.readouterr().out
