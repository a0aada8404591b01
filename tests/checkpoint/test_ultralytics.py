"""Checkpoints of Ultralytics, written by hand and recorded."""

import sys

import numpy as np
import pytest
import torch
from helpers.foreign_files import TINY, as_module, save_foreign, tiny, ultralytics

from yolopose import checkpoint
from yolopose.errors import PoseError


def test_a_whole_module_becomes_weights_and_facts(tmp_path):
    network = tiny()
    path = save_foreign(tmp_path / "a.pt", network, train_metrics={"mAP": np.float64(0.5)}, optimizer={"state": {}})
    found = checkpoint.load_checkpoint(path)
    wanted = network.state_dict()
    assert found.state.keys() == wanted.keys()
    assert all(value.dtype == wanted[key].dtype for key, value in found.state.items())
    assert all(torch.equal(value, wanted[key].to(torch.float16).to(value.dtype)) for key, value in found.state.items())
    assert found.spec == network.spec
    assert (found.info.names, found.info.kpt_shape, found.info.stride) == ({0: "face"}, (2, 3), 16)
    assert (found.info.imgsz, found.info.dynamic) == ((96, 96), True)
    assert found.info.extra == {
        "origin": "Ultralytics 8.1.0",
        "license": "AGPL-3.0 (https://ultralytics.com/license)",
        "date": "2024-01-02",
    }
    assert found.train_args == {"imgsz": 96, "task": "pose"}
    assert found.extra == {"epoch": 7, "train_metrics": {"mAP": 0.5}}
    assert not any(name.startswith("ultralytics") for name in sys.modules)


def test_the_built_network_computes_the_same(tmp_path):
    network = tiny()
    built = checkpoint.build_network(checkpoint.load_checkpoint(save_foreign(tmp_path / "a.pt", network)))
    x = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(built(x), network.half().float()(x), rtol=1e-5, atol=1e-4)
    assert built.info.names == {0: "face"}
    assert not built.training
    trainable = [name for name, value in built.named_parameters() if value.requires_grad]
    assert trainable == [name for name, value in network.named_parameters() if value.requires_grad]


def test_an_unstated_licence_is_not_taken_for_none(tmp_path):
    found = checkpoint.load_checkpoint(save_foreign(tmp_path / "a.pt", tiny(), license=None, version=None, date=None))
    assert found.info.extra == {
        "origin": "Ultralytics",
        "license": "not stated in the file; weights by Ultralytics are AGPL-3.0",
    }


def test_the_averaged_network_is_preferred(tmp_path):
    network, other = tiny(), tiny()
    torch.nn.init.constant_(other.model[0].conv.weight, 0.25)
    with ultralytics() as classes:
        plain = as_module({"weight": torch.zeros(1)}, classes["PoseModel"])
        torch.save({"model": plain, "ema": None}, tmp_path / "no.pt")
    path = save_foreign(tmp_path / "a.pt", other, key="ema", model=torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1)))
    assert (checkpoint.load_checkpoint(path).state["model.0.conv.weight"] == 0.25).all()
    path = save_foreign(tmp_path / "b.pt", network, key="model", ema=None)
    assert (checkpoint.load_checkpoint(path).state["model.0.conv.weight"] != 0.25).any()


def test_the_heads_own_shape_wins_over_the_yaml(tmp_path):
    """A data set may have overruled the model YAML that travels with the network."""
    network = tiny()
    network.spec = {**network.spec, "kpt_shape": [17, 3], "nc": 80}
    path = save_foreign(tmp_path / "a.pt", network)
    assert checkpoint.load_checkpoint(path).info.kpt_shape == (17, 3)  # what the head said when it was written
    with pytest.raises(PoseError, match=r"a\.pt: weights and architecture differ in \d+ entries, first 'model"):
        checkpoint.build_network(checkpoint.load_checkpoint(path))


@pytest.mark.parametrize(
    ("head", "words"),
    [("Detect", "a detection model"), ("Segment", "a segmentation model"), ("WorldDetect", "ends in WorldDetect")],
)
def test_other_tasks_are_named(tmp_path, head, words):
    path = save_foreign(tmp_path / "other.pt", tiny(), head=head)
    with pytest.raises(PoseError, match=rf"other\.pt: a.*{words.split()[-2]}.*; yolopose runs pose models") as caught:
        checkpoint.load_checkpoint(path)
    assert words in str(caught.value)
    assert checkpoint.load_state(path).keys() == tiny().state_dict().keys()


