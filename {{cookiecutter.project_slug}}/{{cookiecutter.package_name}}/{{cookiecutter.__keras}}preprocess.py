"""From raw inputs to what a network takes: fitted on the training split, exported with the model.

So a service takes the same raw values as `prepare`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from workflow.shards import Rows

CHUNK = 4096  # samples that are read at once from memory-mapped data, of
NUMBERS = 2**20  # in all at most


class Standardize(keras.layers.Layer):
    """Numbers in, floats of mean 0 and standard deviation 1 out."""

    def __init__(self, size: Sequence[int] = ()) -> None:
        """`size` is the shape of mean and standard deviation: (), or (columns,) for one each."""
        super().__init__(dtype="float32")  # which has every pixel, whatever trainer.precision is
        shape = tuple(size)
        self.mean = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="mean")
        self.std = self.add_weight(shape=shape, initializer="ones", trainable=False, name="std")
        self.built = True

    def fit(self, values: Rows, columns: Sequence[int] | None = None) -> None:
        """Take mean and standard deviation from `values` (n, …, *size); of a constant, 1.

        Args:
            columns: those that are taken of a table.
        """

        def chunks() -> Iterator[np.ndarray]:
            size = max(1, min(CHUNK, NUMBERS // max(1, math.prod(values.shape[1:]))))
            for start in range(0, len(values), size):
                chunk = values[start : start + size]
                yield chunk if columns is None else chunk[:, columns]

        axes = tuple(range(len(values.shape) - len(self.mean.shape)))
        count = math.prod(values.shape[: len(axes)])
        mean = sum(chunk.sum(axes, dtype=np.float64) for chunk in chunks()) / count
        squares = (np.square(chunk - mean).sum(axes) for chunk in chunks())
        std = np.sqrt(sum(squares) / count)
        self.mean.assign(mean)
        self.std.assign(np.where(std > 1e-7 * np.abs(mean), std, 1.0))

    def call(self, values: Any) -> Any:
        return (ops.cast(values, "float32") - self.mean) / self.std

    def invert(self, standardized: Any) -> Any:
        """Return the numbers, float32, that `standardized` is made of."""
        return ops.cast(standardized, "float32") * self.std + self.mean


class Image(keras.layers.Layer):
    """Whole numbers (n, rows, columns[, channels]) to (n, rows, columns, channels)."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        super().__init__(dtype="float32")
        self.has_channels = bool(declared.get("channels"))
        self.standardize = Standardize([declared["channels"]] if self.has_channels else [])

    def fit(self, images: Rows) -> None:
        self.standardize.fit(images)

    def call(self, images: Any) -> Any:
        values = self.standardize(images)
        return values if self.has_channels else ops.expand_dims(values, -1)


class Features(keras.layers.Layer):
    """A table (n, columns) to (n, width): numbers standardized, each choice a column of 0 and 1."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        super().__init__(dtype="float32")
        choices = [len(column.get("choices") or ()) for column in declared["columns"]]
        self.sizes = [(index, size) for index, size in enumerate(choices) if size]
        self.numbers = [index for index, size in enumerate(choices) if not size]
        self.standardize = Standardize([len(self.numbers)])

    def fit(self, table: Rows) -> None:
        if self.numbers:
            self.standardize.fit(table, self.numbers)

    def call(self, table: Any) -> Any:
        parts = []
        if self.numbers:
            # Not by `ops.take`, which PyTorch exports to ONNX with an operator that cannot run.
            columns = [table[:, index : index + 1] for index in self.numbers]
            parts.append(self.standardize(ops.concatenate(columns, axis=1)))
        for index, size in self.sizes:
            is_chosen = ops.equal(table[:, index : index + 1], np.arange(size, dtype=np.float32))
            parts.append(ops.cast(is_chosen, "float32"))
        return ops.concatenate(parts, axis=1)


class Text(keras.layers.Layer):
    """UTF-8 (n, length) to numbers that an embedding takes, 0 to 255."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        super().__init__(dtype="float32")

    def fit(self, texts: Rows) -> None:
        pass

    def call(self, texts: Any) -> Any:
        return ops.cast(texts, "int32")


KINDS: dict[str, Any] = {"image": Image, "features": Features, "text": Text}


class Preprocess(keras.layers.Layer):
    """The inputs by their names, as the config's `data.inputs` declares them, preprocessed."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        super().__init__(dtype="float32")
        self.names = list(inputs)
        self.kinds = [KINDS[declared["kind"]](declared) for declared in inputs.values()]

    def fit(self, inputs: Mapping[str, Rows]) -> None:
        """Take what preprocessing needs from the inputs of the training split, (n, …) each."""
        for name, kind in zip(self.names, self.kinds, strict=True):
            kind.fit(inputs[name])

    def call(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        pairs = zip(self.names, self.kinds, strict=True)
        return {name: kind(inputs[name]) for name, kind in pairs}
