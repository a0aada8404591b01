"""Builds what several tests need: results, images, networks, data sets, a backend without a model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.formats.base import Backend, OpenOptions
from yolopose.geometry.keypoints import default_layout
from yolopose.metadata import ModelInfo
from yolopose.results import Results

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet


OWN_SPEC = {  # a user's own model YAML, with every block there is
    "nc": 3,
    "kpt_shape": [4, 3],
    "backbone": [
        [-1, 1, "Focus", [16, 3]],
        [-1, 1, "DWConv", [32, 3, 2]],
        [-1, 3, "C3", [32]],
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 3, "C2", [64, True]],
        [-1, 1, "SPP", [64, [5, 9, 13]]],
        [-1, 2, "Bottleneck", [64]],
    ],
    "head": [
        [-1, 1, "Conv", [64, 3, 2]],
        [-1, 1, "nn.Upsample", ["None", 2, "nearest"]],
        [[-1, 6], 1, "Concat", [1]],
        [-1, 2, "C2f", [64, True]],
        [-1, 2, "Conv", [64, 3, 1]],
        [[11, 7], 1, "Pose", ["nc", "kpt_shape"]],
    ],
}


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


class FakeBackend(Backend):
    """Finds the white rectangle of each image, score 0.9: its box, and its corners in turn as keypoints."""

    precision, device = "float32", "cpu"

    def __init__(self, k: int = 17, d: int = 3, fixed_shape: tuple[int, int, int] | None = None) -> None:
        self.info = ModelInfo({0: "person"}, default_layout((k, d)))
        self.fixed_shape = fixed_shape
        self.shapes: list[tuple[int, ...]] = []

    def infer(self, images: Any) -> Any:
        self.shapes.append(images.shape)
        k, d = self.info.kpt_shape
        out = np.zeros((len(images), 5 + k * d, 3), np.float32)
        for rows, image in zip(out, images, strict=True):
            ys, xs = np.nonzero((image > 184).all(2))  # brighter than half between white and the padding
            if len(ys):
                x1, y1, x2, y2 = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
                rows[:5, 1] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 0.9
                points = np.ones((k, d), np.float32)
                points[:, :2] = [[(x1, x2)[i % 2], (y1, y2)[i // 2 % 2]] for i in range(k)]
                rows[5:, 1] = points.ravel()
        return out


class ManyBackend(FakeBackend):
    """Finds every white rectangle of each image as `FakeBackend` finds one."""

    def infer(self, images: Any) -> Any:
        import cv2

        self.shapes.append(images.shape)
        k, d = self.info.kpt_shape
        out = np.zeros((len(images), 5 + k * d, 20), np.float32)
        for rows, image in zip(out, images, strict=True):
            count, _, places, _ = cv2.connectedComponentsWithStats((image > 184).all(2).astype(np.uint8))
            for i, (x, y, w, h, _) in enumerate(places[1 : min(count, 20)]):
                rows[:5, i] = x + w / 2, y + h / 2, w, h, 0.9
                points = np.ones((k, d), np.float32)
                points[:, :2] = [[x + w * (j % 2), y + h * (j // 2 % 2)] for j in range(k)]
                rows[5:, i] = points.ravel()
        return out


def make_photo(hw: tuple[int, int] = (240, 320), box: tuple[int, int, int, int] = (40, 60, 200, 180)) -> Any:
    """An (H, W, 3) BGR image, grey as the padding, with a white rectangle x1 y1 x2 y2."""
    image = np.full((*hw, 3), 114, np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


def make_network(k: int = 5, d: int = 3, classes: int = 1, seed: int = 0) -> PoseNet:
    """A pose network of a few small layers with strides 8, 16, 32 and random weights that find something."""
    import torch

    from yolopose.nn.network import PoseNet

    rows = [[-1, 1, "Conv", [8, 3, 2]] for _ in range(5)]
    spec = {"nc": classes, "kpt_shape": [k, d], "backbone": rows, "head": [[[2, 3, 4], 1, "Pose", ["nc", "kpt_shape"]]]}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = PoseNet(spec, names={i: f"class{i}" for i in range(classes)}).eval()
        for name, weight in network.named_parameters():
            if ".cv3." in name and name.endswith("2.bias"):
                weight.data.zero_()  # scores around a half instead of near nothing
            elif weight.ndim == 4:
                weight.data.mul_(3)  # maps that vary over the image
    return network


def tiny_onnx(path: Path, k: int = 5, **options: Any) -> Path:
    """`make_network` exported to an ONNX file, of open shape unless told otherwise."""
    from yolopose.config import ExportConfig, parse
    from yolopose.formats.table import export

    return export(make_network(k), parse(ExportConfig, {"out": str(path), "imgsz": 64, "dynamic": True, **options}))


def make_dataset(root: Path, count: int = 6, k: int = 5, *, hw: tuple[int, int] = (48, 64), extra: str = "") -> Path:
    """A data set of smooth random images, two instances in each, in `root`; → its YAML, one split `train`."""
    import cv2

    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for i in range(count):
        size = (hw[0], hw[1]) if i % 2 else (hw[1], hw[0])
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(root / "images" / f"{i:03}.jpg"), smooth)
        rows = []
        for _ in range(2):
            box = rng.uniform((0.3, 0.3, 0.3, 0.3), (0.7, 0.7, 0.6, 0.6))
            points = np.column_stack([rng.uniform(0.1, 0.9, (k, 2)), rng.integers(0, 3, k)])
            rows.append(" ".join(f"{v:.5f}" for v in (0, *box, *points.ravel())))
        (root / "labels" / f"{i:03}.txt").write_text("\n".join(rows) + "\n")
    flip = [1, 0, *range(2, k)]
    (root / "data.yaml").write_text(
        f"train: images\nval: images\nkpt_shape: [{k}, 3]\nflip_idx: {flip}\nnames: [thing]\n{extra}"
    )
    return root / "data.yaml"


def same_as_torch(path: Path, network: PoseNet, images: np.ndarray, tolerance: float = 1e-5, **options: Any) -> Any:
    """Open the file and compare it with torch on `images`; `tolerance` is relative to the largest number."""
    from yolopose.formats.pytorch import TorchBackend
    from yolopose.formats.table import open_backend

    backend = open_backend(path, OpenOptions(device="cpu", **options))
    expected = TorchBackend(network).infer(images)
    found = backend.infer(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
    return backend


def each_in_a_thread(backend: Backend, images: np.ndarray) -> np.ndarray:
    """What a backend finds in the images when each is asked for by a thread of its own, all at once."""
    with ThreadPoolExecutor(len(images)) as pool:
        return np.concatenate(list(pool.map(lambda image: backend.infer(image[None]), images)))
