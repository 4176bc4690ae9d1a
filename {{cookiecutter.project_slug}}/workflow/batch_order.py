"""Which samples are in which batch of an epoch: a function of seed, epoch, and process alone.

So a resumed training continues with the very next batch. Each sample is in exactly one batch of one
process, and all processes have the same number of batches: none waits for another for ever.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from .errors import CommandError


class BatchSizes:
    """How the samples of an epoch are divided: process r takes each `processes`-th, from the r-th.

    Where one sample would be left for the last batch, it joins the batch before, or takes one of
    its samples: BatchNorm cannot train on one.
    """

    def __init__(self, samples: int, batch_size: int, rank: int = 0, processes: int = 1) -> None:
        """
        Raises:
            CommandError: there are fewer samples than processes.
        """
        if samples < processes:
            raise CommandError(f"{samples} samples are too few for {processes} processes")
        self.samples = -(-(samples - rank) // processes)  # of this process
        self.batch_size = batch_size
        # Those of the process that has most: one more sample than others have, or as many.
        whole, rest = divmod(-(-samples // processes), batch_size)
        joins = whole > 0 and rest == 1
        self._count = whole + (rest > 0 and not joins)
        last = self.samples - (self._count - 1) * batch_size
        self._is_short = last == 1 and self._count > 1 and batch_size > 2

    def __len__(self) -> int:
        return self._count

    def start(self, batch: int) -> int:
        """Return how many samples of this process are in the batches before `batch`."""
        if batch >= self._count:
            return self.samples
        return batch * self.batch_size - (self._is_short and batch == self._count - 1)

    def __iter__(self) -> Iterator[int]:
        """Yield the size of each batch."""
        for batch in range(self._count):
            yield self.start(batch + 1) - self.start(batch)


class WindowOrder:
    """The order of samples in shards: shuffled shards, of which `window` at a time are mixed.

    So as many shards are read at a time, each once an epoch, and nothing that grows with the number
    of samples is kept in memory.
    """

    def __init__(
        self,
        shards: Sequence[int],
        batch_size: int,
        seed: int | None,
        window: int,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        """
        Args:
            shards: how many samples each has.
            seed: None: in order.

        Raises:
            CommandError: there are fewer samples than processes.
        """
        self.sizes = BatchSizes(sum(shards), batch_size, rank, processes)
        self._shards = np.asarray(shards, np.int64)
        self._seed, self._window = seed, window
        self._rank, self._processes = rank, processes

    def __len__(self) -> int:
        return len(self.sizes)

    def batches(self, epoch: int, first: int = 0) -> Iterator[np.ndarray]:
        """Yield the indices of the samples of each batch of an epoch.

        Args:
            first: the batch to start with.
        """
        pieces = self._pieces(epoch, self.sizes.start(first))
        rest = np.empty(0, np.int64)
        for batch in range(first, len(self)):
            size = self.sizes.start(batch + 1) - self.sizes.start(batch)
            while len(rest) < size:
                rest = np.concatenate([rest, next(pieces)])
            yield rest[:size]
            rest = rest[size:]

    def _pieces(self, epoch: int, skipped: int) -> Iterator[np.ndarray]:
        """Yield the samples of this process, a window at a time, without the first ones."""
        starts = np.cumsum(self._shards) - self._shards
        order = np.arange(len(self._shards))
        if self._seed is not None:
            np.random.default_rng([self._seed, epoch]).shuffle(order)
        begin = 0  # of the window, in the order of all processes
        for number, at in enumerate(range(0, len(order), self._window)):
            shards = order[at : at + self._window]
            end = begin + int(self._shards[shards].sum())
            mine = slice((self._rank - begin) % self._processes, None, self._processes)
            before = -(-max(begin - self._rank, 0) // self._processes)
            after = -(-max(end - self._rank, 0) // self._processes)
            if after > skipped:
                members = [np.arange(starts[s], starts[s] + self._shards[s]) for s in shards]
                samples = np.concatenate(members)
                if self._seed is not None:
                    np.random.default_rng([self._seed, epoch, number]).shuffle(samples)
                yield samples[mine][max(skipped - before, 0) :]
            begin = end
