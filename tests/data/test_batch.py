import numpy as np
import pytest
import torch

from yolopose.data.batch import Sample, collate


def sample(value: int, n: int, hw=(20, 40)) -> Sample:
    image = np.full((*hw, 3), (value, value + 1, value + 2), np.uint8)
    boxes = np.tile(np.float32([10, 5, 30, 15]), (n, 1))
    points = np.tile(np.float32([[10, 5, 2], [40, 20, 0]]), (n, 1, 1))
    return Sample(image, np.arange(n), boxes, points, f"{value}.jpg")


def test_collate_normalises_and_numbers_the_instances() -> None:
    batch = collate([sample(1, 2), sample(50, 0), sample(100, 1)])
    assert batch.images.shape == (3, 3, 20, 40)
    assert batch.images.dtype == torch.uint8
    assert batch.images[:, :, 7, 9].tolist() == [[3, 2, 1], [52, 51, 50], [102, 101, 100]]  # RGB
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.image_index.tolist() == [0, 0, 2]
    assert batch.classes.tolist() == [0, 1, 0]
    assert batch.boxes.tolist() == [[0.5, 0.5, 0.5, 0.5]] * 3
    assert batch.keypoints.tolist() == [[[0.25, 0.25, 2], [1, 1, 0]]] * 3
    assert (batch.boxes.dtype, batch.keypoints.dtype) == (torch.float32, torch.float32)
    assert batch.paths == ("1.jpg", "50.jpg", "100.jpg")
    assert len(batch) == 3


def test_samples_are_not_changed() -> None:
    one = sample(1, 1)
    collate([one])
    assert one.boxes.tolist() == [[10, 5, 30, 15]]
    assert one.keypoints[0, 0].tolist() == [10, 5, 2]


def test_images_go_into_the_memory_given() -> None:
    out = np.zeros((2, 20, 40, 3), np.uint8)
    batch = collate([sample(1, 1), sample(2, 1)], out)
    assert out[1, 0, 0].tolist() == [4, 3, 2]
    assert np.shares_memory(batch.images.numpy(), out)


def test_images_of_different_sizes_do_not_fit() -> None:
    with pytest.raises(ValueError, match="image of shape"):
        collate([sample(1, 1), sample(2, 1, hw=(30, 30))])


def test_to_moves_every_tensor() -> None:
    moved = collate([sample(1, 1)]).to("meta")
    tensors = [moved.images, moved.image_index, moved.classes, moved.boxes, moved.keypoints]
    assert {t.device.type for t in tensors} == {"meta"}
    assert moved.paths == ("1.jpg",)
