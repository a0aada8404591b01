"""The blocks against plain torch: sizes, joins and shortcuts."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from yolopose.nn import layers
from yolopose.nn.layers import BN_EPS, C2, C3, SPP, SPPF, Bottleneck, C2f, Concat, Conv, DWConv, Focus


def randomise(module: nn.Module) -> nn.Module:
    """Batch statistics and weights as after training, in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.copy_(torch.randn(m.num_features, generator=generator))
            m.running_var.copy_(torch.rand(m.num_features, generator=generator) + 0.5)
            m.weight.data.copy_(torch.rand(m.num_features, generator=generator) + 0.5)
            m.bias.data.copy_(torch.randn(m.num_features, generator=generator))
    return module.eval().requires_grad_(False)


X = torch.randn(2, 8, 12, 16, generator=torch.Generator().manual_seed(1))


def test_conv_is_convolution_normalisation_silu():
    conv = randomise(Conv(8, 6, 3, 2))
    bn = conv.bn
    plain = F.conv2d(X, conv.conv.weight, stride=2, padding=1)
    plain = F.batch_norm(plain, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=1e-3)
    torch.testing.assert_close(conv(X), F.silu(plain))
    assert (bn.eps, bn.momentum) == (BN_EPS, 0.03)
    conv.act = False
    torch.testing.assert_close(conv(X), plain)


@pytest.mark.parametrize(
    "block",
    [
        Conv(8, 12, 3, 2),
        Conv(8, 12, 3, d=2),
        Conv(8, 8, 5, g=4, act=False),
        DWConv(8, 12, 3),
        Focus(8, 12, 3),
        Bottleneck(8, 8),
        C2f(8, 12, 2, True),
        C2(8, 12, 2),
        C3(8, 12, 2, False),
        SPP(8, 12),
        SPPF(8, 12),
    ],
    ids=lambda block: type(block).__name__,
)
def test_fusing_changes_nothing_but_the_work(block):
    block = randomise(block)
    before = block(X)
    for conv in block.modules():
        if isinstance(conv, Conv):
            conv.fuse()
    torch.testing.assert_close(block(X), before, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in block.modules())
    assert before.shape[1] == 8 if isinstance(block, Bottleneck) else 12


def test_inputs_are_left_alone():
    """SiLU works in place; what came in must not change, also where a shortcut adds it again."""
    for block in (Conv(8, 8), Bottleneck(8, 8), C2f(8, 8, 2, True), SPPF(8, 8)):
        x = X.clone()
        randomise(block)(x)
        assert torch.equal(x, X)


def test_depthwise_groups_are_what_the_channels_share():
    assert DWConv(8, 12, 3).conv.groups == 4
    assert DWConv(8, 8, 3).conv.weight.shape == (8, 1, 3, 3)


def test_focus_takes_every_pixel_once():
    focus = Focus(1, 4)
    focus.conv = nn.Identity()
    x = torch.arange(16.0).view(1, 1, 4, 4)
    out = focus(x)
    assert out[0, :, 0, 0].tolist() == [0, 4, 1, 5]
    assert sorted(out.flatten().tolist()) == x.flatten().tolist()


def test_bottleneck_adds_only_equal_channels_and_when_asked():
    same = randomise(Bottleneck(8, 8))
    torch.testing.assert_close(same(X), X + same.cv2(same.cv1(X)))
    for block in (Bottleneck(8, 8, shortcut=False), Bottleneck(8, 10)):
        torch.testing.assert_close(randomise(block)(X), block.cv2(block.cv1(X)))


def test_c2f_joins_every_link_of_the_chain():
    block = randomise(C2f(8, 12, 2, True))
    a, b = block.cv1(X).chunk(2, 1)
    c = block.m[0](b)
    d = block.m[1](c)
    torch.testing.assert_close(block(X), block.cv2(torch.cat((a, b, c, d), 1)))


def test_c2_and_c3_join_the_deep_half_first():
    c2, c3 = randomise(C2(8, 12, 2)), randomise(C3(8, 12, 2))
    deep, flat = c2.cv1(X).chunk(2, 1)
    torch.testing.assert_close(c2(X), c2.cv2(torch.cat((c2.m(deep), flat), 1)))
    torch.testing.assert_close(c3(X), c3.cv3(torch.cat((c3.m(c3.cv1(X)), c3.cv2(X)), 1)))


def test_sppf_pools_as_spp_does():
    spp, sppf = randomise(SPP(8, 12, (5, 9, 13))), randomise(SPPF(8, 12, 5))
    sppf.load_state_dict(spp.state_dict())
    torch.testing.assert_close(sppf(X), spp(X))


def test_concat():
    assert torch.equal(Concat()([X, X]), torch.cat((X, X), 1))
    assert layers.Concat(2)([X, X]).shape == (2, 8, 24, 16)


class NoFloat64(TorchDispatchMode):
    """Fails where a float64 tensor is made without saying that it is on the CPU, as MPS would."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if kwargs.get("dtype") is torch.float64:
            assert kwargs.get("device") == torch.device("cpu"), func
        return func(*args, **kwargs)


def test_fusion_needs_no_float64_on_the_device():
    layer = Conv(3, 4, 3).eval()
    with NoFloat64():
        layer.fuse()
    assert layer.conv.weight.dtype == layer.conv.bias.dtype == torch.float32
