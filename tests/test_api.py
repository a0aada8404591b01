"""class YOLO as scripts use it."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from builders import make_dataset, make_network, make_photo, tiny_onnx

from yolopose import YOLO, PoseError, Results
from yolopose.errors import UsageError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_onnx(tmp_path_factory.mktemp("model") / "tiny.onnx")


def test_call_predict_and_stream_agree(tiny: Path) -> None:
    model = YOLO(tiny)
    photos = [make_photo(), make_photo((200, 100), (10, 20, 60, 150))]
    called = model(photos, imgsz=64, conf=0.3, verbose=False)
    streamed = model.predict(photos, stream=True, imgsz=64, conf=0.3, verbose=False)
    assert isinstance(called, list)
    assert not isinstance(streamed, list)
    for a, b in zip(called, streamed, strict=True):
        assert isinstance(a, Results)
        assert len(a) > 0
        np.testing.assert_array_equal(a.boxes.data, b.boxes.data)


def test_facts_of_an_exported_model(tiny: Path) -> None:
    model = YOLO(str(tiny))
    assert model.names == {0: "class0"}
    assert (model.task, model.ckpt_path, model.device) == ("pose", tiny, "cpu")
    with pytest.raises(PoseError, match=r"tiny\.onnx: an exported file has no network"):
        _ = model.model


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"source": "x.jpg", "cnof": 0.5}, "did you mean 'conf'"),
        ({"source": "x.jpg", "conf": 2}, "0 to 1"),
        ({}, "source is missing"),
    ],
)
def test_wrong_arguments(tiny: Path, arguments: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        YOLO(tiny).predict(**arguments)


def test_other_tasks_and_missing_files_are_refused() -> None:
    with pytest.raises(UsageError, match="'pose' only"):
        YOLO("x.onnx", task="detect")
    with pytest.raises(PoseError, match=r"nowhere\.onnx"):
        YOLO("nowhere.onnx")


def test_a_yaml_gives_a_fresh_network_that_saves_loads_and_fuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = YOLO("yolov8n-pose.yaml")
    assert model.info() == (250, 3295470, 3295454, pytest.approx(9.2935376))
    assert "250 layers, 3,295,470 parameters, 3,295,454 gradients, 9.3 GFLOPs" in capsys.readouterr().out
    other = YOLO(model.save(tmp_path / "copy.pt"))
    assert other.load(tmp_path / "copy.pt") is other
    assert "Transferred 397/397 items" in capsys.readouterr().out
    before = model(make_photo(), imgsz=64, conf=0, max_det=5, verbose=False)[0]
    after = other.fuse().to("cpu")(make_photo(), imgsz=64, conf=0, max_det=5, verbose=False)[0]
    np.testing.assert_allclose(after.boxes.data, before.boxes.data, atol=2e-2)


def test_loading_seventeen_points_into_five(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    YOLO(golden / "init-n5.pt").load(golden / "natural-n17.pt")
    assert "Transferred 361/397 items from pretrained weights" in capsys.readouterr().out


def test_many_threads_give_the_serial_answer(tiny: Path) -> None:
    model = YOLO(tiny)
    photos = [make_photo(box=(20 + 5 * i, 30, 120 + 5 * i, 180)) for i in range(8)]
    serial = [model(p, imgsz=64, verbose=False)[0].boxes.data for p in photos]
    found: dict[int, np.ndarray] = {}

    def work(i: int) -> None:
        for _ in range(3):
            found[i] = model(photos[i], imgsz=64, verbose=False)[0].boxes.data

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for i, expected in enumerate(serial):
        np.testing.assert_array_equal(found[i], expected)


def test_training_without_files_leaves_the_trained_network(tmp_path: Path) -> None:
    model = YOLO("yolov8n-pose.yaml")
    before = model.model.state_dict()["model.0.conv.weight"].clone()
    metrics = model.train(
        data="sample-pose.yaml", epochs=1, imgsz=64, batch=4, workers=0, save=False, plots=False, project=str(tmp_path)
    )
    assert metrics is not None
    assert not (before == model.model.state_dict()["model.0.conv.weight"]).all()
    assert model.ckpt_path is None
    assert isinstance(model(make_photo(), imgsz=64, verbose=False), list)


def test_a_callback_needs_an_event_that_exists(tiny: Path) -> None:
    model = YOLO(tiny)
    model.add_callback("on_train_end", print)
    with pytest.raises(UsageError, match="did you mean 'on_train_end'"):
        model.add_callback("on_train_ends", print)
    model.clear_callback("on_train_end")
    assert model.callbacks == {}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A checkpoint that was trained at 96 pixels."""
    from yolopose.checkpoint import Checkpoint, save

    network = make_network()
    network.info = replace(network.info, imgsz=(96, 96))
    path = tmp_path / "small.pt"
    save(path, Checkpoint(network.state_dict(), network.spec, network.info, {"imgsz": 96}))
    return path


