"""The network: sizes and keys of every scale, forward against recorded values, users' own rows, exports."""

import json

import numpy as np
import pytest
import torch
from helpers.builders import OWN_SPEC
from torch import nn

from yolopose import checkpoint
from yolopose.errors import PoseError
from yolopose.geometry.keypoints import FACE_5, default_layout
from yolopose.nn.network import PoseNet, transfer
from yolopose.nn.spec import load_spec
from yolopose.nn.summary import network_size, summary


def meta_network(key: str) -> PoseNet:
    """The network of a key of models.json such as x-p6-17x3, without memory for its weights."""
    scale, _, shape = key.rpartition("-")
    letter, _, size = scale.partition("-")
    k, d = (int(v) for v in shape.split("x"))
    with torch.device("meta"):
        return PoseNet(load_spec(f"yolov8{letter}-pose{'-' * bool(size)}{size}.yaml"), layout=default_layout((k, d)))


SIZES = [f"{s}-{k}" for k in ("17x3", "5x3", "17x2") for s in "nsmlx" if not (k == "17x2" and s in "lx")]


@pytest.mark.parametrize("key", [*SIZES, "x-p6-17x3", "x-p6-5x3"])
def test_sizes_are_those_recorded(golden, key):
    expected = json.loads((golden / "models.json").read_text())[key]
    network = meta_network(key)
    counts = network_size(network)
    assert counts.parameters == expected["params"]
    assert counts.gradients == expected["gradients"]
    assert counts.layers == expected["layers"]
    assert counts.gflops == pytest.approx(expected["gflops"], rel=1e-12)
    assert network.stride.tolist() == expected["stride"]
    assert len(network.state_dict()) == expected["state_keys"]
    assert sum(not list(m.children()) for m in network.modules()) == expected["modules_leaf"] - 1  # and one activation
    network.fuse()
    fused = network_size(network)
    assert (fused.parameters, fused.layers) == (expected["fused"]["params"], expected["fused"]["layers"])
    assert fused.gflops == pytest.approx(expected["fused"]["gflops"], rel=1e-12)


@pytest.mark.parametrize("name", ["init-n17", "init-n5", "natural-n17"])
def test_keys_and_shapes_of_existing_checkpoints(golden, name):
    found = checkpoint.load_checkpoint(golden / f"{name}.pt")
    own = PoseNet(found.spec).state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in found.state.items()}


@pytest.fixture(scope="module")
def natural(golden) -> PoseNet:
    return checkpoint.build_network(checkpoint.load_checkpoint(golden / "natural-n17.pt")).eval()


def check_forward(network: PoseNet, recorded, scores: float = 1e-5) -> None:
    x = torch.from_numpy(recorded["x"]).float() / 255
    with torch.inference_mode():
        maps = network.maps(x)
        decoded = network(x).numpy()
    for level, key in zip(maps.levels, ("p3", "p4", "p5"), strict=True):
        np.testing.assert_allclose(level.numpy(), recorded[key], atol=1e-4)
    np.testing.assert_allclose(maps.keypoints.numpy(), recorded["keypoints_raw"], atol=1e-4)
    score = np.r_[4, 7:56:3]
    pixels = np.setdiff1d(np.arange(56), score)
    np.testing.assert_allclose(decoded[:, pixels], recorded["decoded"][:, pixels], rtol=0, atol=1e-3)
    np.testing.assert_allclose(decoded[:, score], recorded["decoded"][:, score], rtol=0, atol=scores)


def test_forward_is_the_recorded_one_fused_too(golden, natural):
    recorded = np.load(golden / "natural-n17-forward.npz")
    check_forward(natural, recorded)
    fused = PoseNet(natural.spec)
    fused.load_state_dict(natural.state_dict())
    check_forward(fused.fuse(), recorded)
    check_forward(fused.to(memory_format=torch.channels_last), recorded)


def test_training_mode_gives_maps_and_gradients():
    network = PoseNet(OWN_SPEC).train()
    maps = network(torch.rand(2, 3, 64, 96))
    assert [tuple(level.shape) for level in maps.levels] == [(2, 67, 8, 12), (2, 67, 4, 6)]
    assert maps.keypoints.shape == (2, 12, 8 * 12 + 4 * 6)
    (sum(level.sum() for level in maps.levels) + maps.keypoints.sum()).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == [f"model.{len(network.model) - 1}.dfl.conv.weight"]


