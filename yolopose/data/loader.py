"""Training batches, made ahead by worker processes.

A worker's task is one block of the epoch's order, or one batch where batches are larger, so that each image of a block
is decoded once. Workers write pixels into slots of shared memory, and the main process copies them out; only labels
travel through a pipe.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
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

TASKS_AHEAD = 2  # tasks in each worker's queue
MEMORY_SHARE = 1 / 8  # of the free memory for slots, and the same again for the workers' recently decoded images

Task = tuple[int, bool, list[tuple[list[int], tuple[int, int]]], int]  # see BatchSampler


class WorkerBatch(NamedTuple):
    """A batch made by a worker: its labels, and where its pixels (B, H, W, 3) start in the shared memory."""

    labels: tuple[NDArray[Any] | None, ...]  # image_index, classes, boxes, keypoints, ignore
    paths: tuple[str, ...]
    start: int
    shape: tuple[int, int, int, int]


class BatchSampler:
    """This rank's tasks for workers, in the epoch set by `dataset.set_epoch`.

    A task is (epoch, mosaic closed, batches, slot): each batch has the indices of its images and its canvas (H, W), and
    the worker writes the pixels to the slot of that number.
    """

    def __init__(self, dataset: PoseDataset, batch: int, rank: int, world: int) -> None:
        self.dataset, self.batch, self.rank, self.world = dataset, batch, rank, world
        self.batches_per_task = max(BLOCK // batch, 1)
        self.slots = 1

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(global_batches(len(self.dataset), self.batch, self.world))

    def __iter__(self) -> Iterator[Task]:
        dataset, options = self.dataset, self.dataset.options
        batches = []
        for positions in global_batches(len(dataset), self.batch, self.world):
            indices = dataset.order[positions]
            hw = options.imgsz, options.imgsz
            if options.rect:  # the same canvas on all ranks
                sizes = [dataset.items[i].hw for i in indices]
                hw = rect_canvas(sizes, options.imgsz, options.stride, options.rules)
            batches.append((np.split(indices, self.world)[self.rank].tolist(), hw))
        if options.rect and not options.rules.rect_in_order:  # images are sorted by aspect ratio, so shuffle batches
            batches = [batches[i] for i in shuffled(len(batches), options.seed, dataset.epoch)]
        for number, first in enumerate(range(0, len(batches), self.batches_per_task)):
            chunk = batches[first : first + self.batches_per_task]
            yield dataset.epoch, dataset.closing, chunk, number % self.slots


class Loader:
    """Iterating yields the batches of one epoch, the one set by `dataset.set_epoch`.

    `batch` is the number of images per rank; rank r of `world` gets the r-th part of each step's global batch. With
    `pin` images lie in page-locked memory, which makes copies to a GPU fast. The number of `workers` is limited by
    processors, tasks and memory; with 0 the calling process makes the batches. Batches do not depend on it.
    """

    def __init__(
        self, dataset: PoseDataset, batch: int, *, workers: int = 0, rank: int = 0, world: int = 1, pin: bool = False
    ) -> None:
        self.dataset, self.pin = dataset, pin
        self._sampler = BatchSampler(dataset, batch, rank, world)
        side = -(-dataset.options.imgsz // dataset.options.stride) * dataset.options.stride
        self._batch_bytes = batch * side * side * 3  # of the largest batch
        self.workers = min(workers, processors(), -(-len(self) // self._sampler.batches_per_task))
        self._tasks_ahead = TASKS_AHEAD
        self._limit_memory()
        self._loader: DataLoader[Any] | None = None
        if self.workers:
            self._start_workers()

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self._sampler)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the epoch. Raises PoseError for an image that cannot be read."""
        if self._loader is None:
            for _, _, batches, _ in self._sampler:
                for indices, hw in batches:
                    yield collate([self.dataset.sample(i, hw) for i in indices])
            return
        failure = None
        for made in self._loader:
            if isinstance(made, PoseError):
                failure = made
                break
            for batch in made:
                yield self._copy_batch(batch)
        if failure is not None:  # raised outside the loop, whose iterator would keep the workers alive
            self.close()
            raise failure

    def close(self) -> None:
        """Stop the workers now; later batches are made in this process.

        Without it, workers may live some seconds longer after an exception.
        """
        self._loader = None

    def _limit_memory(self) -> None:
        """Reduce batches per task, queued tasks and workers, in this order, until their memory is available.

        Slots, and recently decoded images, may each take a share of the free memory, divided among this machine's
        ranks.
        """
        if not (free := free_memory()):
            return
        share = int(free * MEMORY_SHARE) // local_ranks()
        sampler = self._sampler
        while self.workers and self._slots() * sampler.batches_per_task * self._batch_bytes > share:
            if sampler.batches_per_task > 1:  # several workers may then decode the same image
                sampler.batches_per_task -= 1
            elif self._tasks_ahead > 1:
                self._tasks_ahead -= 1
            else:
                self.workers -= 1
        self.dataset.read.room = share // max(self.workers, 1)

    def _slots(self) -> int:
        """One slot for each queued task, one for the task being copied, and one to spare."""
        return self._tasks_ahead * self.workers + 2

    def _start_workers(self) -> None:
        """Create the worker processes; they start with the first epoch and stay."""
        slot_bytes = self._sampler.batches_per_task * self._batch_bytes
        self._sampler.slots = self._slots()
        self._memory = SharedBytes(self._sampler.slots * slot_bytes)
        self._loader = DataLoader(
            _WorkerDataset(self.dataset, self._memory, slot_bytes),  # type: ignore[arg-type]  # needs only __getitem__
            batch_size=None,
            sampler=self._sampler,
            num_workers=self.workers,
            collate_fn=_unchanged,
            worker_init_fn=_prepare_worker,
            prefetch_factor=self._tasks_ahead,
            persistent_workers=True,
            generator=torch.Generator(),  # leaves the global one unchanged
        )

    def _copy_batch(self, made: WorkerBatch) -> Batch:
        """The batch with its pixels copied, so that the slot is free again."""
        images = torch.empty(made.shape, dtype=torch.uint8, pin_memory=self.pin)
        images.numpy().reshape(-1)[:] = self._memory.array[made.start : made.start + images.numel()]
        *labels, ignore = made.labels
        index, classes, boxes, keypoints = (torch.from_numpy(array) for array in labels)
        ignored = None if ignore is None else torch.from_numpy(ignore)
        return Batch(images.permute(0, 3, 1, 2), index, classes, boxes, keypoints, made.paths, ignored)


