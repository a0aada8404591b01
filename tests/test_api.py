"""class YOLO as scripts use it."""

import threading
from pathlib import Path

import numpy as np
import pytest
from builders import make_photo, tiny_onnx

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
