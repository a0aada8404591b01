import io

import numpy as np
import pytest

from yolopose.errors import PoseError
from yolopose.images import to_bgr

BGR = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


def one(value):
    (image,) = to_bgr(value)
    assert image.dtype == np.uint8
    assert image.shape == (4, 5, 3)
    assert image.flags.c_contiguous
    return image


def test_bgr_is_taken_without_a_copy():
    assert np.shares_memory(one(BGR), BGR)
    assert (one(BGR[..., ::-1]) == BGR[..., ::-1]).all()


def test_grey_alpha_and_batches():
    grey = BGR[..., 0]
    assert (one(grey) == grey[..., None]).all()
    assert (one(grey[..., None]) == grey[..., None]).all()
    assert (one(np.dstack([BGR, grey])) == BGR).all()
    first, second = to_bgr(np.stack([BGR, 255 - BGR]))
    assert (first == BGR).all()
    assert (second == 255 - BGR).all()


def test_other_sample_types():
    assert (one(BGR.astype(np.uint16) * 257) == BGR).all()
    assert (one((BGR.astype(">u2")) * 257) == BGR).all()
    assert (one(BGR.astype(np.int64)) == BGR).all()
    for kind in (np.float16, np.float32, np.float64):
        assert (one(BGR.astype(kind) / kind(255)) == BGR).all()
    assert (one(BGR > 20) == (BGR > 20) * 255).all()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (BGR.astype(np.float32), "divide by 255"),
        (BGR.astype(np.float32) * np.nan, "expected 0..1"),
        (BGR.astype(np.int32) - 5, "expected 0..255"),
        (BGR.astype(np.complex64), "expected 0..255"),
        (BGR.transpose(2, 0, 1), "channels last"),
        (np.zeros((4, 5, 7), np.uint8), r"expected \(H, W, 3\)"),
        (np.zeros(12, np.uint8), r"expected \(H, W, 3\)"),
        (np.zeros((0, 5, 3), np.uint8), "empty picture"),
        (np.zeros((0, 5, 3), np.float32), "empty picture"),
        ("text", "not str"),
        (None, "not NoneType"),
    ],
)
def test_values_that_are_no_image_are_named(value, message):
    with pytest.raises(PoseError, match=message) as caught:
        to_bgr(value, "image 3")
    assert str(caught.value).startswith("image 3: ")


def test_pil_pictures():
    image = pytest.importorskip("PIL.Image")
    picture = image.fromarray(np.ascontiguousarray(BGR[..., ::-1]))
    assert (one(picture) == BGR).all()
    assert (one(picture.convert("RGBA")) == BGR).all()
    grey = one(picture.convert("L"))
    assert (grey[..., 0] == grey[..., 2]).all()
    deep = image.fromarray(BGR[..., 0].astype(np.uint16) * 257)
    assert (one(deep) == BGR[..., :1]).all()
    buffer = io.BytesIO()
    picture.resize((300, 300)).save(buffer, "PNG")
    with pytest.raises(PoseError, match="PIL cannot decode"):
        to_bgr(image.open(io.BytesIO(buffer.getvalue()[:-200])))


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    rgb = torch.from_numpy(BGR[..., ::-1].copy()).permute(2, 0, 1)
    assert (one(rgb) == BGR).all()
    assert (one(rgb / 255) == BGR).all()
    assert (one(torch.nn.Parameter(rgb / 255)) == BGR).all()
    assert len(to_bgr(torch.zeros(3, 3, 7, 9))) == 3
    assert to_bgr(torch.zeros(1, 1, 7, 9, dtype=torch.bfloat16))[0].shape == (7, 9, 3)
    with pytest.raises(PoseError, match="divide by 255"):
        to_bgr(rgb.float())
    with pytest.raises(PoseError, match=r"tensor of shape \(4, 5, 3\)"):
        to_bgr(torch.from_numpy(BGR))
