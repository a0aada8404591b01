"""Small things that several tests build."""

import numpy as np

from yolopose.geometry.keypoints import default_layout
from yolopose.results import Results


def make_results(n: int = 3, k: int = 17, d: int = 3, *, tracked: bool = False, hw=(240, 320), **values) -> Results:
    """Results of `n` people with boxes and keypoints inside a grey image; class i % 2, scores falling from 0.9."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.5, (n, 2)) * (hw[1], hw[0])
    size = rng.uniform(0.2, 0.5, (n, 2)) * (hw[1], hw[0])
    ids = np.arange(n)[:, None] + 7.0
    tail = [np.linspace(0.9, 0.3, n)[:, None], np.arange(n)[:, None] % 2]
    boxes = np.concatenate([low, low + size, *([ids] if tracked else []), *tail], 1)
    xy = low[:, None] + rng.uniform(0, 1, (n, k, 2)) * size[:, None]
    keypoints = np.concatenate([xy, rng.uniform(0, 1, (n, k, 1))], 2)[..., :d]
    defaults = {"path": "folder/photo.jpg", "names": {0: "person", 1: "dog"}, "layout": default_layout((k, d))}
    image = np.full((*hw, 3), 128, np.uint8)
    return Results(image, boxes=boxes, keypoints=keypoints, **(defaults | values))
