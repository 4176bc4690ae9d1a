"""Prepared data as batches: whole batches are read at once, from memory-mapped arrays or a GPU."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import lightning as L
import torch
from annotated_types import Ge
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from workflow.batch_order import BatchSizes
from workflow.config.values import ConfigError
from workflow.errors import CommandError
from workflow.lightning.devices import require_memory
from workflow.lightning.processes import find_place
from workflow.prepared import read_arrays

Batch = tuple[dict[str, Tensor], Tensor]  # inputs by name (n, …), target (n,)
Read = Batch | CommandError  # a batch, or why it cannot be read


class ArrayDataset(Dataset[Batch]):
    """The inputs (n, …) and the target (n,) of a split, in .npy files, read by whole batches."""

    def __init__(
        self, folder: Path, split: str, inputs: Iterable[str], device: torch.device | str = "cpu"
    ) -> None:
        """Memory-map the arrays, or copy them to another device, where their indices are too."""
        arrays, target = read_arrays(folder, split, inputs)
        self.inputs = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        self.target = torch.from_numpy(target).to(device)

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in (*self.inputs.values(), self.target))

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, indices: Tensor) -> Batch:
        inputs = {name: array.index_select(0, indices) for name, array in self.inputs.items()}
        return inputs, self.target.index_select(0, indices)


class BatchSampler(Sampler[Tensor]):
    """Yields the indices of each batch as one tensor.

    The order is a function of seed and epoch alone, so a resumed run continues exactly as the
    interrupted one would have. With several processes, each takes every n-th index.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int | None,
        rank: int = 0,
        processes: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.size = size
        self.seed = seed  # None: in order
        self.rank = rank
        self.processes = processes
        self.device = device  # of the indices
        self.epoch = 0
        self.first = 0  # batch of the next iteration: a training was interrupted before it
        self.sizes = BatchSizes(size, batch_size, rank, processes)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Tensor]:
        first, self.first = self.first, 0
        if self.seed is None:
            order = torch.arange(self.size)
        else:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(self.size, generator=generator)
        mine = order[self.rank :: self.processes].to(self.device)
        yield from mine.split([*self.sizes])[first:]


class Batches(DataLoader[Read]):
    """A DataLoader that without workers only reads: its own steps cost as much as the reading.

    An error that a dataset returns is raised here. One that a worker raises would come with the
    worker's traceback as its text.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        if self.num_workers:
            return map(require_batch, super().__iter__())
        return map(require_batch, map(self.dataset.__getitem__, self.sampler))


def require_batch(read: Read) -> Batch:
    """Return what was read, or raise why it cannot be read."""
    if isinstance(read, CommandError):
        raise read
    return read


class ArrayDataModule(L.LightningDataModule):
    """Train and validation batches of a folder written by stage `prepare`."""

    def __init__(
        self,
        folder: Path,
        inputs: Iterable[str],
        batch_size: Annotated[int, Ge(1)],
        workers: Annotated[int, Ge(0)],
        shuffle: bool,
        on_device: bool,
        seed: int,
    ) -> None:
        """`inputs` are the names of the inputs, as in conf/data/.

        With `on_device` the arrays are copied to the GPU once, and each batch is gathered there.
        """
        super().__init__()
        self.folder = folder
        self.inputs = list(inputs)
        self.batch_size = batch_size
        self.workers = workers
        self.shuffle = shuffle
        self.on_device = on_device
        self.seed = seed
        self._datasets: dict[tuple[str, torch.device], ArrayDataset] = {}

    def require_batches(self, trainer: dict[str, Any]) -> None:
        """Check the fractions `limit_train_batches` and `limit_val_batches`, and `on_device`.

        Args:
            trainer: the config's.

        Raises:
            ConfigError: one of the fractions leaves no batch, or the device has too little memory.
        """
        loaders = {"train": self.train_dataloader(), "val": self.val_dataloader()}
        for name, loader in loaders.items():
            key = f"limit_{name}_batches"
            batches, limit = len(loader), trainer[key]
            if isinstance(limit, float) and int(batches * limit) == 0:
                raise ConfigError(f"trainer.{key}", f"{limit} of {batches} batches leaves none")
        if self.on_device:
            require_memory(trainer, sum(dataset.nbytes for dataset in self._datasets.values()))

    def train_dataloader(self) -> Batches:
        place = find_place(self.trainer)
        dataset, sampler = self.read("train", self.seed if self.shuffle else None)
        # After a resume, workers read ahead before Lightning calls `set_epoch`.
        sampler.set_epoch(place.epoch)
        sampler.first = place.batch
        return self._loader(dataset, sampler)

    def val_dataloader(self) -> Batches:
        return self._loader(*self.read("validation", None))

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """As Lightning does it, which takes ten times as long to find the tensors in a batch."""
        inputs, target = batch
        return {name: move(array, device) for name, array in inputs.items()}, move(target, device)

    def read(self, split: str, seed: int | None) -> tuple[Dataset[Read], Any]:
        """Return the samples of a split, and what yields the indices of each batch."""
        place, dataset = find_place(self.trainer), self._dataset(split)
        processes = place.rank, place.processes
        at = self._device if self.on_device else "cpu"
        return dataset, BatchSampler(len(dataset), self.batch_size, seed, *processes, at)

    def _loader(self, dataset: Dataset[Read], sampler: Any) -> Batches:
        return Batches(
            dataset,
            batch_size=None,  # the sampler yields whole batches
            sampler=sampler,
            num_workers=self.workers,
            # Else each iterator takes a number from PyTorch's generator, which dropout uses too;
            # a resumed run makes its iterators at other times.
            generator=torch.Generator(),
            persistent_workers=self.workers > 0,
            pin_memory=self._device.type == "cuda" and self.workers > 0,
        )

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def _dataset(self, split: str) -> ArrayDataset:
        """Return a split for training on the device: copied there once, if at all."""
        device = self._device
        if (split, device) not in self._datasets:
            place = device if self.on_device else "cpu"
            self._datasets[split, device] = ArrayDataset(self.folder, split, self.inputs, place)
        return self._datasets[split, device]


def move(array: Tensor, device: torch.device) -> Tensor:
    """Return an array on a device; to CUDA by way of pinned memory, for which no step waits."""
    if device.type != "cuda" or array.is_cuda:
        return array.to(device)
    return (array if array.is_pinned() else array.pin_memory()).to(device, non_blocking=True)
