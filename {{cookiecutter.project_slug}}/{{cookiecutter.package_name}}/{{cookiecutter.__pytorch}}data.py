"""Prepared data as batches: whole batches are read at once from memory-mapped arrays."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import lightning as L
import torch
from annotated_types import Ge
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from workflow.config.values import ConfigError
from workflow.prepared import read_split

Batch = tuple[dict[str, Tensor], Tensor]  # inputs by name (n, …), target (n,)


class ArrayDataset(Dataset[Batch]):
    """The inputs (n, …) and the target (n,) of a split, in .npy files, read by whole batches."""

    def __init__(self, folder: Path, split: str, inputs: Iterable[str]) -> None:
        arrays, target = read_split(folder, split, inputs)
        self.inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.target = torch.from_numpy(target)

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, indices: Tensor) -> Batch:
        inputs = {name: array.index_select(0, indices) for name, array in self.inputs.items()}
        return inputs, self.target.index_select(0, indices)


class BatchSampler(Sampler[Tensor]):
    """Yields the indices of each batch as one tensor.

    The order is a function of seed and epoch alone, so a resumed run continues exactly as the
    interrupted one would have. With several processes, each takes every n-th index; the last
    ones are repeated so that all have the same number of batches, as DistributedSampler does.

    Where one sample would be left for the last batch, it joins the batch before: BatchNorm cannot
    train on one.
    """

    def __init__(
        self, size: int, batch_size: int, seed: int | None, rank: int = 0, processes: int = 1
    ) -> None:
        self.size = size
        self.seed = seed  # None: in order
        self.rank = rank
        self.processes = processes
        self.epoch = 0
        self.samples = -(-size // processes)  # of each process
        whole, rest = divmod(self.samples, batch_size)
        self.sizes = [batch_size] * whole + [rest] * (rest > 0)
        if whole and rest == 1:
            self.sizes[-2:] = [batch_size + 1]

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Tensor]:
        if self.seed is None:
            order = torch.arange(self.size)
        else:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(self.size, generator=generator)
        if self.processes > 1:
            repeated = order[: self.samples * self.processes - self.size]
            order = torch.cat([order, repeated])[self.rank :: self.processes]
        yield from order.split(self.sizes)


class ArrayDataModule(L.LightningDataModule):
    """Train and validation batches of a folder written by stage `prepare`."""

    def __init__(
        self,
        folder: Path,
        inputs: Iterable[str],
        batch_size: Annotated[int, Ge(1)],
        workers: Annotated[int, Ge(0)],
        shuffle: bool,
        seed: int,
    ) -> None:
        """`inputs` are the names of the inputs, as in conf/data/."""
        super().__init__()
        self.folder = folder
        self.inputs = list(inputs)
        self.batch_size = batch_size
        self.workers = workers
        self.shuffle = shuffle
        self.seed = seed

    def require_batches(self, limits: dict[str, Any]) -> None:
        """Check that the fractions `limit_train_batches` and `limit_val_batches` leave a batch.

        Raises:
            ConfigError: one of them leaves none.
        """
        loaders = {"train": self.train_dataloader, "val": self.val_dataloader}
        for name, loader in loaders.items():
            key = f"limit_{name}_batches"
            batches, limit = len(loader()), limits[key]
            if isinstance(limit, float) and int(batches * limit) == 0:
                raise ConfigError(f"trainer.{key}", f"{limit} of {batches} batches leaves none")

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader("train", self.seed if self.shuffle else None)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader("validation", None)

    def _loader(self, split: str, seed: int | None) -> DataLoader[Batch]:
        dataset = ArrayDataset(self.folder, split, self.inputs)
        rank, processes, epoch = 0, 1, 0
        if self.trainer is not None:
            rank, processes = self.trainer.global_rank, self.trainer.world_size
            # After a resume, workers read ahead before Lightning calls `set_epoch`.
            progress = self.trainer.fit_loop.epoch_progress.current
            epoch = progress.processed  # type: ignore[attr-defined]
        sampler = BatchSampler(len(dataset), self.batch_size, seed, rank, processes)
        sampler.set_epoch(epoch)
        return DataLoader(
            dataset,
            batch_size=None,  # the sampler yields whole batches
            sampler=sampler,
            num_workers=self.workers,
            # Else each iterator takes a number from PyTorch's generator, which dropout uses too;
            # a resumed run makes its iterators at other times.
            generator=torch.Generator(),
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
