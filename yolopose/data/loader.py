"""Batches made ahead by worker processes.

A worker's task is one block of the epoch's order, or one batch when batches are larger, so that the images of a
block are decoded once. Workers write pixels into slots of shared memory, which the main process copies out; only
the few numbers of the labels travel through a pipe.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from yolopose.data.batch import Batch, collate
from yolopose.data.dataset import PoseDataset
from yolopose.data.sampler import BLOCK, global_batches, rect_canvas, shuffled
from yolopose.data.shared_memory import SharedBytes
from yolopose.errors import PoseError
from yolopose.resources import free_memory, local_ranks, processors

AHEAD = 2  # tasks that each worker has waiting
MEMORY_SHARE = 1 / 8  # of the free memory that slots may take, and as much again for images that workers have at hand


class BatchPlan(NamedTuple):
    """The images of a batch and its canvas (H, W)."""

    indices: tuple[int, ...]
    hw: tuple[int, int]


class Task(NamedTuple):
    """What a worker makes in one go, and the slot that it writes the pixels to."""

    epoch: int
    closing: bool
    batches: tuple[BatchPlan, ...]
    slot: int = 0


class Parcel(NamedTuple):
    """A batch on its way from a worker: its labels, and which bytes of the slots are its pixels (B, H, W, 3)."""

    labels: tuple[NDArray[Any], ...]  # image_index, classes, boxes, keypoints
    paths: tuple[str, ...]
    start: int
    shape: tuple[int, int, int, int]


@dataclass
class Plan:
    """A rank's tasks of the epoch that `dataset.set_epoch` chose last."""

    dataset: PoseDataset
    batch: int
    rank: int
    world: int
    slots: int = 1
    group: int = 1  # batches per task

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(global_batches(len(self.dataset), self.batch, self.world))

    def __iter__(self) -> Iterator[Task]:
        dataset = self.dataset
        plans = [self._plan(positions) for positions in global_batches(len(dataset), self.batch, self.world)]
        if dataset.options.rect and not dataset.rules.rect_in_order:  # a fixed order of images, so mix the batches
            plans = [plans[i] for i in shuffled(len(plans), dataset.options.seed, dataset.epoch)]
        for number, first in enumerate(range(0, len(plans), self.group)):
            batches = tuple(plans[first : first + self.group])
            yield Task(dataset.epoch, dataset.closing, batches, number % self.slots)

    def _plan(self, positions: NDArray[np.int64]) -> BatchPlan:
        """This rank's part of a step's batch; the canvas suits the whole of it."""
        dataset = self.dataset
        indices = dataset.order[positions]
        hw = dataset.imgsz, dataset.imgsz
        if dataset.options.rect:
            sizes = [dataset.items[i].hw for i in indices]
            hw = rect_canvas(sizes, dataset.imgsz, dataset.stride, dataset.rules)
        mine = np.split(indices, self.world)[self.rank]
        return BatchPlan(tuple(mine.tolist()), hw)