def test_the_size_of_the_training_is_remembered(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = YOLO(small)
    exported = YOLO(model.export(dynamic=True, verify=False))
    for one in (model, exported):
        capsys.readouterr()
        one(make_photo((96, 96)))
        assert "96x96" in capsys.readouterr().out
        one(make_photo((96, 96)), imgsz=64)
        assert "64x64" in capsys.readouterr().out
        data = make_dataset(tmp_path / one.ckpt_path.suffix[1:], count=2)
        assert one.val(data=data, plots=False).report["box"]["protocol"]["imgsz"] == 96
        assert one.val(data=data, plots=False, imgsz=64).report["box"]["protocol"]["imgsz"] == 64


def test_training_goes_on_at_the_size_of_the_checkpoint(small: Path, tmp_path: Path) -> None:
    model, data = YOLO(small), make_dataset(tmp_path / "data", count=2)
    options = {"data": data, "epochs": 1, "workers": 0, "plots": False, "project": tmp_path / "runs", "val": False}
    model.train(**options)
    assert "imgsz: 96\n" in (tmp_path / "runs" / "train" / "args.yaml").read_text()
    assert model.model_info.imgsz == (96, 96)
    model.train(**options, imgsz=64)
    assert model.model_info.imgsz == (64, 64)


def test_a_foreign_checkpoint_is_measured_at_its_own_size(golden: Path) -> None:
    metrics = YOLO(golden / "natural-n17.pt").val(data=golden / "pose8" / "data.yaml", plots=False, verbose=False)
    assert metrics.report["box"]["protocol"]["imgsz"] == 320
    assert metrics.box.map == pytest.approx(0.862, abs=0.01)  # at 640 it is 0.064


def trained_from(tmp_path: Path, model: YOLO, **arguments: Any) -> torch.Tensor:
    """The weights that a training without a step that changes anything leaves in the model."""
    data = make_dataset(tmp_path / f"data{len(list(tmp_path.iterdir()))}", count=2)
    model.train(
        data=data, epochs=1, imgsz=64, workers=0, plots=False, val=False, lr0=0, lrf=0, warmup_epochs=0, save=False,
        optimizer="SGD", project=tmp_path / "runs", **arguments,
    )  # fmt: skip
    return model.model.state_dict()["model.0.conv.weight"]


@pytest.fixture
def architecture(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(dict(make_network().spec)))
    return path


def test_loaded_weights_are_trained_on(small: Path, architecture: Path, tmp_path: Path) -> None:
    wanted = YOLO(small).model.state_dict()["model.0.conv.weight"]
    random = YOLO(architecture)
    assert not random.pretrained
    assert not torch.equal(trained_from(tmp_path, random), wanted)
    loaded = YOLO(architecture).load(small)
    assert loaded.pretrained
    torch.testing.assert_close(trained_from(tmp_path, loaded), wanted)
    own = YOLO(architecture)
    own.model.load_state_dict(YOLO(small).model.state_dict())
    torch.testing.assert_close(trained_from(tmp_path, own), wanted)
    torch.testing.assert_close(trained_from(tmp_path, own), wanted)  # what save=False left in the object
    torch.testing.assert_close(trained_from(tmp_path, YOLO(architecture), pretrained=small), wanted)
    assert not torch.equal(trained_from(tmp_path, YOLO(small), pretrained=False), wanted)


def test_other_weights_come_over_those_of_the_checkpoint(small: Path, architecture: Path, tmp_path: Path) -> None:
    other = YOLO(architecture)
    other.model.load_state_dict({k: v + 1 for k, v in other.model.state_dict().items()})
    wanted = other.model.state_dict()["model.0.conv.weight"]
    path = other.save(tmp_path / "other.pt")
    torch.testing.assert_close(trained_from(tmp_path, YOLO(small).load(path)), wanted)
    torch.testing.assert_close(trained_from(tmp_path, YOLO(small), pretrained=path), wanted)


def test_training_without_files_in_an_old_folder_keeps_the_new_weights(small: Path, tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", count=2)
    options = {
        "data": data, "epochs": 1, "imgsz": 64, "workers": 0, "plots": False, "val": False, "exist_ok": True,
        "project": tmp_path / "runs",
    }  # fmt: skip
    YOLO(small).train(**options)
    model = YOLO(small)
    model.train(**options, save=False, pretrained=False)
    assert model.ckpt_path is None
    old = YOLO(tmp_path / "runs" / "train" / "weights" / "best.pt").model.state_dict()["model.0.conv.weight"]
    assert not torch.equal(model.model.state_dict()["model.0.conv.weight"], old)


def test_a_validation_names_its_model(small: Path, tmp_path: Path) -> None:
    metrics = YOLO(small).val(data=make_dataset(tmp_path / "data", count=2), plots=False, verbose=False)
    assert metrics.report["pose"]["protocol"]["model"] == str(small)