class _WorkerDataset:
    """The data set of torch's loader in a worker: its items are all batches of a task."""

    def __init__(self, dataset: PoseDataset, memory: SharedBytes, slot_bytes: int) -> None:
        self.dataset, self.memory, self.slot_bytes = dataset, memory, slot_bytes

    def __getitem__(self, task: Task) -> list[WorkerBatch] | PoseError:
        """The batches of a task; a PoseError is returned, not raised, since torch would add the worker's traceback."""
        epoch, closing, batches, slot = task
        self.dataset.set_epoch(epoch, closing)
        start = slot * self.slot_bytes
        made = []
        try:
            for indices, hw in batches:
                shape = (len(indices), *hw, 3)
                end = start + math.prod(shape)
                samples = [self.dataset.sample(i, hw) for i in indices]
                batch = collate(samples, self.memory.array[start:end].reshape(shape))
                labels = (batch.image_index, batch.classes, batch.boxes, batch.keypoints, batch.ignore)
                arrays = tuple(None if t is None else t.numpy() for t in labels)
                made.append(WorkerBatch(arrays, batch.paths, start, shape))
                start = end
        except PoseError as e:
            return e
        return made


def _unchanged(made: Any) -> Any:
    """Collate function for torch's loader: workers return complete batches."""
    return made


def _prepare_worker(_: int) -> None:
    """Use one thread, and leave Ctrl-C to the main process."""
    cv2.setNumThreads(0)  # not 1: OpenCV would wait for threads that a forked process does not have
    signal.signal(signal.SIGINT, signal.SIG_IGN)
