"""class YOLO as scripts use it."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from helpers.builders import make_dataset, make_network, make_photo, tiny_onnx

from yolopose import YOLO, PoseError, Results
from yolopose.checkpoint import Checkpoint, save_checkpoint
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
    assert (metrics.images, set(metrics.speed)) == (4, {"preprocess", "inference", "loss", "postprocess"})
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
    from yolopose.checkpoint import Checkpoint, save_checkpoint

    network = make_network()
    network.info = replace(network.info, imgsz=(96, 96))
    path = tmp_path / "small.pt"
    save_checkpoint(path, Checkpoint(network.state_dict(), network.spec, network.info, {"imgsz": 96}))
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


def test_args_yaml_names_the_architecture_that_was_trained(small: Path, tmp_path: Path) -> None:
    data, file = make_dataset(tmp_path / "data", count=2), tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(YOLO(small).model.spec))
    options = {"data": data, "epochs": 1, "imgsz": 64, "workers": 0, "plots": False, "val": False}
    YOLO(file).train(**options, project=tmp_path, name="fresh")
    assert yaml.safe_load((tmp_path / "fresh" / "args.yaml").read_text())["model"] == str(file)
    YOLO(file).load(small).train(**options, project=tmp_path, name="loaded")  # no file holds what this started from
    assert yaml.safe_load((tmp_path / "loaded" / "args.yaml").read_text())["model"] is None


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


def test_load_and_pretrained_replace_the_weights_of_the_checkpoint(
    small: Path, architecture: Path, tmp_path: Path
) -> None:
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


def test_the_documented_recipe_pairs_results_with_frames(tiny: Path) -> None:
    def on_predict_batch_end(predictor: Any) -> None:
        _, image, _, _ = predictor.batch
        image = image if isinstance(image, list) else [image]
        predictor.results = zip(predictor.results, image, strict=False)

    model, photos = YOLO(tiny), [make_photo(), make_photo((96, 64), (8, 8, 40, 40))]
    model.add_callback("on_predict_batch_end", on_predict_batch_end)
    for batch in (1, 2):
        pairs = model.predict(photos, batch=batch, verbose=False)
        assert [result.orig_shape for result, _ in pairs] == [(240, 320), (96, 64)]
        for (_, frame), photo in zip(pairs, photos, strict=True):
            np.testing.assert_array_equal(frame, photo)


def test_predict_callbacks_come_in_order_with_what_recipes_read(tiny: Path, tmp_path: Path) -> None:
    from yolopose.callbacks import PREDICT_EVENTS

    told: list[tuple[str, int]] = []
    model = YOLO(tiny)

    def keep_one(predictor: Any) -> None:
        predictor.results = [result[:1] for result in predictor.results]

    for event in PREDICT_EVENTS:
        model.add_callback(event, lambda predictor, event=event: told.append((event, predictor.seen)))
    model.add_callback("on_predict_postprocess_end", keep_one)
    results = model([make_photo()] * 2, conf=0.3, verbose=False, save_txt=True, project=tmp_path)
    assert [len(result) for result in results] == [1, 1]
    assert len((tmp_path / "predict" / "labels" / "image0.txt").read_text().splitlines()) == 1  # written after it
    batch = ["on_predict_batch_start", "on_predict_postprocess_end", "on_predict_batch_end"]
    assert [event for event, _ in told] == ["on_predict_start", *batch, *batch, "on_predict_end"]
    assert [seen for _, seen in told] == [0, 0, 0, 1, 1, 1, 2, 2]
    run = model.predictor
    assert (run.args.conf, run.save_dir, run.model.info.names) == (0.3, tmp_path / "predict", {0: "class0"})
    told.clear()
    model.reset_callbacks()
    assert len(model(make_photo(), conf=0.3, verbose=False)[0]) > 1
    assert not told


def test_overrides_hold_for_what_follows(tiny: Path) -> None:
    model = YOLO(tiny)
    many = model(make_photo(), conf=0.3, verbose=False)[0]
    model.overrides.update(conf=0.3, max_det=2, agnostic_nms=False, data="x.yaml", verbose=False)
    assert len(many) > 2
    assert len(model(make_photo())[0]) == 2
    assert len(model(make_photo(), max_det=3)[0]) == 3
    with pytest.raises(PoseError, match=r"x\.yaml"):
        model.val()


@pytest.mark.parametrize("kind", ["pt", "onnx"])
def test_a_tensor_runs_as_it_is(kind: str, small: Path, tiny: Path) -> None:
    model = YOLO(small if kind == "pt" else tiny)
    photo = make_photo((64, 160), (20, 10, 120, 50))
    tensor = torch.from_numpy(photo[..., ::-1].copy()).permute(2, 0, 1).float()[None] / 255
    expected = model(photo, imgsz=(64, 160), conf=0.3, verbose=False)[0]
    assert len(expected) > 0
    for source in (tensor, tensor[0], [tensor, tensor[0]], torch.cat([tensor, tensor])):
        for size in ({}, {"imgsz": 96}):
            for result in model(source, conf=0.3, verbose=False, **size):
                assert result.orig_shape == (64, 160)
                np.testing.assert_array_equal(result.boxes.data, expected.boxes.data)
    with pytest.raises(UsageError, match=r"a tensor of 64x150 .* multiples of the stride 32"):
        model(tensor[..., :150], verbose=False)


def test_a_tensor_for_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    model = YOLO(tiny_onnx(tmp_path / "fixed.onnx", dynamic=False))
    assert model(torch.zeros(1, 3, 64, 64), verbose=False)[0].orig_shape == (64, 64)
    with pytest.raises(UsageError, match="takes 64x64 only"):
        model(torch.zeros(1, 3, 96, 96), verbose=False)


def test_export_returns_the_path_as_text(small: Path) -> None:
    path = YOLO(small).export(verify=False)
    assert path == str(small.with_suffix(".onnx"))


def test_a_benchmark_measures_the_weights_in_the_object(small: Path, architecture: Path, tmp_path: Path) -> None:
    model = YOLO(architecture).load(small)
    rows = model.benchmark(format="pytorch", project=tmp_path, plots=False, imgsz=64)
    assert [(row.failure, row.difference_px) for row in rows] == [("", 0)]


def test_trainer_has_the_outcome_after_training(small: Path, tmp_path: Path) -> None:
    model, data = YOLO(small), make_dataset(tmp_path / "data", count=2)
    model.train(data=data, epochs=1, workers=0, plots=False, project=tmp_path, val=False, imgsz=64)
    assert (model.trainer.save_dir, model.trainer.best) == (tmp_path / "train", model.ckpt_path)
    assert model.trainer.args.imgsz == 64
    assert model.trainer.network is model.model


def test_a_data_set_that_only_the_checkpoint_names(tmp_path: Path) -> None:
    file = tmp_path / "best.pt"
    network = make_network()
    save_checkpoint(file, Checkpoint(network.state_dict(), network.spec, network.info, {"data": "gone/data.yaml"}))
    with pytest.raises(
        PoseError, match=r"gone/data\.yaml.*\(the name comes from .*best\.pt; give data=… for another\)"
    ):
        YOLO(file).val()
    with pytest.raises(PoseError, match=r"here\.yaml: no such file") as error:
        YOLO(file).val(data="here.yaml")
    assert "best.pt" not in str(error.value)


def test_single_cls_of_the_training_is_remembered(small: Path, tmp_path: Path) -> None:
    model, data = YOLO(small), make_dataset(tmp_path / "data", count=2)
    data.write_text(data.read_text().replace("[thing]", "[thing, other]"))
    with pytest.raises(PoseError, match="2 classes, the model knows 1"):
        model.val(data=data, plots=False, verbose=False)
    model.train(data=data, epochs=1, workers=0, plots=False, project=tmp_path, single_cls=True)
    report = model.val(plots=False, verbose=False).report["box"]["protocol"]
    assert (report["single_cls"], report["data"]) == (True, str(data))


def test_training_arguments_in_a_checkpoint_are_not_trusted(tmp_path: Path) -> None:
    network = make_network()
    said = {"data": ["no", {"name": 1}], "single_cls": "yes", "imgsz": {}}
    save_checkpoint(tmp_path / "odd.pt", Checkpoint(network.state_dict(), network.spec, network.info, said))
    with pytest.raises(UsageError, match="data is missing"):
        YOLO(tmp_path / "odd.pt").val()
    data = make_dataset(tmp_path / "data", count=2)
    report = YOLO(tmp_path / "odd.pt").val(data=data, plots=False, verbose=False).report["box"]["protocol"]
    assert (report["imgsz"], report["single_cls"]) == (640, False)
