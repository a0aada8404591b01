"""Convolutions prepared for the CPU give what the plain ones give."""

import pytest
import torch
from helpers.builders import OWN_SPEC

from yolopose.nn import onednn
from yolopose.nn.layers import Conv
from yolopose.nn.network import PoseNet

pytestmark = pytest.mark.skipif(not onednn.has_onednn(), reason="this torch has no oneDNN operators")


def make(dtype: torch.dtype = torch.float32) -> PoseNet:
    torch.manual_seed(0)
    return PoseNet(OWN_SPEC).fuse().to(dtype).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(1, 3, 64, 96), (3, 3, 96, 64)])
def test_same_output_for_any_shape(size):
    x = torch.rand(size).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        plain, fast = make()(x), onednn.use_onednn(make())(x)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-3)


def test_same_candidates():
    x = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        network = make()
        conf = network(x)[:, 4:7].amax(1).flatten().sort().values[-20:-18].mean().item()
        plain, fast = network.candidates(x, conf), onednn.use_onednn(make()).candidates(x, conf)
    for a, b in zip(plain, fast, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-3)


def test_bfloat16_is_as_close_as_the_plain_one():
    x = torch.rand(1, 3, 96, 96)
    with torch.inference_mode():
        exact, rough = make()(x), onednn.use_onednn(make(torch.bfloat16))(x.bfloat16())
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0, atol=1.0)


def test_only_boxes_and_keypoints_stay_plain():
    network = onednn.use_onednn(make())
    plain = {name for name, module in network.named_modules() if isinstance(module, Conv)}
    assert plain
    assert all(".cv2." in name or ".cv4." in name for name in plain)
    assert all(name.startswith(f"model.{len(network.model) - 1}.") for name in plain)


def test_without_the_operators_nothing_changes(monkeypatch):
    monkeypatch.setattr(onednn, "has_onednn", lambda: False)
    network = make()
    before = list(network.modules())
    assert list(onednn.use_onednn(network).modules()) == before