def test_every_block_of_a_users_own_rows():
    network = PoseNet(OWN_SPEC).eval()
    assert [part.channels for part in network.parts] == [16, 32, 32, 64, 64, 64, 64, 64, 64, 128, 64, 64, 0]
    assert network.stride.tolist() == [8, 16]
    assert sum(p.numel() for p in network.model[6].parameters()) == 2 * (2 * 64 * 32 * 9 + 2 * 32 + 2 * 64)
    before = network(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    after = network.fuse()(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    assert before.shape == (1, 4 + 3 + 12, 64 + 16)


def test_names_and_layout_replace_the_files(natural):
    network = PoseNet(load_spec("yolov8n-pose.yaml"), names={0: "face", 1: "mask"}, layout=FACE_5)
    assert (network.spec["nc"], network.spec["kpt_shape"]) == (2, [5, 3])
    assert (network.info.names, network.info.layout, network.info.stride) == ({0: "face", 1: "mask"}, FACE_5, 32)
    assert PoseNet(load_spec("yolov8n-pose.yaml")).info.names == {0: "class0"}


def test_transfer_from_17_to_5_keypoints(natural):
    network = PoseNet(load_spec("yolov8n-pose.yaml"), layout=FACE_5)
    assert transfer(network, natural.state_dict()) == (361, 397)
    assert torch.equal(network.state_dict()["model.0.conv.weight"], natural.state_dict()["model.0.conv.weight"])


def test_fused_weights_take_no_gradients_and_fusing_twice_is_fusing_once():
    network = PoseNet(OWN_SPEC).fuse()
    weight = network.model[0].conv.conv.weight
    assert not any(p.requires_grad for p in network.parameters())
    assert network.fuse().model[0].conv.conv.weight is weight
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


@pytest.mark.parametrize("first", ["Conv", "Focus"])
def test_fold_pixels(first):
    network = PoseNet(OWN_SPEC | {"backbone": [[-1, 1, first, [16, 3]], *OWN_SPEC["backbone"][1:]]}).fuse()
    bgr = torch.randint(0, 256, (1, 3, 128, 128), generator=torch.Generator().manual_seed(0)).float()
    before = network(bgr.flip(1) / 255)
    assert network.fold_pixels()
    torch.testing.assert_close(network(bgr), before, rtol=1e-5, atol=1e-4)


def test_fold_pixels_returns_false_when_it_cannot():
    rows = [[-1, 1, "DWConv", [24, 3, 2]], *OWN_SPEC["backbone"][1:]]
    assert not PoseNet(OWN_SPEC | {"backbone": rows}).fuse().fold_pixels()
    assert not PoseNet(OWN_SPEC, channels=1).fuse().fold_pixels()


def test_half_types_decode_in_float32():
    network = PoseNet(OWN_SPEC).fuse()
    x = torch.rand(1, 3, 64, 64)
    exact = network(x)
    rough = network.bfloat16()(x.bfloat16())
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0, atol=1.0)
    lower = network.maps(x.bfloat16())
    float_maps = type(lower)([level.float() for level in lower.levels], lower.keypoints.float())
    torch.testing.assert_close(network.decode(lower), network.decode(float_maps), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_traced_forward_takes_other_shapes_and_baked_anchors_are_constants():
    network = PoseNet(OWN_SPEC).fuse()
    x = torch.rand(1, 3, 64, 96)
    traced = torch.jit.trace(network, x)
    other = torch.rand(2, 3, 128, 64)
    torch.testing.assert_close(traced(other), network(other))
    free = network(x)
    fixed = torch.jit.trace(network.fix_anchors((64, 96)), x)
    assert "aten::arange" not in str(fixed.inlined_graph)
    assert "aten::arange" in str(traced.inlined_graph)
    torch.testing.assert_close(fixed(x), free)
    torch.testing.assert_close(network.fix_anchors(None)(other), traced(other))


@pytest.mark.slow
def test_exported_program_with_open_height_width_and_batch():
    network = PoseNet(OWN_SPEC).fuse()
    h, w, b = torch.export.Dim("h", max=40), torch.export.Dim("w", max=40), torch.export.Dim("b", max=8)
    shapes = {"x": {0: b, 2: 32 * h, 3: 32 * w}}
    program = torch.export.export(network, (torch.rand(2, 3, 64, 96),), dynamic_shapes=shapes).module()
    for size in ((1, 3, 128, 64), (3, 3, 96, 96)):
        x = torch.rand(size)
        torch.testing.assert_close(program(x), network(x))


def test_summary_tells_the_layers_and_the_totals():
    network = PoseNet(load_spec("yolov8s-pose.yaml"), layout=FACE_5)
    lines = summary(network).splitlines()
    assert len(lines) == 1 + 23 + 1
    assert lines[1].split() == ["0", "-1", "1", "928", "Conv", "[3,", "32,", "3,", "2]"]
    assert lines[12].split()[:6] == ["11", "[-1,", "6]", "1", "0", "Concat"]
    assert lines[23].split(maxsplit=6)[-1] == "Pose        [1, [5, 3], [128, 256, 512]]"
    total = "YOLOv8s-pose summary: 250 layers, 11,423,552 parameters, 11,423,536 gradients, 29.6 GFLOPs"
    assert lines[-1] == total
    assert network.training
    fused = "YOLOv8s-pose summary (fused): 187 layers, 11,413,344 parameters, 0 gradients, 29.4 GFLOPs"
    assert summary(network.fuse(), table=False) == fused


def test_counting_leaves_the_network_as_it_was():
    network = PoseNet(OWN_SPEC).train()
    network.model[0].eval()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    counts = network_size(network, (320, 640))
    assert counts.gflops == pytest.approx(network_size(network, 640).gflops / 2)
    assert not network.model[0].training
    assert network.model[1].training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_names_of_unknown_modules_are_not_imported():
    rows = [[-1, 1, "torch.nn.Conv2d", [8]], *OWN_SPEC["backbone"][1:]]
    with pytest.raises(PoseError, match=r"backbone row 0 .*unknown module 'torch.nn.Conv2d'"):
        PoseNet(OWN_SPEC | {"backbone": rows})
