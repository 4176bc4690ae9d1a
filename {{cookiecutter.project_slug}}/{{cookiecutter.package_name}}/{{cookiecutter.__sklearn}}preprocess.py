"""What the model makes of raw inputs: one matrix of numbers, here and in the exported file.

A class for each kind of input. Scaling and other steps that an estimator wants are in conf/model/.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from sklearn.feature_extraction.text import CountVectorizer

from workflow.scikit_learn.onnx_graph import MATRIX, Nodes


class Image:
    """Whole numbers (n, rows, columns[, channels]) to (n, pixels)."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        pass

    def fit(self, images: np.ndarray) -> None:
        pass

    def transform(self, images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1).astype(np.float32)

    def to_onnx(self, given: str, made: str) -> Nodes:
        flat = f"{given} flat"
        nodes = [
            helper.make_node("Flatten", [given], [flat]),
            helper.make_node("Cast", [flat], [made], to=TensorProto.FLOAT),
        ]
        return nodes, []


class Features:
    """A table (n, columns) to (n, width): numbers as they are, each choice a column of 0 and 1."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        choices = [len(column.get("choices") or ()) for column in declared["columns"]]
        self.sizes = {index: size for index, size in enumerate(choices) if size}
        self.numbers = [index for index, size in enumerate(choices) if not size]

    def fit(self, table: np.ndarray) -> None:
        pass

    def transform(self, table: np.ndarray) -> np.ndarray:
        one_hot = [table[:, [index]] == np.arange(size) for index, size in self.sizes.items()]
        return np.concatenate([table[:, self.numbers], *one_hot], axis=1, dtype=np.float32)

    def to_onnx(self, given: str, made: str) -> Nodes:
        parts = [f"{given} numbers"]
        nodes = [helper.make_node("Gather", [given, f"{parts[0]} at"], parts[:1], axis=1)]
        constants = [_constant(f"{parts[0]} at", np.array(self.numbers, np.int64))]
        for index, size in self.sizes.items():
            part = f"{given} {index}"
            nodes += [
                helper.make_node("Gather", [given, f"{part} at"], [f"{part} index"], axis=1),
                helper.make_node("Equal", [f"{part} index", f"{part} choices"], [f"{part} is"]),
                helper.make_node("Cast", [f"{part} is"], [part], to=TensorProto.FLOAT),
            ]
            constants += [
                _constant(f"{part} at", np.array([index], np.int64)),
                _constant(f"{part} choices", np.arange(size, dtype=np.float32)),
            ]
            parts.append(part)
        return [*nodes, helper.make_node("Concat", parts, [made], axis=1)], constants


class Text:
    """UTF-8 (n, length) to (n, width): how often each of the frequent n-grams of bytes is there.

    n-grams of characters, for texts in English (Cavnar and Trenkle, 1994).
    """

    longest = 4  # n-grams, in bytes
    width = 2_000  # at most

    def __init__(self, declared: Mapping[str, Any]) -> None:
        self.counter = CountVectorizer(
            analyzer="char",
            lowercase=False,
            ngram_range=(1, self.longest),
            max_features=self.width,
            dtype=np.float32,
        )

    def fit(self, texts: np.ndarray) -> None:
        self.counter.fit(self._letters(texts))

    def transform(self, texts: np.ndarray) -> np.ndarray:
        return self.counter.transform(self._letters(texts)).toarray()

    @staticmethod
    def _letters(texts: np.ndarray) -> list[str]:
        # A letter for each byte, none of them white space, which scikit-learn would put together.
        rows = np.ascontiguousarray(texts, np.uint8)
        table = str.maketrans({byte: chr(byte + 256) for byte in range(256)})
        return [row.tobytes().rstrip(b"\0").decode("latin-1").translate(table) for row in rows]

    def to_onnx(self, given: str, made: str) -> Nodes:
        places = self.counter.vocabulary_
        grams = sorted(places, key=lambda gram: (len(gram), places[gram]))
        sizes = [len(gram) for gram in grams]
        starts = [
            sum(size for size in sizes if size < length) for length in range(1, self.longest + 1)
        ]
        counted = helper.make_node(
            "TfIdfVectorizer",
            [f"{given} bytes"],
            [made],
            mode="TF",
            min_gram_length=1,
            max_gram_length=self.longest,
            max_skip_count=0,
            pool_int64s=[ord(letter) - 256 for gram in grams for letter in gram],
            ngram_counts=starts,
            ngram_indexes=[int(places[gram]) for gram in grams],
        )
        cast = helper.make_node("Cast", [given], [f"{given} bytes"], to=TensorProto.INT64)
        return [cast, counted], []


KINDS: dict[str, Any] = {"image": Image, "features": Features, "text": Text}


class Preprocess:
    """The inputs by their names, as the config's `data.inputs` declares them, as one matrix."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        self.kinds = {name: KINDS[declared["kind"]](declared) for name, declared in inputs.items()}

    def fit(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Take what preprocessing needs from the inputs of the training split, (n, …) each."""
        for name, kind in self.kinds.items():
            kind.fit(inputs[name])

    def transform(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return float32 (n, width)."""
        parts = [kind.transform(inputs[name]) for name, kind in self.kinds.items()]
        return np.concatenate(parts, axis=1)

    def to_onnx(self) -> Nodes:
        """Return what `transform` does as nodes that make the tensor MATRIX of the inputs."""
        nodes, constants = [], []
        parts = [f"{name} preprocessed" for name in self.kinds]
        for (name, kind), part in zip(self.kinds.items(), parts, strict=True):
            more, others = kind.to_onnx(name, part)
            nodes += more
            constants += others
        return [*nodes, helper.make_node("Concat", parts, [MATRIX], axis=1)], constants


def _constant(name: str, values: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(values, name)
