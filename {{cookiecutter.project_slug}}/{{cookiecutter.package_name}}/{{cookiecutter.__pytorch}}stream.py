"""Prepared data in shards as batches: a few shards are read at a time, each once an epoch."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt
from torch.utils.data import Dataset, Sampler

from workflow.batch_order import WindowOrder
from workflow.errors import CommandError
from workflow.lightning.processes import find_place
from workflow.prepared import read_split
from workflow.shards import read_index, require_shards

from .data import ArrayDataModule, Batches, Read


class StreamDataset(Dataset[Read]):
    """The inputs (n, …) and the target (n,) of a split, read by whole batches."""

    def __init__(self, folder: Path, split: str, inputs: Iterable[str]) -> None:
        self.inputs, self.target = read_split(folder, split, inputs)

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, indices: np.ndarray) -> Read:
        try:
            inputs = {name: torch.from_numpy(rows[indices]) for name, rows in self.inputs.items()}
        except CommandError as error:
            return error
        return inputs, torch.from_numpy(self.target[indices])


class StreamSampler(Sampler[np.ndarray]):
    """Yields the indices of each batch of an epoch."""

    def __init__(self, order: WindowOrder) -> None:
        self.order = order
        self.epoch = 0
        self.first = 0  # batch of the next iteration: a training was interrupted before it

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[np.ndarray]:
        first, self.first = self.first, 0
        yield from self.order.batches(self.epoch, first)


class StreamDataModule(ArrayDataModule):
    """Train and validation batches of a folder of shards, written by stage `prepare`."""

    def __init__(
        self,
        folder: Path,
        inputs: Iterable[str],
        batch_size: Annotated[int, Ge(1)],
        workers: Annotated[int, Ge(0)],
        shuffle: bool,
        shard_mb: Annotated[float, Gt(0)],
        window: Annotated[int, Ge(1)],
        seed: int,
    ) -> None:
        """`inputs` are the names of the inputs, as in conf/data/."""
        super().__init__(folder, inputs, batch_size, workers, shuffle, on_device=False, seed=seed)
        self.shard_mb = shard_mb
        self.window = window

    def read(self, split: str, seed: int | None) -> tuple[Dataset[Read], Any]:
        """Return the samples of a split, and what yields the indices of each batch.

        Raises:
            ShardError: a shard is missing or truncated, or they are not of `shard_mb`.
        """
        shards = require_shards(self.folder, self.shard_mb).sizes(split)
        place = find_place(self.trainer)
        processes = place.rank, place.processes
        order = WindowOrder(shards, self.batch_size, seed, self.window, *processes)
        return StreamDataset(self.folder, split, self.inputs), StreamSampler(order)

    def _loader(self, dataset: Dataset[Read], sampler: Any) -> Batches:
        loader = super()._loader(dataset, sampler)
        index = read_index(self.folder)
        if self.workers and index and index.address:
            # The client of the object store has threads, for which a forked worker would wait.
            loader.multiprocessing_context = "spawn"
        return loader
