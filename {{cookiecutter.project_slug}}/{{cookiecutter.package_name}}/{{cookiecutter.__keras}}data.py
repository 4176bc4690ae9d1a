"""Prepared data as batches: whole batches are read at once from memory-mapped arrays."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
from annotated_types import Ge

from workflow.prepared import read_split

Batch = tuple[dict[str, np.ndarray], np.ndarray]  # inputs by name (n, …), target (n,)


class Batches(keras.utils.PyDataset):
    """The batches of a split, in .npy files.

    The order is a function of seed and epoch alone, so a resumed run continues exactly as the
    interrupted one would have.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        inputs: Iterable[str],
        batch_size: int,
        seed: int | None,
        steps: int | None,
    ) -> None:
        """Without a seed, samples come in order; `steps` is the largest number of batches."""
        super().__init__()
        self.inputs, self.target = read_split(folder, split, inputs)
        self.batch_size = batch_size
        self.seed = seed
        self.steps = min(steps or len(self.target), -(-len(self.target) // batch_size))
        self.samples = min(len(self.target), self.steps * batch_size)
        self.epoch = 0  # set before each: Keras itself does not say which one it is
        self._ordered = -1

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> Batch:
        indices = self.indices(index)
        return {name: array[indices] for name, array in self.inputs.items()}, self.target[indices]

    def indices(self, index: int) -> np.ndarray:
        """Return the indices of the samples of a batch of this epoch."""
        if self._ordered != self.epoch:
            self._order, self._ordered = self._shuffled(), self.epoch
        return self._order[index * self.batch_size : (index + 1) * self.batch_size]

    def _shuffled(self) -> np.ndarray:
        if self.seed is None:
            return np.arange(len(self.target))
        return np.random.default_rng([self.seed, self.epoch]).permutation(len(self.target))


class ArrayData:
    """Train and validation batches of a folder written by stage `prepare`."""

    def __init__(
        self,
        folder: Path,
        inputs: Iterable[str],
        batch_size: Annotated[int, Ge(1)],
        shuffle: bool,
        seed: int,
        steps: tuple[int | None, int | None],
    ) -> None:
        """`inputs` are the names of the inputs, as in conf/data/.

        `steps` are the largest numbers of batches for training and for validation.
        """
        names = list(inputs)
        order = seed if shuffle else None
        self.train = Batches(folder, "train", names, batch_size, order, steps[0])
        self.validation = Batches(folder, "validation", names, batch_size, None, steps[1])
