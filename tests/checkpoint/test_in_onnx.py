"""The checkpoint in a bundled ONNX file: equal to the bit to the one it was made from, and read as data."""

import hashlib
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.builders import make_dataset, make_network, tiny_onnx

import yolopose
from yolopose import YOLO, weights
from yolopose.cli import main
from yolopose.errors import PoseError
from yolopose.metadata import CHECKPOINT
from yolopose.weights import ASSETS, bundled, find

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
from yolopose import checkpoint  # noqa: E402
from yolopose.checkpoint.in_onnx import HALF, PREFIX  # noqa: E402

RECIPE = runpy.run_path(str(Path(__file__).resolve().parents[2] / "recipes" / "bundle.py"))
# of names, types, shapes and numbers of the checkpoint that yolov8n-face.onnx was made from, recorded from its .pt
FACE = "c23ca45f39809440fd8165fd7e73769431105aef834fe6487310de9b375e3700"
TINY = "yolov8n-person"


def digest(state: dict[str, Any]) -> str:
    total = hashlib.sha256()
    for key in sorted(state):
        total.update(f"{key} {state[key].dtype} {list(state[key].shape)}".encode())
        total.update(state[key].numpy().tobytes())
    return total.hexdigest()


def make_checkpoint(path: Path) -> Path:
    """A checkpoint of a small network as a training leaves it: counters, statistics, paths, state for resuming."""
    network = make_network()
    generator = torch.Generator().manual_seed(1)
    for key, value in network.state_dict().items():
        if key.endswith("running_mean"):
            value.copy_(torch.randn(value.shape, generator=generator))
        elif key.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif key.endswith("num_batches_tracked"):
            value.fill_(123)
    arguments = {
        "data": "/home/me/set.yaml",
        "pretrained": "runs/a.pt",
        "epochs": 3,
        "classes": (0,),
        "project": "/home/me/runs",
        "time": 0.5,
    }
    extra = {"epoch": 2, "metrics": {"mAP": 0.25, "list": [1, (2.5, None)]}, "train_state": {"epoch": 2}}
    state = network.state_dict()
    checkpoint.save_checkpoint(path, checkpoint.Checkpoint(state, network.spec, network.info, arguments, extra))
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("source") / "last.pt")


