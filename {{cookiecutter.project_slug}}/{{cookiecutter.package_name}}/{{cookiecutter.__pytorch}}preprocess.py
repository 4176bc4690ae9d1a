"""From raw inputs to what a network takes: fitted on the training split, exported with the model.

So a service takes the same raw values as `prepare`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from workflow.shards import Rows

CHUNK = 4096  # samples that are read at once from memory-mapped data, of
NUMBERS = 2**20  # in all at most


class Standardize(nn.Module):
    """Numbers in, floats of mean 0 and standard deviation 1 out."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: Sequence[int] = ()) -> None:
        """`size` is the shape of mean and standard deviation: (), or (columns,) for one each."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(tuple(size)))
        self.register_buffer("std", torch.ones(tuple(size)))

    def fit(self, values: Rows, columns: Sequence[int] | None = None) -> None:
        """Take mean and standard deviation from `values` (n, …, *size); of a constant, 1.

        Args:
            columns: those that are taken of a table.
        """

        def chunks() -> Iterator[Tensor]:
            size = max(1, min(CHUNK, NUMBERS // max(1, math.prod(values.shape[1:]))))
            for start in range(0, len(values), size):
                chunk = torch.as_tensor(values[start : start + size])
                yield (chunk if columns is None else chunk[:, columns]).double()

        dims = tuple(range(len(values.shape) - self.mean.dim()))
        count = math.prod(values.shape[: len(dims)])
        mean = torch.stack([chunk.sum(dims) for chunk in chunks()]).sum(0) / count
        squares = [(chunk - mean).square().sum(dims) for chunk in chunks()]
        std = (torch.stack(squares).sum(0) / count).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-7 * mean.abs(), std, 1.0))

    def forward(self, values: Tensor) -> Tensor:
        # In float32, which has every pixel, and then in the type of the network's weights.
        if values.is_floating_point():
            values = values.float()
        standardized = (values - self.mean.float()).div_(self.std.float())
        return standardized.to(self.mean.dtype)

    def invert(self, standardized: Tensor) -> Tensor:
        """Return the numbers, float32, that `standardized` is made of."""
        return standardized.float() * self.std.float() + self.mean.float()


class Image(nn.Module):
    """Whole numbers (n, rows, columns[, channels]) to (n, channels, rows, columns)."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        super().__init__()
        self.has_channels = bool(declared.get("channels"))
        self.standardize = Standardize([declared["channels"]] if self.has_channels else [])

    def fit(self, images: Rows) -> None:
        self.standardize.fit(images)

    def forward(self, images: Tensor) -> Tensor:
        values = self.standardize(images)
        return values.movedim(-1, 1) if self.has_channels else values.unsqueeze(1)


class Features(nn.Module):
    """A table (n, columns) to (n, width): numbers standardized, each choice a column of 0 and 1."""

    indices: Tensor

    def __init__(self, declared: Mapping[str, Any]) -> None:
        super().__init__()
        choices = [len(column.get("choices") or ()) for column in declared["columns"]]
        self.sizes = {index: size for index, size in enumerate(choices) if size}
        self.numbers = [index for index, size in enumerate(choices) if not size]
        self.standardize = Standardize([len(self.numbers)])
        # On the device of the table, as a list of indices is not.
        self.register_buffer("indices", torch.tensor(self.numbers, dtype=torch.long), False)

    def fit(self, table: Rows) -> None:
        if self.numbers:
            self.standardize.fit(table, self.numbers)

    def forward(self, table: Tensor) -> Tensor:
        parts = []
        if self.numbers:
            parts.append(self.standardize(table.index_select(1, self.indices)))
        for index, size in self.sizes.items():
            is_chosen = table[:, index, None] == torch.arange(size, device=table.device)
            parts.append(is_chosen.to(self.standardize.mean.dtype))
        return torch.cat(parts, dim=1)


class Text(nn.Module):
    """UTF-8 (n, length) to numbers that an embedding takes, 0 to 255."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        super().__init__()

    def fit(self, texts: Rows) -> None:
        pass

    def forward(self, texts: Tensor) -> Tensor:
        return texts.long()


KINDS: dict[str, Any] = {"image": Image, "features": Features, "text": Text}


class Preprocess(nn.Module):
    """The inputs by their names, as the config's `data.inputs` declares them, preprocessed."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        super().__init__()
        self.names = list(inputs)
        self.kinds = nn.ModuleList(
            KINDS[declared["kind"]](declared) for declared in inputs.values()
        )

    def fit(self, inputs: Mapping[str, Rows]) -> None:
        """Take what preprocessing needs from the inputs of the training split, (n, …) each."""
        for name, kind in zip(self.names, self.kinds, strict=True):
            kind.fit(inputs[name])  # type: ignore[operator]

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        pairs = zip(self.names, self.kinds, strict=True)
        return {name: kind(inputs[name]) for name, kind in pairs}
