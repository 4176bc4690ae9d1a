"""Prepared data in shards as batches: a few shards are read at a time, each once an epoch."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt

from workflow.batch_order import WindowOrder
from workflow.shards import require_shards

from .data import Batches


class StreamBatches(Batches):
    """The batches of a split, in shards.

    The order is a function of seed and epoch alone; nothing of it is kept for all samples.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        inputs: Iterable[str],
        batch_size: int,
        seed: int | None,
        steps: int | None,
        order: WindowOrder,
    ) -> None:
        """Without a seed, samples come in order; `steps` is the largest number of batches."""
        super().__init__(folder, split, inputs, batch_size, seed, steps)
        self._window_order = order
        self.steps = min(self.steps, len(order))
        self.samples = order.sizes.start(self.steps)
        self._next = (-1, 0)  # epoch and batch that `_batches` yields next

    def indices(self, index: int) -> np.ndarray:
        """Return the indices of the samples of a batch of this epoch."""
        if self._next != (self.epoch, index):
            self._batches = self._window_order.batches(self.epoch, index)
        self._next = (self.epoch, index + 1)
        return next(self._batches)


class StreamData:
    """Train and validation batches of a folder of shards, written by stage `prepare`."""

    def __init__(
        self,
        folder: Path,
        inputs: Iterable[str],
        batch_size: Annotated[int, Ge(1)],
        shuffle: bool,
        shard_mb: Annotated[float, Gt(0)],
        window: Annotated[int, Ge(1)],
        seed: int,
        steps: tuple[int | None, int | None],
    ) -> None:
        """`inputs` are the names of the inputs, as in conf/data/.

        `steps` are the largest numbers of batches for training and for validation.
        """
        names, index = list(inputs), require_shards(folder, shard_mb)

        def batches(split: str, order: int | None, limit: int | None) -> StreamBatches:
            shuffled = WindowOrder(index.sizes(split), batch_size, order, window)
            return StreamBatches(folder, split, names, batch_size, order, limit, shuffled)

        self.train = batches("train", seed if shuffle else None, steps[0])
        self.validation = batches("validation", None, steps[1])
