"""The networks, and how they are trained.

A network takes the preprocessed inputs by their names and returns (n, outputs): as many outputs as
there are classes, or one for a value.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import keras
import numpy as np
from annotated_types import Ge, Interval
from keras import layers, ops

from workflow.keras import checkpoint, onnx_export
from workflow.keras.networks import apply, make_network, output_size
from workflow.keras.schedule import make_optimizer
from workflow.shards import Rows
from workflow.signature import DATATYPES
from workflow.signature import inputs as declared_inputs

from .preprocess import CHUNK, Preprocess, Standardize

if TYPE_CHECKING:
    import onnx


class MLP(keras.Model):
    """Fully connected layers on all inputs together: images flattened, texts by a convolution."""

    def __init__(
        self,
        inputs: dict[str, Any],
        target: dict[str, Any],
        hidden: Sequence[Annotated[int, Ge(1)]],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
    ) -> None:
        super().__init__()
        texts = {name: declared["kind"] == "text" for name, declared in inputs.items()}
        self.encoders = {name: TextEncoder() if texts[name] else layers.Flatten() for name in texts}
        self.hidden: list[keras.Layer] = []
        for units in hidden:
            self.hidden += [layers.Dense(units, activation="relu"), layers.Dropout(dropout)]
        self.head = layers.Dense(output_size(target))

    def call(self, inputs: Mapping[str, Any]) -> Any:
        encoded = [encoder(inputs[name]) for name, encoder in self.encoders.items()]
        values = ops.concatenate(encoded, axis=1)
        for layer in self.hidden:
            values = layer(values)
        return self.head(values)


class TextEncoder(keras.layers.Layer):
    """Bytes (n, length) to (n, width): the strongest answer of each filter anywhere in the text.

    A convolution over characters (Zhang, Zhao and LeCun, 2015) with a maximum over time.
    """

    width = 64

    def __init__(self) -> None:
        super().__init__()
        self.embedding = layers.Embedding(256, 16)
        self.convolution = layers.Conv1D(
            self.width, kernel_size=5, padding="same", activation="relu"
        )

    def call(self, texts: Any) -> Any:
        return ops.max(self.convolution(self.embedding(texts)), axis=1)


class CNN(keras.Model):
    """Two convolutions and a linear layer on the one input, an image of at least 2 x 2 pixels."""

    def __init__(
        self,
        inputs: dict[str, Any],
        target: dict[str, Any],
        channels: tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
    ) -> None:
        super().__init__()
        kinds = [declared["kind"] for declared in inputs.values()]
        if kinds != ["image"]:
            raise ValueError(f"CNN takes one image, data.inputs has {', '.join(kinds)}: model=mlp")
        ((self.taken, image),) = inputs.items()
        if min(image["rows"], image["columns"]) < 2:
            raise ValueError("CNN takes images of at least 2 x 2 pixels: model=mlp")
        first, second = channels
        self.steps = keras.Sequential(
            [
                layers.Conv2D(first, kernel_size=3, padding="same", activation="relu"),
                layers.Conv2D(second, kernel_size=3, padding="same", activation="relu"),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dropout(dropout),
                layers.Dense(output_size(target)),
            ]
        )

    def call(self, inputs: Mapping[str, Any]) -> Any:
        return self.steps(inputs[self.taken])


class Classes(keras.layers.Layer):
    """A target of classes: network outputs are logits (n, classes), answers their probabilities."""

    def fit(self, target: np.ndarray) -> None:
        pass

    def call(self, outputs: Any) -> Any:
        return ops.softmax(ops.cast(outputs, "float32"), axis=1)

    def loss(self, target: Any, outputs: Any) -> Any:
        logits = ops.cast(outputs, "float32")
        return keras.losses.sparse_categorical_crossentropy(target, logits, from_logits=True)

    @property
    def measures(self) -> list[keras.Metric]:
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]


class Value(keras.layers.Layer):
    """A target of values: outputs (n, 1) are standardized, answers (n,) in the target's unit."""

    def __init__(self) -> None:
        super().__init__(dtype="float32")
        self.standardize = Standardize()

    def fit(self, target: np.ndarray) -> None:
        self.standardize.fit(target)

    def call(self, outputs: Any) -> Any:
        return self.standardize.invert(outputs[:, 0])

    def loss(self, target: Any, outputs: Any) -> Any:
        # Flat: Keras makes the target (n, 1), as the outputs are.
        expected = self.standardize(ops.reshape(target, (-1,)))
        return ops.square(ops.cast(outputs[:, 0], "float32") - expected)

    @property
    def measures(self) -> list[keras.Metric]:
        # As numbers: on JAX, a metric cannot read variables of the model.
        mean, std = float(self.standardize.mean), float(self.standardize.std)

        def error(target: Any, outputs: Any) -> Any:
            values = ops.cast(outputs[:, 0], "float32") * std + mean
            return ops.abs(values - ops.cast(ops.reshape(target, (-1,)), "float32"))

        return [keras.metrics.MeanMetricWrapper(error, name="mae")]


