"""The head: anchors, decoding, candidates at a few cells, first biases."""

from math import log

import pytest
import torch

from yolopose.nn import sparse
from yolopose.nn.head import REG_MAX, Maps, PoseHead, anchors
from yolopose.nn.layers import Conv
from yolopose.nn.network import PoseNet
from yolopose.nn.spec import load_spec


def make_head(classes: int = 2, kpt_shape: tuple[int, int] = (4, 3), scale: float = 4.0) -> PoseHead:
    """A fused head of two levels whose scores vary enough to find some cells and leave others."""
    torch.manual_seed(0)
    head = PoseHead([8, 16], classes, kpt_shape)
    head.strides = (8, 16)
    for module in head.modules():
        if isinstance(module, Conv):
            module.conv.weight.data.mul_(scale)
            module.fuse()
    return head.eval().requires_grad_(False)


def make_features(b: int = 2, h: int = 12, w: int = 20) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(b, 8, h, w, generator=generator), torch.randn(b, 16, h // 2, w // 2, generator=generator)]


def test_anchors_run_row_by_row_level_by_level():
    points, steps = anchors([torch.empty(1, 0, 2, 3), torch.empty(1, 0, 1, 2)], (8, 16))
    assert points.tolist() == [
        [0.5, 0.5],
        [1.5, 0.5],
        [2.5, 0.5],
        [0.5, 1.5],
        [1.5, 1.5],
        [2.5, 1.5],
        [0.5, 0.5],
        [1.5, 0.5],
    ]
    assert steps.flatten().tolist() == [8] * 6 + [16] * 2


@pytest.mark.parametrize("d", [2, 3])
def test_decode_by_hand(d):
    head = PoseHead([8], 2, (2, d))
    head.strides = (8,)
    level = torch.full((1, 4 * REG_MAX + 2, 1, 2), -100.0)
    for side, distance in enumerate((1, 2, 3, 5)):  # left, top, right, bottom of both cells
        level[:, side * REG_MAX + distance] = 100
    level[0, -2:, 0, 1] = torch.tensor([0.0, log(3)])
    points = torch.zeros(1, 2 * d, 2)
    points[0, :2, 1] = torch.tensor([1.25, -0.5])
    out = head.decode(Maps([level], points))[0]
    assert out.shape == (4 + 2 + 2 * d, 2)
    # The cell at column 1: its centre (1.5, 0.5), box from (0.5, -1.5) to (4.5, 5.5), in pixels times 8.
    torch.testing.assert_close(out[:6, 1], torch.tensor([20.0, 16.0, 32.0, 56.0, 0.5, 0.75]))
    torch.testing.assert_close(out[6:8, 1], torch.tensor([(2 * 1.25 + 1.5 - 0.5) * 8, (2 * -0.5 + 0.5 - 0.5) * 8]))
    if d == 3:
        assert out[8, 1] == 0.5


def test_distance_is_the_mean_of_its_bins():
    head = PoseHead([8], 1, (1, 2))
    logits = torch.randn(3, 4 * REG_MAX, 7, generator=torch.Generator().manual_seed(0))
    expected = (logits.view(3, 4, REG_MAX, 7).softmax(2) * torch.arange(16.0).view(16, 1)).sum(2)
    torch.testing.assert_close(head.dfl(logits), expected)
    torch.testing.assert_close(head.dfl.conv(logits.view(3, 4, 16, 7).transpose(1, 2).softmax(1)).squeeze(1), expected)


@pytest.mark.parametrize("cells_per_hit", [0, sparse.MIN_CELLS_PER_HIT, 10**9])
@pytest.mark.parametrize(("classes", "kpt_shape"), [(1, (4, 3)), (3, (2, 2))])
def test_candidates_are_the_rows_of_decode(monkeypatch, cells_per_hit, classes, kpt_shape):
    monkeypatch.setattr(sparse, "MIN_CELLS_PER_HIT", cells_per_hit)  # at cells only, as it decides, in whole maps only
    head, features = make_head(classes, kpt_shape), make_features()
    decoded = head.decode(head(features))
    scores = decoded[:, 4 : 4 + classes].amax(1)
    conf = scores.flatten().sort().values[-40:-38].mean().item()  # between two scores: 39 rows above it
    found = head.candidates(features, conf)
    assert sum(map(len, found)) == 39
    for image, rows in enumerate(found):
        expected = decoded[image].T[scores[image] > conf]
        torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-3)


def test_neighbourhoods_end_with_the_map():
    """Every cell of a small map, where most neighbourhoods reach over its edge."""
    head, x = make_head(), make_features(1, 3, 4)[0]
    cells = sparse.Cells(*torch.ones(1, 3, 4).nonzero(as_tuple=True))
    squares, inside = sparse.neighbourhoods(x, cells)
    for branch in (head.cv2[0], head.cv4[0]):
        torch.testing.assert_close(
            sparse.run_branch(branch, squares, inside), sparse.values_at(branch(x), cells), rtol=1e-4, atol=1e-4
        )


def test_candidates_at_the_ends_of_conf():
    head, features = make_head(), make_features()
    cells = sum(f.shape[2] * f.shape[3] for f in features)
    assert [len(rows) for rows in head.candidates(features, 0.0)] == [cells, cells]
    none = head.candidates(features, 1.0)
    assert [tuple(rows.shape) for rows in none] == [(0, 4 + 2 + 12)] * 2


def test_unfused_networks_have_candidates_too():
    network = PoseNet(load_spec("yolov8n-pose.yaml")).eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        decoded = network(x)[0]
        conf = decoded[4].sort().values[-3:-1].mean().item()
        rows = network.candidates(x, conf)[0]
    torch.testing.assert_close(rows, decoded[:, decoded[4] > conf].T)


def test_first_biases():
    head = PoseNet(load_spec("yolov8n-pose.yaml"), names={i: str(i) for i in range(4)}).head
    for box, label, stride in zip(head.cv2, head.cv3, (8, 16, 32), strict=True):
        assert torch.all(box[2].bias == 1)
        torch.testing.assert_close(label[2].bias, torch.full((4,), log(5 / 4 / (640 / stride) ** 2)))