class Loader:
    """Iterating over it gives one epoch of batches, the one that `dataset.set_epoch` chose last.

    `batch` is the number of images per rank; rank r of `world` gets the r-th part of each step's batch, whatever
    `world` is. With `pin` images lie in page-locked memory, from which copies to a GPU are fast. At most as many
    `workers` run as there are processors and tasks; with 0 the batches are made in the calling process.
    """

    def __init__(
        self, dataset: PoseDataset, batch: int, *, workers: int = 0, rank: int = 0, world: int = 1, pin: bool = False
    ) -> None:
        self.dataset, self.batch, self.pin = dataset, batch, pin
        self._plan = Plan(dataset, batch, rank, world, group=max(BLOCK // batch, 1))
        workers = min(workers, processors(), -(-len(self) // self._plan.group))
        self.workers, self._plan.group, self._ahead = self._fitting(workers)
        self._loader: DataLoader[Any] | None = None
        if self.workers:
            self._start(self.workers)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self._plan)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the epoch. Raises PoseError for an image that cannot be read."""
        if self._loader is None:
            for task in self._plan:
                for plan in task.batches:
                    yield collate([self.dataset.sample(i, plan.hw) for i in plan.indices])
            return
        failure = None
        for parcels in self._loader:
            if isinstance(parcels, PoseError):
                failure = parcels
                break
            for parcel in parcels:
                yield self._opened(parcel)
        if failure is not None:
            self.close()
            raise failure

    def close(self) -> None:
        """End the workers now; later batches would be made in this process.

        Left to the garbage collector, workers may outlive an exception by some seconds.
        """
        self._loader = None

    def _fitting(self, workers: int) -> tuple[int, int, int]:
        """Workers, batches per task and tasks per worker for which there is memory; the batches are the same for all.

        Slots, and images at hand, may each take a share of what is free, divided among the ranks of this machine.
        """
        group, ahead = self._plan.group, AHEAD
        free = free_memory()
        if not free:  # nobody tells
            return workers, group, ahead
        share = int(free * MEMORY_SHARE) // local_ranks()
        while workers and (ahead * workers + 2) * group * self._batch_bytes() > share:
            if group > 1:  # images of a block may then be decoded by several workers
                group -= 1
            elif ahead > 1:
                ahead -= 1
            else:
                workers -= 1
        self.dataset.read.room = share // max(workers, 1)
        return workers, group, ahead

    def _batch_bytes(self) -> int:
        """Bytes of the largest batch."""
        side = -(-self.dataset.imgsz // self.dataset.stride) * self.dataset.stride
        return self.batch * side * side * 3

    def _start(self, workers: int) -> None:
        """Set up the worker processes; they begin with the first epoch and stay."""
        slot_bytes = self._plan.group * self._batch_bytes()
        self._plan.slots = self._ahead * workers + 2  # those waiting, the one being copied out, and one to spare
        self._memory = SharedBytes(self._plan.slots * slot_bytes)
        self._loader = DataLoader(
            _Work(self.dataset, self._memory, slot_bytes),  # type: ignore[arg-type]  # it only needs __getitem__
            batch_size=None,
            sampler=self._plan,
            num_workers=workers,
            collate_fn=_unchanged,
            worker_init_fn=_prepare_worker,
            prefetch_factor=self._ahead,
            persistent_workers=True,
            generator=torch.Generator(),  # leaves the global one alone
        )

    def _opened(self, parcel: Parcel) -> Batch:
        """The batch with pixels of its own, so that the slot is free again."""
        images = torch.empty(parcel.shape, dtype=torch.uint8, pin_memory=self.pin)
        size = images.numel()
        images.numpy().reshape(-1)[:] = self._memory.array[parcel.start : parcel.start + size]
        index, classes, boxes, keypoints = (torch.from_numpy(a) for a in parcel.labels)
        return Batch(images.permute(0, 3, 1, 2), index, classes, boxes, keypoints, parcel.paths)


class _Work:
    """What runs in a worker: task in, parcels out."""

    def __init__(self, dataset: PoseDataset, memory: SharedBytes, slot_bytes: int) -> None:
        self.dataset, self.memory, self.slot_bytes = dataset, memory, slot_bytes

    def __getitem__(self, task: Task) -> list[Parcel] | PoseError:
        """The batches of a task; an error that the user can mend travels as a value, to arrive without a traceback."""
        self.dataset.set_epoch(task.epoch, task.closing)
        start = task.slot * self.slot_bytes
        parcels = []
        try:
            for plan in task.batches:
                shape = (len(plan.indices), *plan.hw, 3)
                size = shape[0] * shape[1] * shape[2] * 3
                out = self.memory.array[start : start + size].reshape(shape)
                batch = collate([self.dataset.sample(i, plan.hw) for i in plan.indices], out)
                labels = (batch.image_index, batch.classes, batch.boxes, batch.keypoints)
                parcels.append(Parcel(tuple(t.numpy() for t in labels), batch.paths, start, shape))
                start += size
        except PoseError as e:
            return e
        return parcels


def _unchanged(parcels: Any) -> Any:
    """Collation for torch's loader: there is nothing left to do."""
    return parcels


def _prepare_worker(_: int) -> None:
    """One thread per worker, and Ctrl-C is the main process's business."""
    cv2.setNumThreads(0)  # not 1: that would wait for the parent's threads, which a forked process does not have
    signal.signal(signal.SIGINT, signal.SIG_IGN)