class Model(keras.Model):
    """Preprocesses the inputs and trains a network for the target that the config's `data` has."""

    def __init__(self, config: dict[str, Any]) -> None:
        """`config` is the composed config as plain types.

        Raises:
            ConfigError: the network does not take the inputs of the data.
        """
        super().__init__()
        data = config["data"]
        self.preprocess = Preprocess(data["inputs"])
        self.network = make_network(config["model"])
        self.target = Classes() if data["target"]["kind"] == "classes" else Value()
        self.declared = declared_inputs(data)
        # On what stands for the inputs: it makes the weights.
        raw = raw_inputs(self.declared)
        self.target(apply(self.network, self.preprocess(raw), data["target"]))
        self(raw)

    def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        # Handed on, or dropout and BatchNormalization do not learn that this is a training.
        return self.network(self.preprocess(inputs), training=training)

    def fit_preprocessing(self, inputs: Mapping[str, Rows], target: np.ndarray) -> None:
        """Take means and standard deviations from the training split, (n, …) each."""
        self.preprocess.fit(inputs)
        self.target.fit(target)

    def prepare_training(self, config: dict[str, Any], steps: int) -> None:
        """Compile the model with the optimizer and schedule of the config.

        Args:
            steps: of an epoch.
        """
        self.compile(
            optimizer=make_optimizer(config, steps),
            loss=self.target.loss,
            metrics=self.target.measures,
            jit_compile=config["trainer"]["jit_compile"],
        )

    @classmethod
    def load(cls, path: Path) -> tuple["Model", dict[str, Any], dict[str, Any]]:
        """Return the model that `train` wrote, its config and its provenance."""
        saved = checkpoint.read(path)
        keras.config.set_dtype_policy("float32")  # of the weights, whatever trainer.precision is
        model = cls(saved.config)
        saved.restore(model)
        return model, saved.config, saved.provenance

    def answer(self, inputs: Mapping[str, Rows]) -> np.ndarray:
        """Return probabilities (n, classes), or values (n,), of raw inputs (n, …) by name."""
        answers = []
        for start in range(0, len(next(iter(inputs.values()))), CHUNK):
            part = {name: rows[start : start + CHUNK] for name, rows in inputs.items()}
            answers.append(ops.convert_to_numpy(self.target(self(part, training=False))))
        return np.concatenate(answers)

    def export_onnx(
        self, signature: Mapping[str, Any], inputs: Mapping[str, np.ndarray]
    ) -> "onnx.ModelProto":
        """Return the model as ONNX, with preprocessing inside; `inputs` are two samples.

        Raises:
            CommandError: ONNX lacks a part of the network.
        """
        raw = raw_inputs(self.declared)
        whole = keras.Model(raw, self.target(self(raw)))
        return onnx_export.convert(whole, signature, type(self.network).__name__)


def raw_inputs(declared: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what stands for the inputs of a signature where a model is made."""
    return {
        spec["name"]: keras.Input(
            spec["shape"][1:], dtype=DATATYPES[spec["datatype"]].name, name=spec["name"]
        )
        for spec in declared
    }
