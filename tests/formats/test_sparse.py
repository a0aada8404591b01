"""The pose head in NumPy gives the same candidates as torch."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers.builders import make_network

from yolopose.formats.sparse import Branch, SparseHead, layer, sigmoid
from yolopose.nn.head import REG_MAX, Distances

HW = (64, 96)


def arrays(tensors: Any) -> list[np.ndarray]:
    """(B, c, h, w) → (B, h, w, c)."""
    return [tensor.permute(0, 2, 3, 1).numpy() for tensor in tensors]


def branch(modules: Any) -> Branch:
    convolutions = (modules[0].conv, modules[1].conv, modules[2])
    return [layer(conv.weight.numpy(), conv.bias.numpy()[None, :, None, None]) for conv in convolutions]


@pytest.mark.parametrize(("k", "d", "classes"), [(5, 3, 2), (4, 2, 1)])
def test_candidates_are_torchs(k: int, d: int, classes: int) -> None:
    network = make_network(k=k, d=d, classes=classes).fuse()
    head = network.head
    head.dfl = Distances(REG_MAX)  # the distances of a real network; the builder's are random
    sparse = SparseHead([(branch(box), branch(pose)) for box, pose in zip(head.cv2, head.cv4, strict=True)], (k, d))
    images = torch.rand(3, 3, *HW, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = network.features(images)
        logits = [module(x) for module, x in zip(head.cv3, features, strict=True)]
        scores = torch.cat([level.flatten(2) for level in logits], 2).sigmoid().amax(1)
        conf = float(scores.flatten().sort().values[-20])  # 19 cells, at borders and corners, too
        expected = network.decode(network.maps(images)).transpose(1, 2)
    found = sparse.candidates(arrays(logits), arrays(features), HW[0], conf, most=1000)
    assert found is not None
    assert sum(map(len, found)) == 19
    for rows, image, best in zip(found, expected, scores, strict=True):
        np.testing.assert_allclose(rows, image[best > conf].numpy(), rtol=1e-4, atol=1e-3)
    assert sparse.candidates(arrays(logits), arrays(features), HW[0], conf, most=18) is None
    nothing = sparse.candidates(arrays(logits), arrays(features), HW[0], 0.9999, most=1000)
    assert [rows.shape for rows in nothing or []] == [(0, 4 + classes + k * d)] * 3


def test_sigmoid_of_large_numbers() -> None:
    assert sigmoid(np.array([-1e4, 0, 1e4], np.float32)).tolist() == [0, 0.5, 1]