@pytest.fixture(scope="module")
def tiny(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package folder with one small model."""
    return RECIPE["bundle"](source, TINY, "nobody", folder=tmp_path_factory.mktemp("assets"))  # type: ignore[no-any-return]


@pytest.fixture
def packaged(tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(weights, "ASSETS", tiny.parent)
    monkeypatch.chdir(tmp_path)
    return tiny


def changed(file: Path, target: Path, change: Callable[[Any], object]) -> Path:
    model = onnx.load(file)
    change(model)
    target.write_bytes(model.SerializeToString())
    return target


def entry(model: Any) -> Any:
    return next(p for p in model.metadata_props if p.key == CHECKPOINT)


def test_the_face_model_holds_the_checkpoint_it_was_made_from() -> None:
    found = checkpoint.load_checkpoint(find("yolov8n-face"))
    assert digest(found.state) == FACE
    assert found.train_args["lr0"] == 0.00025
    assert found.extra["epoch"] == 6
    assert found.info.layout.sigmas == (0.03,) * 5
    assert not found.info.dynamic


def test_the_recipe_keeps_every_number(source: Path, tiny: Path) -> None:
    given, found = checkpoint.load_checkpoint(source), checkpoint.load_checkpoint(tiny)
    assert given.state.keys() == found.state.keys()
    rounded = 0
    for key, value in given.state.items():
        large = value.is_floating_point() and value.numel() >= RECIPE["LEAST"]
        rounded += large
        expected = value.numpy().astype(np.float16).astype(np.float32) if large else value.numpy()
        assert found.state[key].numpy().tobytes() == expected.tobytes(), key
        assert found.state[key].dtype == value.dtype
    assert rounded > 2
    assert found.train_args == {"data": "set.yaml", "pretrained": "a.pt", "epochs": 3, "classes": (0,), "time": 0.5}
    assert found.extra == {"epoch": 2, "metrics": {"mAP": 0.25, "list": [1, (2.5, None)]}}
    assert found.spec == given.spec
    assert found.info.extra["data"] == "nobody"
    assert found.info.names == given.info.names


def test_onnx_runtime_finds_what_the_rebuilt_network_finds(tiny: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    from yolopose.formats.pytorch import TorchBackend
    from yolopose.formats.table import open_backend

    network = checkpoint.build_network(checkpoint.load_checkpoint(tiny))
    expected, found = TorchBackend(network).infer(images), open_backend(tiny)
    np.testing.assert_allclose(found.infer(images), expected, atol=1e-4 * np.abs(expected).max())
    assert CHECKPOINT not in found.info.extra


def test_a_checkpoint_that_does_not_survive_is_not_kept(source: Path, tmp_path: Path) -> None:
    content = checkpoint.load_checkpoint(source)
    content.extra["metrics"] = {"mAP": float("nan")}  # no literal
    checkpoint.save_checkpoint(tmp_path / "nan.pt", content)
    with pytest.raises(PoseError, match="damaged"):
        RECIPE["bundle"](tmp_path / "nan.pt", TINY, folder=tmp_path)
    key = next(key for key, value in content.state.items() if value.numel() >= RECIPE["LEAST"])
    content.state[key][0] = 1e6
    checkpoint.save_checkpoint(tmp_path / "large.pt", content)
    with pytest.raises(PoseError, match="values that float16 does not hold"):
        RECIPE["bundle"](tmp_path / "large.pt", TINY, folder=tmp_path)
    network = checkpoint.build_network(checkpoint.load_checkpoint(source)).fuse()
    fused = checkpoint.Checkpoint(network.state_dict(), network.spec, network.info)
    checkpoint.save_checkpoint(tmp_path / "fused.pt", fused)
    with pytest.raises(PoseError, match="fused"):
        RECIPE["bundle"](tmp_path / "fused.pt", TINY, folder=tmp_path)
    assert not list(tmp_path.glob("*.onnx"))


def test_a_bundled_model_is_trained_exported_and_saved(packaged: Path, tmp_path: Path) -> None:
    wanted = checkpoint.load_checkpoint(packaged).state
    model = YOLO(TINY)
    assert "exported file" in repr(model)
    assert model.save("copy.pt") == Path("copy.pt")
    assert digest(checkpoint.load_checkpoint("copy.pt").state) == digest(wanted)
    assert digest(dict(YOLO(f"{TINY}.pt").state_dict())) == digest(wanted)
    model.reset_weights()
    assert digest(dict(model.state_dict())) != digest(wanted)
    model.load(TINY)
    parameters = dict(YOLO(TINY).model.named_parameters())
    assert all(torch.equal(value, parameters[key]) for key, value in model.named_parameters())
    assert YOLO().export(format="torchscript", imgsz=64, verify=False) == f"{TINY}.torchscript"
    data = make_dataset(tmp_path / "data")
    model = YOLO(TINY)
    arguments: dict[str, Any] = {"epochs": 1, "imgsz": 64, "workers": 0, "plots": False, "val": False, "lr0": 0.0}
    model.train(data=str(data), optimizer="SGD", warmup_epochs=0, weight_decay=0, verbose=False, **arguments)
    trained = checkpoint.load_checkpoint(model.ckpt_path).state  # type: ignore[arg-type]
    for key in (key for key in wanted if key.endswith("conv.weight")):
        torch.testing.assert_close(trained[key], wanted[key], rtol=1e-3, atol=1e-3)


def test_pretrained_takes_a_bundled_name(packaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_dataset(tmp_path / "data")
    checkpoint.save_checkpoint("start.pt", checkpoint.load_checkpoint(packaged))
    words = [f"data={data}", "epochs=1", "imgsz=64", "workers=0", "plots=False", "val=False", "device=cpu"]
    assert main(["train", "model=start.pt", f"pretrained={TINY}", *words]) == 0
    total = len(checkpoint.load_checkpoint(packaged).state)
    assert capsys.readouterr().out.count(f"Transferred {total}/{total} items") == 2


def test_commands_name_the_model_first(packaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = ASSETS / "samples" / "images" / "val" / "astronaut_nasa.jpg"
    line = f"model: {TINY} (bundled): people with 17 points"
    for words in (["predict", f"source={photo}", "imgsz=64"], ["export", "format=torchscript", "imgsz=64"]):
        for model in ([], [f"model={TINY}"], [f"model={TINY}.onnx"]):
            assert main([*words, *model, *(["verify=False"] if words[0] == "export" else [])]) == 0
            assert capsys.readouterr().out.splitlines()[0] == line
    assert main(["predict", f"source={photo}", "imgsz=64", "verbose=False"]) == 0
    assert capsys.readouterr().out == ""


def test_two_models_side_by_side(packaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = ASSETS / "samples" / "images" / "val" / "astronaut_nasa.jpg"
    face = packaged.with_name("yolov8n-face.onnx")
    shutil.copy(ASSETS / face.name, face)
    try:
        assert list(bundled()) == ["yolov8n-face", TINY]
        for model, name in ((None, "yolov8n-face"), (TINY, TINY), ("yolov8n-face", "yolov8n-face")):
            words = ["predict", f"source={photo}", "imgsz=320", "save=False", *([f"model={model}"] if model else [])]
            assert main(words) == 0
            lines = capsys.readouterr().out.splitlines()
            assert lines[0] == f"model: {name} (bundled): {weights.FINDS[name]}"
            assert ("1 face," in lines[1]) == (name == "yolov8n-face")
    finally:
        face.unlink()


def test_a_file_of_that_name_wins(packaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tiny_onnx(tmp_path / f"{TINY}.onnx")
    photo = ASSETS / "samples" / "images" / "val" / "astronaut_nasa.jpg"
    assert main(["predict", f"model={mine.name}", f"source={photo}"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        f"model: {TINY}.onnx (a file in this folder, not the bundled {TINY})"
    )
    with pytest.raises(PoseError, match="an exported file cannot be trained"):
        YOLO(mine.name).train(data="x.yaml")
    with pytest.raises(PoseError, match=r"an exported file, whose weights are fused; name the \.pt"):
        YOLO(TINY).load(mine.name)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(PoseError, match=r"folder\.onnx: a folder, not an ONNX file"):
        YOLO("folder.onnx").predict(photo)
    (tmp_path / TINY).mkdir()  # a folder is no model
    assert find(TINY) == packaged


def test_an_export_is_refused_as_before(tmp_path: Path) -> None:
    model = YOLO(tiny_onnx(tmp_path / "mine.onnx"))
    with pytest.raises(PoseError, match=r"mine\.onnx: an exported file has no network to change; start from its \.pt"):
        model.export(format="torchscript")
    with pytest.raises(PoseError, match=r"mine\.onnx: not a PyTorch checkpoint"):
        checkpoint.load_checkpoint(tmp_path / "mine.onnx")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: setattr(entry(m), "value", "{"), "damaged: its entry yolopose_checkpoint"),
        (lambda m: setattr(entry(m), "value", "{'state': 5}"), "damaged: its entry yolopose_checkpoint"),
        (lambda m: setattr(entry(m), "value", "{'state': {}}"), "written by another yolopose"),
        (lambda m: setattr(entry(m), "value", "{'state': {}, 'format_version': 1}"), "damaged: 'spec'"),
        (lambda m: setattr(entry(m), "value", "{'state': {'a': [[1], [1, 2]]}}"), "damaged: 'a' is"),
        (lambda m: setattr(entry(m), "value", "{'state': {'a': 'text'}}"), "damaged: 'a' is"),
        (lambda m: setattr(entry(m), "value", "{'state': {'a': 1" + "0" * 400 + "}}"), "damaged: 'a' is"),
        (lambda m: weight(m).dims.append(1 << 40), "numbers in 32 or 16 bits"),
        (lambda m: weight(m).dims.insert(0, -1), "numbers in 32 or 16 bits"),
        (lambda m: setattr(weight(m), "raw_data", b"1234"), "numbers in 32 or 16 bits"),
        (lambda m: setattr(weight(m), "data_type", 7), "numbers in 32 or 16 bits"),
        (lambda m: elsewhere(weight(m)), "numbers in 32 or 16 bits"),
        (lambda m: setattr(weight(m), "name", f"{PREFIX}other"), "weights and architecture differ in 2 entries"),
    ],
)  # fmt: skip
def test_damaged_and_hostile_files(tiny: Path, tmp_path: Path, change: Callable[[Any], object], words: str) -> None:
    file = changed(tiny, tmp_path / "bad.onnx", change)
    with pytest.raises(PoseError) as caught:
        checkpoint.build_network(checkpoint.load_checkpoint(file))
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def weight(model: Any) -> Any:
    return next(w for w in model.graph.initializer if w.name.endswith(HALF))


def elsewhere(tensor: Any) -> None:
    """Numbers in another file, which must not be opened."""
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    tensor.ClearField("raw_data")


def test_a_file_that_is_no_onnx_file(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\xff" * 1000)
    with pytest.raises(PoseError, match=r"bad\.onnx: damaged: no ONNX file"):
        checkpoint.load_checkpoint(tmp_path / "bad.onnx")
    with pytest.raises(PoseError, match=r"none\.onnx: no such file"):
        checkpoint.load_state(tmp_path / "none.onnx")


def test_without_the_onnx_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(PoseError, match=r"needs onnx: pip install 'yolopose\[train\]'"):
        checkpoint.load_checkpoint(find("yolov8n-face"))


def test_the_package_is_small_and_each_model_has_a_card() -> None:
    files = bundled()
    assert next(iter(files)) == weights.DEFAULT
    assert sum(file.stat().st_size for file in files.values()) <= 14e6
    assert all(name in weights.FINDS and file.with_suffix(".md").is_file() for name, file in files.items())
    assert not list(ASSETS.glob("*.pt"))
    for name, file in files.items():
        info = YOLO(file).model_info
        assert f"with {info.kpt_shape[0]} points" in weights.FINDS[name]
        assert {"face": "faces", "person": "people"}[info.names[0]] in weights.FINDS[name]
    assert Path(yolopose.__file__).parent == ASSETS.parent