def test_fused_weights_build_a_fused_network(tmp_path):
    network = tiny()
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        wanted = network.fuse()(x)
        built = checkpoint.build_network(checkpoint.load_checkpoint(save_foreign(tmp_path / "fused.pt", network)))
        torch.testing.assert_close(built(x), wanted, rtol=1e-2, atol=0.5)
    assert not any(".bn." in key for key in built.state_dict())


def test_a_network_that_contains_itself_is_refused(tmp_path):
    with ultralytics() as classes:
        model = as_module({"model.0.weight": torch.zeros(1)}, classes["PoseModel"])
        head = model._modules["model"]._modules["0"]
        head.__class__, head.nc, head.kpt_shape = classes["Pose"], 1, [2, 3]
        head._modules["again"] = model
        model.yaml = TINY
        torch.save({"model": model}, tmp_path / "loop.pt")
    with pytest.raises(PoseError, match=r"loop\.pt: refused: its network has layers without end"):
        checkpoint.load_checkpoint(tmp_path / "loop.pt")


def test_a_network_that_doubles_itself_is_refused(tmp_path):
    with ultralytics() as classes:
        node = classes["Pose"]()
        for _ in range(30):
            outer = classes["Pose"]()
            outer._modules.update(a=node, b=node)
            node = outer
            node.nc, node.kpt_shape = 1, [2, 3]
        model = classes["PoseModel"]()
        model._modules["model"], model.yaml = node, TINY
        torch.save({"model": model}, tmp_path / "bomb.pt")
    with pytest.raises(PoseError, match=r"bomb\.pt: refused: its network has layers without end"):
        checkpoint.load_checkpoint(tmp_path / "bomb.pt")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda model: model.__dict__.pop("yaml"), "does not say how it is built"),
        (lambda model: setattr(model, "yaml", {"nc": 1}), "does not say how it is built"),
        (lambda model: setattr(model, "names", {"zero": "face"}), "number of names must be a whole number, got 'zero'"),
        (lambda model: setattr(model.model[-1], "kpt_shape", [2, 7]), "kpt_shape must be"),
        (lambda model: model._modules.clear(), "has no layers"),
        (lambda model: setattr(model, "_modules", []), "_modules of a PoseModel is no dict"),
    ],
)
def test_odd_networks_are_refused_in_one_line(tmp_path, monkeypatch, spoil, words):
    save = torch.save

    def spoiled(content, path):
        spoil(content["model"])
        save(content, path)

    monkeypatch.setattr(torch, "save", spoiled)
    path = save_foreign(tmp_path / "odd.pt", tiny())
    with pytest.raises(PoseError, match=words) as caught:
        checkpoint.load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


# --- recorded files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kpt_shape", "names"),
    [("natural-n17", (17, 3), {0: "person"}), ("init-n17", (17, 3), {0: "person"}), ("init-n5", (5, 3), {0: "face"})],
)
def test_recorded_checkpoints(golden, name, kpt_shape, names):
    found = checkpoint.load_checkpoint(golden / f"{name}.pt")
    assert len(found.state) == 397
    assert (found.info.kpt_shape, found.info.names, found.info.stride) == (kpt_shape, names, 32)
    assert found.info.extra["license"].startswith("AGPL-3.0")
    assert found.spec["scale"] == "n"


def test_recorded_forward(golden):
    """The README of the recorded values asks for 1e-3 px and 1e-5 of a score."""
    network = checkpoint.build_network(checkpoint.load_checkpoint(golden / "natural-n17.pt"))
    recorded = np.load(golden / "natural-n17-forward.npz")
    with torch.inference_mode():
        found = network(torch.from_numpy(recorded["x"]).float() / 255).numpy()
    keypoints = found[:, 5:].reshape(2, 17, 3, -1)
    wanted = recorded["decoded"][:, 5:].reshape(2, 17, 3, -1)
    np.testing.assert_allclose(found[:, :4], recorded["decoded"][:, :4], rtol=0, atol=1e-3)
    np.testing.assert_allclose(keypoints[:, :, :2], wanted[:, :, :2], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found[:, 4], recorded["decoded"][:, 4], rtol=0, atol=1e-5)
    np.testing.assert_allclose(keypoints[:, :, 2], wanted[:, :, 2], rtol=0, atol=1e-5)
