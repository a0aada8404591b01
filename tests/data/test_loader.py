from pathlib import Path

import pytest
import torch
from helpers.builders import make_dataset

from yolopose.data import loader as loader_module
from yolopose.data.batch import Batch
from yolopose.data.dataset import PoseDataset, SampleOptions
from yolopose.data.labels import Scan, scan
from yolopose.data.loader import Loader
from yolopose.data.spec import load_data
from yolopose.errors import PoseError
from yolopose.rules import REFERENCE


@pytest.fixture
def found(tmp_path: Path) -> Scan:
    return scan(load_data(make_dataset(tmp_path, count=21)), "train")


def dataset(found: Scan, **values: object) -> PoseDataset:
    return PoseDataset(found, SampleOptions(imgsz=64, **values))


def epoch(loader: Loader, number: int) -> list[Batch]:
    loader.dataset.set_epoch(number)
    return list(loader)


def same(a: Batch, b: Batch) -> bool:
    names = ("images", "image_index", "classes", "boxes", "keypoints")
    return a.paths == b.paths and all(torch.equal(getattr(a, n), getattr(b, n)) for n in names)


def test_an_epoch_shows_every_image_once_in_the_order_of_the_epoch(found: Scan) -> None:
    data = dataset(found)
    batches = epoch(Loader(data, 4), 5)
    assert [len(b) for b in batches] == [4] * 5 + [1]
    paths = [path for b in batches for path in b.paths]
    assert paths == [str(data.items[i].path) for i in data.order]
    assert len(Loader(data, 4)) == len(batches)


@pytest.mark.parametrize(("batch", "options"), [(4, {}), (40, {}), (4, {"rect": True}), (4, {"cache": "ram"})])
def test_workers_make_the_same_batches(found: Scan, batch: int, options: dict[str, object]) -> None:
    alone = Loader(dataset(found, **options), batch)
    helped = Loader(dataset(found, **options), batch, workers=2)
    for number in (0, 1, 0):  # workers stay from epoch to epoch
        pairs = list(zip(epoch(alone, number), epoch(helped, number), strict=True))
        assert all(same(a, b) for a, b in pairs)
        assert all(b.images.is_contiguous(memory_format=torch.channels_last) for _, b in pairs)


def test_batches_stay_as_they_were_when_later_ones_come(found: Scan) -> None:
    loader = Loader(dataset(found), 4, workers=2)
    kept = [(batch, batch.images.clone()) for number in range(4) for batch in epoch(loader, number)]
    assert all(torch.equal(batch.images, copy) for batch, copy in kept)


def test_an_epoch_may_be_broken_off(found: Scan) -> None:
    loader = Loader(dataset(found), 4, workers=2)
    wanted = epoch(loader, 1)
    for batch in loader:
        assert same(batch, wanted[0])
        break
    assert all(same(a, b) for a, b in zip(epoch(loader, 1), wanted, strict=True))


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("options", [{}, {"rect": True}])
def test_ranks_share_the_batch_of_one_process(found: Scan, world: int, options: dict[str, object]) -> None:
    together = epoch(Loader(dataset(found, **options), 2 * world), 2)
    apart = [epoch(Loader(dataset(found, **options), 2, rank=r, world=world), 2) for r in range(world)]
    for step, whole in enumerate(together):
        parts = [ranks[step] for ranks in apart]
        paths = sum((part.paths for part in parts), ())
        assert paths[: len(whole)] == whole.paths
        assert len({len(part) for part in parts}) == 1
        images = torch.cat([part.images for part in parts])
        assert torch.equal(images[: len(whole)], whole.images)


def test_rectangular_batches_fit_their_images_and_come_mixed(found: Scan) -> None:
    data = dataset(found, rect=True, mosaic=0.0)
    orders = [[b.paths for b in epoch(Loader(data, 4), number)] for number in range(3)]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1] or orders[1] != orders[2]
    shapes = {tuple(b.images.shape[2:]) for b in epoch(Loader(data, 4), 0)}
    assert (64, 64) in shapes or (48, 64) in shapes
    assert all(h % 32 == 0 and w % 32 == 0 and max(h, w) == 64 for h, w in shapes)
    compat = dataset(found, rect=True, rules=REFERENCE)
    assert [b.paths for b in epoch(Loader(compat, 4), 0)] == [b.paths for b in epoch(Loader(compat, 4), 1)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_lost_image_is_named_without_a_workers_traceback(found: Scan, workers: int) -> None:
    data = dataset(found)
    data.items[7].path.unlink()
    with pytest.raises(PoseError, match=r"^\S*007\.jpg: no such file") as caught:
        epoch(Loader(data, 4, workers=workers), 0)
    assert "\n" not in str(caught.value)


def test_the_global_random_state_is_left_alone(found: Scan) -> None:
    before = torch.get_rng_state()
    epoch(Loader(dataset(found), 4, workers=1), 0)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("free", [10**12, 30 * 2**20, 2 * 2**20, 1])
def test_little_memory_changes_no_batch(found: Scan, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    wanted = epoch(Loader(dataset(found), 4), 1)
    monkeypatch.setattr(loader_module, "free_memory", lambda: free)
    loader = Loader(dataset(found), 4, workers=2)
    assert all(same(a, b) for a, b in zip(epoch(loader, 1), wanted, strict=True))


def test_slots_stay_within_their_share_of_the_free_memory(found: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_module, "processors", lambda: 16)
    monkeypatch.setattr(Loader, "_start_workers", lambda *_: None)
    data = dataset(found)
    data.items = data.items * 200
    data.epoch = -1
    data.set_epoch(0)
    seen = set()
    for free in (10**12, 10**9, 10**8, 10**7, 10**6, 10**5, 0):
        monkeypatch.setattr(loader_module, "free_memory", lambda free=free: free)
        loader = Loader(data, 4, workers=8)
        plan = (loader.workers, loader._sampler.batches_per_task, loader._tasks_ahead)
        size = (loader._tasks_ahead * loader.workers + 2) * loader._sampler.batches_per_task * 4 * 64 * 64 * 3
        assert not free or not loader.workers or size <= free / 8
        seen.add(plan)
    assert (8, 16, 2) in seen
    assert len(seen) > 3
    plans = []
    for free, ranks in ((10**7, 1), (4 * 10**7, 4)):  # the ranks of a machine share its memory
        monkeypatch.setenv("LOCAL_WORLD_SIZE", f"{ranks}")
        monkeypatch.setattr(loader_module, "free_memory", lambda free=free: free)
        loader = Loader(data, 4, workers=8)
        plans.append((loader.workers, loader._sampler.batches_per_task, loader._tasks_ahead, data.read.room))
    assert plans[0] == plans[1]
