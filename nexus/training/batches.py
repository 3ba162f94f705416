"""Batches by index: mixed of two streams, counted, read ahead of the training step."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader

from nexus.training.recipe import Batch, BatchStream

AHEAD = 3


@dataclass(frozen=True)
class Mixed:
    """Batches of two streams: index by index, that of the first with probability `share`."""

    first: BatchStream
    second: BatchStream
    share: float
    seed: int

    def __getitem__(self, index: int) -> Batch:
        drawn = np.random.default_rng((self.seed, index, 1)).random() < self.share
        return (self.first if drawn else self.second)[index]


@dataclass(frozen=True)
class Counted:
    """A stream whose batches say in `step` [1] which they are."""

    stream: BatchStream

    def __getitem__(self, index: int) -> Batch:
        return {**self.stream[index], "step": torch.tensor([index])}


def read_ahead(stream: BatchStream, indices: range, workers: int) -> Iterator[Batch]:
    """`stream[i]` for each index in order: made by one thread, or by `workers` processes."""
    return _by_processes(stream, indices, workers) if workers else _by_thread(stream, indices)


def _by_processes(stream: BatchStream, indices: range, workers: int) -> Iterator[Batch]:
    yield from DataLoader(
        stream,  # type: ignore[arg-type]
        batch_size=None,
        sampler=indices,
        num_workers=workers,
        prefetch_factor=AHEAD,
        generator=torch.Generator(),  # else it draws from the global one, and resuming would not be exact
    )


def _by_thread(stream: BatchStream, indices: range) -> Iterator[Batch]:
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    pending: deque[Future[Batch]] = deque()
    try:
        for index in indices:
            pending.append(pool.submit(stream.__getitem__, index))
            if len(pending) == AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
